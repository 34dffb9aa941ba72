"""The openai clients, routed: `model="auto"` goes where a router decides, and falls back.

Needs the extra `openai`.
"""

from router_ml.errors import MissingExtra

try:
    import openai as _  # noqa: F401
except ImportError as error:
    raise MissingExtra("openai", "router_ml.dispatch") from error

from router_ml.dispatch.client import AsyncRoutedOpenAI, RoutedOpenAI
from router_ml.dispatch.decision_log import DecisionLog
from router_ml.dispatch.errors import AllAttemptsFailed
from router_ml.dispatch.routing import Attempt, Routing, Usage, routing_of

__all__ = [
    "AllAttemptsFailed",
    "AsyncRoutedOpenAI",
    "Attempt",
    "DecisionLog",
    "RoutedOpenAI",
    "Routing",
    "Usage",
    "routing_of",
]
