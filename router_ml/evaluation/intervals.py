"""How sure a figure is: 95% intervals by the bootstrap.

The percentile bootstrap (Efron & Tibshirani 1993, chapter 13): the rows are drawn anew with
replacement, the figure is taken again, and the interval is what the middle 95% of a thousand
such figures span. Rows that share a `group` (a conversation, a template, a user) are drawn
together, since they are right or wrong together: the cluster bootstrap (Field & Welsh 2007).

A million rows are never drawn one by one. Every figure here is a function of sums over rows,
so rows are dealt at random into at most `BLOCKS` blocks, what is summed is summed by block,
and blocks are drawn: the same as drawing rows where there are no more of them than blocks, and
of the same spread otherwise (the block sums vary as much as the rows in them do). In a tally
blocks are made by hashes instead of a draw (`tally`), so that parts of a log agree on them.

Where no row is wrong, no resample has a wrong one either, and the interval is a point: of n
such rows the share of wrong ones may still be up to 3 / n.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

BLOCKS = 2_000
REPLICATES = 1_000
LEVEL = 0.95

Floats = NDArray[np.float64]


class Figure(msgspec.Struct, frozen=True):
    """A figure and the bounds of its 95% interval; NaN, null in JSON, where it has no value."""

    value: float
    low: float
    high: float


class Resamples:
    """A thousand resamples of blocks of rows.

    Attributes:
        weights: float64 [1 + replicates, blocks]: how often each block counts. The first
            row, all ones, is the rows as they are, so that a figure and its resamples come
            from one formula.

    """

    def __init__(self, blocks: int, replicates: int = REPLICATES, seed: int = 0) -> None:
        """Draw blocks anew, `replicates` times."""
        self.weights = _weights(np.random.default_rng(seed), blocks, replicates)

    def totals(self, sums: NDArray[Any]) -> Floats:
        """Return sums by block [blocks, …] as those of each resample, [1 + replicates, cells]."""
        by_block = sums.reshape(len(sums), -1).astype(np.float64)
        found: Floats = self.weights @ by_block
        return found


def _weights(draw: np.random.Generator, blocks: int, replicates: int) -> Floats:
    drawn = draw.multinomial(blocks, np.full(blocks, 1 / blocks), replicates).astype(np.float64)
    weights: Floats = np.concatenate((np.ones((1, blocks)), drawn))
    return weights


class Bootstrap:
    """Rows and a thousand resamples of them, summed together.

    Attributes:
        block: int [n], the block of each row.
        weights: float64 [1 + replicates, blocks], as of `Resamples`.

    """

    def __init__(
        self,
        clusters: NDArray[Any],
        replicates: int = REPLICATES,
        blocks: int = BLOCKS,
        seed: int = 0,
    ) -> None:
        """Prepare the resamples.

        Args:
            clusters: int [n]; rows of the same number are drawn together.
            replicates: how often rows are drawn.
            blocks: at most so many are drawn from.
            seed: of what is random.

        """
        draw = np.random.default_rng(seed)
        _, cluster = np.unique(clusters, return_inverse=True)
        found = int(cluster.max(initial=-1)) + 1
        size = max(1, min(found, blocks))
        self.block = (draw.permutation(found) % size)[cluster]
        self.weights = _weights(draw, size, replicates)

    def among(self, rows: NDArray[np.bool_]) -> Bootstrap:
        """Return the same resamples of some of the rows, bool [n]."""
        part = copy(self)
        part.block = self.block[rows]
        return part

    def totals(
        self,
        values: NDArray[Any] | None = None,
        cells: NDArray[Any] | None = None,
        size: int = 1,
    ) -> Floats:
        """Return sums over the rows of each cell, [1 + replicates, size].

        Args:
            values: float or bool [n], what is summed; None: the rows are counted.
            cells: int [n], below `size`; None: all rows are in one.
            size: how many cells there are.

        """
        place = self.block * size if cells is None else self.block * size + cells
        weights = None if values is None else values.astype(np.float64)
        by_block = np.bincount(place, weights, self.weights.shape[1] * size)
        found: Floats = self.weights @ by_block.reshape(-1, size).astype(np.float64)
        return found


def ratio(part: Floats, whole: Floats) -> Floats:
    """Divide sums; 0 / 0 is NaN: such a resample says nothing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return part / whole


def figure_of(resampled: Floats, value: float | None = None) -> Figure:
    """Return a figure and its interval.

    Args:
        resampled: [1 + replicates], the figure of the rows as they are, then of resamples.
        value: the exact figure, where the resampled ones are rounded; the interval moves
            with it.

    """
    observed = float(resampled[0])
    exact = observed if value is None else value
    usable = resampled[1:][np.isfinite(resampled[1:])]
    if not usable.size or not np.isfinite(observed):
        return Figure(exact, exact, exact)
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(usable, (tail, 100 - tail)) + (exact - observed)
    return Figure(exact, float(low), float(high))


def figures_of(resampled: Floats) -> list[Figure]:
    """Return a figure for each column of [1 + replicates, k]."""
    return [figure_of(column) for column in resampled.T]
