"""`router-ml check --fix`: ask what to do about what was found, and write what is left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from router_ml.cli.console import err
from router_ml.cli.files import check_unread, write_rows
from router_ml.errors import DataError
from router_ml.logs import split_table
from router_ml.training.fixing import Fixes, Labels, Question, questions

if TYPE_CHECKING:
    from router_ml.training import Findings

_HELP = (
    "A number or a label, or labels by commas, for all of the rows; d drops them, k keeps them; "
    "Enter does the usual, q also for all that is left."
)


def ask(found: Findings, *, usual: bool) -> Fixes:
    """Ask about everything that was found; without asking, do the usual."""
    fixes = Fixes()
    if not usual and not found.clean:
        err.print(_HELP, style="dim")
    for question in questions(found):
        usual = usual or not _answered(question, found, fixes)
        if usual:
            _act("", question, found, fixes)
    return fixes


def _answered(question: Question, found: Findings, fixes: Fixes) -> bool:
    """Ask until something can be done; say whether the person wants to be asked more."""
    _show(question)
    while True:
        try:
            said = err.input("> ").strip()
        except EOFError:
            said = "q"
        if said == "q":
            return False
        if _act(said, question, found, fixes):
            return True
        err.print(Text(f"{said!r} is none of the labels. {_HELP}", "red"))


def _act(said: str, question: Question, found: Findings, fixes: Fixes) -> bool:
    """Do what was said; say whether it could be done."""
    if said == "d" or (not said and question.usually_dropped):
        fixes.drop(question)
    elif said and said != "k":
        labels = _chosen(said, question.offered, found)
        if labels is None:
            return False
        fixes.label(question, labels)
    return True


def _chosen(said: str, offered: Sequence[Labels], found: Findings) -> Labels | None:
    if said.isdecimal() and 1 <= int(said) <= len(offered):
        return offered[int(said) - 1]
    names = tuple(sorted({name.strip() for name in said.split(",")}))
    return names if all(name in found.labels for name in names) else None


def _show(question: Question) -> None:
    err.print(Text(question.about, "bold"), soft_wrap=True)
    for place in question.rows:
        goes = place in question.dropped and question.usually_dropped
        usual = " (usually goes)" if goes else ""
        err.print(f"  {place.file}:{place.line} {_joined(place.labels)}{usual}", soft_wrap=True)
    for number, labels in enumerate(question.offered, 1):
        err.print(f"{number:>3} {_joined(labels)}", highlight=False)


def _joined(labels: Labels) -> str:
    return "+".join(labels) or "(none)"


def write_fixed(
    rows: Iterable[tuple[str, dict[str, Any]]], directory: Path, sources: Sequence[Path]
) -> Iterator[tuple[Path, int]]:
    """Write a file of JSON Lines for each file of a log; yield where, and how many rows.

    Of a log of which nothing is left there is no file, nor an earlier one: no log is empty.

    Args:
        rows: of `fixed_rows`.
        directory: where to write.
        sources: the log's files.

    Raises:
        DataError: a file of the log is where one would be written, or two have one name.

    """
    targets = {str(source): directory / _name(source) for source in sources}
    for target in targets.values():
        check_unread(target, sources)
    if len(set(targets.values())) < len(targets):
        raise DataError(directory, None, "would have two files of one name: fix one at a time.")
    directory.mkdir(parents=True, exist_ok=True)
    empty = dict.fromkeys(targets.values())
    for file, some in groupby(rows, key=lambda one: one[0]):
        kept = [row for _, row in some]
        # A database that names no table is read as `file::table`.
        target = targets.get(file) or targets[split_table(file)[0]]
        empty.pop(target, None)
        write_rows(target, kept)
        yield target, len(kept)
    for target in empty:
        target.unlink(missing_ok=True)
        yield target, 0


def _name(source: Path) -> str:
    """Return `log.jsonl` for `log.jsonl.gz`, `log.csv.jsonl` for `log.csv`."""
    plain = source.name.replace("::", ".").removesuffix(".gz").removesuffix(".zst")
    return plain if plain.endswith(".jsonl") else f"{plain}.jsonl"
