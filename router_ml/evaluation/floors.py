"""Floors under an evaluation's figures, for a pipeline that must stop below them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from router_ml.errors import EvaluationError
from router_ml.evaluation.facts import Report
from router_ml.evaluation.intervals import Figure


class Floor(NamedTuple):
    """A figure, by name, and the least it may be."""

    name: str
    least: float

    def missed_by(self, report: Report) -> str:
        """Say by what a report misses it; "" if it does not.

        Raises:
            EvaluationError: the report has no such figure.

        """
        known = dict(_figures(report))
        if self.name not in known:
            raise EvaluationError(
                f"There is no figure {self.name!r} to set a floor under: "
                f"there are {', '.join(known)}."
            )
        value = known[self.name].value
        return "" if value >= self.least else f"{self.name} is {value:.4f}, under {self.least:g}."


def read_floor(text: str) -> Floor:
    """Read `accuracy=0.95`.

    Raises:
        EvaluationError: it is no name and number.

    """
    name, _, least = text.partition("=")
    try:
        return Floor(name.strip(), float(least))
    except ValueError as error:
        raise EvaluationError(
            f"The floor {text!r} is no figure and number, such as accuracy=0.95."
        ) from error


def _figures(report: Report) -> Iterator[tuple[str, Figure]]:
    """Yield the figures of the evaluated system of which more is better."""
    main = report.main
    yield "accuracy", main.accuracy
    yield "macro_source_accuracy", main.macro_source_accuracy
    yield "route_macro_f1", main.route_macro_f1
    if main.macro_f1 is not None:
        yield "macro_f1", main.macro_f1
    for spend in report.money.spends:
        if spend.name == report.system:
            yield "saving", spend.saving
    for name, score in (main.routes | main.labels).items():
        yield f"precision.{name}", score.precision
        yield f"recall.{name}", score.recall
        yield f"f1.{name}", score.f1
