"""What is raised when every attempt failed."""

from __future__ import annotations

from typing import Any

from openai import APIError

from router_ml.dispatch.routing import Attempt, Routing
from router_ml.errors import DispatchError


class AllAttemptsFailed(APIError, DispatchError):  # noqa: N818 - reads as the sentence it raises
    """No model of the route answered; an `openai.APIError`, so that what catches those does.

    Attributes:
        routing: what was decided, and every attempt in order.
        errors: the exception of each attempt, in order; openai's own.

    """

    def __init__(
        self, why: str, *, request: Any, routing: Routing, errors: tuple[Exception, ...]
    ) -> None:
        tried = "; ".join(f"{attempt.model}: {attempt.error}" for attempt in routing.attempts)
        super().__init__(f"{why} ({tried})." if tried else f"{why}.", request, body=None)
        self.routing, self.errors = routing, errors

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every attempt, in order."""
        return tuple(self.routing.attempts)
