"""Send prompts to several models and record what each made of them.   [extra: replay]"""

from router_ml.replay.budget import Budget
from router_ml.replay.endpoint import Endpoint, make_client
from router_ml.replay.results import ResultsFile
from router_ml.replay.run import Replay, Summary, sample_rows
from router_ml.replay.scorers import Scorer, make_scorer

__all__ = [
    "Budget",
    "Endpoint",
    "Replay",
    "ResultsFile",
    "Scorer",
    "Summary",
    "make_client",
    "make_scorer",
    "sample_rows",
]
