"""Thresholds for a target: chosen on one half of a log, measured on the other.

A row's decision changes only where a threshold passes its probability. So two decisions a
row, with the label and without, say what any threshold does, and counts by probability keep
them for a log of any length.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from router_ml.errors import TargetError
from router_ml.evaluation.intervals import Figure
from router_ml.evaluation.judging import Judge, LogRow
from router_ml.evaluation.targets import LabelTarget, ShareTarget
from router_ml.examples import labels_of
from router_ml.plurals import counted

STEPS = 100_000
"""Thresholds are multiples of 1 / STEPS."""

_SURE = 1.959964
"""Standard errors of a 95% interval."""

_MOST_SPARED = 0.05
"""How much of a share that traffic may have is left unused at most."""

_GRID = np.arange(STEPS + 1) / STEPS
_NEVER = 2.0
"""A threshold that no probability reaches."""


class Share(Figure, frozen=True):
    """A share of rows with its 95% interval, by Wilson (1927).

    Attributes:
        rows: of how many.

    """

    rows: int


def share_of(hits: float, rows: int) -> Share:
    """Return a share with its Wilson interval; of no rows it may be anything."""
    if not rows:
        return Share(math.nan, 0.0, 1.0, 0)
    share, weight = hits / rows, _SURE**2 / rows
    centre = (share + weight / 2) / (1 + weight)
    half = _SURE / (1 + weight) * math.sqrt(share * (1 - share) / rows + weight / rows / 4)
    return Share(share, max(0.0, centre - half), min(1.0, centre + half), rows)


class Effect(msgspec.Struct, frozen=True):
    """What thresholds do to one figure.

    Attributes:
        figure: what is measured.
        now: on the half that was not chosen on, at the thresholds as they are.
        chosen: on the half that was chosen on, at the new ones.
        held_out: on the half that was not, at the new ones: the one to believe.

    """

    figure: str
    now: Share
    chosen: Share
    held_out: Share


class Chosen(msgspec.Struct, frozen=True):
    """Thresholds that were chosen, and what they do.

    Attributes:
        target: what was asked for.
        thresholds: label -> its new threshold, for those that change.
        before: label -> what it was, for the same labels.
        effects: on what the target is about, and on what pays for it.
        usd_per_1000: now, chosen, held_out -> US dollars per 1,000 requests, where the target
            is one of cost.

    """

    target: str
    thresholds: dict[str, float]
    before: dict[str, float]
    effects: list[Effect]
    usd_per_1000: dict[str, float] = {}


class Sweep:
    """What each threshold of one label makes of rows: hits, and the rows they are a share of."""

    def __init__(self) -> None:
        # counts[with the label or without][hit or of][probability's place in the grid]
        self._counts = np.zeros((2, 2, STEPS + 1), np.int64)

    def add(self, p: float, held: tuple[bool, bool], missed: tuple[bool, bool]) -> None:
        """Count a row: its probability, and (hit, of) where the label holds and where not."""
        place = int(np.searchsorted(_GRID, p, "right")) - 1
        self._counts[0, :, place] += held
        self._counts[1, :, place] += missed

    def totals(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return hits and rows at every threshold, int [STEPS + 1] each."""
        held, missed = self._counts
        above = held[:, ::-1].cumsum(1)[:, ::-1]
        below = missed.cumsum(1) - missed
        hits, rows = above + below
        return hits, rows

    def figure(self, threshold: float) -> Share:
        """Return the share at one threshold; one off the grid counts as the next above it."""
        hits, rows = self.totals()
        place = min(STEPS, int(np.searchsorted(_GRID, threshold)))
        return share_of(int(hits[place]), int(rows[place]))


def choose_threshold(
    judge: Judge,
    paths: Iterable[Path | str],
    target: ShareTarget | LabelTarget,
    seed: int = 0,
) -> Chosen:
    """Choose the threshold of a target's label on one half of a log; measure on the other.

    What was chosen on one half is met by the other only up to chance, so a target is aimed at
    with one standard error of their difference to spare. A share is a budget to be used: the
    threshold with the largest share within it is chosen, and no more than a twentieth of it is
    spared (5% is aimed at with 4.75% or more). A recall takes the highest threshold that
    reaches it, a precision the lowest.

    Args:
        judge: the router.
        paths: of the log; it is streamed, and needs labels only for recall and precision.
        target: what to reach.
        seed: of the division into halves.

    Raises:
        DataError: a row cannot be read, or lacks the labels that the target asks for.
        TargetError: no threshold meets the target.

    """
    measured: list[ShareTarget | LabelTarget] = [target]
    if isinstance(target, LabelTarget):
        measured.append(target.other)
    choosing, other = _sweep(judge, paths, measured, seed)
    current = judge.thresholds[judge.labels.index(target.label)]
    threshold = float(_GRID[_choose(choosing[0], target, current)])
    effects = [
        Effect(one.figure, b.figure(current), a.figure(threshold), b.figure(threshold))
        for one, a, b in zip(measured, choosing, other, strict=True)
    ]
    return Chosen(str(target), {target.label: threshold}, {target.label: current}, effects)


def _sweep(
    judge: Judge,
    paths: Iterable[Path | str],
    measured: Sequence[ShareTarget | LabelTarget],
    seed: int,
) -> list[list[Sweep]]:
    """Return what each threshold does to each figure, by half."""
    at = judge.labels.index(measured[0].label)
    halves = [[Sweep() for _ in measured] for _ in range(2)]
    ends = [_with(judge.thresholds, at, value) for value in (0.0, _NEVER)]
    for row in judge.judge(paths):
        truth = true_labels(row.log) if isinstance(measured[0], LabelTarget) else None
        p = row.probabilities[at] if row.probabilities else 0.0
        held, missed = (judge.decide(row, thresholds) for thresholds in ends)
        for target, sweep in zip(measured, halves[half_of(row.log, seed)], strict=True):
            sweep.add(p, target.count(held, truth), target.count(missed, truth))
    return halves


def spare_of(share: ArrayLike, rows: ArrayLike) -> NDArray[np.float64]:
    """Return the standard error of the difference between two halves, as one of them shows it."""
    share = np.asarray(share, np.float64)
    error: NDArray[np.float64] = np.sqrt(2 * share * (1 - share) / np.maximum(rows, 1))
    return error


def _with(thresholds: Sequence[float], at: int, value: float) -> tuple[float, ...]:
    return (*thresholds[:at], value, *thresholds[at + 1 :])


def true_labels(row: LogRow) -> tuple[str, ...]:
    """Return a row's labels, or raise DataError naming its line."""
    return labels_of(row.path, row.number, row.data)[0]


def half_of(row: LogRow, seed: int = 0) -> int:
    """Return 0 for the half that is chosen on, 1 for the other; the same text, the same half."""
    key = seed.to_bytes(8, "big")
    return blake2b(row.text.turn + row.text.context, digest_size=1, key=key).digest()[0] & 1


def _choose(sweep: Sweep, target: ShareTarget | LabelTarget, current: float) -> int:
    """Return the place in the grid of the threshold that meets a target best."""
    hits, rows = sweep.totals()
    share = hits / np.maximum(rows, 1)
    spare = spare_of(share, rows)
    if isinstance(target, ShareTarget):
        most = (1 - _MOST_SPARED) * target.bound
        met = ((share + spare <= target.bound) | (share <= most)) & (rows > 0)
        worth = share
    else:
        met = (share - spare >= target.bound) & (rows > 0)
        worth = _GRID if target.measure == "recall" else -_GRID
    if not met.any():
        raise TargetError(_unmet(target, share, rows))
    best = np.flatnonzero(met & (worth == worth[met].max()))
    return int(best[np.abs(_GRID[best] - current).argmin()])


def _unmet(
    target: ShareTarget | LabelTarget, share: NDArray[np.float64], rows: NDArray[np.int64]
) -> str:
    is_share = isinstance(target, ShareTarget)
    if not rows.any():
        return f"The choosing half has no row to measure the {target.figure} on."
    reached = share[rows > 0].min() if is_share else share[rows > 0].max()
    measured, best = counted(int(rows.max()), "row"), "least" if is_share else "best"
    return (
        f"No threshold of {target.label!r} gives {'at most' if is_share else 'at least'} "
        f"{target.bound:g} with a standard error to spare: on {measured} the "
        f"{best} {target.figure} is {reached:.4f}."
    )
