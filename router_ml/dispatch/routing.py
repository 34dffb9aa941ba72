"""What was decided, tried and spent for one request, and where to find it on a response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from router_ml.catalog import Catalog
from router_ml.types import Decision


class Attempt(msgspec.Struct, frozen=True):
    """One try of one model.

    Attributes:
        model: which.
        duration_s: seconds until it answered (a stream: until its first token) or failed.
        error: the name of what was raised, with the HTTP status if there was one; None: it
            answered.

    """

    model: str
    duration_s: float
    error: str | None = None


class Usage(msgspec.Struct, frozen=True):
    """The tokens of a request, as its provider counted them.

    Attributes:
        input_tokens: all that were read, the cached ones included.
        output_tokens: all that were written, reasoning included.
        cached_input_tokens: those of the input that the provider found in its cache.

    """

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0


class Routing(msgspec.Struct):
    """What was decided, tried and spent for one request.

    Of a stream, `usage` and the costs are known once it has ended, and only if its last
    event carries usage (Chat Completions: `stream_options={"include_usage": True}`).

    Attributes:
        decision: where the request was to go, and why.
        attempts: every try, in order.
        model: the model that answered; None: none did.
        usage: the tokens of its answer; None: it did not say.
        cost: what the answer cost, in US dollars by the catalog's prices.
        baseline_cost: what the catalog's baseline would have cost for as many tokens.
        canary: whether the canary decided.
        error: the name of what ended the request, or its stream after the first token.

    """

    decision: Decision
    attempts: list[Attempt]
    model: str | None = None
    usage: Usage | None = None
    cost: float | None = None
    baseline_cost: float | None = None
    canary: bool = False
    error: str | None = None

    @property
    def route(self) -> str:
        """The name of the route."""
        return self.decision.route

    def spend(self, usage: Usage | None, catalog: Catalog) -> None:
        """Note the tokens of the answer, and what they cost by a catalog."""
        self.usage = usage
        if usage is None:
            return
        self.cost = _cost(usage, self.model, catalog)
        self.baseline_cost = _cost(usage, catalog.baseline, catalog)


def routing_of(response: object) -> Routing | None:
    """Return what was decided for a response: `response.routing`, with a type.

    Of a completion, a Response, a stream, the `stream()` helpers' streams, and raw responses;
    None where the model was named by the caller.
    """
    found = getattr(response, "routing", None)
    if isinstance(found, Routing):
        return found
    http = getattr(response, "_response", None)  # the stream() helpers keep no more
    extensions = getattr(http, "extensions", {})
    return extensions.get("routing") if isinstance(extensions, Mapping) else None


def usage_of(answer: Any) -> Usage | None:
    """Return the tokens that a Chat Completions or Responses answer, or its JSON, counts."""
    usage = _get(answer, "usage")
    read = _count(usage, "prompt_tokens", "input_tokens")
    written = _count(usage, "completion_tokens", "output_tokens")
    if read is None or written is None:
        return None
    details = _get(usage, "prompt_tokens_details") or _get(usage, "input_tokens_details")
    cached = _count(details, "cached_tokens") or 0
    return Usage(read, written, min(cached, read))


def _count(holder: Any, *names: str) -> int | None:
    found = (_get(holder, name) for name in names)
    return next((n for n in found if isinstance(n, int) and n >= 0), None)


def _get(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)


def _cost(usage: Usage, model: str | None, catalog: Catalog) -> float | None:
    known = catalog.models.get(model or "")
    if known is None:
        return None
    return known.cost(usage.input_tokens, usage.output_tokens, usage.cached_input_tokens)
