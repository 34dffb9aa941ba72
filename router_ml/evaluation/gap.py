"""A strong and a weak model: how much of the gap between them a score recovers, for how many calls.

The measures are those of RouteLLM (Ong et al. 2024, arXiv:2406.18665, section 2.2). Requests go
to the strong model in the order of their score. At a share c of calls to it,

    PGR(c)  = (quality(c) - quality(weak)) / (quality(strong) - quality(weak))
    APGR    = the integral of PGR over c from 0 to 1; random routing has 0.5
    CPT(x)  = the least c with PGR(c) >= x

Requests of equal score are taken in no order: between two scores the curve is a straight line,
which is what sending a random part of them would give. The integral is taken over every point
of the curve, where RouteLLM's own script takes ten.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

_POINTS = 101
"""How many points of a curve are kept to be drawn."""


class Curve(msgspec.Struct, frozen=True):
    """Quality as the share of calls to the strong model grows.

    Attributes:
        weak, strong: the models.
        by: the score that orders the requests.
        shares: of calls to the strong model, from 0 to 1; at most 101 of them.
        qualities: mean quality at each.
        usd_per_1000: cost at each in US dollars per 1,000 requests; None if unknown.
        area: under quality over shares.
        aiq: under the non-decreasing convex hull of quality over cost, by the range of costs:
            RouterBench's average improvement in quality; None where costs are unknown.
        apgr: average performance gap recovered.
        cpt: share of the gap recovered -> the least share of calls that does: 50% and 80%.

    """

    weak: str
    strong: str
    by: str
    shares: list[float]
    qualities: list[float]
    usd_per_1000: list[float] | None
    area: float
    aiq: float | None
    apgr: float
    cpt: dict[str, float]


def gap_curve(
    score: ArrayLike,
    weak: ArrayLike,
    strong: ArrayLike,
    costs: tuple[ArrayLike, ArrayLike] | None = None,
    names: tuple[str, str] = ("weak", "strong"),
    by: str = "score",
) -> Curve:
    """Draw the curve of a score, and measure it.

    Args:
        score: float [n]; the higher, the rather a request goes to the strong model.
        weak, strong: float [n], the quality of each model's answer, in [0, 1].
        costs: float [n] each, what weak and strong cost, in US dollars.
        names: of the weak and the strong model.
        by: what the score is.

    Raises:
        ValueError: the strong model is not better than the weak one.

    """
    shares, qualities = _walk(score, weak, strong)
    gap = float(qualities[-1] - qualities[0])
    if not gap > 0:
        raise ValueError(f"{names[1]} is not better than {names[0]}: there is no gap to recover.")
    recovered = (qualities - qualities[0]) / gap
    dollars = None if costs is None else 1000 * _walk(score, *costs)[1]
    kept = np.unique(np.linspace(0, len(shares) - 1, _POINTS).round().astype(int))
    return Curve(
        *names,
        by,
        shares[kept].tolist(),
        qualities[kept].tolist(),
        None if dollars is None else dollars[kept].tolist(),
        area=_area(shares, qualities),
        aiq=None if dollars is None else hull_area(np.stack([dollars, qualities], axis=1)),
        apgr=_area(shares, recovered),
        cpt={f"{x:.0%}": calls_for(x, shares, recovered) for x in (0.5, 0.8)},
    )


def _walk(
    score: ArrayLike, weak: ArrayLike, strong: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return shares and means where all above a score have `strong` and the rest `weak`."""
    score, weak = np.asarray(score, np.float64), np.asarray(weak, np.float64)
    order = np.argsort(-score, kind="stable")
    gain = (np.asarray(strong, np.float64) - weak)[order]
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1) + 1
    means = weak.mean() + np.cumsum(gain)[ends - 1] / len(order)
    return np.append(0.0, ends / len(order)), np.append(weak.mean(), means)


def _area(x: NDArray[Any], y: NDArray[Any]) -> float:
    """Return the area under straight lines between points (numpy < 2 has no `trapezoid`)."""
    return float((np.diff(x) * (y[1:] + y[:-1])).sum() / 2)


def calls_for(x: float, shares: NDArray[Any], recovered: NDArray[Any]) -> float:
    """Return the least share of calls at which so much of the gap is recovered, CPT(x)."""
    after = int(np.argmax(recovered >= x))
    rise = recovered[after] - recovered[after - 1]
    part = (x - recovered[after - 1]) / rise
    return float(shares[after - 1] + part * (shares[after] - shares[after - 1]))


def mixing_hull(points: ArrayLike) -> NDArray[np.float64]:
    """Return the non-decreasing convex hull of (cost, quality) points, float64 [m, 2].

    It is what choosing between them at random can reach, the Zero router of RouterBench (Hu
    et al. 2024, arXiv:2403.12031, section 3.2).

    Args:
        points: float [n, 2], n at least 1.

    """
    hull: list[tuple[float, float]] = []
    for cost, quality in sorted(map(tuple, np.asarray(points, np.float64).tolist())):
        if hull and quality <= hull[-1][1]:
            continue
        if hull and cost == hull[-1][0]:
            hull.pop()
        while len(hull) > 1 and _is_under(hull[-1], hull[-2], (cost, quality)):
            hull.pop()
        hull.append((cost, quality))
    return np.array(hull)


def _is_under(
    point: tuple[float, float], left: tuple[float, float], right: tuple[float, float]
) -> bool:
    slope = (right[1] - left[1]) * (point[0] - left[0])
    return (point[1] - left[1]) * (right[0] - left[0]) <= slope


def mixing_quality(points: ArrayLike, cost: float) -> float:
    """Return the quality that choosing at random between points reaches at a cost.

    Args:
        points: (cost, quality), float [n, 2].
        cost: below the cheapest point's there is nothing to buy: the cheapest counts.

    """
    hull = mixing_hull(points)
    return float(np.interp(cost, hull[:, 0], hull[:, 1]))


def hull_area(points: ArrayLike) -> float | None:
    """Return the mean height of points' hull over their costs; None where all cost the same.

    Args:
        points: (cost, quality), float [n, 2].

    """
    hull = mixing_hull(points)
    low, high = hull[0, 0], np.asarray(points)[:, 0].max()
    costs, qualities = np.append(hull[:, 0], high), np.append(hull[:, 1], hull[-1, 1])
    return _area(costs, qualities) / float(high - low) if high > low else None
