"""How often routing is right, where it is wrong, and against what."""

from router_ml.evaluation.keywords import keyword_labels
from router_ml.evaluation.metrics import (
    Evaluation,
    Judged,
    LabelScore,
    compare,
    evaluate,
    evaluate_keywords,
    judge,
)
from router_ml.evaluation.slices import Mistake, Slice, slice_rows

__all__ = [
    "Evaluation",
    "Judged",
    "LabelScore",
    "Mistake",
    "Slice",
    "compare",
    "evaluate",
    "evaluate_keywords",
    "judge",
    "keyword_labels",
    "slice_rows",
]
