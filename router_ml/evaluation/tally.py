"""Sums over rows, however many: what an evaluation's figures are functions of.

Tallies of parts of a log add up to the tally of the whole, whatever the parts and their order,
to the last digit: all that is summed are integers (probabilities in units of 2⁻³⁶, tokens
rather than money), and how much is kept depends on the rows alone. Its memory is bounded by the
names and bins there are, never by rows.

Intervals need sums by blocks of rows that are drawn together (`intervals`). A block is a
cluster of rows while there are at most `BLOCKS` of them; of more clusters, those whose hashes
leave the same remainder share a block. A cluster is a `group`, or else all rows that say the
same: they are right or wrong together.

Kinds of cells, and the names in their keys:

    all                                   rows, by block
    rows     FIELD VALUE                  rows of a slice, by block
    right    SYSTEM FIELD VALUE           those of them that went the right way, by block
    route    SYSTEM ROUTE                 truly taken, given, both; by block
    went     SYSTEM TRUE GIVEN            rows, tokens
    tokens   SYSTEM MODEL                 fresh input, cached input, output; by block
    label    SYSTEM LABEL                 truly carried, said, both; by block
    bins     SYSTEM LABEL                 rows, sum of probabilities, carried; by block and bin
    scores   SYSTEM LABEL                 rows, carried; by block and grid
    sure     SYSTEM                       rows, right; by block and grid of confidence
    got      TRUE GIVEN MODEL             rows, tokens; of the evaluated system
    mistake  KIND TRUE GIVEN MODEL RIGHT  rows, tokens; of the evaluated system
    change   SYSTEM TRUE FIRST GIVEN      rows that it sends elsewhere
    paired   SYSTEM                       rows that only the first, and only it has right
    lacks    SYSTEM                       rows without labels, confidence, probabilities
    log                                   rows, input, output, both as far as counted, by words
    file     NAME                         rows
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from heapq import nsmallest
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

BLOCKS = 500
"""Intervals are taken from at most so many blocks: their width is uncertain by one part in 30."""
MOST_VALUES = 2_000
"""A field with more values than this cuts rows into too many slices, and into none."""
MOST_STEPS = 1 << 14
"""So many different probabilities of a label are told apart."""
UNITS = 1 << 36
"""Of so many parts is a probability; a sum of 2²⁷ of them in one block and bin still fits."""

PERFECT, ANYWHERE = "perfect labels", "everything"
"""Ways to route besides the systems: by true labels, and to whichever single model."""
MistakeKind = Literal["cannot do it", "paid too much", "harmless"]
MISTAKES: tuple[MistakeKind, ...] = ("cannot do it", "paid too much", "harmless")
ROWS, RIGHT = "rows", "right"
SLICED = (ROWS, RIGHT)
"""Kinds of cells whose keys end with a field and its value."""

Key = tuple[str, ...]
Integers = NDArray[np.int64]
T = TypeVar("T")


class Tally:
    """Sums over rows, by cell and by block.

    Attributes:
        clusters: uint64 [blocks], rising: the cluster that each block is; None where blocks
            are remainders of their hashes.
        blocks: cell -> int64 [blocks, …].
        counts: cell -> int64 [width], what no interval is taken of.
        least: cell -> float32 [bins], the least value of a bin.
        steps: cell -> the different probabilities.
        best: cell -> the first few rows in some order.
        crowded: fields that have too many values.

    """

    def __init__(self, clusters: NDArray[np.uint64]) -> None:
        """Begin a tally of rows of these clusters; add to it what is summed of them."""
        found = np.unique(clusters)
        self.clusters: NDArray[np.uint64] | None = found if len(found) <= BLOCKS else None
        self._at = self._place(clusters, self.clusters)
        self.blocks: dict[Key, Integers] = {}
        self.counts: dict[Key, Integers] = {}
        self.least: dict[Key, NDArray[np.float32]] = {}
        self.steps: dict[Key, Steps] = {}
        self.best: dict[Key, Best[Any]] = {}
        self.crowded: set[str] = set()

    @staticmethod
    def _place(clusters: NDArray[np.uint64], among: NDArray[np.uint64] | None) -> Integers:
        found = clusters % np.uint64(BLOCKS) if among is None else among.searchsorted(clusters)
        return found.astype(np.int64)

    @property
    def size(self) -> int:
        """How many blocks there are."""
        return BLOCKS if self.clusters is None else len(self.clusters)

    def sums(
        self,
        cells: NDArray[Any] | None = None,
        size: int = 1,
        values: NDArray[Any] | None = None,
        among: NDArray[np.bool_] | None = None,
    ) -> Integers:
        """Return sums over the rows this tally was begun with, int64 [blocks, size].

        Args:
            cells: int [n], below `size`; None: all rows are in one.
            size: how many cells there are.
            values: integers [n], what is summed; None: the rows are counted.
            among: bool [n], which rows; the other arrays are of these alone.

        """
        at = self._at if among is None else self._at[among]
        place = at if cells is None else at * size + cells
        weights = None if values is None else values.astype(np.float64)  # exact below 2⁵³
        found = np.bincount(place, weights, self.size * size)
        return found.reshape(self.size, size).astype(np.int64)

    def merge(self, other: Tally) -> None:
        """Add another tally, which is used up."""
        clusters = _united(self.clusters, other.clusters)
        for one in (self, other):
            one._deal(clusters)
        _add(self.blocks, other.blocks)
        _add(self.counts, other.counts)
        for key, least in other.least.items():
            mine = self.least.get(key)
            self.least[key] = least if mine is None else np.minimum(mine, least)
        for key, steps in other.steps.items():
            self.steps[key] = self.steps[key].plus(steps) if key in self.steps else steps
        for key, best in other.best.items():
            self.best[key] = self.best[key].plus(best) if key in self.best else best
        self.crowded |= other.crowded
        self.drop_crowded()

    def _deal(self, clusters: NDArray[np.uint64] | None) -> None:
        """Deal the sums into other blocks."""
        if self.clusters is None or self.clusters is clusters:
            return
        at, size = (
            self._place(self.clusters, clusters),
            BLOCKS if clusters is None else len(clusters),
        )
        for key, sums in self.blocks.items():
            dealt = np.zeros((size, *sums.shape[1:]), np.int64)
            np.add.at(dealt, at, sums)
            self.blocks[key] = dealt
        self.clusters = clusters

    def is_crowded(self, field: str, values: int) -> bool:
        """Say, and remember, whether a field has more values than `MOST_VALUES`."""
        if values > MOST_VALUES:
            self.crowded.add(field)
        return values > MOST_VALUES

    def drop_crowded(self) -> None:
        """Forget the slices of fields with more values than `MOST_VALUES`."""
        values = Counter(key[1] for key in self.blocks if key[0] == ROWS)
        self.crowded |= {field for field, count in values.items() if count > MOST_VALUES}
        if self.crowded:
            for key in [key for key in self.blocks if key[0] in SLICED and key[-2] in self.crowded]:
                del self.blocks[key]

    def named(self, kind: str, *first: str) -> dict[Key, Integers]:
        """Return the cells of a kind that begin with some names: the names after these -> sums."""
        start = (kind, *first)
        return {
            key[len(start) :]: sums
            for source in (self.blocks, self.counts)
            for key, sums in source.items()
            if key[: len(start)] == start
        }

    def total(self, *key: str) -> list[int]:
        """Return what a cell counts; zeros for one that has no rows."""
        found: list[int] = self.counts.get(key, np.zeros(8, np.int64)).tolist()
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Travel light: each array in the smallest integers that hold it, and no row's block."""
        state = self.__dict__ | {"_at": None}
        return state | {name: {k: _small(v) for k, v in state[name].items()} for name in _SUMMED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        for name in _SUMMED:
            state[name] = {key: sums.astype(np.int64) for key, sums in state[name].items()}


_SUMMED = ("blocks", "counts")


def _united(
    one: NDArray[np.uint64] | None, other: NDArray[np.uint64] | None
) -> NDArray[np.uint64] | None:
    if one is None or other is None:
        return None
    both = np.union1d(one, other)
    return both if len(both) <= BLOCKS else None


def _add(mine: dict[Key, Integers], others: dict[Key, Integers]) -> None:
    for key, sums in others.items():
        if key in mine:
            mine[key] += sums
        else:
            mine[key] = sums


def _small(sums: Integers) -> NDArray[Any]:
    return sums.astype(np.min_scalar_type(int(sums.max(initial=0))))


def merged(tallies: Iterable[Tally]) -> Tally | None:
    """Add tallies up, in any order; None if there are none."""
    found: Tally | None = None
    for tally in tallies:
        if found is None:
            found = tally
        else:
            found.merge(tally)
    return found


class Steps(NamedTuple):
    """The different probabilities of a label, and the rows that have each.

    Where there are more than `MOST_STEPS`, neighbours become one: as many of a float32's last
    bits are left out as must be.

    Attributes:
        level: how many bits are left out.
        steps: uint32 [k], rising: probabilities as bits of a float32, shifted.
        rows: int64 [k, 2], the rows of each, and those of them that carry the label.

    """

    level: int
    steps: NDArray[np.uint32]
    rows: Integers

    @classmethod
    def of(cls, probability: NDArray[np.float32], true: NDArray[np.bool_]) -> Steps:
        """Count rows by probability, float32 [n] in [0, 1], and whether they carry the label."""
        bits = np.abs(probability).view(np.uint32)
        rows = np.stack((np.ones(len(bits), np.int64), true.astype(np.int64)), axis=1)
        return cls(0, bits, rows)._at_least(0)

    def plus(self, other: Steps) -> Steps:
        """Add other rows."""
        level = max(self.level, other.level)
        parts = [part.steps >> np.uint32(level - part.level) for part in (self, other)]
        rows = np.concatenate((self.rows, other.rows))
        return Steps(level, np.concatenate(parts), rows)._at_least(level)

    def _at_least(self, level: int) -> Steps:
        """Join equal steps, and neighbours until there are few enough."""
        steps, place = np.unique(self.steps, return_inverse=True)
        rows = np.zeros((len(steps), 2), np.int64)
        np.add.at(rows, place, self.rows)
        if len(steps) <= MOST_STEPS:
            return Steps(level, steps, rows)
        return Steps(level, steps >> np.uint32(1), rows)._at_least(level + 1)


class Best(NamedTuple, Generic[T]):
    """The first rows in some order, at most `most`.

    Attributes:
        most: how many are kept.
        found: ranks and rows, the first first; of rows of one rank, the least is kept.

    """

    most: int
    found: tuple[tuple[Any, T], ...] = ()

    @classmethod
    def of(cls, most: int, ranked: Iterable[tuple[Any, T]]) -> Best[T]:
        """Keep the first of some rows."""
        least: dict[Any, T] = {}
        for rank, row in ranked:
            if rank not in least or row < least[rank]:  # type: ignore[operator]
                least[rank] = row
        return cls(most, tuple(nsmallest(most, least.items(), key=_rank)))

    def plus(self, other: Best[T]) -> Best[T]:
        """Add other rows."""
        return Best.of(self.most, (*self.found, *other.found))

    @property
    def rows(self) -> list[T]:
        """The rows, the first first."""
        return [row for _, row in self.found]


def _rank(pair: tuple[Any, Any]) -> Any:
    return pair[0]
