"""A table of chat shapes and what is to be decided on each, for any router that reads them.

`conformance.jsonl` has one case a line:

    {"id": "image only, chat", "api": "chat", "route": "vision", "reason": "image", "payload": {…}}

`api` is the API whose payload it is: `chat` (Chat Completions), `messages` (Anthropic's) or
`responses`. The words are clear ones: a router that reads the shape has no excuse.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.error import HTTPError, URLError

import msgspec

from router_ml.errors import RequestError
from router_ml.router import Router
from router_ml.types import Reason

TABLE = Path(__file__).with_name("conformance.jsonl")
_TIMEOUT_S = 30


class Answer(msgspec.Struct, frozen=True):
    """What a router says of a payload; its reason only if it gives one."""

    route: str
    reason: str | None = None


Ask = Callable[[dict[str, Any]], Answer]
"""Asks a router what it decides on a payload."""


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One payload, and what is to be decided on it."""

    id: str
    api: Literal["chat", "messages", "responses"]
    route: str
    reason: Reason
    payload: dict[str, Any]

    def passes(self, answer: Answer) -> bool:
        """Say whether an answer is the expected one."""
        return answer.route == self.route and answer.reason in (None, self.reason.value)


def read_cases() -> list[Case]:
    """Return the table's cases, in order."""
    return [msgspec.json.decode(line, type=Case) for line in TABLE.read_bytes().splitlines()]


def failures(ask: Ask) -> Iterator[tuple[Case, Answer]]:
    """Yield the cases that a router decides otherwise, and what it answers."""
    for case in read_cases():
        answer = ask(case.payload)
        if not case.passes(answer):
            yield case, answer


def ask_router(router: Router) -> Ask:
    """Return what asks a router in this process."""

    def ask(payload: dict[str, Any]) -> Answer:
        decision = router.route(payload)
        return Answer(decision.route, decision.reason.value)

    return ask


def ask_over_http(url: str) -> Ask:
    """Return what asks a service: it is sent a payload, and answers with JSON of a `route`.

    The function raises RequestError if there is no such answer.
    """

    def ask(payload: dict[str, Any]) -> Answer:
        body, headers = msgspec.json.encode(payload), {"Content-Type": "application/json"}
        try:
            request = urllib.request.Request(url, body, headers)
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                return msgspec.json.decode(answer.read(), type=Answer)
        except (URLError, OSError, ValueError, msgspec.DecodeError) as error:
            if isinstance(error, HTTPError):  # it is the answer as well, still open
                error.close()
            raise RequestError(f"{url} gives no answer with a `route`: {error}.") from error

    return ask
