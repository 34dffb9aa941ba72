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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from msgspec.structs import replace

from router_ml.errors import DataError, EvaluationError
from router_ml.evaluation.answers import Answer, Labelled, Reader, answer_of, sure
from router_ml.evaluation.keywords import asked, keyword_labels
from router_ml.evaluation.rows import Row
from router_ml.examples import read_objects
from router_ml.plurals import counted
from router_ml.policy import Policy
from router_ml.router import Router

KEYWORDS = "keyword rules"


class System(Protocol):
    """Something that routes requests."""

    name: str

    def answer_many(self, rows: Sequence[Row]) -> Sequence[Answer]:
        """Answer for each request; must not look at its labels."""
        ...


class RoutedBy:
    """A router: an artifact, a policy and a catalog."""

    def __init__(self, router: Router, name: str = "router-ml") -> None:
        self.router, self.name = router, name

    def answer_many(self, rows: Sequence[Row]) -> list[Answer]:
        """Decide as the router does."""
        decisions = self.router.route_many(row.example.request for row in rows)
        return [answer_of(decision) for decision in decisions]


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
            sure(self._decide(row, self._decide.asked(example)))
            for row, example in zip(labels, examples, strict=True)
        ]


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
    or, where the first line has none (`by_id` is False), to the row at the same place.
    """

    def __init__(self, path: Path, router: Router) -> None:
        """Read the file.

        Raises:
            DataError: it cannot be read, is empty, or a line has no answer.

        """
        self.name, self._path = path.name, path
        self._answers: dict[str | int, Answer] = {}
        self.by_id = False
        self._next = 0
        reader = Reader(router)
        for number, line in read_objects(path):
            self.by_id = self.by_id or (not self._answers and "id" in line)
            self._answers[self._key(number, line)] = self._read(reader, number, line)
        if not self._answers:
            raise DataError(path, None, "the file has no rows.")

    def _key(self, number: int, line: Mapping[str, Any]) -> str | int:
        if self.by_id and "id" not in line:
            raise DataError(self._path, number, "the line has no `id`, but the first has.")
        return str(line["id"]) if self.by_id else len(self._answers)

    def _read(self, reader: Reader, number: int, line: Mapping[str, Any]) -> Answer:
        try:
            return reader.read(line)
        except ValueError as error:
            raise DataError(self._path, number, f"no prediction: {error}.") from error

    def answer_many(self, rows: Sequence[Row]) -> list[Answer]:
        """Look the answers up.

        Raises:
            DataError: there is none for a row.

        """
        return [self._answer(row) for row in rows]

    def _answer(self, row: Row) -> Answer:
        key = str(row.example.id) if self.by_id else self._next
        self._next += 1
        if key not in self._answers:
            where = f"whose id is {key!r}" if self.by_id else f"number {self._next}"
            raise DataError(self._path, None, f"has no prediction for the row {where}.")
        return self._answers[key]

    def check_used_up(self) -> None:
        """Check that no prediction is left over where they go by their place.

        Raises:
            DataError: some are, so that they are hardly those of these rows.

        """
        if not self.by_id and self._next < len(self._answers):
            raise DataError(
                self._path,
                None,
                f"has {counted(len(self._answers), 'prediction')} for "
                f"{counted(self._next, 'row')}, and no `id` that says which belong together.",
            )


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
    alone = replace(router.policy, second=None)  # else it may be asked about its own doubt
    return Router(other.artifact, alone, router.catalog) if fits else other
