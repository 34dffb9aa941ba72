"""A policy on outcome data: its quality and cost beside each model, the oracle and chance."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from router_ml.errors import TargetError
from router_ml.evaluation.gap import Curve, gap_curve, mixing_quality
from router_ml.evaluation.outcomes import Outcome, result_cost
from router_ml.request import model_text
from router_ml.router import Router
from router_ml.types import Decision

_SURE = 1.959964
"""Standard errors of a 95% interval."""


class Performance(msgspec.Struct, frozen=True):
    """What one way to choose models gives.

    Attributes:
        name: of the model, or of the way.
        quality: mean, in [0, 1].
        margin: half of the 95% interval of quality (normal approximation).
        usd_per_1000: US dollars per 1,000 requests; None where a price is unknown.
        latency_s: mean, in seconds; None where one is unknown.

    """

    name: str
    quality: float
    margin: float
    usd_per_1000: float | None
    latency_s: float | None


class OutcomeEvaluation(msgspec.Struct, frozen=True):
    """Policy, single models and oracle, all on the same rows.

    Attributes:
        rows: how many: those with a result of every model, and of the policy's choice.
        incomplete: rows left out because a model has no result.
        uncovered: complete rows left out because the policy chose models without results;
            where it covers none, none is left out and `policy` is None.
        singles: each model for everything, the best first.
        oracle: the best model for each row, the cheapest of the best.
        policy: what the policy chose.
        shares: model -> the share of rows that the policy sent there.
        mixing_quality: what choosing between single models at random reaches at the
            policy's cost; None where that is unknown.
        curve: of a score between two models, if it was asked for.

    """

    rows: int
    incomplete: int
    uncovered: int
    singles: list[Performance]
    oracle: Performance
    policy: Performance | None
    shares: dict[str, float]
    mixing_quality: float | None
    curve: Curve | None


def evaluate_outcomes(
    router: Router,
    outcomes: Sequence[Outcome],
    *,
    by: str | None = None,
    weak: str | None = None,
    strong: str | None = None,
) -> OutcomeEvaluation:
    """Evaluate a router's policy on outcome data.

    Args:
        router: decides; its policy should name the models that the data have.
        outcomes: as `read_outcomes` returns them.
        by: the label whose probability sends a request to the strong model; None: no curve.
        weak, strong: the models of the curve; of two, by default, the worse and the better.

    Raises:
        TargetError: no row has results of every model, or the curve cannot be drawn.

    """
    models = sorted({name for outcome in outcomes for name in outcome.results})
    rows = [outcome for outcome in outcomes if len(outcome.results) == len(models)]
    if not rows:
        raise TargetError(f"No row has a result of every model: {', '.join(models)}.")
    decisions = router.route_many([outcome.request for outcome in rows])
    chosen = [_chosen(*pair) for pair in zip(decisions, rows, strict=True)]
    covered = [at for at, name in enumerate(chosen) if name is not None]
    kept = covered or range(len(rows))
    table = _Table(models, [rows[at] for at in kept], router)
    singles = [table.performance(name, number) for number, name in enumerate(models)]
    which = np.array([models.index(name) for at in covered if (name := chosen[at]) is not None])
    policy = table.performance("policy", which) if covered else None
    return OutcomeEvaluation(
        len(kept),
        len(outcomes) - len(rows),
        len(rows) - len(kept),
        sorted(singles, key=lambda single: -single.quality),
        table.performance("oracle", table.oracle()),
        policy,
        {name: float((which == n).mean()) for n, name in enumerate(models)} if covered else {},
        _mixing(singles, policy),
        table.curve(by, weak, strong) if by is not None else None,
    )


def _chosen(decision: Decision, outcome: Outcome) -> str | None:
    """Return the first of a decision's models that has a result."""
    models = (decision.model, *decision.fallbacks)
    return next((name for name in models if name in outcome.results), None)


def _mixing(singles: Sequence[Performance], policy: Performance | None) -> float | None:
    points = [(p.usd_per_1000, p.quality) for p in singles if p.usd_per_1000 is not None]
    if policy is None or policy.usd_per_1000 is None or len(points) < len(singles):
        return None
    return mixing_quality(points, policy.usd_per_1000)


def _mean(values: NDArray[np.float64]) -> float | None:
    mean = float(values.mean())
    return None if math.isnan(mean) else mean


class _Table:
    """Quality, cost and latency, each float64 [rows, models]; what is unknown is NaN."""

    def __init__(self, models: Sequence[str], rows: Sequence[Outcome], router: Router) -> None:
        self._models, self._rows, self._router = models, rows, router
        results = [[(name, row.results[name], row) for name in models] for row in rows]
        self._quality = np.array([[r.quality for _, r, _ in row] for row in results], np.float64)
        costs = [
            [result_cost(name, r, row.request, router.catalog) for name, r, row in line]
            for line in results
        ]
        self._cost = np.array(costs, np.float64)
        latencies = [[r.latency_s for _, r, _ in row] for row in results]
        self._latency = np.array(latencies, np.float64)

    def performance(self, name: str, which: int | NDArray[np.intp]) -> Performance:
        """Return what one model for each row gives."""
        at = np.arange(len(self._rows)), which
        quality = self._quality[at]
        margin = _SURE * float(quality.std()) / math.sqrt(len(quality))
        dollars, latency = _mean(1000 * self._cost[at]), _mean(self._latency[at])
        return Performance(name, float(quality.mean()), margin, dollars, latency)

    def oracle(self) -> NDArray[np.intp]:
        """Return the best model of each row; of equals the cheapest, as far as costs are known."""
        best = self._quality == self._quality.max(axis=1, keepdims=True)
        cost = np.where(np.isnan(self._cost), np.inf, self._cost)
        worth = np.where(best, np.minimum(cost, np.finfo(float).max), np.inf)
        cheapest: NDArray[np.intp] = worth.argmin(axis=1)
        return cheapest

    def curve(self, by: str, weak: str | None, strong: str | None) -> Curve:
        """Draw the curve of a label's probability between two models."""
        labels = self._router.classifier.labels
        if by not in labels:
            raise TargetError(f"The artifact has no label {by!r}: it has {', '.join(labels)}.")
        pair = [self._models.index(name) for name in self._pair(weak, strong)]
        texts = [model_text(row.request) for row in self._rows]
        score = self._router.classifier.probabilities_many(texts)[:, labels.index(by)]
        quality, cost = self._quality[:, pair].T, self._cost[:, pair].T
        costs = None if np.isnan(cost).any() else (cost[0], cost[1])
        names = (self._models[pair[0]], self._models[pair[1]])
        try:
            return gap_curve(score, quality[0], quality[1], costs, names, by)
        except ValueError as error:
            raise TargetError(str(error)) from error

    def _pair(self, weak: str | None, strong: str | None) -> tuple[str, str]:
        order = [self._models[n] for n in np.argsort(self._quality.mean(axis=0))]
        if (weak is None or strong is None) and len(order) != 2:
            raise TargetError(f"Say which is weak and which strong of {', '.join(order)}.")
        pair = weak or order[0], strong or order[-1]
        for name in pair:
            if name not in order:
                raise TargetError(f"The data have no results of {name!r}, only {', '.join(order)}.")
        return pair
