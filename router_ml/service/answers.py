"""JSON answers and refusals of the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response


class Refusal(msgspec.Struct, frozen=True):
    """Why there is no answer, in one sentence."""

    error: str


def answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return anything that msgspec encodes as JSON."""
    return Response(msgspec.json.encode(content), status, headers, "application/json")


def refusal(status: int, why: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return a refusal."""
    return answer(Refusal(why), status, headers)
