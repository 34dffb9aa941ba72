"""Evidence of a chunk of rows -> its tally."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router_ml.catalog import Catalog
from router_ml.evaluation.costs import Bill
from router_ml.evaluation.evidence import Evidence, Said
from router_ml.evaluation.quotes import QUOTED, Quote, quote, where_of
from router_ml.evaluation.rows import Row, digest
from router_ml.evaluation.scores import CALIBRATION_BINS, GRID, grid_of
from router_ml.evaluation.slices import LENGTHS
from router_ml.evaluation.tally import (
    ANYWHERE,
    MISTAKES,
    PERFECT,
    RIGHT,
    ROWS,
    UNITS,
    Best,
    Integers,
    Steps,
    Tally,
)

_TURNS = ("one", "several")


def count(
    evidence: Evidence,
    rows: Sequence[Row],
    files: Sequence[Path | str],
    catalog: Catalog,
    unit: str = "line",
) -> Tally:
    """Return the tally of some rows.

    Args:
        evidence: what is true and was said of them.
        rows: the same, to quote from.
        files: names of the files they are of.
        catalog: has the prices, by which mistakes are of one kind or another.
        unit: what rows' numbers count.

    """
    tally = Tally(evidence.columns.clusters)
    counting = _Counting(tally, evidence)
    counting.log(files)
    counting.slices()
    counting.mistakes(catalog)
    for name, said in evidence.said.items():
        counting.system(name, said)
    for name in list(evidence.said)[1:]:
        counting.against(name)
    _quote(tally, evidence, _Quotes(evidence, rows, files, unit))
    tally.drop_crowded()
    return tally


class _Counting:
    """Adds the sums of some rows to their tally, one kind of cells after the other."""

    def __init__(self, tally: Tally, evidence: Evidence) -> None:
        self._tally, self._evidence, self._columns = tally, evidence, evidence.columns
        self._tokens = Bill(evidence.columns.tokens).tokens

    def log(self, files: Sequence[Path | str]) -> None:
        """Count rows, their files, and the tokens that were counted."""
        columns, counts = self._columns, self._tally.counts
        self._tally.blocks["all",] = self._tally.sums()
        sums = (*columns.tokens[:, :2].sum(axis=0), *columns.counted.sum(axis=0))
        counts["log",] = np.array((len(columns.file), *sums, columns.by_words.sum()), np.int64)
        for at, rows in _tallied(columns.file):
            name = Path(files[at]).name
            counts["file", name] = counts.get(("file", name), 0) + np.array([rows])
        self._price(ANYWHERE, np.zeros(len(columns.file), np.int32), ("",))
        self._price(PERFECT, self._evidence.truth.model, self._evidence.models)

    def slices(self) -> None:
        """Count rows by the value of every field, and those that the systems have right."""
        columns, labels = self._columns, self._evidence.labels
        for label, holds in zip(labels, columns.labels.T, strict=True):
            self._slice("label", np.where(holds, 0, 1), (label,))
        self._slice("label", np.where(columns.labels.any(axis=1), 1, 0), ("(none)",))
        length = np.searchsorted([most for most, _ in LENGTHS], columns.size)
        self._slice("length", length, (*(words for _, words in LENGTHS), "over 1,000 bytes"))
        self._slice("turns", columns.several.astype(np.int64), _TURNS)
        for codes, (field, values) in zip(columns.fields.T, columns.values.items(), strict=True):
            self._slice(field, codes, values)

    def _slice(self, field: str, codes: NDArray[Any], values: Sequence[str]) -> None:
        """Count the rows of each value; a code beyond the last is in no slice."""
        if self._tally.is_crowded(field, len(values)):
            return
        size = len(values) + 1
        self._keep(ROWS, (), field, values, self._tally.sums(codes, size))
        for name in self._evidence.said if field == "source" else (self._evidence.name,):
            right = self._evidence.right(name)
            self._keep(RIGHT, (name,), field, values, self._tally.sums(codes, size, right))

    def _keep(
        self, kind: str, names: tuple[str, ...], field: str, values: Sequence[str], sums: Integers
    ) -> None:
        for value, column in zip(values, sums.T, strict=False):
            self._tally.blocks[kind, *names, field, value] = column.copy()  # not a view of all

    def system(self, name: str, said: Said) -> None:
        """Count what a system said."""
        evidence, tally = self._evidence, self._tally
        self._routes(name, said.route)
        self._price(name, said.model, evidence.models)
        lacks = (~said.known, ~np.isfinite(said.confidence), self._without(said))
        tally.counts["lacks", name] = np.array([missing.sum() for missing in lacks])
        if not np.isnan(said.confidence).any():
            self._confidence(name, said.confidence)
        for at, label in enumerate(evidence.labels):
            self._label(name, label, self._columns.labels[:, at], said.labels[:, at])
            self._probability(name, label, said.probabilities[:, at], self._columns.labels[:, at])

    def _routes(self, name: str, given: NDArray[np.int32]) -> None:
        """Count rows by the route they belong to and the one they got."""
        true, right = self._evidence.truth.route, self._evidence.right(name)
        routes = self._evidence.routes
        held, said = (self._tally.sums(codes, len(routes)) for codes in (true, given))
        both = self._tally.sums(true, len(routes), right)
        for at, route in enumerate(routes):
            columns = (held[:, at], said[:, at], both[:, at])
            self._tally.blocks["route", name, route] = np.stack(columns, axis=1)
        self._list("went", ((name,), routes, routes), (np.zeros_like(true), true, given))

    def _without(self, said: Said) -> NDArray[np.bool_]:
        """Return which rows that words decide lack a probability."""
        given = np.isfinite(said.probabilities).all(axis=1)
        missing: NDArray[np.bool_] = self._columns.by_words & ~given
        return missing

    def _price(self, name: str, model: NDArray[np.int32], models: Sequence[str]) -> None:
        """Add up the tokens of each model, which its prices are applied to at the end."""
        for at, _ in _tallied(model):
            of_model = model == at
            sums = [self._tally.sums(None, 1, part[of_model], of_model) for part in self._tokens.T]
            self._tally.blocks["tokens", name, models[at]] = np.concatenate(sums, axis=1)

    def _label(
        self, name: str, label: str, true: NDArray[np.bool_], said: NDArray[np.bool_]
    ) -> None:
        sums = [self._tally.sums(values=values) for values in (true, said, true & said)]
        self._tally.blocks["label", name, label] = np.concatenate(sums, axis=1)

    def _confidence(self, name: str, confidence: NDArray[np.float32]) -> None:
        cells, right = grid_of(confidence), self._evidence.right(name)
        least = np.full(GRID, np.inf, np.float32)
        np.minimum.at(least, cells, confidence)
        self._tally.least["sure", name] = least
        self._tally.blocks["sure", name] = self._binned(cells, GRID, (None, right))

    def _probability(
        self, name: str, label: str, probability: NDArray[np.float32], true: NDArray[np.bool_]
    ) -> None:
        """Count rows that words decide by the label's probability."""
        among = self._columns.by_words & np.isfinite(probability)
        if not among.any():
            return
        p, y, bins = probability[among], true[among], CALIBRATION_BINS
        cells = np.minimum((p * bins).astype(np.int64), bins - 1)
        said = np.rint(p.astype(np.float64) * UNITS)
        blocks = self._tally.blocks
        blocks["bins", name, label] = self._binned(cells, bins, (None, said, y), among)
        blocks["scores", name, label] = self._binned(grid_of(p), GRID, (None, y), among)
        self._tally.steps[name, label] = Steps.of(p, y)

    def _binned(
        self,
        cells: NDArray[Any],
        size: int,
        values: Sequence[NDArray[Any] | None],
        among: NDArray[np.bool_] | None = None,
    ) -> Integers:
        sums = [self._tally.sums(cells, size, each, among) for each in values]
        return np.stack(sums, axis=2)

    def mistakes(self, catalog: Catalog) -> None:
        """Count where the evaluated system's rows went, and what went wrong, with their tokens."""
        evidence, truth = self._evidence, self._evidence.truth
        said, models = evidence.said[evidence.name], evidence.models
        self._list("got", (evidence.routes,) * 2 + (models,), (truth.route, said.route, said.model))
        bill = Bill(evidence.columns.tokens)
        cost, right_cost = (bill.on(models, side.model, catalog) for side in (said, truth))
        kind = np.where(~said.able, 0, np.where(cost > right_cost, 1, 2))
        names = (MISTAKES, evidence.routes, evidence.routes, models, models)
        codes = (kind, truth.route, said.route, said.model, truth.model)
        self._list("mistake", names, codes, ~evidence.right(evidence.name))

    def _list(
        self,
        kind: str,
        names: Sequence[Sequence[str]],
        codes: Sequence[NDArray[Any]],
        among: NDArray[np.bool_] | None = None,
    ) -> None:
        """Count rows and their tokens by several names at once."""
        table = np.stack(codes, axis=1)
        tokens = np.column_stack((np.ones(len(table), np.int64), self._tokens))
        if among is not None:
            table, tokens = table[among], tokens[among]
        found, place = np.unique(table, axis=0, return_inverse=True)
        sums = np.zeros((len(found), tokens.shape[1]), np.int64)
        np.add.at(sums, place.reshape(-1), tokens)
        for row, total in zip(found.tolist(), sums, strict=True):
            said = (some[at] for some, at in zip(names, row, strict=True))
            self._tally.counts[kind, *said] = total

    def against(self, other: str) -> None:
        """Count rows on which the evaluated system and another differ."""
        evidence = self._evidence
        first, second = evidence.said[evidence.name].route, evidence.said[other].route
        right, others = evidence.right(evidence.name), evidence.right(other)
        only = ((right & ~others).sum(), (others & ~right).sum())
        self._tally.counts["paired", other] = np.array(only, np.int64)
        codes = (np.zeros_like(first), evidence.truth.route, first, second)
        self._list("change", ((other,), *(evidence.routes,) * 3), codes, first != second)


def _tallied(codes: NDArray[Any]) -> Iterator[tuple[int, int]]:
    """Yield (code, rows) of the codes that rows have."""
    rows = np.bincount(codes)
    yield from ((at, int(rows[at])) for at in np.flatnonzero(rows).tolist())


def _quote(tally: Tally, evidence: Evidence, quotes: _Quotes) -> None:
    """Quote the surest mistakes, and rows that another system sends elsewhere."""
    said = evidence.said[evidence.name]
    right = evidence.right(evidence.name)
    sure = np.where(np.isfinite(said.confidence), said.confidence, -1)
    tally.best["mistakes",] = quotes.first(np.where(right, np.nan, -sure))
    for name in list(evidence.said)[1:]:
        other = evidence.said[name]
        # First those that only the other has right, then those that both have wrong.
        rank = np.where(evidence.right(name), 0, np.where(right, 2, 1)) * 4 - sure
        changed = np.where(other.route != said.route, rank, np.nan)
        tally.best["changes", name] = quotes.first(
            changed, [f"{name}: {evidence.routes[at]}" for at in other.route]
        )


class _Quotes:
    """Quotes rows of a chunk, with what the evaluated system said of them."""

    def __init__(
        self, evidence: Evidence, rows: Sequence[Row], files: Sequence[Path | str], unit: str
    ) -> None:
        self._evidence, self._rows, self._files, self._unit = evidence, rows, files, unit

    def first(self, rank: NDArray[Any], about: Sequence[str] | None = None) -> Best[Quote]:
        """Quote the rows of the lowest rank, float [n]; NaN: it is not to be quoted.

        Of equal rank are first those of the lowest digest, so that the order of the rows
        decides nothing.
        """
        at = np.flatnonzero(np.isfinite(rank))
        # By distinct ranks: a row that a log has twice is quoted once.
        lowest = np.unique(rank[at])[:QUOTED]
        at = at[np.isin(rank[at], lowest)]
        ranked = ((self._rank(rank[n], n), n) for n in at.tolist())
        kept = Best.of(QUOTED, ranked).found
        return Best(QUOTED, tuple((key, self._quote(n, about)) for key, n in kept))

    def _rank(self, rank: float, at: int) -> tuple[float, bytes, str]:
        text = self._rows[at].example.text
        return float(rank), digest(text.turn, text.context), self._where(at)

    def _where(self, at: int) -> str:
        return where_of(self._rows[at], self._files, self._unit)

    def _quote(self, at: int, about: Sequence[str] | None) -> Quote:
        row, words = self._rows[at], "" if about is None else about[at]
        return quote(self._evidence, row, at, self._where(at), words)
