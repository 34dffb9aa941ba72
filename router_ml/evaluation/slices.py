"""Where routing is wrong: accuracy by label, language, length and source; the surest mistakes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from router_ml.evaluation.intervals import Figure, Floats, figures_of, ratio
from router_ml.examples import Example

MOST_SLICES = 200
"""Of a field with more values than this, those with the most rows are scored."""
LENGTHS = ((40, "up to 40 bytes"), (200, "up to 200 bytes"), (1000, "up to 1,000 bytes"))
"""The deciding turn's length, as far as the classifier reads it."""


class Slice(msgspec.Struct, frozen=True):
    """Route accuracy on some of the rows, and how many they are."""

    accuracy: float
    rows: int


class SliceScore(msgspec.Struct, frozen=True):
    """Route accuracy on the rows that have one value of a field.

    Attributes:
        field, value: as in "lang", "en".
        rows: how many they are.
        accuracy: on them.
        excess: mistakes more than they would have at the accuracy of all rows: how bad and
            how big the slice is, in one figure; negative where it is better than the rest.

    """

    field: str
    value: str
    rows: int
    accuracy: Figure
    excess: float


class Mistake(msgspec.Struct, frozen=True):
    """A row that took the wrong route.

    Attributes:
        text: the turn that decides, as the classifier read it.
        true_route: where its labels send it.
        given_route: where it went.
        confidence: of the decision, in [0, 1].

    """

    text: str
    true_route: str
    given_route: str
    confidence: float


def slice_rows(examples: Sequence[Example]) -> dict[str, list[int]]:
    """Return which rows belong to each slice: "label math", "lang en", "source …" and so on."""
    found: dict[str, list[int]] = defaultdict(list)
    for row, example in enumerate(examples):
        for name in _slices_of(example):
            found[name].append(row)
    return dict(sorted(found.items()))


def _slices_of(example: Example) -> Iterator[str]:
    for label in example.labels or ("none",):
        yield f"label {label}"
    yield f"lang {example.lang or 'unknown'}"
    size = len(example.text.turn)
    yield f"length {next((name for most, name in LENGTHS if size <= most), 'over 1,000 bytes')}"
    yield f"turns {'one' if len(example.request.turns) == 1 else 'several'}"
    yield f"source {example.source or 'unknown'}"


def slice_accuracy(examples: Sequence[Example], right: Sequence[bool]) -> dict[str, Slice]:
    """Return each slice's accuracy, given which rows took the right route."""
    return {
        name: Slice(sum(right[row] for row in rows) / len(rows), len(rows))
        for name, rows in slice_rows(examples).items()
    }


def score_slices(
    field: str, values: Sequence[str], rows: Floats, right: Floats, accuracy: float
) -> list[SliceScore]:
    """Score the slices that a field cuts rows into, those with the most rows if many.

    Args:
        field: its name.
        values: their names.
        rows, right: of each slice, and those of them that took the right route,
            [1 + replicates, values].
        accuracy: on all rows.

    """
    kept = np.argsort(-rows[0], kind="stable")[:MOST_SLICES]
    figures = figures_of(ratio(right[:, kept], rows[:, kept]))
    excess = rows[0] * accuracy - right[0]
    return [
        SliceScore(field, values[at], int(rows[0, at]), figure, float(excess[at]))
        for at, figure in zip(kept.tolist(), figures, strict=True)
        if rows[0, at]
    ]
