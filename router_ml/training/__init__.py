"""The code that learns: labelled requests in, a verified artifact out.

Needs the extra `train`; encoders other than the shipped one need `encoders`.
"""

from router_ml.training.checking import Findings, check
from router_ml.training.pipeline import Trained, train
from router_ml.training.prepare import clean, read_data
from router_ml.training.recipe import Recipe, load_recipe
from router_ml.training.unseen import evaluate_unseen, judge_unseen

__all__ = [
    "Findings",
    "Recipe",
    "Trained",
    "check",
    "clean",
    "evaluate_unseen",
    "judge_unseen",
    "load_recipe",
    "read_data",
    "train",
]
