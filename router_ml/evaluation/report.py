"""Evaluate a router on labelled files, and put everything that is to be said into one report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from router_ml.errors import EvaluationError
from router_ml.evaluation.answers import Labelled
from router_ml.evaluation.comparison import compare_systems
from router_ml.evaluation.evidence import Evidence, Said, gather
from router_ml.evaluation.facts import About, Report, SystemReport, Versus
from router_ml.evaluation.intervals import Figure
from router_ml.evaluation.money import reckon
from router_ml.evaluation.quotes import Quoter
from router_ml.evaluation.rows import NONE, RowReader
from router_ml.evaluation.scores import (
    NameScore,
    Reliability,
    accuracy,
    average_precision_figure,
    calibration,
    confusion,
    coverage_curve,
    label_scores,
    mean_accuracy,
    name_scores,
)
from router_ml.evaluation.slices import LENGTHS, SliceScore, score_slices
from router_ml.evaluation.systems import PredictionsFile, RoutedBy, System
from router_ml.evaluation.traffic import plan_traffic, price_traffic
from router_ml.evaluation.verdict import notes, verdict
from router_ml.logs import Broken, refuse
from router_ml.logs import Mapping as Places
from router_ml.router import Router

VOLUME = 1_000_000
"""Requests a month, unless said otherwise."""


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
    reader = RowReader(files, router.classifier.labels, by, mapping=mapping, broken=broken)
    planned = plan_traffic(traffic or {}, router.policy, router.catalog)
    truth = Labelled(router.policy, router.catalog)
    evidence = gather(reader, [RoutedBy(router), *against], truth, router.policy, done)
    _check_fields(evidence, by)
    for system in against:
        if isinstance(system, PredictionsFile):
            system.check_used_up()
    quoter, name = Quoter(reader, evidence), evidence.name
    report = Report(
        verdict=[],
        about=_about(reader, evidence, router, policy_name, catalog_name),
        system=name,
        systems={system: system_report(evidence, system) for system in evidence.said},
        slices=slices_of(evidence, name),
        mistakes=quoter.mistakes(),
        suspects=quoter.suspects(single_label=router.classifier.single_label),
        money=reckon(evidence, router.catalog, volume),
        traffic=price_traffic(planned, router.catalog, evidence) if planned else None,
        versus=[
            Versus(compare_systems(evidence, name, other, router.catalog), quoter.changes(other))
            for other in list(evidence.said)[1:]
        ],
        notes=[],
    )
    return msgspec.structs.replace(
        report, verdict=list(verdict(report)), notes=list(notes(report, router, evidence.models))
    )


def _check_fields(evidence: Evidence, by: Sequence[str]) -> None:
    for field in by:
        if evidence.values[field] == (NONE,):
            raise EvaluationError(
                f"No row has the field {field!r}, so nothing can be sliced by it."
            )


def _about(
    reader: RowReader, evidence: Evidence, router: Router, policy: str, catalog: str
) -> About:
    from router_ml import __version__

    counts = np.bincount(evidence.columns.file, minlength=len(reader.files)).tolist()
    rows: dict[str, int] = {}
    for path, count in zip(reader.files, counts, strict=True):
        name = Path(path).name
        rows[name] = rows.get(name, 0) + count
    return About(
        version=__version__,
        artifact=router.artifact.config.name,
        policy=policy,
        catalog=catalog,
        files=rows,
        rows=evidence.rows,
        replicates=len(evidence.boot.weights) - 1,
    )


def system_report(evidence: Evidence, name: str) -> SystemReport:
    """Say how right a system is on n rows."""
    said, boot, routes = evidence.said[name], evidence.boot, evidence.routes
    right, true = evidence.right(name), evidence.truth.route
    by_route, route_f1 = name_scores(true, said.route, len(routes), boot)
    source = list(evidence.values).index("source")
    labels, macro_f1 = _label_figures(evidence, said)
    error, reliability = _calibration(evidence, said)
    confident = np.isfinite(said.confidence).all()
    return SystemReport(
        accuracy(right, boot),
        mean_accuracy(right, evidence.columns.fields[:, source], boot),
        route_f1,
        macro_f1,
        error,
        confusion(true, said.route, len(routes)).tolist(),
        dict(zip(routes, by_route, strict=True)),
        labels,
        reliability,
        coverage_curve(said.confidence, right, boot) if confident else [],
    )


def _label_figures(evidence: Evidence, said: Said) -> tuple[dict[str, NameScore], Figure | None]:
    if not said.known.all():
        return {}, None
    rows = evidence.columns.by_words
    part = evidence.boot.among(rows)
    columns = zip(said.probabilities[rows].T, evidence.columns.labels[rows].T, strict=True)
    precisions = [average_precision_figure(p, y, part) for p, y in columns]
    scores, macro = label_scores(evidence.columns.labels, said.labels, evidence.boot, precisions)
    return dict(zip(evidence.labels, scores, strict=True)), macro


def _calibration(evidence: Evidence, said: Said) -> tuple[Figure | None, list[Reliability]]:
    rows = evidence.columns.by_words
    probabilities = said.probabilities[rows]
    if not len(probabilities) or not np.isfinite(probabilities).all():
        return None, []
    return calibration(probabilities, evidence.columns.labels[rows], evidence.boot.among(rows))


def slices_of(evidence: Evidence, name: str) -> list[SliceScore]:
    """Score every slice, those with the most excess mistakes first."""
    right, boot, columns = evidence.right(name), evidence.boot, evidence.columns
    found = [
        score
        for label, holds in _label_slices(evidence)
        for score in score_slices("label", np.where(holds, 0, -1), (label,), right, boot)
    ]
    length = np.searchsorted([most for most, _ in LENGTHS], columns.size).astype(np.int32)
    lengths = (*(words for _, words in LENGTHS), "over 1,000 bytes")
    found += score_slices("length", length, lengths, right, boot)
    turns = columns.several.astype(np.int32)
    found += score_slices("turns", turns, ("one", "several"), right, boot)
    for at, (field, values) in enumerate(evidence.values.items()):
        if values != (NONE,) and field != "group":
            found += score_slices(field, columns.fields[:, at], values, right, boot)
    return sorted(found, key=lambda score: -score.excess)


def _label_slices(evidence: Evidence) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    yield from zip(evidence.labels, evidence.columns.labels.T, strict=True)
    yield "(none)", evidence.columns.labels.sum(axis=1) == 0
