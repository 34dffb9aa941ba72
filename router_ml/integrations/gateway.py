"""A router inside a gateway: quick on the event loop, sticky by its session ids, and logged."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from functools import cache
from time import perf_counter
from typing import Any, NamedTuple

from router_ml.chat import read_chat
from router_ml.integrations import decision_log
from router_ml.reload import ReloadingRouter
from router_ml.request import Request
from router_ml.router import Router
from router_ml.types import Decision

_SLICE = 128
"""So many messages are read at a time, in a quarter of a millisecond."""


class Gateway:
    """Decides for one of a gateway's hooks.

    Attributes:
        router: what decides; thread-safe.
        door: the hook's name, for the log.

    """

    def __init__(self, router: Router, door: str) -> None:
        self.router, self.door = router, door

    async def decide(self, chat: Any, metadata: Any) -> Timed:
        """Decide on messages or a payload, and let other tasks run between many messages.

        What is done at one go is bounded for a text of any length, and grows with the turns,
        by less than half a millisecond for each thousand.

        Args:
            chat: messages, or a payload of any of the three shapes.
            metadata: what the gateway knows of the request; its session id names the
                conversation, and what the caller said there are tags.

        """
        started = perf_counter()
        known = metadata if isinstance(metadata, Mapping) else {}
        read = await _read_in_slices(chat)
        decision = self.router.route(read, tags=_tags(known), conversation=conversation_of(known))
        return Timed(decision, perf_counter() - started)

    def log(self, timed: Timed, answer: str | None, call: Any) -> dict[str, Any]:
        """Log a decision and return its record; `call` is the gateway's id of the request."""
        record = {
            "door": self.door,
            "call": call if isinstance(call, str) else None,
            "answer": answer,
            "took_us": round(timed.took_s * 1e6),
            **decision_log.record_of(timed.decision, self.router),
        }
        decision_log.write(record)
        return record


class Timed(NamedTuple):
    """A decision, and how long it took in seconds."""

    decision: Decision
    took_s: float


@cache
def load_from_environment() -> ReloadingRouter:
    """Load the process's router, which follows its files, as the gateway's configuration says.

    `ROUTER_ML_ARTIFACT`, `ROUTER_ML_POLICY` and `ROUTER_ML_CATALOG` are paths, the shipped
    files by default; `ROUTER_ML_DECISION_LOG` is a file that gets one JSON line a decision.

    Raises:
        RouterMLError: one of the files cannot be used.

    """
    router = ReloadingRouter.load(
        _given("ARTIFACT"), policy=_given("POLICY"), catalog=_given("CATALOG")
    )
    if log := _given("DECISION_LOG"):
        decision_log.follow(log)
    return router


def _given(name: str) -> str | None:
    return os.environ.get(f"ROUTER_ML_{name}") or None


def conversation_of(metadata: Mapping[str, Any]) -> str | None:
    """Return the key of a request's conversation: its session, within its caller's key's hash.

    A session id that the gateway made up for a single request names none.
    """
    session = metadata.get("session_id")
    if not isinstance(session, str) or not session or metadata.get("litellm_session_id_generated"):
        return None
    return f"{metadata.get('user_api_key_hash') or ''} {session}"


def _tags(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the caller said: a proxy keeps it apart from what it knows itself."""
    said = metadata.get("requester_metadata")
    return said if isinstance(said, Mapping) else metadata


async def _read_in_slices(chat: Any) -> Request:
    """Read a chat a slice of messages at a time, the last slice with the rest of the payload."""
    payload = chat if isinstance(chat, Mapping) else {"messages": chat}
    key = "messages" if "messages" in payload else "input"
    messages = payload.get(key)
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        return read_chat(payload)
    rest = len(messages) - _SLICE
    reads = []
    for at in range(0, rest, _SLICE):
        reads.append(read_chat(messages[at : min(at + _SLICE, rest)]))
        await asyncio.sleep(0)
    last = read_chat({**payload, key: messages[-_SLICE:]})
    if not reads:
        return last
    await asyncio.sleep(0)
    return _joined([*reads, last])


def _joined(reads: Sequence[Request]) -> Request:
    """Join what one chat's slices say; of the payload, the last knows all."""
    return reads[-1]._replace(
        turns=tuple(turn for read in reads for turn in read.turns),
        has_image=any(read.has_image for read in reads),
        has_audio=any(read.has_audio for read in reads),
        readable=all(read.readable for read in reads),
    )
