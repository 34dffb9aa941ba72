"""What is true of a chunk of rows, and what was said of them, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from router_ml.errors import EvaluationError
from router_ml.evaluation.answers import Answer, Labelled, sure
from router_ml.evaluation.rows import Columns, Names, Row, RowShape, label_matrix
from router_ml.evaluation.systems import System
from router_ml.policy import Policy
from router_ml.router import Router
from router_ml.types import Decision


class Said(NamedTuple):
    """What a system said of n rows.

    Attributes:
        route, model: int32 [n], numbers of their names; a model that is unknown is "".
        able: bool [n], whether the model can do what the request needs: it is one of those
            that the true labels lead to, or they lead to the default route, which asks for
            nothing that any model lacks.
        known: bool [n], whether labels were named.
        labels: bool [n, labels].
        probabilities: float32 [n, labels]; NaN where there was none.
        confidence: float32 [n], of the route; NaN where nothing was said of it.

    """

    route: NDArray[np.int32]
    model: NDArray[np.int32]
    able: NDArray[np.bool_]
    known: NDArray[np.bool_]
    labels: NDArray[np.bool_]
    probabilities: NDArray[np.float32]
    confidence: NDArray[np.float32]


class Evidence(NamedTuple):
    """What is true of n rows and what was said of them.

    Attributes:
        columns: the rows.
        truth: what their labels lead to.
        said: system -> what it said; the first is the one that is evaluated.
        labels, routes, models: names by number.

    """

    columns: Columns
    truth: Said
    said: Mapping[str, Said]
    labels: tuple[str, ...]
    routes: tuple[str, ...]
    models: tuple[str, ...]

    @property
    def name(self) -> str:
        """The system that is evaluated."""
        return next(iter(self.said))

    def right(self, name: str) -> NDArray[np.bool_]:
        """Return which rows a system sent the right way, bool [n]."""
        found: NDArray[np.bool_] = self.truth.route == self.said[name].route
        return found


class Panel:
    """Systems that answer for the same rows.

    Attributes:
        router: the one that is evaluated; its policy says where true labels lead.
        systems: all of them, the evaluated one first.
        shape: what rows must be.

    """

    def __init__(self, router: Router, systems: Sequence[System], shape: RowShape) -> None:
        """Seat the systems.

        Raises:
            EvaluationError: two systems have one name.

        """
        self.router, self.systems, self.shape = router, tuple(systems), shape
        if len({system.name for system in systems}) < len(systems):
            raise EvaluationError("The same system is named twice.")
        self._truth = Labelled(router.policy, router.catalog)

    def alone(self) -> Panel:
        """Return a panel of the evaluated system alone."""
        return Panel(self.router, self.systems[:1], self.shape)

    def hear(self, rows: Sequence[Row]) -> Evidence:
        """Let every system answer for some rows, at least one.

        Raises:
            EvaluationError, DataError: a system gives no answer.

        """
        keep = _Keeper(self.shape.labels, self.router.policy)
        decisions = [self._truth.truth(row.example) for row in rows]
        truth = keep([sure(decision) for decision in decisions], decisions)
        said = {system.name: keep(system.answer_many(rows), decisions) for system in self.systems}
        columns, routes, models = self.shape.columns(rows), tuple(keep.routes), tuple(keep.models)
        return Evidence(columns, truth, said, self.shape.labels, routes, models)


class _Keeper:
    """Turns answers into arrays, numbering the names of routes and models."""

    def __init__(self, labels: Sequence[str], policy: Policy) -> None:
        self._labels, self._default = labels, policy.default
        self.routes, self.models = Names(), Names()
        self.routes.codes(rule.route for rule in policy.rules)

    def __call__(self, answers: Sequence[Answer], truth: Sequence[Decision]) -> Said:
        """Keep what is needed of answers to requests whose true decisions are these."""
        return Said(
            self.routes.codes(answer.route for answer in answers),
            self.models.codes(answer.model or "" for answer in answers),
            np.array([self._is_able(*pair) for pair in zip(answers, truth, strict=True)]),
            np.array([answer.labels is not None for answer in answers]),
            label_matrix([answer.labels or () for answer in answers], self._labels),
            np.array([self._probabilities(answer) for answer in answers], np.float32),
            np.array([answer.confidence for answer in answers], np.float32),
        )

    def _is_able(self, answer: Answer, true: Decision) -> bool:
        fits = answer.model == true.model or answer.model in true.fallbacks
        return fits or true.route == self._default

    def _probabilities(self, answer: Answer) -> list[float]:
        given = answer.probabilities
        if not given:
            return [np.nan] * len(self._labels)
        return [given.get(label, np.nan) for label in self._labels]
