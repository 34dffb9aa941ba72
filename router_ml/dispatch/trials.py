"""A second router beside the live one: a canary takes a share of traffic, a shadow none."""

from __future__ import annotations

import logging
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

import msgspec

from router_ml.catalog import Catalog
from router_ml.errors import DispatchError
from router_ml.request import Request
from router_ml.types import Decision, Tags

log = logging.getLogger(__name__)


class Decides(Protocol):
    """What dispatch asks of a router."""

    @property
    def catalog(self) -> Catalog:
        """The LLMs on offer, with their prices."""
        ...

    def route(
        self, request: Any, *, tags: Tags | None = None, conversation: str | None = None
    ) -> Decision:
        """Decide on a request."""
        ...


class Canary(NamedTuple):
    """A router that decides for a share of the traffic.

    Attributes:
        router: which.
        share: in [0, 1].

    """

    router: Decides
    share: float

    def takes(self, key: str) -> bool:
        """Say whether a key is in the share: the same answer for the same key, everywhere."""
        digest = blake2b(key.encode("utf-8", "replace"), digest_size=8).digest()
        return int.from_bytes(digest) < self.share * 2**64


def canary_of(given: tuple[Decides, float] | None) -> Canary | None:
    """Check a canary.

    Raises:
        DispatchError: its share is not in [0, 1].

    """
    if given is None:
        return None
    canary = Canary(*given)
    if not 0 <= canary.share <= 1:
        raise DispatchError(f"The canary's share must be between 0 and 1, not {canary.share}.")
    return canary


def canary_key(read: Request, conversation: str | None) -> str:
    """Return what a canary's share is drawn by.

    It is the caller's key of the conversation or, without one, the first thing that its
    user said, which every later turn repeats: a conversation stays where it began.
    """
    if conversation is not None:
        return conversation
    said = (turn.text for turn in read.turns if turn.role == "user")
    return next(said, "")


class Comparison(msgspec.Struct, frozen=True):
    """What the shadow would have done."""

    route: str
    model: str | None
    agrees: bool


def compare(
    shadow: Decides, read: Request, tags: Tags, conversation: str | None, live: Decision
) -> Comparison | None:
    """Ask a shadow; whatever goes wrong with it is logged and touches nothing."""
    try:
        other = shadow.route(read, tags=tags, conversation=conversation)
    except Exception:
        log.exception("The shadow router failed.")
        return None
    agrees = (other.route, other.model) == (live.route, live.model)
    if not agrees:
        log.info(
            "The shadow disagrees: %s, %s instead of %s, %s.",
            other.route, other.model, live.route, live.model,
        )  # fmt: skip
    return Comparison(other.route, other.model, agrees)
