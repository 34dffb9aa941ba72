"""What the client's `request` returns: completions, Responses, streams, raw responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from json import JSONDecodeError
from typing import Any

from openai import APIError

from router_ml.dispatch.routing import Routing, Usage, usage_of


def http_response_of(answer: Any) -> Any:
    """Return the HTTP response beneath a stream or raw response; None: there is none to see."""
    for name in ("http_response", "response"):
        found = getattr(answer, name, None)
        if hasattr(found, "extensions"):
            return found
    return answer if hasattr(answer, "extensions") else None


def check(
    answer: Any, cast_to: Any, response: Any, build_request: Callable[[], Any]
) -> Usage | None:
    """Check an answer that has been read, and return the tokens it counts.

    Args:
        answer: what the client made of it.
        cast_to: what it was to make of it.
        response: httpx's; None where the client keeps none.
        build_request: makes httpx's request anew, for an error to name.

    Raises:
        json.JSONDecodeError: it is no JSON.
        openai.APIError: it is an error, though its HTTP status says it is none.

    """
    if isinstance(answer, str) and cast_to is not str:
        raise JSONDecodeError("The answer is no JSON", answer, 0)
    said = answer if response is None else response.json()
    failure = said.get("error") if isinstance(said, Mapping) else getattr(said, "error", None)
    if failure:
        raise _error_of(failure, build_request())
    return usage_of(said)


def _error_of(failure: Any, request: Any) -> APIError:
    body = failure.model_dump() if hasattr(failure, "model_dump") else failure
    message = body.get("message") if isinstance(body, Mapping) else None
    return APIError(str(message or "The answer is an error"), request, body=body)


def attach(routing: Routing, answer: Any, response: Any) -> None:
    """Put what was decided on an answer, past pydantic: it is no field, and is not dumped."""
    if hasattr(answer, "__dict__"):
        object.__setattr__(answer, "routing", routing)
    if response is not None:
        response.extensions["routing"] = routing
