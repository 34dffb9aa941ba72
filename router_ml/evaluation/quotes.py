"""Rows that a report quotes, verbatim."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from router_ml.evaluation.evidence import Evidence, Panel
from router_ml.evaluation.label_errors import Doubt, doubts
from router_ml.evaluation.rows import Row, RowReader

QUOTED = 20
"""So many rows are quoted of mistakes, of changes and of suspected labels."""


class Quote(msgspec.Struct, frozen=True, order=True):
    """A row, verbatim as the classifier read it.

    Attributes:
        where: file and line.
        text: the turn that decides.
        labels: those the row has.
        true_route, given_route: where its labels send it, and where it went.
        confidence: of that decision; None where the system says nothing of it.
        about: what else is to be said of it.

    """

    where: str
    text: str
    labels: tuple[str, ...]
    true_route: str
    given_route: str
    confidence: float | None
    about: str = ""


class Suspects(msgspec.Struct, frozen=True):
    """Labels that are probably wrong: how many by label, and the least probable ones."""

    rows: int
    by_label: dict[str, int]
    quotes: list[Quote]


def quote(evidence: Evidence, row: Row, at: int, where: str, about: str) -> Quote:
    """Quote a row, number `at` of the evidence, with what the evaluated system said of it."""
    said = evidence.said[evidence.name]
    confidence = float(said.confidence[at])
    return Quote(
        where,
        row.example.text.turn.decode("utf-8", "replace"),
        row.example.labels,
        evidence.routes[evidence.truth.route[at]],
        evidence.routes[said.route[at]],
        confidence if np.isfinite(confidence) else None,
        about,
    )


class Doubter:
    """Finds the labels that are probably wrong, which takes what is said of every row.

    How probable a label must be to be believed is a mean over all rows, so that no part of a
    log can tell its wrong labels, and no tally has them.
    """

    def __init__(self, reader: RowReader, panel: Panel) -> None:
        """Prepare for the rows of a reader that the evaluated system of a panel answers for."""
        self._reader, self._panel = reader, panel.alone()
        self._chunks: list[tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.int32]]] = []

    def add(self, evidence: Evidence) -> None:
        """Keep what was said of the rows that words decide."""
        columns, said = evidence.columns, evidence.said[evidence.name]
        usable = columns.by_words & np.isfinite(said.probabilities).all(axis=1)
        places = np.stack((columns.file, columns.number), axis=1)
        self._chunks.append((said.probabilities[usable], columns.labels[usable], places[usable]))

    def suspects(self) -> Suspects | None:
        """Quote the rows whose labels are least probable; None without probabilities."""
        probabilities, given, places = map(np.concatenate, zip(*self._chunks, strict=True))
        if not len(places):
            return None
        labels = self._panel.shape.labels
        single = self._panel.router.classifier.single_label
        single = single and bool((given.sum(axis=1) == 1).all())
        found = doubts(probabilities, given, labels, single_label=single)
        quoted = found[:QUOTED]
        about = [_doubted(doubt, given[doubt.row], labels) for doubt in quoted]
        return Suspects(
            len(found),
            {label: sum(label in doubt.probabilities for doubt in found) for label in labels},
            self._quotes([(*places[doubt.row].tolist(),) for doubt in quoted], about),
        )

    def _quotes(self, places: Sequence[tuple[int, int]], about: Sequence[str]) -> list[Quote]:
        if not places:
            return []
        found = self._reader.read_again(places)
        rows = [found[place] for place in places]
        evidence = self._panel.hear(rows)
        return [
            quote(evidence, row, at, where_of(row, self._reader.files), words)
            for at, (row, words) in enumerate(zip(rows, about, strict=True))
        ]


def where_of(row: Row, files: Sequence[Path | str], unit: str = "line") -> str:
    """Say which file and line a row is of, or whatever else its number counts."""
    name = Path(files[row.file]).name
    return f"{name}:{row.number}" if unit == "line" else f"{name}, {unit} {row.number}"


def _doubted(doubt: Doubt, given: NDArray[np.bool_], labels: Sequence[str]) -> str:
    has = dict(zip(labels, given.tolist(), strict=True))
    return "; ".join(
        f"{label} is {'given' if has[label] else 'not given'}, at {p:.3f}"
        for label, p in doubt.probabilities.items()
    )
