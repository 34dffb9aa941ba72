"""Everything an evaluation has to say, as plain facts: tables, pages and JSON are made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from router_ml.errors import EvaluationError
from router_ml.evaluation.comparison import (
    Comparison,
    count_changes,
    mcnemar,
    mean_difference,
)
from router_ml.evaluation.costs import OUTPUT_TOKENS, Bill
from router_ml.evaluation.evidence import Evidence, Said, gather
from router_ml.evaluation.intervals import Figure
from router_ml.evaluation.label_errors import Doubt, doubts
from router_ml.evaluation.money import Money, Traffic, price_traffic, reckon
from router_ml.evaluation.rows import NONE, Row, RowReader
from router_ml.evaluation.scores import (
    Coverage,
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
from router_ml.evaluation.systems import Labelled, RoutedBy, System
from router_ml.router import Router

VOLUME = 1_000_000
"""Requests a month, unless said otherwise."""
QUOTED = 20
"""So many rows are quoted of mistakes, of changes and of suspected labels."""
_FEW = 200


class SystemReport(msgspec.Struct, frozen=True):
    """How right one system is.

    Attributes:
        accuracy: share of rows that took the right route.
        macro_source_accuracy: the mean over the rows' sources, each counting the same.
        route_macro_f1: the mean F1 over routes that rows take.
        macro_f1: the mean F1 over labels that rows carry; None if it names no labels.
        calibration_error: see `scores.calibration`; None without probabilities.
        confusion: rows by true route (down) and given route (across), in `routes`' order.
        routes, labels: name -> its scores.
        reliability: bins of its probabilities.
        coverage: accuracy as the asked-for confidence rises.

    """

    accuracy: Figure
    macro_source_accuracy: Figure
    route_macro_f1: Figure
    macro_f1: Figure | None
    calibration_error: Figure | None
    confusion: list[list[int]]
    routes: dict[str, NameScore]
    labels: dict[str, NameScore] = {}
    reliability: list[Reliability] = []
    coverage: list[Coverage] = []


class Quote(msgspec.Struct, frozen=True):
    """A row, verbatim as the classifier read it.

    Attributes:
        where: file and line.
        text: the turn that decides.
        labels: those the row has.
        true_route, given_route: where its labels send it, and where it went.
        confidence: of that decision; None where the system says nothing of it.
        about: what else is to be said of it.

    """

    where: str
    text: str
    labels: tuple[str, ...]
    true_route: str
    given_route: str
    confidence: float | None
    about: str = ""


class Versus(msgspec.Struct, frozen=True):
    """A comparison, and rows on which the two go different ways."""

    result: Comparison
    quotes: list[Quote]


class Suspects(msgspec.Struct, frozen=True):
    """Labels that are probably wrong: how many by label, and the least probable ones."""

    rows: int
    by_label: dict[str, int]
    quotes: list[Quote]


class About(msgspec.Struct, frozen=True):
    """What was evaluated, and on what."""

    version: str
    artifact: str
    policy: str
    catalog: str
    files: dict[str, int]
    rows: int
    replicates: int


class Report(msgspec.Struct, frozen=True):
    """Everything an evaluation has to say.

    Attributes:
        verdict: the answer, in sentences.
        about: what was evaluated.
        system: which of `systems` that is.
        systems: how right each is.
        slices: of the evaluated one, those with the most excess mistakes first.
        mistakes: its surest ones.
        suspects: labels that are probably wrong; None without probabilities.
        money: what each costs.
        traffic: what a traffic of given shares costs; None if none was asked for.
        versus: the evaluated one against each of the others.
        notes: what a reader must know to trust the figures no more than they deserve.

    """

    verdict: list[str]
    about: About
    system: str
    systems: dict[str, SystemReport]
    slices: list[SliceScore]
    mistakes: list[Quote]
    suspects: Suspects | None
    money: Money
    traffic: Traffic | None
    versus: list[Versus]
    notes: list[str]

    @property
    def main(self) -> SystemReport:
        """The evaluated system's figures."""
        return self.systems[self.system]


def make_report(
    files: Sequence[Path | str],
    router: Router,
    against: Sequence[System] = (),
    *,
    by: Sequence[str] = (),
    volume: int = VOLUME,
    traffic: Mapping[str, float] | None = None,
    policy_name: str = "shipped",
    catalog_name: str = "shipped",
    done: Callable[[int], object] = lambda rows: None,
) -> Report:
    """Evaluate a router on labelled files, in bounded memory: rows stream by.

    Args:
        files: JSON Lines of labelled requests.
        router: what is evaluated; its policy says which route true labels take.
        against: what it is compared with.
        by: further fields of the rows to slice by.
        volume: requests a month.
        traffic: route -> share, a traffic to reckon with.
        policy_name, catalog_name: what the report calls them.
        done: told how many rows were answered, for a progress bar.

    Raises:
        DataError: the files cannot be read, or a field is in none of their rows.
        EvaluationError: a system or the traffic cannot be used.

    """
    reader = RowReader(files, router.classifier.labels, by)
    truth = Labelled(router.policy, router.catalog)
    evidence = gather(reader, [RoutedBy(router), *against], truth, router.policy, done)
    _check_fields(evidence, by)
    return _Maker(reader, evidence, router).make(volume, traffic, policy_name, catalog_name)


def encode_report(report: Report) -> str:
    """Return a report as JSON; a figure that has no value is null."""
    return msgspec.json.encode(report).decode()


def _check_fields(evidence: Evidence, by: Sequence[str]) -> None:
    for field in by:
        if evidence.values[field] == (NONE,):
            raise EvaluationError(
                f"No row has the field {field!r}, so nothing can be sliced by it."
            )


class _Maker:
    """Draws a report from evidence."""

    def __init__(self, reader: RowReader, evidence: Evidence, router: Router) -> None:
        self._reader, self._evidence, self._router = reader, evidence, router
        self._name = next(iter(evidence.said))

    def make(
        self, volume: int, shares: Mapping[str, float] | None, policy: str, catalog: str
    ) -> Report:
        evidence, router = self._evidence, self._router
        systems = {name: system_report(evidence, name) for name in evidence.said}
        money = reckon(evidence, router.catalog, volume)
        traffic = shares and price_traffic(shares, router.policy, router.catalog, evidence)
        report = Report(
            [],
            self._about(policy, catalog),
            self._name,
            systems,
            slices_of(evidence, self._name),
            self._quotes(self._surest_mistakes()),
            self._suspects(),
            money,
            traffic or None,
            [self._versus(name) for name in list(evidence.said)[1:]],
            [],
        )
        return msgspec.structs.replace(
            report, verdict=list(verdict(report)), notes=list(notes(report, router, evidence))
        )

    def _about(self, policy: str, catalog: str) -> About:
        from router_ml import __version__

        evidence, artifact = self._evidence, self._router.artifact
        rows = np.bincount(evidence.columns.file, minlength=len(self._reader.files)).tolist()
        files = [Path(path).name for path in self._reader.files]
        return About(
            __version__,
            artifact.config.name,
            policy,
            catalog,
            {name: sum(n for f, n in zip(files, rows, strict=True) if f == name) for name in files},
            evidence.rows,
            len(evidence.boot.weights) - 1,
        )

    def _surest_mistakes(self) -> NDArray[np.int64]:
        wrong = np.flatnonzero(~self._evidence.right(self._name))
        confidence = self._evidence.said[self._name].confidence[wrong]
        return wrong[np.argsort(-confidence, kind="stable")][:QUOTED]

    def _versus(self, name: str) -> Versus:
        evidence = self._evidence
        said, other = evidence.said[self._name], evidence.said[name]
        right, others = evidence.right(self._name), evidence.right(name)
        only_first, only_second = int((right & ~others).sum()), int((others & ~right).sum())
        changes = count_changes(evidence.truth.route, said.route, other.route, evidence.routes)
        result = Comparison(
            name,
            mean_difference(right.astype(np.float64), others.astype(np.float64), evidence.boot),
            self._cost_difference(said, other),
            only_first,
            only_second,
            mcnemar(only_first, only_second),
            sum(change.rows for change in changes),
            changes,
        )
        return Versus(result, self._quotes(self._changed(right, others, other), other, name))

    def _cost_difference(self, first: Said, second: Said) -> Figure | None:
        bill, models = Bill(self._evidence.columns.tokens), self._evidence.models
        one, other = (bill.on(models, said.model, self._router.catalog) for said in (first, second))
        if not np.isfinite(one + other).all():
            return None
        return mean_difference(1000 * one, 1000 * other, self._evidence.boot)

    def _changed(
        self, right: NDArray[np.bool_], others: NDArray[np.bool_], other: Said
    ) -> NDArray[np.int64]:
        """Choose rows that changed: first those that only the other has right, then the rest."""
        said = self._evidence.said[self._name]
        changed = np.flatnonzero(said.route != other.route)
        rank = np.where(others, 0, np.where(right, 2, 1))[changed]
        return changed[np.lexsort((-said.confidence[changed], rank))][:QUOTED]

    def _suspects(self) -> Suspects | None:
        evidence, labels = self._evidence, self._evidence.labels
        probabilities = evidence.said[self._name].probabilities
        usable = evidence.columns.by_words & np.isfinite(probabilities).all(axis=1)
        rows = np.flatnonzero(usable)
        if not rows.size:
            return None
        given = evidence.columns.labels[rows]
        single = self._router.classifier.single_label and bool((given.sum(axis=1) == 1).all())
        found = doubts(probabilities[rows], given, labels, single_label=single)
        quotes = self._quotes(rows[[doubt.row for doubt in found[:QUOTED]]])
        return Suspects(
            len(found),
            {label: sum(label in doubt.probabilities for doubt in found) for label in labels},
            [
                msgspec.structs.replace(quote, about=_doubted(quote, doubt))
                for quote, doubt in zip(quotes, found[:QUOTED], strict=True)
            ],
        )

    def _quotes(
        self, rows: NDArray[np.int64], other: Said | None = None, name: str = ""
    ) -> list[Quote]:
        """Read rows again, and say where they went; and where another system sent them."""
        columns, routes = self._evidence.columns, self._evidence.routes
        places = list(zip(columns.file[rows].tolist(), columns.number[rows].tolist(), strict=True))
        found = self._reader.read_again(places)
        said, true = self._evidence.said[self._name], self._evidence.truth.route
        quotes = []
        for at, place in zip(rows.tolist(), places, strict=True):
            about = f"{name}: {routes[other.route[at]]}" if other is not None else ""
            confidence = float(said.confidence[at])
            quotes.append(
                Quote(
                    f"{Path(self._reader.files[place[0]]).name}:{place[1]}",
                    _text(found[place]),
                    found[place].example.labels,
                    routes[true[at]],
                    routes[said.route[at]],
                    confidence if np.isfinite(confidence) else None,
                    about,
                )
            )
        return quotes


def _text(row: Row) -> str:
    return row.example.text.turn.decode("utf-8", "replace")


def _doubted(quote: Quote, doubt: Doubt) -> str:
    return "; ".join(
        f"{label} is {'given' if label in quote.labels else 'not given'}, at {p:.3f}"
        for label, p in doubt.probabilities.items()
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
        mean_accuracy(
            right, evidence.columns.fields[:, source], len(evidence.values["source"]), boot
        ),
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


def percent(figure: Figure) -> str:
    """Write a share with its interval: "94.2% (93.4–94.9%)"."""
    return f"{figure.value:.1%} ({100 * figure.low:.1f}–{figure.high:.1%})"


def dollars(amount: float) -> str:
    """Write an amount of US dollars, with more digits where it is small: "US$0.0214"."""
    digits = 2 if abs(amount) >= 1 or amount == 0 else 4
    return f"{'-' if amount < 0 else ''}US${abs(amount):,.{digits}f}"


def verdict(report: Report) -> Iterator[str]:
    """Say in sentences how often it is right, what it costs and saves, and where it is wrong."""
    rows = report.about.rows
    yield (
        f"{report.system} sends {percent(report.main.accuracy)} of {rows:,} "
        f"request{'s' * (rows != 1)} the right way."
    )
    yield from _verdict_on_money(report)
    yield from _verdict_on_mistakes(report)
    for versus in report.versus:
        yield _verdict_on(versus.result, report.system)


def _verdict_on_money(report: Report) -> Iterator[str]:
    money = report.money
    spend = next((spend for spend in money.spends if spend.name == report.system), None)
    if spend is not None:
        share = spend.saving
        than = f"than {money.baseline} for everything"
        yield (
            f"Its models cost {dollars(spend.per_1000.value)} per 1,000 requests, "
            f"{dollars(spend.per_month)} a month at {money.volume:,} requests: "
            f"{abs(share.value):.1%} {'less' if share.value >= 0 else 'more'} {than}."
        )


def _verdict_on_mistakes(report: Report) -> Iterator[str]:
    routes = list(report.main.routes)
    wrong = [
        (count, true, given)
        for true, row in zip(routes, report.main.confusion, strict=True)
        for given, count in zip(routes, row, strict=True)
        if true != given and count
    ]
    if wrong:
        count, true, given = max(wrong)
        yield (
            f"The most frequent mistake sends {true} to {given}: {count:,} of "
            f"{sum(one for one, *_ in wrong):,} wrong rows."
        )
    worst = next((one for one in report.slices if one.field != "label" and one.excess > 0), None)
    if worst is not None:
        yield (
            f"The slice that costs the most accuracy is {worst.field} {worst.value}: "
            f"{percent(worst.accuracy)} of {worst.rows:,} rows."
        )


def _verdict_on(result: Comparison, system: str) -> str:
    points, p = 100 * result.accuracy_difference.value, result.test.p_mid
    relation = "as often right as" if points == 0 else ("more" if points > 0 else "less")
    than = f"{abs(points):.1f} points {relation} often right than" if points else relation
    chance = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    doubt = "" if p < 0.05 else ", which may be chance"
    cost = ""
    if result.cost_difference is not None:
        amount = result.cost_difference.value
        relation = "more" if amount >= 0 else "less"
        cost = f"; it costs {dollars(abs(amount))} {relation} per 1,000 requests"
    return f"{system} is {than} {result.name}{doubt} (McNemar, {chance}){cost}."


def notes(report: Report, router: Router, evidence: Evidence) -> Iterator[str]:
    """Say what a reader must know to trust the figures no more than they deserve."""
    rows, tokens = report.about.rows, report.money.tokens
    if rows < _FEW:
        yield f"With {rows:,} rows every figure is uncertain; its interval says how much."
    if report.main.accuracy.value == 1:
        most = min(1.0, 3 / rows)
        yield f"No row went wrong, so the interval is a point; up to {most:.1%} may still do so."
    yield (
        "Figures are of rows that the artifact did not learn from only if these are such rows; "
        "`router-ml unseen` judges rows of its own training."
    )
    if tokens.input_counted < 1 or tokens.output_counted < 1:
        yield (
            f"Tokens: the log counts the input of {tokens.input_counted:.0%} of the rows and the "
            f"output of {tokens.output_counted:.0%}. Other input is estimated as a quarter of the "
            f"text's bytes (0.97 to 0.99 of the true count in English), other output as "
            f"{OUTPUT_TOKENS} tokens, a mean of public chat that a single product's can miss "
            "by several times: amounts depend on it, savings hardly."
        )
    catalog = router.catalog.models
    unknown = [
        name for name in evidence.models if name in catalog and not catalog[name].input_price
    ]
    if unknown:
        yield (
            "Amounts are of output alone for models whose `input_price` the catalog does not "
            f"say: {', '.join(unknown)}."
        )
    if report.money.unpriced:
        yield f"Without a known price, and so without a spend: {', '.join(report.money.unpriced)}."
