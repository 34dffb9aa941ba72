"""Whatever routes requests, behind one small face: a router, rules, a function, a file.

A system is named on the command line as

    keywords                  the keyword rules that a classifier replaces
    litellm                   LiteLLM's heuristic complexity classifier
    package.module:function   a Python callable; see `Function`
    predictions.jsonl         somebody's answers; see `PredictionsFile`
    policy.toml               the evaluated artifact under another policy
    models/other              another artifact, under the evaluated policy if it fits
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from router_ml.catalog import Catalog
from router_ml.decider import Decider
from router_ml.errors import DataError, EvaluationError
from router_ml.evaluation.keywords import asked, keyword_labels
from router_ml.evaluation.metrics import facts_of
from router_ml.evaluation.rows import Row
from router_ml.examples import Example, labels_of, read_rows
from router_ml.policy import FACTS, NO_FACTS, Fact, Policy
from router_ml.router import Router
from router_ml.types import Decision, Prediction

KEYWORDS = "keyword rules"


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


class System(Protocol):
    """Something that routes requests."""

    name: str

    def answer_many(self, rows: Sequence[Row]) -> Sequence[Answer]:
        """Answer for each request; must not look at its labels."""
        ...


def _answer(decision: Decision) -> Answer:
    return Answer(
        decision.route,
        decision.model,
        decision.labels,
        decision.probabilities,
        decision.confidence,
    )


class RoutedBy:
    """A router: an artifact, a policy and a catalog."""

    def __init__(self, router: Router, name: str = "router-ml") -> None:
        self.router, self.name = router, name

    def answer_many(self, rows: Sequence[Row]) -> list[Answer]:
        """Decide as the router does."""
        decisions = self.router.route_many(row.example.request for row in rows)
        return [_answer(decision) for decision in decisions]


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
        return self(example.labels, facts_of(example) | self.asked(example))

    def asked(self, example: Example) -> frozenset[Fact]:
        """Return which conditions of the policy hold of a request."""
        conditions = self._decide.conditions
        return frozenset(conditions.holding(example.request)) if conditions else NO_FACTS


class Rules:
    """Rules that name labels from the words of the last user turn, and look at no parts."""

    def __init__(
        self, name: str, labels_of_text: Callable[[str], tuple[str, ...]], decide: Labelled
    ) -> None:
        self.name, self._labels, self._decide = name, labels_of_text, decide

    def answer_many(self, rows: Sequence[Row]) -> list[Answer]:
        """Name labels, and let the policy send them somewhere."""
        examples = [row.example for row in rows]
        labels = [self._labels(asked(example)) for example in examples]
        return [
            _sure(self._decide(row, self._decide.asked(example)))
            for row, example in zip(labels, examples, strict=True)
        ]


def _sure(decision: Decision) -> Answer:
    return Answer(decision.route, decision.model, decision.labels)


def keyword_rules(router: Router) -> Rules:
    """Return the keyword rules, their label sent where the router's policy sends it."""
    return Rules(KEYWORDS, keyword_labels, Labelled(router.policy, router.catalog))


def litellm_complexity(router: Router) -> Rules:
    """Return LiteLLM's heuristic classifier, as it comes.

    It tells four tiers of complexity apart. The one for reasoning is taken as the label
    `math`, whose guideline (multi-step deduction) it is meant for; the others as none.

    Raises:
        EvaluationError: litellm is not installed.

    """
    try:
        from litellm.router_strategy.complexity_router.complexity_router import ComplexityRouter
    except ImportError as error:
        raise EvaluationError(
            "litellm's complexity classifier is not installed: pip install litellm"
        ) from error
    classify = ComplexityRouter("auto", None, {}, "default").classify

    def labels(text: str) -> tuple[str, ...]:
        tier = classify(text)[0]
        return ("math",) if getattr(tier, "value", tier) == "REASONING" else ()

    return Rules("LiteLLM heuristics", labels, Labelled(router.policy, router.catalog))


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
            return _answer(given)
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
        return _sure(self._decide(names))

    def _of_mapping(self, given: Mapping[str, Any]) -> Answer:
        answer = None
        if "labels" in given or "label" in given:
            answer = self._of_labels(labels_of("", 0, dict(given))[0])
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


def _probabilities(given: Any) -> Mapping[str, float]:
    if given is None:
        return {}
    usable = isinstance(given, Mapping) and all(
        isinstance(p, int | float) and 0 <= p <= 1 for p in given.values()
    )
    if not usable:
        raise ValueError("its `probabilities` are no mapping of labels to numbers in [0, 1]")
    return {str(label): float(p) for label, p in given.items()}


class Function:
    """A Python callable that is given a request's `prompt` or `messages`, as in the file.

    It returns what `Reader.read` reads: a route, labels, a mapping, or a Decision.
    """

    def __init__(self, name: str, router: Router) -> None:
        """Import `module:function`; modules beside the user are found too.

        Raises:
            EvaluationError: there is no such module or function.

        """
        self.name = name
        module, _, function = name.partition(":")
        try:
            sys.path.insert(0, "")
            self._call = getattr(importlib.import_module(module), function)
        except Exception as error:  # whatever the module's own code raises
            raise EvaluationError(f"{name} cannot be imported: {error}.") from error
        finally:
            sys.path.remove("")
        self._reader = Reader(router)

    def answer_many(self, rows: Sequence[Row]) -> list[Answer]:
        """Call it for each request.

        Raises:
            EvaluationError: it raised an exception or returned no answer.

        """
        return [self._answer(row) for row in rows]

    def _answer(self, row: Row) -> Answer:
        prompt = row.line.get("prompt")
        try:
            return self._reader.read(self._call(row.line["messages"] if prompt is None else prompt))
        except Exception as error:  # whatever the callable raises
            raise EvaluationError(
                f"{self.name} gave no answer for line {row.number}: {error or type(error)}."
            ) from error


class PredictionsFile:
    """Somebody's answers, JSON Lines as `router-ml classify` writes them.

    A line is what `Reader.read` reads of a mapping. It belongs to the row of the same `id`
    or, where the first line has none, to the row at the same place.
    """

    def __init__(self, path: Path, router: Router) -> None:
        """Read the file.

        Raises:
            DataError: it cannot be read, is empty, or a line has no answer.

        """
        self.name, self._path = path.name, path
        reader = Reader(router)
        answers: dict[Any, Answer] = {}
        for number, line in read_rows(path):
            if number == 1 or not answers:
                self._by_id = "id" in line
            try:
                key = line["id"] if self._by_id else len(answers)
                answers[str(key) if self._by_id else key] = reader.read(line)
            except KeyError as error:
                raise DataError(path, number, "the line has no `id`, but the first has.") from error
            except (ValueError, DataError) as error:
                raise DataError(path, number, f"no prediction: {_problem(error)}.") from error
        if not answers:
            raise DataError(path, None, "the file has no rows.")
        self._answers, self._next = answers, 0

    def answer_many(self, rows: Sequence[Row]) -> list[Answer]:
        """Look the answers up.

        Raises:
            DataError: there is none for a row.

        """
        return [self._answer(row) for row in rows]

    def _answer(self, row: Row) -> Answer:
        key = str(row.example.id) if self._by_id else self._next
        self._next += 1
        if key not in self._answers:
            where = f"whose id is {key!r}" if self._by_id else f"number {self._next}"
            raise DataError(self._path, None, f"has no prediction for the row {where}.")
        return self._answers[key]


def _problem(error: Exception) -> str:
    return (error.problem if isinstance(error, DataError) else str(error)).rstrip(".")


def find_system(name: str, router: Router) -> System:
    """Return the system that a name of the command line means; the module lists them.

    Args:
        name: as given.
        router: what is evaluated: its policy and catalog serve the others too.

    Raises:
        RouterMLError: there is no such system, or it cannot be used.

    """
    if name == "keywords":
        return keyword_rules(router)
    if name == "litellm":
        return litellm_complexity(router)
    if name.endswith(".toml"):
        return RoutedBy(Router(router.artifact, Policy.load(name), router.catalog), name)
    if name.endswith((".jsonl", ".jsonl.gz")):
        return PredictionsFile(Path(name), router)
    if ":" in name and not Path(name).exists():
        return Function(name, router)
    return RoutedBy(_other_artifact(name, router), name)


def _other_artifact(name: str, router: Router) -> Router:
    other = Router.load(name, catalog=router.catalog)
    fits = other.classifier.labels == router.classifier.labels
    return Router(other.artifact, router.policy, router.catalog) if fits else other
