"""Thresholds for a target: chosen on one half of a log, measured on the other.

A row's decision changes only where a threshold passes its probability. So two decisions a
row, with the label and without, say what any threshold does, and counts by probability keep
them for a log of any length.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from router_ml.errors import PolicyError, TargetError
from router_ml.evaluation.judging import Judge, LogRow
from router_ml.evaluation.targets import LabelTarget, ShareTarget
from router_ml.examples import labels_of
from router_ml.policy import Policy

STEPS = 100_000
"""Thresholds are multiples of 1 / STEPS."""

_SURE = 1.959964
"""Standard errors of a 95% interval."""

_GRID = np.arange(STEPS + 1) / STEPS
_NEVER = 2.0
"""A threshold that no probability reaches."""
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Figure(msgspec.Struct, frozen=True):
    """A share of rows with its 95% interval (Wilson 1927).

    Attributes:
        value: the share, in [0, 1].
        low, high: the interval.
        rows: of how many.

    """

    value: float
    low: float
    high: float
    rows: int


def figure_of(hits: float, rows: int) -> Figure:
    """Return a share with its Wilson interval; of no rows it may be anything."""
    if not rows:
        return Figure(math.nan, 0.0, 1.0, 0)
    share, weight = hits / rows, _SURE**2 / rows
    centre = (share + weight / 2) / (1 + weight)
    half = _SURE / (1 + weight) * math.sqrt(share * (1 - share) / rows + weight / rows / 4)
    return Figure(share, max(0.0, centre - half), min(1.0, centre + half), rows)


class Chosen(msgspec.Struct, frozen=True):
    """Thresholds that were chosen, and what they do.

    Attributes:
        target: what was asked for.
        thresholds: label -> its new threshold, for those that change.
        before: label -> what it was, for the same labels.
        figure: what is measured.
        now: on the half that was not chosen on, at the thresholds as they are.
        chosen: on the half that was chosen on, at the new ones.
        held_out: on the half that was not, at the new ones: the one to believe.
        usd_per_1000: the cost of each of these three, in US dollars per 1,000 requests, where
            the target is one of cost.

    """

    target: str
    thresholds: dict[str, float]
    before: dict[str, float]
    figure: str
    now: Figure
    chosen: Figure
    held_out: Figure
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

    def figure(self, threshold: float) -> Figure:
        """Return the share at one threshold; one off the grid counts as the next above it."""
        hits, rows = self.totals()
        place = min(STEPS, int(np.searchsorted(_GRID, threshold)))
        return figure_of(int(hits[place]), int(rows[place]))


def choose_threshold(
    judge: Judge,
    paths: Iterable[Path | str],
    target: ShareTarget | LabelTarget,
    seed: int = 0,
) -> Chosen:
    """Choose the threshold of a target's label on one half of a log; measure on the other.

    A share is a budget to be used: the threshold with the largest share within it is chosen.
    For a recall it is the highest threshold that reaches it, for a precision the lowest. The
    target is met with one standard error of the difference between two halves to spare, so
    that five of six logs of that size meet it again.

    Args:
        judge: the router.
        paths: of the log; it is streamed, and needs labels only for recall and precision.
        target: what to reach.
        seed: of the division into halves.

    Raises:
        DataError: a row cannot be read, or lacks the labels that the target asks for.
        TargetError: no threshold meets the target.

    """
    choosing, other = _sweep(judge, paths, target, seed)
    current = judge.thresholds[judge.labels.index(target.label)]
    place = _choose(choosing, target, current)
    threshold = float(_GRID[place])
    return Chosen(
        str(target),
        {target.label: threshold},
        {target.label: current},
        target.figure,
        now=other.figure(current),
        chosen=choosing.figure(threshold),
        held_out=other.figure(threshold),
    )


def _sweep(
    judge: Judge, paths: Iterable[Path | str], target: ShareTarget | LabelTarget, seed: int
) -> tuple[Sweep, Sweep]:
    at = judge.labels.index(target.label)
    halves = (Sweep(), Sweep())
    held, missed = (_with(judge.thresholds, at, value) for value in (0.0, _NEVER))
    for row in judge.judge(paths):
        truth = true_labels(row.log) if isinstance(target, LabelTarget) else None
        p = row.probabilities[at] if row.probabilities else 0.0
        counts = (target.count(judge.decide(row, where), truth) for where in (held, missed))
        halves[half_of(row.log, seed)].add(p, *counts)
    return halves


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
    spare = np.sqrt(2 * share * (1 - share) / np.maximum(rows, 1))
    if isinstance(target, ShareTarget):
        met = share + spare <= target.bound
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
    if not rows.any():
        return f"No row on the choosing half has the label {target.label!r}."
    is_share = isinstance(target, ShareTarget)
    reached = share[rows > 0].min() if is_share else share[rows > 0].max()
    return (
        f"No threshold of {target.label!r} gives {'at most' if is_share else 'at least'} "
        f"{target.bound:g} with a standard error to spare: on {int(rows.max())} rows the "
        f"{'least' if is_share else 'best'} {target.figure} is {reached:.4f}."
    )


def policy_with(text: str, thresholds: Mapping[str, float]) -> str:
    """Return a policy's TOML with these thresholds and all else, comments too, as it was.

    Args:
        text: a policy that loads; its thresholds, if any, in a [thresholds] table.
        thresholds: label -> threshold.

    Raises:
        PolicyError: its thresholds are written another way than as a table.

    """
    old = msgspec.convert(tomllib.loads(text), Policy)
    new = _edit(text, thresholds)
    wanted = msgspec.structs.replace(old, thresholds={**old.thresholds, **thresholds})
    try:
        if msgspec.convert(tomllib.loads(new), Policy) == wanted:
            return new
    except (tomllib.TOMLDecodeError, msgspec.ValidationError):
        pass
    raise PolicyError(
        "The policy's thresholds cannot be edited where they stand: "
        "write them as a [thresholds] table, one line for each label."
    )


def _edit(text: str, thresholds: Mapping[str, float]) -> str:
    """Replace the lines of the [thresholds] table, or add what it lacks."""
    lines = text.splitlines()
    header = next((at for at, line in enumerate(lines) if _is_header(line)), None)
    if header is None:
        header = len(lines) + 1
        lines += ["", "[thresholds]"]
    end = next((at for at in range(header + 1, len(lines)) if _opens_table(lines[at])), len(lines))
    missing = dict(thresholds)
    for at in range(header + 1, end):
        label = lines[at].partition("=")[0].strip().strip("\"'")
        if label in missing:
            _, mark, comment = lines[at].partition("#")
            lines[at] = _line(label, missing.pop(label)) + (f"  {mark}{comment}" if mark else "")
    lines[header + 1 : header + 1] = [_line(*item) for item in missing.items()]
    return "\n".join(lines) + "\n"


def _is_header(line: str) -> bool:
    return "".join(line.partition("#")[0].split()) == "[thresholds]"


def _opens_table(line: str) -> bool:
    return line.lstrip().startswith("[")


def _line(label: str, threshold: float) -> str:
    key = label if _BARE_KEY.fullmatch(label) else msgspec.json.encode(label).decode()
    return f"{key} = {threshold:g}"
