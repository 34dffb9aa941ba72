"""Rows so many at a time: what streams is worked on in chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def chunks(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield rows in their order, `size` at a time, the last as many as are left."""
    waiting = iter(rows)
    while chunk := list(islice(waiting, size)):
        yield chunk
