"""What a person decides about rows that `check` found, and the rows with that done to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from router_ml.errors import DataError
from router_ml.examples import labels_of
from router_ml.logs import Row
from router_ml.training.checking import Findings, Place, Same

_KEPT = ("id", "prompt", "messages", "source", "license", "lang", "split", "group")

Labels = tuple[str, ...]


class Question(NamedTuple):
    """One thing that is wrong, and what can be done about it.

    Attributes:
        about: what is wrong, for people.
        rows: the rows it is about.
        offered: label sets to choose from for all of them; empty: they keep their own.
        dropped: those of the rows that go if the person drops them.
        usually_dropped: whether that is what is done without an answer.

    """

    about: str
    rows: Sequence[Place]
    offered: Sequence[Labels]
    dropped: Sequence[Place]
    usually_dropped: bool


class Fixes:
    """Decisions so far.

    Attributes:
        rows: (file, line) -> the row's labels; None: the row goes.

    """

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], Labels | None] = {}

    def drop(self, question: Question) -> None:
        """Let the rows go that a question would drop."""
        self._decide(question.dropped, None)

    def label(self, question: Question, labels: Labels) -> None:
        """Give all rows of a question these labels."""
        self._decide(question.rows, labels)

    def _decide(self, places: Iterable[Place], labels: Labels | None) -> None:
        for place in places:
            if self.rows.get((place.file, place.line), ()) is not None:  # what is gone stays so
                self.rows[place.file, place.line] = labels


def questions(found: Findings) -> Iterator[Question]:
    """Yield what to ask: first what contradicts itself, then what leaks, last what is doubted.

    Without an answer contradictions go, as in training, and so do rows that say what a row of
    a later file says: files that are only measured on are named last. Doubted rows stay.
    """
    for same in found.conflicts:
        offered = list(dict.fromkeys(place.labels for place in same.rows))
        yield Question(f"Different labels: {same.text}", same.rows, offered, same.rows, True)
    for same in found.leaks:
        yield Question(f"In several files: {same.text}", same.rows, (), _earlier(same), True)
    for small, places in found.small_rows.items():
        yield Question(f"Too few rows of {small}", places, _others(found, small), places, False)
    for suspect in found.suspects:
        offered = [suspect.row.labels, *((label,) for label in suspect.said)]
        offered = list(dict.fromkeys(offered))
        yield Question(f"Doubted: {suspect.text}", [suspect.row], offered, [suspect.row], False)


def _earlier(same: Same) -> list[Place]:
    last = same.rows[-1].file
    return [place for place in same.rows if place.file != last]


def _others(found: Findings, small: str) -> list[Labels]:
    return [(label,) for label in found.labels if label not in found.small and label != small]


def fixed_rows(
    rows: Iterable[Row], fixes: Mapping[tuple[str, int], Labels | None]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (file, row) of what is left of a log, in its order, with the labels decided on.

    Rows without labels are left out, as in training.
    """
    for row in rows:
        place = str(row.path), row.number
        try:
            labels, single = labels_of(*place, row.data)
        except DataError:
            continue
        decided = fixes.get(place, labels)
        if decided is None:
            continue
        kept = {key: row.data[key] for key in _KEPT if row.data.get(key) is not None}
        one = {"label": decided[0]} if single and len(decided) == 1 else {"labels": decided}
        yield place[0], {**kept, **one}
