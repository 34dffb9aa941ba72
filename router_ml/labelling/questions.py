"""Questions to a person: rows that say nearly the same are one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from router_ml.evaluation.judging import LogRow
from router_ml.labelling.log import key_of
from router_ml.request import ModelText
from router_ml.training.duplicates import number_duplicates
from router_ml.training.progress import Progress, silent

NEAR = 0.9
"""Jaccard similarity of character 5-grams from which training too takes two rows for one."""


class Question(NamedTuple):
    """Rows that one answer covers.

    Attributes:
        key: what the question is known by: that of its first row.
        rows: in the log's order, at least one.

    """

    key: str
    rows: tuple[LogRow, ...]

    @property
    def text(self) -> ModelText:
        """What the classifier reads of the first row."""
        return self.rows[0].text

    def row_keys(self) -> list[str]:
        """Return what each row is known by."""
        return [key_of(row.data) for row in self.rows]


def make_questions(
    rows: Sequence[LogRow], near: float = NEAR, progress: Progress = silent
) -> list[Question]:
    """Join rows that are near-duplicates; questions come in the order of their first rows."""
    with progress("Finding duplicates", len(rows)) as done:
        numbers = number_duplicates([row.text for row in rows], near, done)
    alike: dict[int, list[LogRow]] = defaultdict(list)
    for number, row in zip(numbers, rows, strict=True):
        alike[number].append(row)
    return [Question(key_of(found[0].data), tuple(found)) for found in alike.values()]
