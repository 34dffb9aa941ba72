"""A report in sections of text and tables: what the terminal, Markdown and HTML all show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from router_ml.evaluation.facts import About, Report
from router_ml.evaluation.intervals import Figure
from router_ml.evaluation.quotes import Quote
from router_ml.evaluation.scores import NameScore
from router_ml.evaluation.words import amount, dollars, number, percent
from router_ml.plurals import counted

MOST_SLICES = 25
"""So many slices are listed, the worst first; the JSON has all."""
_MOST_FILES = 50
"""So many files are named; of more, the JSON names all."""


class Grid(NamedTuple):
    """A table: its title, its columns, rows of as many cells, and whether it is a confusion."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_confusion: bool = False


class Section(NamedTuple):
    """A part of a report: its key for charts, a title, sentences, tables and quoted rows."""

    key: str
    title: str
    text: Sequence[str]
    grids: Sequence[Grid]
    quotes: Sequence[Quote] = ()


def sections(report: Report) -> Iterator[Section]:
    """Yield a report's sections in reading order; those with nothing to say are left out."""
    yield Section("verdict", "Verdict", report.verdict, [])
    yield Section("accuracy", "How often it is right", [], [_systems(report), _confusion(report)])
    yield _names(report)
    if report.main.reliability:
        yield _calibration(report)
    if report.main.coverage:
        yield _coverage(report)
    yield _money(report)
    if report.traffic is not None:
        yield _traffic(report)
    yield from _versus(report)
    yield _slices(report)
    if report.mistakes:
        text = ["The surest ones: what a threshold would not catch."]
        yield Section("mistakes", "Most confident mistakes", text, [], report.mistakes)
    if report.suspects is not None and report.suspects.rows:
        yield _suspects(report)
    yield Section("notes", "What to know of these figures", report.notes, [_about(report)])


def _systems(report: Report) -> Grid:
    systems = report.systems.values()
    rows = [
        ("route accuracy", *(percent(one.accuracy) for one in systems)),
        ("mean over sources", *(percent(one.macro_source_accuracy) for one in systems)),
        ("macro-F1 of routes", *(number(one.route_macro_f1) for one in systems)),
        ("macro-F1 of labels", *(number(one.macro_f1) for one in systems)),
        ("calibration error", *(number(one.calibration_error, 4) for one in systems)),
    ]
    return Grid(f"On {counted(report.about.rows, 'row')}", ("", *report.systems), rows)


def _confusion(report: Report) -> Grid:
    routes = tuple(report.main.routes)
    rows = [
        (route, *(f"{count:,}" for count in counts))
        for route, counts in zip(routes, report.main.confusion, strict=True)
    ]
    return Grid("True route (down), given route (across)", ("", *routes), rows, True)


def _names(report: Report) -> Section:
    grids = [_name_grid("Routes", report.main.routes)]
    if report.main.labels:
        grids.append(_name_grid("Labels", report.main.labels))
    return Section("names", "By route and label", [], grids)


def _name_grid(title: str, scores: dict[str, NameScore]) -> Grid:
    there = {name: one for name, one in scores.items() if one.rows or one.precision.value}
    columns = ["name", "rows", "precision", "recall", "F1"]
    rows = [
        [name, f"{one.rows:,}", number(one.precision), number(one.recall), number(one.f1)]
        for name, one in there.items()
    ]
    if any(one.average_precision is not None for one in there.values()):
        columns.append("average precision")
        for row, one in zip(rows, there.values(), strict=True):
            row.append(number(one.average_precision))
    return Grid(title, columns, rows)


def _calibration(report: Report) -> Section:
    text = [
        f"Expected calibration error {number(report.main.calibration_error, 4)}: how far the "
        "probabilities are from the shares that hold, on average. On the diagonal they agree."
    ]
    rows = [
        (f"{one.said:.3f}", percent(one.held), f"{one.count:,}") for one in report.main.reliability
    ]
    grid = Grid("Probabilities of all labels", ("said", "held", "judgements"), rows)
    return Section("calibration", "Whether probabilities mean what they say", text, [grid])


def _coverage(report: Report) -> Section:
    text = ["If only decisions of some confidence were taken: how many, and how right they are."]
    rows = [
        (f"{one.confidence:.3f}", f"{one.coverage:.1%}", percent(one.accuracy))
        for one in report.main.coverage
    ]
    grid = Grid("", ("confidence at least", "of the rows", "route accuracy"), rows)
    return Section("coverage", "Accuracy where it is sure", text, [grid])


def _money(report: Report) -> Section:
    money = report.money
    spends = [
        (
            one.name,
            amount(one.per_1000),
            dollars(one.per_month),
            percent(one.saving),
        )
        for one in money.spends
    ]
    columns = (
        "",
        "per 1,000 requests",
        f"{money.volume:,} a month",
        f"saved against {money.baseline}",
    )
    grids = [Grid("Spend", columns, spends), *_spend_parts(report), *_mistake_prices(report)]
    tokens = money.tokens
    text = [
        f"A request has {tokens.mean_input:,.0f} tokens of input ({tokens.input_counted:.0%} of "
        f"the rows counted, the rest estimated) and {tokens.mean_output:,.0f} of output "
        f"({tokens.output_counted:.0%} counted) on average."
    ]
    if money.repeated_per_1000 is not None:
        text.append(
            "If whatever a model could not do is asked again of the right one, 1,000 requests "
            f"cost {dollars(money.repeated_per_1000)}."
        )
    return Section("money", "What it costs and saves", text, grids)


def _spend_parts(report: Report) -> Iterator[Grid]:
    for spend in report.money.spends:
        if spend.parts:
            rows = [
                (
                    part.route,
                    part.model,
                    f"{part.rows:,}",
                    f"{part.share:.1%}",
                    dollars(part.per_1000),
                    dollars(part.per_month),
                )
                for part in spend.parts
            ]
            columns = ("route", "model", "rows", "share", "per 1,000 requests", "a month")
            yield Grid(f"{spend.name}, by route and model", columns, rows)


def _mistake_prices(report: Report) -> Iterator[Grid]:
    if report.money.mistakes:
        rows = [
            (
                one.true_route,
                one.given_route,
                one.kind,
                f"{one.rows:,}",
                dollars(1000 * one.each),
                dollars(one.per_1000),
            )
            for one in report.money.mistakes
        ]
        columns = (
            "true route",
            "given route",
            "what is wrong",
            "rows",
            "1,000 of them",
            "per 1,000 requests",
        )
        yield Grid("What mistakes cost", columns, rows)


def _traffic(report: Report) -> Section:
    traffic = report.traffic
    assert traffic is not None
    routed = {part.route: part.routed_price for part in traffic.parts}
    rows = [
        (
            part.route,
            f"{part.share:.1%}",
            part.model,
            f"{part.price:.2f}",
            f"{part.share * part.price:.4f}",
            "–" if (price := routed[part.route]) is None else f"{price:.4f}",
        )
        for part in traffic.parts
    ]
    columns = ("route", "share", "model", "price", "share × price", "price as routed")
    grid = Grid("US dollars per million output tokens", columns, rows)
    saving = _share(traffic.saving(traffic.perfect))
    text = [
        f"Each request on its route: {traffic.arithmetic()} US dollars per million output tokens, "
        f"against {traffic.baseline_price:.2f} if {traffic.baseline} gets everything: 1 − "
        f"{traffic.perfect:.4f} / {traffic.baseline_price:.2f} = {saving} saved."
    ]
    if traffic.routed is not None:
        share = _share(traffic.saving(traffic.routed))
        why = " It is less because some requests go to cheaper models that cannot do them."
        text.append(
            f"With the mistakes that {report.system} makes on each route: {traffic.routed:.4f}, "
            f"{share} saved.{why * (traffic.routed < traffic.perfect)}"
        )
    return Section("traffic", "A traffic of given shares", text, [grid])


def _share(saving: float) -> str:
    return f"{saving:.2%}" if math.isfinite(saving) else "nothing"


def _versus(report: Report) -> Iterator[Section]:
    for versus in report.versus:
        result = versus.result
        rows = [
            ("route accuracy, points", number(_times(result.accuracy_difference, 100), 2)),
            ("right where the other is wrong", f"{result.only_first:,}"),
            ("wrong where the other is right", f"{result.only_second:,}"),
            ("McNemar, mid-p", f"{result.test.p_mid:.3g}"),
            ("McNemar, exact", f"{result.test.p_exact:.3g}"),
            ("cost of 1,000 requests", amount(result.cost_difference)),
            ("rows that go different ways", f"{result.changed:,}"),
        ]
        difference = Grid(f"{report.system} minus {result.name}", ("", "difference"), rows)
        changes = [
            (one.true_route, one.first, one.second, f"{one.rows:,}") for one in result.changes
        ]
        columns = ("true route", report.system, result.name, "rows")
        grids = [
            difference,
            *([Grid("Rows that go different ways", columns, changes)] * bool(changes)),
        ]
        yield Section("versus", f"Against {result.name}", [], grids, versus.quotes)


def _times(figure: Figure, factor: float) -> Figure:
    return Figure(figure.value * factor, figure.low * factor, figure.high * factor)


def _slices(report: Report) -> Section:
    text = [
        "Sorted by excess: mistakes more than the slice would have if it were as easy as the "
        "rest, so that bad and big slices come first."
    ]
    rows = [
        (one.field, one.value, f"{one.rows:,}", percent(one.accuracy), f"{one.excess:+.1f}")
        for one in report.slices[:MOST_SLICES]
    ]
    grid = Grid("Slices", ("field", "value", "rows", "route accuracy", "excess"), rows)
    return Section("slices", "Where it is wrong", text, [grid])


def _suspects(report: Report) -> Section:
    found = report.suspects
    assert found is not None
    doubted = counted(found.rows, "row has", "rows have")
    text = [
        f"{doubted} a label that confident learning doubts. Read them before "
        "believing either side; the doubt is worth something only if the artifact did not "
        "learn from these rows."
    ]
    rows = [(label, f"{count:,}") for label, count in found.by_label.items()]
    grid = Grid("Doubted labels", ("label", "rows"), rows)
    return Section("suspects", "Labels that may be wrong", text, [grid], found.quotes)


def _files(about: About) -> list[tuple[str, str]]:
    if len(about.files) > _MOST_FILES:
        return [("files", f"{len(about.files):,}"), ("rows", f"{about.rows:,}")]
    return [(name, counted(count, "row")) for name, count in about.files.items()]


def _about(report: Report) -> Grid:
    about = report.about
    rows = [
        ("router-ml", about.version),
        ("artifact", about.artifact),
        ("policy", about.policy),
        ("catalog", about.catalog),
        *_files(about),
        ("intervals", f"95%, percentile bootstrap, {about.replicates:,} resamples"),
    ]
    return Grid("What was evaluated", ("", ""), rows)
