"""Is one system better than another on the same rows? Paired tests, not two intervals.

Only rows on which one is right and the other wrong say anything of that: McNemar's test asks
whether they fall as a fair coin would. Its exact p-value is conservative; the mid-p-value
counts the observed outcome by half and is the better choice at any size (Fagerland, Lydersen
& Laake 2013). The differences' intervals draw both systems' rows together.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from router_ml.catalog import Catalog
from router_ml.evaluation.intervals import Figure, figure_of, ratio
from router_ml.evaluation.summary import Summary


class McNemar(msgspec.Struct, frozen=True):
    """McNemar's test, two-sided: its exact p-value and its mid-p-value."""

    p_exact: float
    p_mid: float


def mcnemar(only_first: int, only_second: int) -> McNemar:
    """Test whether two systems are right equally often.

    Args:
        only_first: rows on which only the first is right.
        only_second: rows on which only the second is.

    """
    n, fewer = only_first + only_second, min(only_first, only_second)
    if n == 0:
        return McNemar(1.0, 1.0)
    odds = np.arange(n, n - fewer, -1) / np.arange(1, fewer + 1)
    logs = np.concatenate(([0.0], np.log(odds).cumsum())) - n * math.log(2)
    below, here = float(np.exp(logs[:-1]).sum()), float(np.exp(logs[-1]))
    mid = 1.0 if only_first == only_second else 2 * below + here
    return McNemar(min(1.0, 2 * (below + here)), min(1.0, mid))


class Change(msgspec.Struct, frozen=True):
    """Rows of a true route that the two systems send different ways."""

    true_route: str
    first: str
    second: str
    rows: int


class Comparison(msgspec.Struct, frozen=True):
    """The evaluated system, the first, against another on the same rows.

    Attributes:
        name: of the other.
        accuracy_difference: first minus second, as a share of the rows.
        cost_difference: first minus second, in US dollars per 1,000 requests; None where a
            model's price is unknown.
        only_first, only_second: rows on which only that one is right.
        test: whether the difference may be chance.
        changed: how many rows go different ways.
        changes: the same by routes, the most frequent first.

    """

    name: str
    accuracy_difference: Figure
    cost_difference: Figure | None
    only_first: int
    only_second: int
    test: McNemar
    changed: int
    changes: list[Change]


def compare_systems(summary: Summary, other: str, catalog: Catalog) -> Comparison:
    """Compare what the evaluated system and another said of the same rows.

    Args:
        summary: what was counted.
        other: the other's name.
        catalog: has the prices.

    """
    only_first, only_second = summary.tally.total("paired", other)
    right, others = summary.right(summary.name), summary.right(other)
    changes = _changes(summary, other)
    return Comparison(
        name=other,
        accuracy_difference=figure_of(ratio(right - others, summary.every)[:, 0]),
        cost_difference=_cost_difference(summary, other, catalog),
        only_first=only_first,
        only_second=only_second,
        test=mcnemar(only_first, only_second),
        changed=sum(change.rows for change in changes),
        changes=changes,
    )


def _cost_difference(summary: Summary, other: str, catalog: Catalog) -> Figure | None:
    one, second = (summary.costs(name, catalog) for name in (summary.name, other))
    if one is None or second is None:
        return None
    return figure_of(1000 * ratio(one - second, summary.every[:, 0]))


def _changes(summary: Summary, other: str) -> list[Change]:
    """Return how many rows go different ways, by true route and both given ones."""
    place = {route: at for at, route in enumerate(summary.routes)}
    counted = summary.tally.named("change", other)
    ordered = sorted(counted, key=lambda names: [place[name] for name in names])
    changes = [
        Change(true, first, second, int(counted[true, first, second][0]))
        for true, first, second in ordered
    ]
    return sorted(changes, key=lambda change: -change.rows)
