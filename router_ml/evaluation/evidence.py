"""All that an evaluation rests on, as arrays: what is true of n rows, and what was said of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from router_ml.errors import EvaluationError
from router_ml.evaluation.answers import Answer, Labelled, sure
from router_ml.evaluation.intervals import Bootstrap
from router_ml.evaluation.rows import NONE, Columns, Names, RowReader, label_matrix, stack
from router_ml.evaluation.systems import System
from router_ml.policy import Policy
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
        values: field -> its values by number.
        boot: resamples of the rows.

    """

    columns: Columns
    truth: Said
    said: Mapping[str, Said]
    labels: tuple[str, ...]
    routes: tuple[str, ...]
    models: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]]
    boot: Bootstrap

    @property
    def name(self) -> str:
        """The system that is evaluated."""
        return next(iter(self.said))

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.truth.route)

    def right(self, name: str) -> NDArray[np.bool_]:
        """Return which rows a system sent the right way, bool [n]."""
        found: NDArray[np.bool_] = self.truth.route == self.said[name].route
        return found


def gather(
    reader: RowReader,
    systems: Sequence[System],
    truth: Labelled,
    policy: Policy,
    done: Callable[[int], object] = lambda rows: None,
) -> Evidence:
    """Let systems answer for every row, and keep what an evaluation needs.

    Args:
        reader: of the rows.
        systems: at least one; the first is the one that is evaluated.
        truth: the policy, told the labels of a row.
        policy: has the routes.
        done: told how many rows were answered, for a progress bar.

    Raises:
        DataError: the rows cannot be read.
        EvaluationError: two systems have one name, or one gives no answer.

    """
    keep = _Keeper(reader.labels, policy)
    columns: list[Columns] = []
    true: list[Said] = []
    said: dict[str, list[Said]] = {system.name: [] for system in systems}
    if len(said) < len(systems):
        raise EvaluationError("The same system is named twice.")
    for rows in reader.chunks():
        decisions = [truth.truth(row.example) for row in rows]
        columns.append(reader.columns(rows))
        true.append(keep([sure(decision) for decision in decisions], decisions))
        for system in systems:
            said[system.name].append(keep(system.answer_many(rows), decisions))
        done(len(rows))
    joined = stack(columns)
    return Evidence(
        joined,
        _join(true),
        {name: _join(parts) for name, parts in said.items()},
        reader.labels,
        tuple(keep.routes),
        tuple(keep.models),
        {field: tuple(names) for field, names in reader.values.items()},
        Bootstrap(_clusters(joined, reader)),
    )


def _join(chunks: Sequence[Said]) -> Said:
    return Said(*(np.concatenate(parts) for parts in zip(*chunks, strict=True)))


def _clusters(columns: Columns, reader: RowReader) -> NDArray[np.int64]:
    """Number the rows' groups; a row without one is a group of its own."""
    at = list(reader.values).index("group")
    group = columns.fields[:, at].astype(np.int64)
    alone = group == reader.values["group"].get(NONE, -1)
    return np.where(alone, len(reader.values["group"]) + np.arange(len(group)), group)


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
