"""Is one system better than another on the same rows? Paired tests, not two intervals.

Only rows on which one is right and the other wrong say anything of that: McNemar's test asks
whether they fall as a fair coin would. Its exact p-value is conservative; the mid-p-value
counts the observed outcome by half and is the better choice at any size (Fagerland, Lydersen
& Laake 2013). The differences' intervals draw both systems' rows together.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from router_ml.catalog import Catalog
from router_ml.evaluation.costs import Bill
from router_ml.evaluation.evidence import Evidence, Said
from router_ml.evaluation.intervals import Bootstrap, Figure, figure_of, ratio


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


def compare_systems(evidence: Evidence, first: str, second: str, catalog: Catalog) -> Comparison:
    """Compare what two systems said of the same rows.

    Args:
        evidence: the rows, and what was said of them.
        first, second: the systems' names.
        catalog: has the prices.

    """
    one, other = evidence.said[first], evidence.said[second]
    right, others = evidence.right(first), evidence.right(second)
    only_first, only_second = int((right & ~others).sum()), int((others & ~right).sum())
    changes = count_changes(evidence.truth.route, one.route, other.route, evidence.routes)
    return Comparison(
        name=second,
        accuracy_difference=mean_difference(right, others, evidence.boot),
        cost_difference=_cost_difference(evidence, one, other, catalog),
        only_first=only_first,
        only_second=only_second,
        test=mcnemar(only_first, only_second),
        changed=sum(change.rows for change in changes),
        changes=changes,
    )


def _cost_difference(
    evidence: Evidence, first: Said, second: Said, catalog: Catalog
) -> Figure | None:
    bill, models = Bill(evidence.columns.tokens), evidence.models
    one, other = (1000 * bill.on(models, said.model, catalog) for said in (first, second))
    usable = np.isfinite(one + other).all()
    return mean_difference(one, other, evidence.boot) if usable else None


def mean_difference(first: NDArray[Any], second: NDArray[Any], boot: Bootstrap) -> Figure:
    """Return the mean of first minus second, float or bool [n], rows drawn in pairs."""
    return figure_of(ratio(boot.totals(first) - boot.totals(second), boot.totals())[:, 0])


def count_changes(
    true: NDArray[np.int32],
    first: NDArray[np.int32],
    second: NDArray[np.int32],
    routes: tuple[str, ...],
) -> list[Change]:
    """Count rows that go different ways, by true route and both given ones, int [n] each."""
    differ = first != second
    found, rows = np.unique(
        np.stack((true, first, second), axis=1)[differ], axis=0, return_counts=True
    )
    changes = [
        Change(routes[at], routes[one], routes[other], count)
        for (at, one, other), count in zip(found.tolist(), rows.tolist(), strict=True)
    ]
    return sorted(changes, key=lambda change: -change.rows)
