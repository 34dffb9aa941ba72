"""What the command line shows a person: decisions, evaluations and timings as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from router_ml.catalog import Catalog
from router_ml.plurals import counted
from router_ml.request import read_request
from router_ml.types import Decision

if TYPE_CHECKING:  # help is shown without the router, a decision without what evaluates and labels
    from router_ml.batch import Progress
    from router_ml.evaluation import Evaluation
    from router_ml.evaluation.contest import Score
    from router_ml.evaluation.facts import Report
    from router_ml.evaluation.latency import Bench
    from router_ml.evaluation.sections import Section
    from router_ml.labelling.merge import Merged
    from router_ml.router import Router

# Paths, labels, routes and models are printed as they are: "[x]" in one is no markup of ours.
out = Console(markup=False, emoji=False)

_MOST_ROUTES = 12
"""A confusion matrix with more columns than this fits no terminal; `--json` has it."""
_MOST_DISPUTED = 20
"""Of the rows that people disagree on, so many are listed; `--disputed FILE` has all."""
_BEGINNING = 100
"""Characters of a row that are listed."""

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
    from router_ml.evaluation.sections import sections

    for section in sections(report):
        if section.key not in _LEFT_OUT:
            show_section(section)
    out.print("Curves, and the rows themselves, are in what --report and --markdown write.")


def show_section(section: Section) -> None:
    """Show one section: its title, what it says, its tables."""
    out.print(Text(f"\n{section.title}", "bold"))
    for sentence in section.text:
        out.print(sentence, soft_wrap=True)
    for grid in section.grids:
        if len(grid.columns) <= _MOST_ROUTES + 1:
            table = _table(grid.title, *grid.columns)
            for row in grid.rows:
                table.add_row(*row)
            out.print(table)


def show_contest(scores: dict[str, Score], title: str) -> None:
    """Show how right ways of labelling are on the same rows, and who is ahead of the first."""
    columns = ("rows", "accuracy", "95% interval", "ahead by", "macro-F1")
    table = _table(title, "", *columns)
    for number, (name, score) in enumerate(scores.items()):
        a, lead = score.accuracy, score.lead
        ahead = f"{lead.low:+.3f} to {lead.high:+.3f}" if number else ""
        figures = (f"{a.value:.3f}", f"{a.low:.3f} to {a.high:.3f}", ahead, f"{score.macro_f1:.3f}")
        table.add_row(name, f"{score.rows:,}", *figures)
    out.print(table)


def show_list(title: str, sentences: Sequence[str]) -> None:
    """Show sentences one below the other, none of them cut."""
    if sentences:
        out.print(title)
        for sentence in sentences:
            out.print(f"- {sentence}", soft_wrap=True, highlight=False)


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


def show_batch(run: Progress, baseline: str, output: str) -> None:
    """Show what a run over fragments decided, how fast, and what that is worth."""
    title = f"{counted(run.rows, 'row')} in {counted(run.fragments, 'fragment')}"
    table = _table(title, "route", "rows", "share")
    for route, rows in sorted(run.routes.items(), key=lambda pair: -pair[1]):
        table.add_row(route, f"{rows:,}", f"{rows / run.rows:.1%}")
    out.print(table)
    before = counted(run.kept, "fragment was", "fragments were")
    kept = f"; {before} finished before" if run.kept else ""
    rate = f"{run.seconds:,.1f} s, {run.rows_per_s:,.0f}/s"
    out.print(f"{counted(run.new_rows, 'row')} in {rate}{kept}.")
    if run.baseline_cost:
        out.print(
            f"The decided models cost ${run.cost:,.2f}, {baseline} alone "
            f"${run.baseline_cost:,.2f}: {1 - run.cost / run.baseline_cost:.1%} less, by tokens "
            "that the log counts or that are estimated.",
            soft_wrap=True,
        )
    if run.bad:
        side = f"{output.rstrip('/')}/_bad"
        out.print(
            f"{counted(run.bad, 'row')} ({run.bad_share:.2%}) could not be read; {side} says "
            "which and why.",
            soft_wrap=True,
        )


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
    left_out = sum(d.settled is None for d in merged.disagreements)
    out.print(
        f"{counted(len(merged.rows), 'row')}; "
        f"{counted(len(merged.disagreements), 'disagreement')}, of which "
        f"{counted(left_out, 'is', 'are')} left out."
    )


def _names(labels: Sequence[str]) -> str:
    return ", ".join(labels) or "none of the labels"


def _said(row: Mapping[str, Any]) -> str:
    """Return the beginning of what a row says, in one line that a terminal may show."""
    from router_ml.labelling.log import plain

    turns = read_request(row).turns
    line = " ".join(turns[-1].text.split())[:_BEGINNING] if turns else ""
    return plain(line)
