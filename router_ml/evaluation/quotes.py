"""Rows that a report quotes, read again and verbatim."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from router_ml.evaluation.evidence import Evidence
from router_ml.evaluation.facts import Quote, Suspects
from router_ml.evaluation.label_errors import Doubt, doubts
from router_ml.evaluation.rows import Row, RowReader

QUOTED = 20
"""So many rows are quoted of mistakes, of changes and of suspected labels."""


class Quoter:
    """Quotes rows, with what the evaluated system said of them."""

    def __init__(self, reader: RowReader, evidence: Evidence) -> None:
        self._reader, self._evidence = reader, evidence
        self._said = evidence.said[evidence.name]

    def mistakes(self) -> list[Quote]:
        """Quote the surest mistakes."""
        wrong = np.flatnonzero(~self._evidence.right(self._evidence.name))
        surest = np.argsort(-self._said.confidence[wrong], kind="stable")
        return self._quotes(wrong[surest][:QUOTED], [""] * QUOTED)

    def changes(self, name: str) -> list[Quote]:
        """Quote rows that another system sends elsewhere: first those that only it has right."""
        other = self._evidence.said[name]
        changed = np.flatnonzero(self._said.route != other.route)
        right, others = (self._evidence.right(one) for one in (self._evidence.name, name))
        rank = np.where(others, 0, np.where(right, 2, 1))[changed]
        rows = changed[np.lexsort((-self._said.confidence[changed], rank))][:QUOTED]
        routes = [self._evidence.routes[at] for at in other.route[rows]]
        return self._quotes(rows, [f"{name}: {route}" for route in routes])

    def suspects(self, *, single_label: bool) -> Suspects | None:
        """Quote the rows whose labels are least probable; None without probabilities.

        Args:
            single_label: whether the classifier chooses exactly one.

        """
        evidence, labels = self._evidence, self._evidence.labels
        probabilities = self._said.probabilities
        usable = evidence.columns.by_words & np.isfinite(probabilities).all(axis=1)
        rows = np.flatnonzero(usable)
        if not rows.size:
            return None
        given = evidence.columns.labels[rows]
        single = single_label and bool((given.sum(axis=1) == 1).all())
        found = doubts(probabilities[rows], given, labels, single_label=single)
        quoted = found[:QUOTED]
        about = [_doubted(doubt, given[doubt.row], labels) for doubt in quoted]
        return Suspects(
            len(found),
            {label: sum(label in doubt.probabilities for doubt in found) for label in labels},
            self._quotes(rows[[doubt.row for doubt in quoted]], about),
        )

    def _quotes(self, rows: NDArray[np.int64], about: Sequence[str]) -> list[Quote]:
        columns = self._evidence.columns
        places = list(zip(columns.file[rows].tolist(), columns.number[rows].tolist(), strict=True))
        found = self._reader.read_again(places)
        return [
            self._quote(at, found[place], words)
            for at, place, words in zip(rows.tolist(), places, about, strict=False)
        ]

    def _quote(self, at: int, row: Row, about: str) -> Quote:
        routes, confidence = self._evidence.routes, float(self._said.confidence[at])
        return Quote(
            f"{Path(self._reader.files[row.file]).name}:{row.number}",
            row.example.text.turn.decode("utf-8", "replace"),
            row.example.labels,
            routes[self._evidence.truth.route[at]],
            routes[self._said.route[at]],
            confidence if np.isfinite(confidence) else None,
            about,
        )


def _doubted(doubt: Doubt, given: NDArray[np.bool_], labels: Sequence[str]) -> str:
    has = dict(zip(labels, given.tolist(), strict=True))
    return "; ".join(
        f"{label} is {'given' if has[label] else 'not given'}, at {p:.3f}"
        for label, p in doubt.probabilities.items()
    )
