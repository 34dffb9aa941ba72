"""How every command speaks: JSON, warnings, and one sentence for whatever goes wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from router_ml.errors import MissingExtra, RouterMLError

if TYPE_CHECKING:
    from router_ml.logs import Broken

_NAMED = 5
"""Of files that are passed over, so many are named."""

err = Console(stderr=True, markup=False, emoji=False)


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn every error of ours, or of a file, into its sentence and a non-zero exit."""
    try:
        yield
    except BrokenPipeError:  # the reader has had enough; typer ends quietly
        raise
    except (RouterMLError, OSError) as error:
        sentence = _sentence(error) if isinstance(error, OSError) else str(error)
        warn("error", sentence)
        raise typer.Exit(1) from error


def _sentence(error: OSError) -> str:
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{error.strerror or error}."


@contextmanager
def needs(extra: str, what: str) -> Iterator[None]:
    """Name the extra that something needs, where a module of it is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtra(extra, what) from error


@contextmanager
def broken_rows(skip: bool) -> Iterator[Broken]:
    """Refuse broken rows, or pass over them and say at the end which they were."""
    from router_ml.logs import Skipped, refuse

    skipped = Skipped()
    try:
        yield skipped if skip else refuse
    finally:
        for error in skipped.first:
            warn("skipped", error, "yellow")
        if skipped.count:
            err.print(f"Broken rows that were skipped: {skipped.count}.")


def find_logs(sources: Sequence[str]) -> list[Path]:
    """Find the files of some logs; say what of their directories is passed over."""
    from router_ml.logs import find_files, passed_over

    files, others = find_files(*sources), passed_over(*sources)
    if others:
        named = ", ".join(path.name for path in others[:_NAMED])
        rest = f" and {len(others) - _NAMED:,} more" if len(others) > _NAMED else ""
        warn(
            "passed over", f"{named}{rest}, no logs by their names; read: {len(files):,}.", "yellow"
        )
    return files


def warn(word: str, sentence: object, colour: str = "red") -> None:
    """Say a sentence on standard error, after a word that says what it is about."""
    err.print(Text.assemble((f"{word}:", colour), " ", str(sentence)), soft_wrap=True)


def print_json(found: Any) -> None:
    """Print one JSON object, for machines."""
    typer.echo(msgspec.json.encode(found).decode())
