"""Which models to pass over for a while: circuit breakers, shared by threads and tasks.

A model that fails `FAILURES` times in a row is passed over for `COOL_DOWN_S` seconds; then
one request is let through to it, and its outcome decides. One that asks to be left alone
(`Retry-After`) is, for as long as it says. (M. Nygard, "Release It!", 2007: closed, open,
half-open.)
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from threading import Lock

FAILURES = 5
"""So many failures in a row open a circuit."""
COOL_DOWN_S = 30.0
"""So long a circuit stays open before one request probes it."""


class _Circuit:
    def __init__(self) -> None:
        self.failures = 0
        self.opened_at = 0.0
        self.probed = False
        self.asked_until = 0.0


class Circuits:
    """One circuit a model; thread-safe, and never held while anything waits."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._circuits: defaultdict[str, _Circuit] = defaultdict(_Circuit)

    def admits(self, model: str) -> bool:
        """Say whether to try a model now; of a circuit that cooled down, to one asker only."""
        with self._lock:
            circuit = self._circuits[model]
            if self._clock() < circuit.asked_until:
                return False
            if circuit.failures < FAILURES:
                return True
            if circuit.probed or self._clock() < circuit.opened_at + COOL_DOWN_S:
                return False
            circuit.probed = True
            return True

    def asked_to_wait_s(self, model: str) -> float:
        """Return how many seconds a model still asks to be left alone."""
        with self._lock:
            return max(0.0, self._circuits[model].asked_until - self._clock())

    def succeeded(self, model: str) -> None:
        """Close a model's circuit."""
        with self._lock:
            circuit = self._circuits[model]
            circuit.failures, circuit.probed = 0, False

    def failed(self, model: str, retry_after_s: float | None = None) -> None:
        """Note a failure; one that says when to come again is no sign of trouble."""
        with self._lock:
            circuit = self._circuits[model]
            circuit.probed = False
            if retry_after_s is not None:
                circuit.asked_until = max(circuit.asked_until, self._clock() + retry_after_s)
                return
            circuit.failures += 1
            circuit.opened_at = self._clock()

    def unknown(self, model: str) -> None:
        """Note an attempt that says nothing of the model, and let another probe it."""
        with self._lock:
            self._circuits[model].probed = False
