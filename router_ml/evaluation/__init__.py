"""How often routing is right, where it is wrong, and against what."""

from router_ml.evaluation.keywords import keyword_labels
from router_ml.evaluation.metrics import Evaluation, LabelScore, evaluate, evaluate_keywords

__all__ = ["Evaluation", "LabelScore", "evaluate", "evaluate_keywords", "keyword_labels"]
