"""Charts of a report as HTML and SVG without a library; every figure is there in words too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from typing import NamedTuple

from router_ml.evaluation.intervals import Figure

_WIDTH, _HEIGHT = 400, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 20, 12, 44


class Track(NamedTuple):
    """One line of a chart of bars or intervals: its name, its figure and that in words."""

    name: str
    figure: Figure
    words: str
    strong: bool = False


def bars(tracks: Sequence[Track]) -> str:
    """Draw amounts as bars from zero, on one scale."""
    top = max((track.figure.high for track in tracks), default=0) or 1
    return _tracks(tracks, (_bar(track.figure.value / top) for track in tracks))


def intervals(tracks: Sequence[Track]) -> str:
    """Draw shares as dots with their intervals, on a scale that ends at 1."""
    bottom = min((track.figure.low for track in tracks), default=0)
    bottom = max(0.0, int(10 * bottom) / 10)
    scale = 1 - bottom or 1
    marks = (
        _dot(*((value - bottom) / scale for value in (one.low, one.value, one.high)))
        for one in (track.figure for track in tracks)
    )
    ends = f'<p class="ends" aria-hidden="true"><span>{bottom:.0%}</span><span>100%</span></p>'
    return _tracks(tracks, marks) + ends


def _tracks(tracks: Sequence[Track], marks: Iterable[str]) -> str:
    rows = (
        f"<li{' class=strong' if track.strong else ''}><span>{escape(track.name)}</span>"
        f'<span class="words">{escape(track.words)}</span>'
        f'<span class="track" aria-hidden="true">{mark}</span></li>'
        for track, mark in zip(tracks, marks, strict=True)
    )
    return f'<ul class="tracks">{"".join(rows)}</ul>'


def _bar(share: float) -> str:
    return f'<i class="bar" style="width:{100 * share:.2f}%"></i>'


def _dot(low: float, value: float, high: float) -> str:
    spread = f'<i class="spread" style="left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%"></i>'
    return f'{spread}<i class="dot" style="left:{100 * value:.2f}%"></i>'


class Point(NamedTuple):
    """A point of a curve: where it is, its figure, and both in words."""

    x: float
    figure: Figure
    words: str


class Axes(NamedTuple):
    """What a curve's axes say, and where they run: the vertical one to 1.

    Attributes:
        title, x, y: what they say.
        bottom: where the vertical one begins.
        left, right: where the horizontal one begins and ends.
        tick: how a number on the horizontal one is written.

    """

    title: str
    x: str
    y: str
    bottom: float = 0.0
    left: float = 0.0
    right: float = 1.0
    tick: Callable[[float], str] = "{:.0%}".format


def curve(
    points: Sequence[Point], axes: Axes, *, diagonal: bool = False, mark: Point | None = None
) -> str:
    """Draw shares against shares or amounts, each point with its interval.

    Args:
        points: from left to right.
        axes: their words.
        diagonal: whether to draw where both are equal.
        mark: a point that stands out.

    """
    parts = [*_grid(axes)]
    if diagonal:
        ends = (*_place(0, 0, axes), *_place(1, 1, axes))
        parts.append(
            '<line class="ideal" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'.format(*ends)
        )
    path = " ".join("{:.1f},{:.1f}".format(*_place(p.x, p.figure.value, axes)) for p in points)
    parts.append(f'<polyline class="line" points="{path}"/>')
    parts += (_point(point, axes) for point in points)
    if mark is not None:
        parts.append(f'<g class="mark">{_point(mark, axes)}</g>')
    return (
        f'<svg class="curve" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="group" '
        f'aria-label="{escape(axes.title)}">{"".join(parts)}</svg>'
    )


def _place(x: float, y: float, axes: Axes) -> tuple[float, float]:
    up = (y - axes.bottom) / (1 - axes.bottom)
    along = (x - axes.left) / (axes.right - axes.left)
    across = _LEFT + along * (_WIDTH - _LEFT - _RIGHT)
    return across, _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)


def _grid(axes: Axes) -> Iterator[str]:
    left, floor = _place(axes.left, axes.bottom, axes)
    right, ceiling = _place(axes.right, 1, axes)
    for step in range(5):
        share = step / 4
        value = axes.bottom + share * (1 - axes.bottom)
        amount = axes.left + share * (axes.right - axes.left)
        x, y = _place(amount, value, axes)
        yield f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{100 * value:.4g}%</text>'
        told = axes.tick(amount)
        yield f'<text x="{x:.1f}" y="{floor + 16:.1f}" text-anchor="middle">{told}</text>'
    middle = (left + right) / 2
    yield f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(axes.x)}</text>'
    centre = (floor + ceiling) / 2
    yield (
        f'<text transform="rotate(-90 10 {centre})" x="10" y="{centre}" '
        f'text-anchor="middle">{escape(axes.y)}</text>'
    )


def _point(point: Point, axes: Axes) -> str:
    x, y = _place(point.x, point.figure.value, axes)
    low, high = (_place(point.x, end, axes)[1] for end in (point.figure.low, point.figure.high))
    words = escape(point.words)
    return (
        f'<g class="point" tabindex="0" role="img" aria-label="{words}" data-tip="{words}">'
        f'<circle class="reach" cx="{x:.1f}" cy="{y:.1f}" r="10"/>'
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"/></g>'
    )
