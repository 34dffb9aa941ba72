"""What accuracy costs as thresholds move: the frontier, and the cheapest way to an accuracy.

For a worth of a right route in US dollars, coordinate descent finds thresholds that gain the
most: one label at a time, all its thresholds at once, until nothing improves. As the worth
grows from less than a request costs to far more, the thresholds walk from the cheapest policy
to the most accurate, and every step they considered is a candidate. Only labels that lead away
from the default route are moved: of the others, route accuracy says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from router_ml.errors import TargetError
from router_ml.evaluation.costs import cost_of, tokens_of
from router_ml.evaluation.judging import Judge, JudgedRow
from router_ml.evaluation.targets import CheapestTarget, LabelTarget, ShareTarget, Target
from router_ml.evaluation.thresholds import (
    Chosen,
    Effect,
    Share,
    choose_threshold,
    half_of,
    share_of,
    spare_of,
    true_labels,
)
from router_ml.plurals import counted
from router_ml.types import Decision

_GRID = np.arange(1, 100) / 100
_WORTHS = 15
_PASSES = 4

Candidate = tuple[float, float, tuple[float, ...]]
"""Mean cost of a row in US dollars, share of right routes, thresholds."""


class Point(msgspec.Struct, frozen=True):
    """Thresholds and what they do to rows.

    Attributes:
        thresholds: label -> threshold.
        accuracy: share of rows with the right route.
        usd_per_1000: US dollars per 1,000 requests.

    """

    thresholds: dict[str, float]
    accuracy: Share
    usd_per_1000: float


class Frontier(msgspec.Struct, frozen=True):
    """Cost against accuracy, chosen on one half of labelled rows and measured on both.

    Attributes:
        chosen: the monotone envelope on the half that was chosen on: by cost, each more
            accurate than all that cost less.
        held_out: the same thresholds on the other half: the figures to believe.
        now: the thresholds as they are, on the half that was chosen on.
        now_held_out: and on the other.

    """

    chosen: list[Point]
    held_out: list[Point]
    now: Point
    now_held_out: Point


class Rows:
    """Labelled rows with what each set of labels makes of them, decided once and kept.

    Attributes:
        probabilities: float64 [n, labels].
        moving: the numbers of the labels whose thresholds are moved.

    """

    def __init__(self, judge: Judge, rows: Sequence[JudgedRow]) -> None:
        """Take rows.

        Raises:
            DataError: one has no labels.
            TargetError: there are none.

        """
        if not rows:
            raise TargetError("The log is too small to be divided into halves.")
        self._judge, self._rows = judge, rows
        self.moving = _moving_labels(judge)
        width = len(judge.labels)
        said = [row.probabilities or [0.0] * width for row in rows]
        self.probabilities = np.array(said, np.float64).reshape(-1, width)
        self._tokens = [tokens_of(row.log.data, row.log.request) for row in rows]
        choose = judge.router.policy.choose
        self._true = [choose(row.facts.union(true_labels(row.log))).route for row in rows]
        self._known: dict[bytes, NDArray[np.float64]] = {}

    def outcome(self, thresholds: Sequence[float]) -> NDArray[np.float64]:
        """Return each row's cost in US dollars and whether it is right, float64 [2, n]."""
        held = self._held(thresholds)
        found = np.empty((2, len(held)))
        sets, which = np.unique(held, axis=0, return_inverse=True)
        for number, labels in enumerate(sets):
            at = np.flatnonzero(which.reshape(-1) == number)
            found[:, at] = self._decided(labels.tobytes(), at, thresholds)
        return found

    def _held(self, thresholds: Sequence[float]) -> NDArray[np.bool_]:
        held = self.probabilities >= np.asarray(thresholds)
        if self._judge.router.classifier.single_label:
            best = self.probabilities.argmax(axis=1)
            held &= best[:, None] == np.arange(held.shape[1])
        return held

    def _decided(
        self, labels: bytes, at: NDArray[np.intp], thresholds: Sequence[float]
    ) -> NDArray[np.float64]:
        """Return the outcome of rows that have one set of labels; a decision needs no more."""
        if labels not in self._known:
            self._known[labels] = np.full((2, len(self._rows)), np.nan)
        known = self._known[labels]
        for row in at[np.isnan(known[1, at])].tolist():
            decision = self._judge.decide(self._rows[row], thresholds)
            known[:, row] = self._cost(row, decision), decision.route == self._true[row]
        return known[:, at]

    def _cost(self, row: int, decision: Decision) -> float:
        cost = cost_of(decision.model, self._tokens[row], self._judge.router.catalog)
        if cost is None:
            raise TargetError(
                f"Route {decision.route!r} has no model with a price: "
                "what a decision costs needs a policy that names models of the catalog."
            )
        return cost

    def point(self, thresholds: Sequence[float]) -> Point:
        """Measure thresholds."""
        cost, right = self.outcome(thresholds)
        named = dict(zip(self._judge.labels, map(float, thresholds), strict=True))
        return Point(named, share_of(float(right.sum()), len(right)), 1000 * float(cost.mean()))


def _moving_labels(judge: Judge) -> list[int]:
    policy = judge.router.policy
    leading = {need for r in policy.rules if r.route != policy.default for need in r.needs}
    return [number for number, label in enumerate(judge.labels) if label in leading]


def frontier(judge: Judge, paths: Iterable[Path | str], seed: int = 0) -> Frontier:
    """Draw the cost-accuracy frontier of labelled rows.

    Args:
        judge: the router, whose policy names models of the catalog.
        paths: labelled rows; they are kept in memory.
        seed: of the division into halves.

    Raises:
        DataError: a row cannot be read or has no labels.
        TargetError: a route has no model with a price, or there are too few rows.

    """
    halves: tuple[list[JudgedRow], list[JudgedRow]] = ([], [])
    for row in judge.judge(paths):
        halves[half_of(row.log, seed)].append(row)
    choosing, other = Rows(judge, halves[0]), Rows(judge, halves[1])
    now = judge.thresholds
    found = [thresholds for _, _, thresholds in envelope(_candidates(choosing, now))]
    return Frontier(
        [choosing.point(thresholds) for thresholds in found],
        [other.point(thresholds) for thresholds in found],
        choosing.point(now),
        other.point(now),
    )


def envelope(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the candidates by cost, each more accurate than all that cost less."""
    kept: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c[0], -c[1])):
        if not kept or candidate[1] > kept[-1][1]:
            kept.append(candidate)
    return kept


def _candidates(rows: Rows, now: tuple[float, ...]) -> list[Candidate]:
    cost, right = rows.outcome(now)
    found: list[Candidate] = [(float(cost.mean()), float(right.mean()), now)]
    scale = float(cost.mean()) or 1.0
    thresholds = now
    for worth in np.geomspace(scale / 100, 1000 * scale, _WORTHS):
        thresholds, seen = _descend(rows, thresholds, float(worth))
        found += seen
    return found


def _descend(
    rows: Rows, thresholds: tuple[float, ...], worth: float
) -> tuple[tuple[float, ...], list[Candidate]]:
    """Move one threshold after the other to where right routes, so valued, gain the most."""
    seen: list[Candidate] = []
    for _ in range(_PASSES):
        before = thresholds
        seen = []
        for label in rows.moving:
            steps = _steps(rows, thresholds, label)
            seen += steps
            thresholds = max(steps, key=lambda step: worth * step[1] - step[0])[2]
        if thresholds == before:
            break
    return thresholds, seen


def _steps(rows: Rows, thresholds: tuple[float, ...], label: int) -> list[Candidate]:
    """Return what each threshold of one label does, the others as they are."""
    p = rows.probabilities[:, label]
    place = np.searchsorted(_GRID, p, "right")  # how many thresholds of the grid it reaches
    ends = [(*thresholds[:label], float(end), *thresholds[label + 1 :]) for end in _GRID[[0, -1]]]
    low, high = (rows.outcome(end) for end in ends)
    size = len(_GRID) + 1
    held = np.stack([np.bincount(place, values, size) for values in low])
    missed = np.stack([np.bincount(place, values, size) for values in high])
    above = held[:, ::-1].cumsum(1)[:, ::-1][:, 1:]
    below = missed.cumsum(1)[:, :-1]
    costs, accuracies = (above + below) / len(p)
    return [
        (cost, accuracy, (*thresholds[:label], at, *thresholds[label + 1 :]))
        for cost, accuracy, at in zip(
            costs.tolist(), accuracies.tolist(), _GRID.tolist(), strict=True
        )
    ]


def choose(
    judge: Judge, paths: Sequence[Path | str], target: Target | None, seed: int = 0
) -> tuple[Chosen | None, Frontier | None]:
    """Choose thresholds for any target, and draw the frontier where one is needed or none given.

    Raises:
        DataError, TargetError: as `choose_threshold`, `frontier` and `choose_cheapest` say.

    """
    if isinstance(target, ShareTarget | LabelTarget):
        return choose_threshold(judge, paths, target, seed), None
    drawn = frontier(judge, paths, seed)
    return (None if target is None else choose_cheapest(drawn, target)), drawn


def choose_cheapest(found: Frontier, target: CheapestTarget) -> Chosen:
    """Choose the point of a frontier that costs least and reaches an accuracy.

    It is reached with one standard error to spare, as `choose_threshold` says.

    Raises:
        TargetError: none does.

    """
    reaching = (n for n, point in enumerate(found.chosen) if _reaches(point.accuracy, target))
    number = next(reaching, None)
    if number is None:
        best = found.chosen[-1].accuracy
        raise TargetError(
            f"No thresholds give an accuracy of at least {target.bound:g} with a standard "
            f"error to spare: the best on {counted(best.rows, 'row')} is {best.value:.4f}."
        )
    points = {
        "now": found.now_held_out,
        "chosen": found.chosen[number],
        "held_out": found.held_out[number],
    }
    moved = moved_thresholds(found.chosen[number], found.now)
    return Chosen(
        str(target),
        moved,
        {label: found.now.thresholds[label] for label in moved},
        [Effect("route accuracy", *(point.accuracy for point in points.values()))],
        usd_per_1000={name: point.usd_per_1000 for name, point in points.items()},
    )


def _reaches(accuracy: Share, target: CheapestTarget) -> bool:
    spare = spare_of(accuracy.value, accuracy.rows)
    return bool(accuracy.value - spare >= target.bound)


def moved_thresholds(point: Point, now: Point) -> dict[str, float]:
    """Return the thresholds of a point that are not those of now."""
    before = now.thresholds
    return {label: p for label, p in point.thresholds.items() if p != before[label]}
