"""Said while a benchmark runs, beside its tables."""

from __future__ import annotations

import sys


def progress(stage: str) -> None:
    """Say what is being done."""
    print(stage, file=sys.stderr, flush=True)
