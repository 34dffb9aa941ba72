"""A tally as figures are made of it: by name, for the rows as they are and for resamples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from router_ml.catalog import Catalog
from router_ml.evaluation.costs import prices_of
from router_ml.evaluation.intervals import Floats, Resamples
from router_ml.evaluation.tally import PERFECT, RIGHT, ROWS, Integers, Key, Tally


class Summary:
    """What was counted of rows, and how often blocks of them are drawn anew.

    Attributes:
        tally: the sums.
        systems: names; the first is the one that is evaluated.
        labels: in the classifier's order.
        routes: the policy's, in its order, then the others that were seen.
        fields: what rows were sliced by.
        rows: how many there are.

    """

    def __init__(
        self,
        tally: Tally,
        systems: Sequence[str],
        labels: Sequence[str],
        routes: Iterable[str],
        fields: Sequence[str],
    ) -> None:
        """Prepare to read a tally; `routes` are the policy's."""
        self.tally, self.systems, self.labels = tally, tuple(systems), tuple(labels)
        self.fields = tuple(fields)
        seen = {route for _, route in tally.named("route")}
        known = dict.fromkeys(routes)
        self.routes = (*known, *sorted(seen - known.keys()))
        self.rows = int(tally.blocks["all",].sum())
        self._resamples = Resamples(tally.size)

    @property
    def name(self) -> str:
        """The system that is evaluated."""
        return self.systems[0]

    @property
    def models(self) -> list[str]:
        """Models that requests got, or should have; "" for unknown ones."""
        ways = (*self.systems, PERFECT)
        return sorted({model for way in ways for (model,) in self.tally.named("tokens", way)})

    @property
    def replicates(self) -> int:
        """How often rows are drawn anew."""
        return len(self._resamples.weights) - 1

    @property
    def every(self) -> Floats:
        """All rows, [1 + replicates, 1]."""
        return self._resamples.totals(self.tally.blocks["all",])

    def totals(self, cells: Sequence[Integers]) -> Floats:
        """Return sums by block, each [blocks, …], as [1 + replicates, cells, …]."""
        stacked = np.stack(cells, axis=1)
        return self._resamples.totals(stacked).reshape(-1, *stacked.shape[1:])

    def right(self, system: str) -> Floats:
        """Rows that a system sent the right way, [1 + replicates, 1]."""
        found: Floats = self.by_route(system)[:, :, 2].sum(axis=1, keepdims=True)
        return found

    def by_route(self, system: str) -> Floats:
        """Rows that belong to a route, that a system gave it, and both.

        They are [1 + replicates, routes, 3].
        """
        counted = self.tally.named("route", system)
        none = np.zeros((self.tally.size, 3), np.int64)
        return self.totals([counted.get((route,), none) for route in self.routes])

    def confusion(self, system: str) -> list[list[int]]:
        """Return rows by true route (down) and by the one a system gave (across)."""
        return [
            [self.tally.total("went", system, true, given)[0] for given in self.routes]
            for true in self.routes
        ]

    def slices(self, system: str, field: str) -> tuple[list[str], Floats, Floats]:
        """Return the values of a field, the rows of each and those that a system has right.

        They are [1 + replicates, values] each.
        """
        rows, right = self.tally.named(ROWS, field), self.tally.named(RIGHT, system, field)
        values = sorted(value for (value,) in rows)
        if not values:
            return [], self.every[:, :0], self.every[:, :0]
        all_rows, held = (self.totals([side[value,] for value in values]) for side in (rows, right))
        return values, all_rows, held

    def costs(self, way: str, catalog: Catalog, model: str | None = None) -> Floats | None:
        """Return what all rows cost by a way to route, in US dollars, [1 + replicates].

        Args:
            way: a system, or one of those of `tally`.
            catalog: has the prices.
            model: what gets every row; by default the models that the way gave them.

        Returns:
            None if the price of one of the models is unknown.

        """
        tokens: Mapping[Key, Integers] = self.tally.named("tokens", way)
        names = sorted(tokens)
        prices = np.array([prices_of(model or name, catalog) for (name,) in names])
        if np.isnan(prices).any():
            return None
        summed = self.totals([tokens[name] for name in names])
        found: Floats = (summed * prices).sum(axis=(1, 2))
        return found
