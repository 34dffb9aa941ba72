"""One routed request: which model is next, and what became of each. No I/O; the clients do it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from router_ml.dispatch.body import additions, uncompressed
from router_ml.dispatch.circuits import Circuits
from router_ml.dispatch.errors import AllAttemptsFailed
from router_ml.dispatch.faults import Fault, fault_of, name_of, retry_after_s
from router_ml.dispatch.limits import Limit, limit_of, phases
from router_ml.dispatch.routing import Attempt, Routing, Usage

if TYPE_CHECKING:
    from openai._models import FinalRequestOptions

PATIENCE_S = 60.0
"""The longest to wait for a model that asks to be left alone, where no deadline is nearer."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0
"""Before a model is tried again: doubled each time, up to a quarter less, as openai does."""


class Pause(NamedTuple):
    """Nothing can be tried yet: sleep, then ask again."""

    seconds: float


class Turn:
    """One attempt in progress.

    Attributes:
        model: which model.
        limit: until when it may take.
        started: on the monotonic clock.

    """

    def __init__(self, model: str, limit: Limit) -> None:
        self.model, self.limit = model, limit
        self.started = time.monotonic()


class _Candidate(msgspec.Struct):
    model: str
    tries: int = 0
    again_at: float = 0.0
    is_out: bool = False


class Call:
    """One routed request.

    The route's models are tried in order, once each; those whose circuit is open come last.
    Then, `retries` times at most, whichever may be tried again soonest. What only another
    model can cure is not tried on the same one again.
    """

    def __init__(
        self,
        options: FinalRequestOptions,
        body: Mapping[str, Any],
        routing: Routing,
        circuits: Circuits,
        finish: Callable[[Routing, Usage | None], None],
        *,
        timeout: Any,
        attempt_s: float,
        retries: int,
        endpoint: str,
    ) -> None:
        models = (routing.decision.model or "", *routing.decision.fallbacks)
        self.routing, self.limit = routing, limit_of(timeout)
        self._options, self._body, self._timeout = options, body, timeout
        self._candidates = [_Candidate(model) for model in dict.fromkeys(models)]
        self._circuits, self._endpoint = circuits, endpoint
        self._attempt_s, self._retries = attempt_s, retries
        self._finish = finish
        self._errors: list[Exception] = []

    def options(self, model: str, limit: Limit) -> FinalRequestOptions:
        """Return the request as one model is to get it, with no retries and within a limit."""
        parameters = self.routing.decision.parameters
        update = {
            "extra_json": additions(self._body, self._options, model, parameters),
            "timeout": phases(self._timeout, limit),
            "max_retries": 0,
        }
        if self._body.get("stream"):
            update["headers"] = uncompressed(self._options.headers)
        return self._options.model_copy(update=update)

    def next_step(self) -> Turn | Pause | None:
        """Return what to do next; None: nothing is left to be tried, or no time to."""
        if not self.limit.left_s():
            return None
        fresh = [candidate for candidate in self._waiting_for_none() if not candidate.tries]
        for candidate in fresh:
            if self._circuits.admits(self._key(candidate)):
                return self._turn(candidate)
        return self._turn(fresh[0]) if fresh else self._soonest()

    def _soonest(self) -> Turn | Pause | None:
        able = [candidate for candidate in self._left() if not candidate.tries or self._retries]
        if not able:
            return None
        soonest = min(able, key=self._wait_s)
        wait_s = self._wait_s(soonest)
        if not wait_s:
            self._retries -= 1
            return self._turn(soonest)
        return Pause(wait_s) if wait_s < min(self.limit.left_s(), PATIENCE_S) else None

    def _left(self) -> list[_Candidate]:
        return [candidate for candidate in self._candidates if not candidate.is_out]

    def _waiting_for_none(self) -> list[_Candidate]:
        return [candidate for candidate in self._left() if not self._wait_s(candidate)]

    def _wait_s(self, candidate: _Candidate) -> float:
        asked_s = self._circuits.asked_to_wait_s(self._key(candidate))
        return max(0.0, asked_s, candidate.again_at - time.monotonic())

    def _turn(self, candidate: _Candidate) -> Turn:
        return Turn(candidate.model, self.limit.within(self._attempt_s))

    def _key(self, candidate: _Candidate) -> str:
        return f"{self._endpoint} {candidate.model}"

    def failed(self, turn: Turn, error: BaseException) -> None:
        """Note a failed attempt.

        Raises:
            BaseException: the error itself, where no other model can cure it.

        """
        candidate = self._note(turn, name_of(error))
        fault = fault_of(error)
        self._tell_circuit(candidate, fault, error)
        if fault is Fault.CALLER or not isinstance(error, Exception):
            self.over(error)
            raise error
        self._errors.append(error)
        candidate.is_out = fault is not Fault.PASSING
        candidate.again_at = time.monotonic() + _pause_s(candidate.tries)

    def _tell_circuit(self, candidate: _Candidate, fault: Fault, error: BaseException) -> None:
        key = self._key(candidate)
        if fault in (Fault.PASSING, Fault.GONE):
            self._circuits.failed(key, retry_after_s(error))
        else:
            self._circuits.unknown(key)

    def answered(self, turn: Turn) -> None:
        """Note an attempt that answered, or a stream that has begun to."""
        candidate = self._note(turn, None)
        self._circuits.succeeded(self._key(candidate))
        self.routing.model = turn.model

    def _note(self, turn: Turn, error: str | None) -> _Candidate:
        duration_s = time.monotonic() - turn.started
        self.routing.attempts.append(Attempt(turn.model, duration_s, error))
        candidate = next(one for one in self._candidates if one.model == turn.model)
        candidate.tries += 1
        return candidate

    def exhausted(self, request: Any) -> AllAttemptsFailed:
        """Return the error of a request that no model answered.

        Args:
            request: the HTTP request, for the error to name.

        """
        error = AllAttemptsFailed(
            self._why(), request=request, routing=self.routing, errors=tuple(self._errors)
        )
        error.__cause__ = self._errors[-1] if self._errors else None
        self.over(error)
        return error

    def _why(self) -> str:
        if not self.limit.left_s():
            return "No model answered before the deadline"
        asked = [self._wait_s(candidate) for candidate in self._left()]
        if not self._errors:
            return f"Every model asks to be left alone, for {min(asked, default=0):.0f} s or more"
        return f"None of the {len(self._errors)} attempts was answered"

    def over(self, error: BaseException | None, usage: Usage | None = None) -> None:
        """Note the end of the request, or of its stream: what broke it, and its tokens."""
        self.routing.error = None if error is None else name_of(error)
        self._finish(self.routing, usage)


def _pause_s(tries: int) -> float:
    pause_s: float = min(_FIRST_PAUSE_S * 2 ** (tries - 1), _LONGEST_PAUSE_S)
    return pause_s * random.uniform(0.75, 1)
