"""The bar that shows how far a command has come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from router_ml.cli.console import err


@contextmanager
def progress(
    stage: str, total: int | None, *, transient: bool = False
) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error while a stage lasts; yield what is told of rows done."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = transient and not err.is_terminal  # where nothing can be erased again
    with Progress(*columns, console=err, transient=transient, disable=hidden) as bar:
        task = bar.add_task(stage, total=total)
        yield lambda rows: bar.advance(task, rows)
