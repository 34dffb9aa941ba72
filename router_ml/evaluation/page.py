"""A report as one HTML file that asks nothing of any network: to read, to print, to send on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path

from router_ml.evaluation.charts import Axes, Point, Track, bars, curve, intervals
from router_ml.evaluation.facts import Report
from router_ml.evaluation.quotes import Quote
from router_ml.evaluation.sections import Grid, Section, sections
from router_ml.evaluation.words import dollars, percent
from router_ml.plurals import counted

_HERE = Path(__file__).parent
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""What the browser may load: nothing that is not in the file."""
_WORST = 12
"""So many slices are drawn."""
_UNDER_CHART = {"calibration", "coverage"}
"""Sections whose tables say what their charts do, and are folded away under them."""


def page(report: Report) -> str:
    """Return a report as an HTML document; what rows say is escaped."""
    about = report.about
    requests = counted(about.rows, "request")
    title = escape(f"Routing with the artifact “{about.artifact}”, on {requests}")
    parts = list(sections(report))
    links = "".join(
        f'<a href="#part{at}">{escape(part.title)}</a>' for at, part in enumerate(parts) if at
    )
    first, *rest = (_section(at, part, report) for at, part in enumerate(parts))
    nav = f'<nav aria-label="Contents">{links}</nav>'
    return _document(title, "".join((_tally(report), first, nav, *rest)))


def section_page(title: str, parts: Sequence[tuple[Section, str]]) -> str:
    """Return sections, each with its chart or "", as an HTML document of the same make."""
    body = (_part(at, section, chart) for at, (section, chart) in enumerate(parts))
    return _document(escape(title, quote=False), "".join(body))


def _document(title: str, body: str) -> str:
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{_text("report.css")}</style>
</head>
<body>
<h1>{title}</h1>
<p class="soft">Figures in brackets are 95% intervals.</p>
<main>
{body}
</main>
<div id="tip" role="status" hidden></div>
<script>
{_text("report.js")}</script>
</body>
</html>
"""


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _tally(report: Report) -> str:
    accuracy, _, interval = percent(report.main.accuracy).partition(" ")
    cards = [(accuracy, f"right way, {interval}")]
    spend = next((one for one in report.money.spends if one.name == report.system), None)
    if spend is not None:
        saving = percent(spend.saving).partition(" ")[0]
        cards += [
            (saving, f"saved against {report.money.baseline} for everything"),
            (dollars(spend.per_1000.value), "per 1,000 requests"),
            (dollars(spend.per_month), f"a month at {counted(report.money.volume, 'request')}"),
        ]
    items = (f"<li><b>{escape(big)}</b><span>{escape(small)}</span></li>" for big, small in cards)
    return f'<ul class="tally">{"".join(items)}</ul>'


def _section(at: int, section: Section, report: Report) -> str:
    draw = _CHARTS.get(section.key)
    return _part(at, section, draw(report) if draw else "", report)


def _part(at: int, section: Section, chart: str, report: Report | None = None) -> str:
    tables = "".join(_table(grid, report) for grid in section.grids)
    if section.key in _UNDER_CHART:
        tables = f"<details><summary>The same as a table</summary>{tables}</details>"
    return (
        f'<section id="part{at}" class="{section.key}"><h2>{escape(section.title)}</h2>'
        f"{_sentences(section.text)}{chart}{tables}{_quotes(section)}</section>"
    )


def _sentences(text: Sequence[str]) -> str:
    return "".join(f"<p>{escape(sentence)}</p>" for sentence in text)


def _table(grid: Grid, report: Report | None) -> str:
    heading = f"<h3>{escape(grid.title)}</h3>" if grid.title else ""
    columns = "".join(f'<th scope="col">{escape(column)}</th>' for column in grid.columns)
    if grid.is_confusion and report is not None:
        rows = "".join(map(_confusion_row, grid.rows, _shades(report)))
    else:
        rows = "".join(map(_row, grid.rows))
    return (
        f'{heading}<div class="scroll"><table><thead><tr>{columns}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _row(cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in cells)}</tr>"


def _cell(text: str) -> str:
    """Escape a cell, and keep an interval on one line."""
    return escape(text).replace("–", "\u2060–\u2060")


def _confusion_row(cells: Sequence[str], shades: Sequence[str]) -> str:
    name, *counts = map(escape, cells)
    shaded = (
        f'<td style="background:{shade}">{count}</td>'
        for count, shade in zip(counts, shades, strict=True)
    )
    return f'<tr><th scope="row">{name}</th>{"".join(shaded)}</tr>'


def _shades(report: Report) -> Iterator[list[str]]:
    """Colour a confusion matrix by each count's share of its row: right ones and wrong ones."""
    for true, row in enumerate(report.main.confusion):
        strengths = [0.45 * count / (sum(row) or 1) for count in row]
        yield [
            f"rgba(var(--{'right' if true == given else 'wrong'}),{strength:.3f})"
            for given, strength in enumerate(strengths)
        ]


def _quotes(section: Section) -> str:
    quotes = section.quotes
    if not quotes:
        return ""
    items = "".join(
        f'<li><span class="soft">{escape(_caption(quote))}</span>'
        f'<blockquote dir="auto">{escape(quote.text)}</blockquote></li>'
        for quote in quotes
    )
    is_open = " open" if section.key == "mistakes" else ""
    summary = f"{counted(len(quotes), 'row')}, verbatim"
    return (
        f'<details{is_open}><summary>{summary}</summary><ul class="quotes">{items}</ul></details>'
    )


def _caption(quote: Quote) -> str:
    parts = [f"{quote.true_route} → {quote.given_route}"]
    if quote.confidence is not None:
        parts.append(f"confidence {quote.confidence:.2f}")
    parts += [part for part in (quote.about, quote.where) if part]
    return " · ".join(parts)


def _draw_accuracy(report: Report) -> str:
    return intervals(
        [
            Track(name, one.accuracy, percent(one.accuracy), name == report.system)
            for name, one in report.systems.items()
        ]
    )


def _draw_money(report: Report) -> str:
    return bars(
        [
            Track(
                one.name,
                one.per_1000,
                f"{dollars(one.per_1000.value)} per 1,000",
                one.name == report.system,
            )
            for one in report.money.spends
        ]
    )


def _draw_slices(report: Report) -> str:
    worst = [one for one in report.slices if one.excess > 0][:_WORST]
    tracks = [
        Track(f"{one.field} {one.value}", one.accuracy, f"{percent(one.accuracy)} of {one.rows:,}")
        for one in worst
    ]
    return intervals(tracks) if tracks else ""


def _draw_calibration(report: Report) -> str:
    points = [
        Point(
            one.said,
            one.held,
            f"said {one.said:.1%}, held {percent(one.held)}, {one.count:,} judgements",
        )
        for one in report.main.reliability
    ]
    axes = Axes("Reliability of the probabilities", "probability said", "share that held")
    return curve(points, axes, diagonal=True)


def _draw_coverage(report: Report) -> str:
    points = [
        Point(
            one.coverage,
            one.accuracy,
            f"confidence from {one.confidence:.3f}: {one.coverage:.0%} of the rows, "
            f"{percent(one.accuracy)} right",
        )
        for one in reversed(report.main.coverage)
    ]
    bottom = min(point.figure.low for point in points)
    axes = Axes(
        "Accuracy against coverage",
        "share of rows decided",
        "route accuracy",
        min(0.9, int(10 * bottom) / 10),
    )
    return curve(points, axes)


_CHARTS: dict[str, Callable[[Report], str]] = {
    "accuracy": _draw_accuracy,
    "money": _draw_money,
    "slices": _draw_slices,
    "calibration": _draw_calibration,
    "coverage": _draw_coverage,
}
"""Section -> what draws its chart."""
