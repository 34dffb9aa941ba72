"""An OpenTelemetry event on the span a request was made in, where opentelemetry-api is installed.

Names are those of the semantic conventions for generative AI where they have one:
https://opentelemetry.io/docs/specs/semconv/gen-ai/
"""

from __future__ import annotations

from typing import Any

try:
    from opentelemetry import trace
except ImportError:
    trace = None  # type: ignore[assignment]

EVENT = "router_ml.decision"

_NAMES = {
    "model": "gen_ai.response.model",
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "error": "error.type",
}


def current_span() -> Any:
    """Return the span that is being recorded; None: there is none."""
    span = trace.get_current_span() if trace is not None else None
    return span if span is not None and span.is_recording() else None


def add_event(span: Any, row: dict[str, Any]) -> None:
    """Add a row of the decision log to a span; what is not a plain value is counted."""
    attributes = {
        _NAMES.get(name, f"router_ml.{name}"): len(value) if name == "attempts" else value
        for name, value in row.items()
        if value is not None and name not in ("time", "shadow")
    }
    span.add_event(EVENT, attributes)
