"""What the command line shows a person: decisions, evaluations and timings as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from router_ml.catalog import Catalog
from router_ml.evaluation import Evaluation
from router_ml.evaluation.drift import Drift, LabelDrift
from router_ml.evaluation.frontier import Frontier, Point, moved_thresholds
from router_ml.evaluation.gap import Curve
from router_ml.evaluation.latency import Bench
from router_ml.evaluation.outcome_evaluation import OutcomeEvaluation, Performance
from router_ml.evaluation.report import Report
from router_ml.evaluation.sections import sections
from router_ml.evaluation.thresholds import Chosen, Figure
from router_ml.evaluation.two_samples import Shift
from router_ml.labelling.log import plain
from router_ml.labelling.merge import Merged
from router_ml.request import read_request
from router_ml.router import Router
from router_ml.types import Decision

# Paths, labels, routes and models are printed as they are: "[x]" in one is no markup of ours.
out = Console(markup=False, emoji=False)

_MOST_ROUTES = 12
"""A confusion matrix with more columns than this fits no terminal; `--json` has it."""
_MOST_POINTS = 16
"""Of a frontier, so many points are shown, evenly over its length; `--json` has all."""
_MOST_LABELS = 6
"""Of a frontier's labels, likewise: more of them fit no terminal."""
_MOST_DISPUTED = 20
"""Of the rows that people disagree on, so many are listed; `--disputed FILE` has all."""
_BEGINNING = 100
"""Characters of a row that are listed."""
_MOST_NEW = 5
"""Of the rows that are new, so many are quoted."""

_LEFT_OUT = {"calibration", "coverage", "mistakes", "suspects"}
"""Sections of a report that are shown in its files alone."""


def _table(title: str, *columns: str) -> Table:
    """Make a table whose first column is text and whose others are figures."""
    table = Table(title=title)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    return table


def show_decision(decision: Decision, router: Router) -> None:
    """Show one decision, with the price of its model and a bar for each probability."""
    known = router.catalog.models.get(decision.model or "")
    price = f"  (${known.output_price:.2f} per million output tokens)" if known else ""
    lines = {
        "route": decision.route,
        "model": f"{decision.model or '-'}{price}",
        "fallbacks": ", ".join(decision.fallbacks) or "-",
        "labels": ", ".join(decision.labels) or "(none)",
        "reason": f"{decision.reason}, confidence {decision.confidence:.2f}",
        "parameters": ", ".join(f"{k}={v}" for k, v in decision.parameters.items()) or "-",
    }
    table = Table(show_header=False, box=None)
    for name, value in lines.items():
        table.add_row(Text(name, "bold"), value)
    for label, p in decision.probabilities.items():
        table.add_row(f"  {label}", f"{p:.3f} {'█' * round(20 * p)}")
    out.print(table)


def show_catalog(catalog: Catalog) -> None:
    """Show the models, the cheapest first, and what is known of them."""
    names = catalog.rank("cheapest")
    models = [catalog.models[name] for name in names]
    columns = {
        "output": [_figure(model.output_price, ",.2f") for model in models],
        "input": [_figure(model.input_price, ",.2f") for model in models],
        "cached": [_figure(model.cached_input_price, ",.2f") for model in models],
        "context": [_figure(model.context, ",d") for model in models],
        "tokens/s": [_figure(model.speed, ",.0f") for model in models],
        "reads": [", ".join(model.modalities) for model in models],
    }
    known = {title: cells for title, cells in columns.items() if any(cells)}
    table = _table("prices in US dollars per million tokens", "model", *known)
    for row in zip(names, *known.values(), strict=True):
        table.add_row(*row)
    out.print(table)
    out.print(f"Savings are measured against {catalog.baseline}.")


def _figure(figure: float | None, form: str) -> str:
    return "" if figure is None else format(figure, form)


def show_evaluations(evaluations: list[Evaluation]) -> None:
    """Show evaluations in one table, the confusion of each, and the first one's labels."""
    figures = ("rows", "route accuracy", "mean over sources", "macro-F1", "calibration error")
    table = _table("", "", *figures)
    for e in evaluations:
        error = "-" if e.calibration_error is None else f"{e.calibration_error:.4f}"
        shares = (f"{e.accuracy:.4f}", f"{e.macro_source_accuracy:.4f}", f"{e.macro_f1:.4f}")
        table.add_row(e.name, str(e.rows), *shares, error)
    out.print(table)
    for e in evaluations:
        if len(e.routes) <= _MOST_ROUTES:
            _confusion(e)
    _labels(evaluations[0])


def show_report(report: Report) -> None:
    """Show what a report says; curves and the rows it quotes are left to its files."""
    for section in sections(report):
        if section.key in _LEFT_OUT:
            continue
        out.print(Text(f"\n{section.title}", "bold"))
        for sentence in section.text:
            out.print(sentence, soft_wrap=True)
        for grid in section.grids:
            if len(grid.columns) <= _MOST_ROUTES + 1:
                table = _table(grid.title, *grid.columns)
                for row in grid.rows:
                    table.add_row(*row)
                out.print(table)


def _confusion(evaluation: Evaluation) -> None:
    title = f"{evaluation.name}: true route (down), given route (across)"
    table = _table(title, "", *evaluation.routes)
    for name, row in zip(evaluation.routes, evaluation.confusion, strict=True):
        table.add_row(name, *map(str, row))
    out.print(table)


def _labels(evaluation: Evaluation) -> None:
    table = _table(f"{evaluation.name}: labels", "label", "precision", "recall", "F1", "rows")
    for label, s in evaluation.labels.items():
        figures = (f"{s.precision:.3f}", f"{s.recall:.3f}", f"{s.f1:.3f}")
        table.add_row(label, *figures, str(s.support))
    out.print(table)


def show_sources(evaluation: Evaluation) -> None:
    """Show how right it was on each source."""
    title = f"{evaluation.name}: sources, the hardest first"
    table = _table(title, "source", "route accuracy", "rows")
    for source, (accuracy, rows) in sorted(evaluation.by_source.items(), key=lambda s: s[1]):
        table.add_row(source, f"{accuracy:.4f}", str(rows))
    out.print(table)


def show_bench(found: Bench) -> None:
    """Show latencies, batches and the cold start."""
    title = "one Router.route call, in microseconds"
    table = _table(title, "language", "characters", "p50", "p99", "p99.9")
    for language, by_length in found.latency.items():
        for length, t in by_length.items():
            times = (f"{t.p50_us:.1f}", f"{t.p99_us:.1f}", f"{t.p999_us:.1f}")
            table.add_row(language, f"{length:,}", *times)
    out.print(table)
    memory = "" if found.start.resident_mb is None else f", {found.start.resident_mb:.0f} MiB"
    out.print(
        f"Batches: {found.one_core_per_s:,.0f} short prompts a second on one core, "
        f"{found.all_cores_per_s:,.0f} on {found.cores}."
    )
    out.print(f"Import, load and first decision: {found.start.load_ms:.0f} ms{memory}.")


def show_chosen(chosen: Chosen) -> None:
    """Show what thresholds were chosen, and what they do on both halves."""
    columns = ("now, held-out half", "new, choosing half", "new, held-out half")
    table = _table(chosen.target, "", *columns)
    for label, threshold in chosen.thresholds.items():
        table.add_row(f"threshold of {label}", f"{chosen.before[label]:g}", *[f"{threshold:g}"] * 2)
    for effect in chosen.effects:
        table.add_row(effect.figure, *map(_interval, (effect.now, effect.chosen, effect.held_out)))
    if chosen.usd_per_1000:
        costs = (f"${cost:.4f}" for cost in chosen.usd_per_1000.values())
        table.add_row("cost of 1,000 requests", *costs)
    out.print(table)


def _interval(figure: Figure) -> str:
    return f"{figure.value:.4f} ({figure.low:.4f}–{figure.high:.4f}) of {figure.rows:,}"


def show_frontier(frontier: Frontier) -> None:
    """Show what accuracy costs as thresholds move, and where the policy stands."""
    points = list(zip(frontier.chosen, frontier.held_out, strict=True))
    step = max(1, -(-len(points) // _MOST_POINTS))
    shown = [("", *pair) for pair in (*points[:-1:step], points[-1])]
    shown.append(("now", frontier.now, frontier.now_held_out))
    moving = _moving(frontier)
    title = "thresholds, and what they do: the cheapest first"
    columns = ("accuracy", "$ per 1,000", "held out", "$ per 1,000")
    table = _table(title, "", *columns, *moving)
    for name, chosen, held_out in sorted(shown, key=lambda row: row[1].usd_per_1000):
        thresholds = (f"{chosen.thresholds[label]:g}" for label in moving)
        table.add_row(name, *_figures(chosen), *_figures(held_out), *thresholds)
    out.print(table)


def _moving(frontier: Frontier) -> list[str]:
    """Return the labels whose thresholds move, if they fit a terminal."""
    moved = {label for point in frontier.chosen for label in moved_thresholds(point, frontier.now)}
    return sorted(moved) if len(moved) <= _MOST_LABELS else []


def _figures(point: Point) -> tuple[str, str]:
    return f"{point.accuracy.value:.4f}", f"{point.usd_per_1000:.4f}"


def show_outcomes(found: OutcomeEvaluation) -> None:
    """Show a policy beside each model, the oracle and chance, and a score's curve."""
    columns = ("quality", "± 95%", "$ per 1,000", "seconds", "share")
    table = _table(f"{found.rows:,} rows with a result of every model", "", *columns)
    for one in found.singles:
        table.add_row(*_performance(one), _figure(found.shares.get(one.name), ".1%"))
    table.add_row(*_performance(found.oracle), "")
    if found.policy is not None:
        table.add_row(*_performance(found.policy), "")
    out.print(table)
    if found.mixing_quality is not None:
        out.print(
            "Choosing between these models at random reaches a quality of "
            f"{found.mixing_quality:.4f} at the policy's cost."
        )
    if found.policy is None:
        out.print("The policy sends no row to a model that these data have a result of.")
    for rows, why in (
        (found.incomplete, "lack a model's result"),
        (found.uncovered, "were sent to a model without a result"),
    ):
        if rows:
            out.print(f"Left out: {rows:,} rows that {why}.")
    if found.curve is not None:
        _curve(found.curve)


def _performance(one: Performance) -> tuple[str, ...]:
    costs = (_figure(one.usd_per_1000, ".4f"), _figure(one.latency_s, ".2f"))
    return one.name, f"{one.quality:.4f}", f"{one.margin:.4f}", *costs


def _curve(curve: Curve) -> None:
    out.print(
        f"Sending what is most probably {curve.by} to {curve.strong} and the rest to {curve.weak}: "
        f"APGR {curve.apgr:.3f} (random: 0.5), area {curve.area:.4f}, "
        + ", ".join(f"CPT({gap}) {share:.1%}" for gap, share in curve.cpt.items())
        + "."
    )


def show_drift(drift: Drift) -> None:
    """Show how a log differs from an earlier one."""
    _shifts(drift)
    shifts = {"routes": drift.routes, "confidence": drift.confidence}
    table = _table("shift", "", "PSI", "by chance up to", "Jensen-Shannon", "")
    for name, shift in shifts.items():
        figures = (f"{shift.psi:.4f}", f"{shift.psi_by_chance:.4f}", f"{shift.js:.4f}")
        table.add_row(name, *figures, shift.verdict)
    out.print(table)
    if drift.embedding is not None:
        test = drift.embedding
        out.print(
            f"What rows say ({drift.tensor}, {test.rows_before:,} and {test.rows_now:,} of them): "
            f"MMD² {test.mmd2:.5f}, p = {test.p_value:.3f}."
        )
    out.print(
        f"New, that is farther from every earlier row than {drift.far:.3f}: "
        f"{drift.new_share:.1%} of the rows, where 1.0% would be no change."
    )
    for new in drift.new[:_MOST_NEW]:
        said = new.row.get("prompt", new.row.get("messages"))
        out.print(f"  {new.distance:.3f}  {' '.join(str(said).split())[:100]}")


def show_label_drift(drift: LabelDrift) -> None:
    """Show how often labels hold, beside the training data."""
    _shifts(drift)
    out.print(
        "Before: the artifact's training data, whose mix was chosen to learn from. "
        "For routes, confidence and new prompts compare with a log: --against FILE."
    )


def _shifts(drift: Drift | LabelDrift) -> None:
    table = _table(f"{drift.rows_before:,} rows before, {drift.rows:,} now", "", "before", "now")
    if isinstance(drift, Drift):
        for route in drift.routes.before:
            table.add_row(f"route {route}", *_shares(drift.routes, route))
    for label, shift in drift.labels.items():
        table.add_row(f"label {label}", *_shares(shift, "held"))
    out.print(table)


def _shares(shift: Shift, name: str) -> tuple[str, str]:
    return f"{shift.before[name]:.1%}", f"{shift.now[name]:.1%}"


def show_merged(merged: Merged) -> None:
    """Show how far people agree, and each row on which they do not."""
    table = _table("agreement", "", "rows both labelled", "alike", "Cohen's kappa")
    for a in merged.agreements:
        figure = "-" if math.isnan(a.kappa) else f"{a.kappa:.3f}"
        table.add_row(f"{a.first}, {a.second}", f"{a.rows:,}", f"{a.same:,}", figure)
    if merged.agreements:
        out.print(table)
    for disagreement in merged.disagreements[:_MOST_DISPUTED]:
        said = "; ".join(f"{who}: {_names(labels)}" for who, labels in disagreement.answers.items())
        settled = disagreement.settled
        taken = "left out" if settled is None else f"taken: {_names(settled)}"
        out.print(Text.assemble(_said(disagreement.row), "\n    ", (f"{said} ({taken})", "yellow")))
    out.print(
        f"{len(merged.rows):,} rows; {len(merged.disagreements):,} disagreements, of which "
        f"{sum(d.settled is None for d in merged.disagreements):,} are left out."
    )


def _names(labels: Sequence[str]) -> str:
    return ", ".join(labels) or "none of the labels"


def _said(row: Mapping[str, Any]) -> str:
    """Return the beginning of what a row says, in one line that a terminal may show."""
    turns = read_request(row).turns
    line = " ".join(turns[-1].text.split())[:_BEGINNING] if turns else ""
    return plain(line)
