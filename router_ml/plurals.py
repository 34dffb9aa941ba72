"""How many of something, as people say it: "1 row", "2,000 rows"."""

from __future__ import annotations


def counted(count: int, one: str, several: str = "") -> str:
    """Write a count before its noun, or before all that agrees with it.

    Args:
        count: how many.
        one: what follows 1: "row", "row is".
        several: what follows any other count; `one` with an s by default.

    """
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"
