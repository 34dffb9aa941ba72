"""Conversations that stay on a stronger route until they are clearly over.

"And the second step?" says nothing of the proof it belongs to: judged alone, it would
leave the model that began the proof.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Annotated, NamedTuple

import msgspec

from router_ml.types import Decision, Probability, Reason

_BY_FACT = (Reason.IMAGE, Reason.AUDIO, Reason.TAG)


class Sticky(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where conversations stay, and until when.

    Attributes:
        routes: a conversation that took one of these stays on it.
        idle_s: until nothing came for more than so many seconds.
        leave_after: or until so many turns in a row confidently belonged elsewhere.
        confidence: what counts as confidently, in [0, 1].
        capacity: how many staying conversations are remembered; the one that was silent
            the longest is forgotten first.

    """

    routes: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    idle_s: Annotated[float, msgspec.Meta(gt=0)] = 1800.0
    leave_after: Annotated[int, msgspec.Meta(gt=0)] = 3
    confidence: Probability = 0.8
    capacity: Annotated[int, msgspec.Meta(gt=0)] = 10_000


class Stay(NamedTuple):
    """Where a conversation stays.

    Attributes:
        route: the route.
        model: the model that its last turn of that route got.
        seen_s: when its last turn came, by the clock.
        elsewhere: how many turns in a row have confidently belonged elsewhere.

    """

    route: str
    model: str | None
    seen_s: float
    elsewhere: int = 0


class Conversations:
    """Remembers which conversations stay where. Thread-safe.

    Attributes:
        sticky: the settings.

    """

    def __init__(self, sticky: Sticky, clock: Callable[[], float] = time.monotonic) -> None:
        self.sticky, self._clock, self._lock = sticky, clock, Lock()
        self._stays: OrderedDict[str, Stay] = OrderedDict()

    def __len__(self) -> int:
        """How many conversations are remembered."""
        return len(self._stays)

    def stay(self, conversation: str, decision: Decision) -> Stay | None:
        """Note what was decided on a turn alone; return where it stays instead.

        None: the decision stands. A turn that an image, audio or a tag decided always goes
        its own way, and brings the conversation along if its route is one of the settings'.

        Args:
            conversation: the caller's key.
            decision: on this turn, without regard to the ones before it.

        """
        now, key = self._clock(), str(conversation)  # a key of any type can be looked up
        with self._lock:
            held = self._stays.pop(key, None)
            if held is not None and now - held.seen_s > self.sticky.idle_s:
                held = None
            stay = self._next(held, decision, now)
            if stay is not None:
                self._remember(key, stay)
        return stay if stay is not None and _changes(decision, stay) else None

    def _next(self, held: Stay | None, decision: Decision, now: float) -> Stay | None:
        """Return where the conversation stays after this turn."""
        begun = self._begin(decision, now)
        if held is None:
            return begun
        if decision.reason in _BY_FACT:
            return begun or held._replace(seen_s=now)
        if decision.route == held.route:
            return begun or held._replace(seen_s=now, elsewhere=0)
        elsewhere = held.elsewhere + 1 if self._confident(decision) else 0
        if elsewhere == self.sticky.leave_after:
            return begun
        return held._replace(seen_s=now, elsewhere=elsewhere)

    def _begin(self, decision: Decision, now: float) -> Stay | None:
        if decision.route not in self.sticky.routes or decision.reason is Reason.LOW_CONFIDENCE:
            return None
        return Stay(decision.route, decision.model, now)

    def _confident(self, decision: Decision) -> bool:
        sure = decision.confidence >= self.sticky.confidence
        return sure and decision.reason is Reason.CLASSIFIED

    def _remember(self, key: str, stay: Stay) -> None:
        self._stays[key] = stay
        if len(self._stays) > self.sticky.capacity:
            self._stays.popitem(last=False)


def _changes(decision: Decision, stay: Stay) -> bool:
    """Whether staying differs from the decision: in doubt even its own route had other models."""
    if decision.reason in _BY_FACT:
        return False
    return decision.route != stay.route or decision.reason is Reason.LOW_CONFIDENCE
