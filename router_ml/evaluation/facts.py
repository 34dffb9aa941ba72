"""The facts of a report: plain values that tables, pages and JSON are made of."""

from __future__ import annotations

import msgspec

from router_ml.evaluation.comparison import Comparison
from router_ml.evaluation.intervals import Figure
from router_ml.evaluation.money import Money
from router_ml.evaluation.quotes import Quote, Suspects
from router_ml.evaluation.scores import Coverage, NameScore, Reliability
from router_ml.evaluation.slices import SliceScore
from router_ml.evaluation.traffic import Traffic


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


class Versus(msgspec.Struct, frozen=True):
    """A comparison, and rows on which the two go different ways."""

    result: Comparison
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


def encode_report(report: Report) -> str:
    """Return a report as JSON; a figure that has no value is null."""
    return msgspec.json.encode(report).decode()
