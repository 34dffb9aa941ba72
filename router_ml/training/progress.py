"""How long stages tell of their rows, so that a command line can draw a bar."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Done = Callable[[int], object]
"""Told how many more rows are finished."""

Progress = Callable[[str, int], AbstractContextManager[Done]]
"""Called with a stage's name and how many rows it takes."""


def silent(stage: str, total: int) -> AbstractContextManager[Done]:
    """Show no progress."""
    return nullcontext(lambda rows: None)
