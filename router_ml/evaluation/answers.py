"""What is said of a request, and how answers of somebody else's are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from router_ml.catalog import Catalog
from router_ml.decider import Decider
from router_ml.errors import DataError
from router_ml.examples import Example, labels_of
from router_ml.policy import FACTS, NO_FACTS, Fact, Policy
from router_ml.router import Router, parts_of
from router_ml.types import Decision, Prediction


class Answer(NamedTuple):
    """What a system says of one request.

    Attributes:
        route: where it goes.
        model: the model that gets it; None if that is unknown.
        labels: the labels that hold; None if the system knows none.
        probabilities: label -> probability in [0, 1]; empty if it gives none.
        confidence: of the route, in [0, 1]; None if it says nothing of that.

    """

    route: str
    model: str | None
    labels: tuple[str, ...] | None = None
    probabilities: Mapping[str, float] = {}
    confidence: float | None = None


def answer_of(decision: Decision) -> Answer:
    """Return a decision as an answer."""
    return Answer(
        decision.route,
        decision.model,
        decision.labels,
        decision.probabilities,
        decision.confidence,
    )


def sure(decision: Decision) -> Answer:
    """Return a decision on labels that nobody gave a probability of."""
    return Answer(decision.route, decision.model, decision.labels)


class Labelled:
    """A policy that is told labels, and is sure of them."""

    def __init__(self, policy: Policy, catalog: Catalog) -> None:
        self._decide = Decider(policy, catalog)
        self._decide_once = lru_cache(maxsize=4096)(self._decide_labels)

    def __call__(self, labels: tuple[str, ...], facts: frozenset[Fact] = NO_FACTS) -> Decision:
        """Decide on a request that has these labels."""
        return self._decide_once(labels, facts)

    def _decide_labels(self, labels: tuple[str, ...], facts: frozenset[Fact]) -> Decision:
        return self._decide(Prediction(labels, dict.fromkeys(labels, 1.0)), facts)

    def truth(self, example: Example) -> Decision:
        """Decide on a request by its true labels and its parts."""
        return self(example.labels, parts_of(example.request) | self.asked(example))

    def asked(self, example: Example) -> frozenset[Fact]:
        """Return which conditions of the policy hold of a request."""
        conditions = self._decide.conditions
        return frozenset(conditions.holding(example.request)) if conditions else NO_FACTS


class Reader:
    """Reads what a system of somebody else's answers: a route, labels, or an object of them."""

    def __init__(self, router: Router) -> None:
        policy = router.policy
        self._decide = Labelled(policy, router.catalog)
        self._labels = frozenset((*router.classifier.labels, *FACTS))
        routes = dict.fromkeys(rule.route for rule in policy.rules)
        self._models = {name: policy.choose_route(name).model for name in routes}

    def read(self, given: Any) -> Answer:
        """Read an answer.

        Args:
            given: a route; labels; or a mapping with `route`, or `labels` or `label`, and
                perhaps `model` and `probabilities`. What is left out follows from the policy.

        Raises:
            ValueError: it is none of these, or names what the policy does not know.

        """
        if isinstance(given, Decision):
            return answer_of(given)
        if isinstance(given, str):
            return self._of_route(given)
        if isinstance(given, Mapping):
            return self._of_mapping(given)
        if isinstance(given, Iterable):
            return self._of_labels(given)
        raise ValueError(f"{given!r:.80} is no route, no labels and no mapping of them")

    def _of_route(self, route: str) -> Answer:
        if route not in self._models:
            known = ", ".join(self._models)
            raise ValueError(f"{route!r:.80} is no route of the policy, which has {known}")
        return Answer(route, self._models[route])

    def _of_labels(self, labels: Iterable[Any]) -> Answer:
        names = tuple(sorted(set(map(str, labels))))
        unknown = [name for name in names if name not in self._labels]
        if unknown:
            known = ", ".join(sorted(self._labels))
            raise ValueError(f"{unknown[0]!r:.80} is no label of the artifact, which has {known}")
        return sure(self._decide(names))

    def _of_mapping(self, given: Mapping[str, Any]) -> Answer:
        answer = None
        if "labels" in given or "label" in given:
            answer = self._of_labels(_labels(given))
        if isinstance(given.get("route"), str):
            of_route = self._of_route(given["route"])
            answer = of_route if answer is None else of_route._replace(labels=answer.labels)
        if answer is None:
            raise ValueError("it has neither `route` nor `labels`")
        model = given.get("model")
        return answer._replace(
            model=model if isinstance(model, str) else answer.model,
            probabilities=_probabilities(given.get("probabilities")),
        )


def _labels(given: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        return labels_of("", 0, dict(given))[0]
    except DataError as error:
        raise ValueError(error.problem.rstrip(".")) from error


def _probabilities(given: Any) -> Mapping[str, float]:
    if given is None:
        return {}
    usable = isinstance(given, Mapping) and all(
        isinstance(p, int | float) and 0 <= p <= 1 for p in given.values()
    )
    if not usable:
        raise ValueError("its `probabilities` are no mapping of labels to numbers in [0, 1]")
    return {str(label): float(p) for label, p in given.items()}
