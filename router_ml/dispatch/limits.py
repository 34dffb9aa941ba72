"""Until when a request may take: what httpx, whose time-outs restart with every read, lacks.

An async attempt is cancelled when its time is up. A sync one cannot be, so its reads are
bounded one by one: `trace`, httpx's request extension of that name, is told of every new
connection and lets each read of it wait no longer than the limit that is in force. What a
server drips, headers or body, thus ends on time, and no thread watches. (Looking up a name,
and trying a host's further addresses, cannot be bounded so. A connection that a client of the
caller's own opened for others keeps httpx's time-outs, per read.)
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from math import inf
from types import ModuleType
from typing import Any

from openai import NotGiven, Timeout

_CONNECTS = ("connect_tcp", "connect_unix_socket", "start_tls")
_OPENS = tuple(f"{step}.started" for step in _CONNECTS)
_OPENED = tuple(f"{step}.complete" for step in _CONNECTS)

_SHORTEST_S = 1e-3  # a socket's time-out of 0 would mean not to wait at all, and no time-out


class Limit:
    """Until when to read, and how long one read may wait.

    Attributes:
        until: on the monotonic clock, in seconds; infinity: no limit.
        read_s: seconds; infinity: no limit.

    """

    def __init__(self, until: float = inf, read_s: float = inf) -> None:
        self.until, self.read_s = until, read_s

    def left_s(self) -> float:
        """Return the seconds that are left, 0 if none."""
        return max(0.0, self.until - time.monotonic())

    def within(self, seconds: float) -> Limit:
        """Return this limit, or the one so many seconds from now if that is earlier."""
        return Limit(min(self.until, time.monotonic() + seconds), self.read_s)

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Bound the reads of this thread.

        Raises:
            TimeoutError: no time is left.

        """
        if not self.left_s():
            raise TimeoutError
        before = _in_force.set(self)
        try:
            yield
        finally:
            _in_force.reset(before)


_in_force: ContextVar[Limit | None] = ContextVar("limit", default=None)


def limit_of(timeout: Any) -> Limit:
    """Return the limit that a call's or client's `timeout` sets.

    A number bounds the whole call. An `openai.Timeout` bounds each of a request's phases, as
    in httpx, and so not the call; None bounds nothing.
    """
    if isinstance(timeout, int | float):
        return Limit(time.monotonic() + timeout, timeout)
    read_s = getattr(timeout, "read", None)
    return Limit(read_s=inf if read_s is None else read_s)


def phases(timeout: Any, limit: Limit) -> Timeout:
    """Return httpx's time-outs of one attempt: the caller's, and none beyond the limit."""
    given = Timeout(timeout) if not hasattr(timeout, "read") else timeout
    left = limit.left_s()
    capped = (
        min(_or_inf(part), left) for part in (given.connect, given.read, given.write, given.pool)
    )
    connect, read, write, pool = map(_or_none, capped)
    return Timeout(connect=connect, read=read, write=write, pool=pool)


def given_timeout(of_call: Any, of_client: Any) -> Any:
    """Return the time-out that applies: the call's where it has one."""
    return of_client if isinstance(of_call, NotGiven) else of_call


def _or_inf(seconds: float | None) -> float:
    return inf if seconds is None else seconds


def _or_none(seconds: float) -> float | None:
    return None if seconds == inf else seconds


def trace(event: str, info: dict[str, Any]) -> None:
    """Bound the opening of a connection, and every read of it; httpcore calls this as it works."""
    limit = _in_force.get()
    if event.endswith(_OPENED):
        stream = info["return_value"]
        stream.read = partial(_read, stream.read, http_module(stream).ReadTimeout)
    elif limit is not None and event.endswith(_OPENS):
        # What it is about to pass on: the time-out of before it waited for a place in the pool.
        left_s = max(limit.left_s(), _SHORTEST_S)
        info["timeout"] = _or_none(min(_or_inf(info["timeout"]), left_s))


def _read(
    read: Callable[..., bytes],
    out_of_time: type[Exception],
    max_bytes: int,
    timeout: float | None = None,  # httpcore's own name
) -> bytes:
    limit = _in_force.get()
    if limit is None:
        return read(max_bytes, timeout=timeout)
    wait = min(limit.read_s, limit.left_s())
    if not wait:
        raise out_of_time
    return read(max_bytes, timeout=_or_none(wait))


def http_module(of: object) -> ModuleType:
    """Return the HTTP library an object is of: httpx or httpx2, httpcore or httpcore2."""
    return sys.modules[type(of).__module__.partition(".")[0]]
