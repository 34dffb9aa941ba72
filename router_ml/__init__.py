"""router-ml: decide, before an LLM request is sent, which model should get it."""

from router_ml.catalog import Catalog
from router_ml.errors import RouterMLError
from router_ml.policy import Policy
from router_ml.router import Router
from router_ml.types import Decision, Prediction, Reason

__version__ = "0.1.0"

__all__ = [
    "Catalog",
    "Decision",
    "Policy",
    "Prediction",
    "Reason",
    "Router",
    "RouterMLError",
    "__version__",
]
