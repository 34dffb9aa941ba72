"""Where routing is wrong: accuracy by label, language, length and source; the surest mistakes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from router_ml.evaluation.intervals import Bootstrap, Figure, figures_of, ratio
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
    field: str,
    codes: NDArray[np.int32],
    values: Sequence[str],
    right: NDArray[np.bool_],
    boot: Bootstrap,
) -> list[SliceScore]:
    """Score the slices that a field cuts n rows into, those with the most rows if many.

    Args:
        field: its name.
        codes: int [n], each row's value; a negative one: the row is in no slice.
        values: their names.
        right: bool [n], which rows took the right route.
        boot: resamples of those rows.

    """
    rows = np.bincount(codes[codes >= 0], minlength=len(values))
    kept = np.argsort(-rows, kind="stable")[:MOST_SLICES]
    place = np.full(len(values) + 1, len(kept))  # the last: those not kept, and in no slice
    place[kept] = np.arange(len(kept))
    cells, size = place[codes], len(kept) + 1
    counted, held = boot.totals(cells=cells, size=size), boot.totals(right, cells, size)
    excess = counted[0] * right.mean() - held[0]
    figures = figures_of(ratio(held, counted))
    return [
        SliceScore(field, values[at], int(rows[at]), figures[n], float(excess[n]))
        for n, at in enumerate(kept.tolist())
        if rows[at]
    ]
