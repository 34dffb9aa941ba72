"""What a person decides about rows that `check` found, and the rows with that done to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from router_ml.examples import labels_of
from router_ml.logs import Row
from router_ml.logs.layouts import said_once
from router_ml.logs.mapping import FIELDS
from router_ml.training.checking import Findings, Place, Same

_KEPT = (*FIELDS, "license")
"""Of a mapped row: its other keys say what the mapping no longer finds in what is written."""

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
    rows: Iterable[Row], fixes: Mapping[tuple[str, int], Labels | None], *, mapped: bool = False
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (file, row) of what is left of a log, in its order, with the labels decided on.

    Rows are as they were, with all their keys, but for labels that a decision changed.

    Args:
        rows: of the log.
        fixes: of `Fixes`.
        mapped: whether a mapping read the rows: then only what it found is kept.

    """
    for row in rows:
        place = str(row.path), row.number
        data = _mapped(row) if mapped else said_once(row)
        if place not in fixes:
            yield place[0], data
        elif (labels := fixes[place]) is not None:
            yield place[0], _relabelled(place, data, labels)


def _mapped(row: Row) -> dict[str, Any]:
    return {key: row.data[key] for key in _KEPT if row.data.get(key) is not None}


def _relabelled(place: tuple[str, int], data: dict[str, Any], labels: Labels) -> dict[str, Any]:
    given, single = labels_of(*place, data)
    if labels == given:
        return data
    if single and len(labels) == 1:
        return {**data, "label": labels[0]}
    return {**{key: value for key, value in data.items() if key != "label"}, "labels": labels}
