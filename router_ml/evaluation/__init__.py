"""How often routing is right, where it is wrong, and against what."""

from router_ml.evaluation.facts import Report
from router_ml.evaluation.keywords import keyword_labels, keywords_apply
from router_ml.evaluation.metrics import (
    Evaluation,
    Judged,
    LabelScore,
    compare,
    evaluate,
    evaluate_keywords,
    judge,
)
from router_ml.evaluation.report import make_report
from router_ml.evaluation.slices import Mistake, Slice, slice_rows
from router_ml.evaluation.systems import find_system

__all__ = [
    "Evaluation",
    "Judged",
    "LabelScore",
    "Mistake",
    "Report",
    "Slice",
    "compare",
    "evaluate",
    "evaluate_keywords",
    "find_system",
    "judge",
    "keyword_labels",
    "keywords_apply",
    "make_report",
    "slice_rows",
]
