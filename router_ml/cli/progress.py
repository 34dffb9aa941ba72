"""The bar that shows how far a command has come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from router_ml.cli.console import err
from router_ml.plurals import counted

if TYPE_CHECKING:
    from router_ml import batch


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


@contextmanager
def batch_progress() -> Iterator[Callable[[batch.Progress], None]]:
    """Show how far a run over fragments is: rows, rate, money, and the time left."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    text = TextColumn("{task.description}", markup=False)
    columns = (BarColumn(), TaskProgressColumn(), text)
    hidden = not err.is_terminal
    with Progress(*columns, console=err, transient=True, disable=hidden) as bar:
        task = bar.add_task("beginning", total=None)
        yield lambda run: bar.update(
            task, total=run.size, completed=run.done, description=_how_far(run)
        )


def _how_far(run: batch.Progress) -> str:
    left = "" if run.seconds_left is None else f", {_duration(run.seconds_left)} left"
    return (
        f"{counted(run.rows, 'row')}, {run.rows_per_s:,.0f}/s, "
        f"${run.cost:,.2f} of ${run.baseline_cost:,.2f}{left}"
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
