"""Evaluate a router on labelled files, and put everything that is to be said into one report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from router_ml.errors import EvaluationError
from router_ml.evaluation.comparison import compare_systems
from router_ml.evaluation.counting import count
from router_ml.evaluation.evidence import Panel
from router_ml.evaluation.facts import About, Report, SystemReport, Versus
from router_ml.evaluation.intervals import Figure, ratio
from router_ml.evaluation.money import reckon
from router_ml.evaluation.quotes import Doubter, Suspects
from router_ml.evaluation.rows import NONE, Row, RowReader, RowShape
from router_ml.evaluation.scores import (
    Coverage,
    NameScore,
    Reliability,
    accuracy,
    average_precision_figure,
    calibration,
    coverage_curve,
    mean_accuracy,
    name_scores,
)
from router_ml.evaluation.slices import SliceScore, score_slices
from router_ml.evaluation.summary import Summary
from router_ml.evaluation.systems import PredictionsFile, RoutedBy, System
from router_ml.evaluation.tally import MOST_VALUES, ROWS, Tally, merged
from router_ml.evaluation.traffic import plan_traffic, price_traffic
from router_ml.evaluation.verdict import notes, verdict
from router_ml.logs import Broken, refuse
from router_ml.logs import Mapping as Places
from router_ml.router import Router

VOLUME = 1_000_000
"""Requests a month, unless said otherwise."""


class Asked(NamedTuple):
    """What a report is to say besides how right the router is.

    Attributes:
        by: further fields of the rows to slice by.
        volume: requests a month.
        traffic: route -> share, a traffic to reckon with, if any.
        policy_name, catalog_name: what the report calls them.

    """

    by: Sequence[str] = ()
    volume: int = VOLUME
    traffic: Mapping[str, float] | None = None
    policy_name: str = "shipped"
    catalog_name: str = "shipped"


def make_report(
    files: Sequence[Path | str],
    router: Router,
    against: Sequence[System] = (),
    *,
    by: Sequence[str] = (),
    mapping: Places | None = None,
    broken: Broken = refuse,
    volume: int = VOLUME,
    traffic: Mapping[str, float] | None = None,
    policy_name: str = "shipped",
    catalog_name: str = "shipped",
    done: Callable[[int], object] = lambda rows: None,
) -> Report:
    """Evaluate a router on labelled files, in bounded memory: rows stream by.

    Args:
        files: logs of labelled requests.
        router: what is evaluated; its policy says which route true labels take.
        against: what it is compared with.
        by: further fields of the rows to slice by.
        mapping, broken: as of `router_ml.logs.read_log`.
        volume: requests a month.
        traffic: route -> share, a traffic to reckon with.
        policy_name, catalog_name: what the report calls them.
        done: told how many rows were answered, for a progress bar.

    Raises:
        DataError: the files cannot be read, or a field is in none of their rows.
        EvaluationError: a system or the traffic cannot be used.

    """
    asked = Asked(by, volume, traffic, policy_name, catalog_name)
    panel = make_panel(router, against, asked)
    reader = RowReader(files, panel.shape, mapping=mapping, broken=broken)
    doubter = Doubter(reader, panel)

    def count_chunk(rows: Sequence[Row]) -> Tally:
        evidence = panel.hear(rows)
        doubter.add(evidence)
        done(len(rows))
        return count(evidence, rows, reader.files, router.catalog)

    tally = merged(map(count_chunk, reader.chunks()))
    for system in against:
        if isinstance(system, PredictionsFile):
            system.check_used_up()
    return report_of(tally, panel, asked, doubter.suspects)


def make_panel(router: Router, against: Sequence[System], asked: Asked) -> Panel:
    """Seat a router and what it is compared with; see whether what is asked for can be said.

    Raises:
        EvaluationError: a system or the traffic cannot be used.

    """
    plan_traffic(asked.traffic or {}, router.policy, router.catalog)
    shape = RowShape(router.classifier.labels, asked.by)
    return Panel(router, [RoutedBy(router), *against], shape)


def report_of(
    tally: Tally | None,
    panel: Panel,
    asked: Asked,
    suspects: Callable[[], Suspects | None] | None = None,
) -> Report:
    """Make a report of what was counted.

    Args:
        tally: of all rows; None if there were none.
        panel: what was evaluated.
        asked: what else is to be said.
        suspects: finds labels that are probably wrong; None: they are not looked for.

    Raises:
        EvaluationError: there are no rows, or none has a field to slice by.

    """
    if tally is None:
        raise EvaluationError("There is no row to evaluate.")
    router = panel.router
    planned = plan_traffic(asked.traffic or {}, router.policy, router.catalog)
    summary = _summary(tally, panel)
    _check_fields(summary, asked.by)
    report = Report(
        verdict=[],
        about=_about(summary, router, asked),
        system=summary.name,
        systems={system: system_report(summary, system) for system in summary.systems},
        slices=slices_of(summary),
        mistakes=tally.best["mistakes",].rows,
        suspects=suspects() if suspects else None,
        money=reckon(summary, router.catalog, asked.volume),
        traffic=price_traffic(planned, router.catalog, summary) if planned else None,
        versus=[
            Versus(
                compare_systems(summary, other, router.catalog), tally.best["changes", other].rows
            )
            for other in summary.systems[1:]
        ],
        notes=[],
    )
    said = list(notes(report, router, summary.models))
    said += _notes_on_counting(summary, looked_for_suspects=suspects is not None)
    return msgspec.structs.replace(report, verdict=list(verdict(report)), notes=said)


def _summary(tally: Tally, panel: Panel) -> Summary:
    shape, routes = panel.shape, [rule.route for rule in panel.router.policy.rules]
    names = [system.name for system in panel.systems]
    return Summary(tally, names, shape.labels, routes, shape.fields)


def _notes_on_counting(summary: Summary, *, looked_for_suspects: bool) -> list[str]:
    found = [
        f"The field {field} has more than {MOST_VALUES:,} values: nothing is sliced by it."
        for field in sorted(summary.tally.crowded)
    ]
    if not looked_for_suspects:
        found.append(
            "Labels that may be wrong were not looked for, which takes all rows at once: "
            "evaluate a sample without --engine, or `router-ml check` it."
        )
    return found


def _check_fields(summary: Summary, by: Sequence[str]) -> None:
    for field in by:
        if set(summary.tally.named(ROWS, field)) == {(NONE,)}:
            raise EvaluationError(
                f"No row has the field {field!r}, so nothing can be sliced by it."
            )


def _about(summary: Summary, router: Router, asked: Asked) -> About:
    from router_ml import __version__

    return About(
        version=__version__,
        artifact=_artifacts(router),
        policy=asked.policy_name,
        catalog=asked.catalog_name,
        files={name: int(rows[0]) for (name,), rows in sorted(summary.tally.named("file").items())},
        rows=summary.rows,
        replicates=summary.replicates,
    )


def _artifacts(router: Router) -> str:
    """Name the artifact, and the one that is asked where it is in doubt."""
    name, doubt = router.artifact.config.name, router.policy.second
    if doubt is None or router.second is None:
        return name
    return f"{name}, with {router.second.config.name} where it is less sure than {doubt.below:g}"


def system_report(summary: Summary, name: str) -> SystemReport:
    """Say how right a system is."""
    held, given, both = np.moveaxis(summary.by_route(name), 2, 0)
    by_route, route_f1 = name_scores(held, given, both)
    _, of_source, right_of_source = summary.slices(name, "source")
    labels, macro_f1 = _label_figures(summary, name)
    error, reliability = _calibration(summary, name)
    _, unsure, _ = summary.tally.total("lacks", name)[:3]
    return SystemReport(
        accuracy(summary.right(name), summary.every),
        mean_accuracy(right_of_source, of_source),
        route_f1,
        macro_f1,
        error,
        summary.confusion(name),
        dict(zip(summary.routes, by_route, strict=True)),
        labels,
        reliability,
        [] if unsure else _coverage(summary, name),
    )


def _label_figures(summary: Summary, name: str) -> tuple[dict[str, NameScore], Figure | None]:
    unknown = summary.tally.total("lacks", name)[0]
    if unknown:
        return {}, None
    counted = summary.tally.named("label", name)
    sums = summary.totals([counted[label,] for label in summary.labels])
    precisions = [_average_precision(summary, name, label) for label in summary.labels]
    held, said, both = np.moveaxis(sums, 2, 0)
    scores, macro = name_scores(held, said, both, precisions)
    return dict(zip(summary.labels, scores, strict=True)), macro


def _average_precision(summary: Summary, name: str, label: str) -> Figure | None:
    """Return average precision over the rows that words decide; None if one has no probability."""
    tally, by_words = summary.tally, summary.tally.total("log")[5]
    steps = tally.steps.get((name, label))
    if steps is None or steps.rows[:, 0].sum() < by_words:
        return None
    rows, held = np.moveaxis(summary.totals([tally.blocks["scores", name, label]])[:, 0], 2, 0)
    return average_precision_figure(steps, rows, held)


def _calibration(summary: Summary, name: str) -> tuple[Figure | None, list[Reliability]]:
    counted, lacking = summary.tally.named("bins", name), summary.tally.total("lacks", name)[2]
    if lacking or not counted:
        return None, []
    sums = summary.totals([counted[label,] for label in summary.labels])
    return calibration(*np.moveaxis(sums, 3, 0))


def _coverage(summary: Summary, name: str) -> list[Coverage]:
    rows, right = np.moveaxis(summary.totals([summary.tally.blocks["sure", name]])[:, 0], 2, 0)
    return coverage_curve(summary.tally.least["sure", name], rows, right)


def slices_of(summary: Summary) -> list[SliceScore]:
    """Score every slice of the evaluated system, those with the most excess mistakes first."""
    right = float(ratio(summary.right(summary.name), summary.every)[0, 0])
    found = [
        score
        for field in ("label", "length", "turns", *summary.fields)
        for score in _slices_by(summary, field, right)
    ]
    return sorted(found, key=lambda score: (-score.excess, score.field, score.value))


def _slices_by(summary: Summary, field: str, right: float) -> list[SliceScore]:
    values, rows, held = summary.slices(summary.name, field)
    if not values or values == [NONE]:
        return []
    return score_slices(field, values, rows, held, right)
