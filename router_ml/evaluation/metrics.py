"""Route accuracy, confusion, precision and recall by label, calibration error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from router_ml.classifier import Classifier
from router_ml.conditions import Conditions
from router_ml.decider import Decider
from router_ml.evaluation.keywords import asked, keyword_labels
from router_ml.evaluation.scores import name_scores
from router_ml.evaluation.slices import Mistake, Slice, slice_accuracy
from router_ml.examples import Example
from router_ml.policy import Fact, Policy
from router_ml.router import parts_of
from router_ml.types import Decision, Prediction

_BINS = 15
_MISTAKES = 20


class LabelScore(msgspec.Struct, frozen=True):
    """Precision, recall and F1 of one label, and how many rows truly carry it."""

    precision: float
    recall: float
    f1: float
    support: int


class Evaluation(msgspec.Struct, frozen=True):
    """What one classifier does on labelled rows.

    Attributes:
        name: of the classifier.
        rows: how many were judged.
        accuracy: share of rows with the right route.
        macro_source_accuracy: the mean of `by_source`, each source counting the same.
        routes: the routes, in the order of `confusion`.
        confusion: rows by true route (down) and given route (across).
        labels: label -> its scores.
        macro_f1: the mean F1 over labels that any row carries.
        calibration_error: expected calibration error (Naeini et al. 2015), 15 bins of
            equal width, the mean over labels; None for rules without probabilities.
        by_source: source -> (accuracy, rows).
        slices: accuracy by label, language, length, turns and source.
        mistakes: the surest ones first, at most twenty; none for rules.

    """

    name: str
    rows: int
    accuracy: float
    macro_source_accuracy: float
    routes: tuple[str, ...]
    confusion: list[list[int]]
    labels: dict[str, LabelScore]
    macro_f1: float
    calibration_error: float | None
    by_source: dict[str, tuple[float, int]]
    slices: dict[str, Slice] = {}
    mistakes: list[Mistake] = []


class Judged(NamedTuple):
    """What a classifier said of n rows.

    Attributes:
        probabilities: float32 [n, labels].
        given: the labels of each row, facts of its parts included.

    """

    probabilities: NDArray[np.float32]
    given: list[tuple[str, ...]]


def judge(
    classifier: Classifier,
    examples: Sequence[Example],
    thresholds: Sequence[float] | None = None,
) -> Judged:
    """Classify labelled requests as the router would.

    Args:
        classifier: gives probabilities.
        examples: n of them.
        thresholds: in the order of the classifier's labels; the artifact's by default.

    """
    thresholds = classifier.thresholds if thresholds is None else thresholds
    probabilities = classifier.probabilities_many([example.text for example in examples])
    given: list[tuple[str, ...]] = []
    for example, row in zip(examples, probabilities.tolist(), strict=True):
        silent = not example.text.says_something
        prediction = Prediction((), {}) if silent else classifier.predict(row, thresholds)
        facts = parts_of(example.request).intersection(classifier.labels)
        given.append(tuple({*prediction.labels, *facts}))
    return Judged(probabilities, given)


def evaluate(
    classifier: Classifier,
    policy: Policy,
    examples: Sequence[Example],
    thresholds: Sequence[float] | None = None,
    name: str = "classifier",
) -> Evaluation:
    """Judge labelled requests and compare with their labels.

    Args:
        classifier: gives probabilities.
        policy: says which route a set of labels takes, the true set and the given one.
        examples: at least one.
        thresholds: in the order of the classifier's labels; by default the policy's, and
            the artifact's where it has none.
        name: of the result.

    """
    own = zip(classifier.labels, classifier.thresholds, strict=True)
    thresholds = thresholds or [policy.thresholds.get(name, value) for name, value in own]
    judged = judge(classifier, examples, thresholds)
    return compare(name, examples, judged, classifier.labels, policy)


def compare(
    name: str,
    examples: Sequence[Example],
    judged: Judged,
    labels: Sequence[str],
    policy: Policy,
) -> Evaluation:
    """Compare what was said of labelled requests with their labels.

    Args:
        name: of the result.
        examples: n of them, at least one.
        judged: what was said of them, by one classifier or by several in turn.
        labels: in the order of the probabilities' columns.
        policy: says which route a set of labels takes.

    """
    decisions = _decisions(policy, labels, examples, judged)
    routes = [decision.route for decision in decisions]
    error = _calibration_by_words(examples, judged, labels)
    found = _compare(name, examples, judged.given, routes, labels, policy, error)
    return msgspec.structs.replace(found, mistakes=_mistakes(examples, decisions, policy))


def _decisions(
    policy: Policy, labels: Sequence[str], examples: Sequence[Example], judged: Judged
) -> list[Decision]:
    """Decide as the router does, doubt included."""
    decide = Decider(policy)
    rows = zip(judged.given, judged.probabilities.tolist(), examples, strict=True)
    return [
        decide(Prediction(given, dict(zip(labels, row, strict=True))), _facts(policy, example))
        for given, row, example in rows
    ]


def _calibration_by_words(
    examples: Sequence[Example], judged: Judged, labels: Sequence[str]
) -> float | None:
    """Look only at rows whose words decide: of a part, the classifier knows nothing."""
    rows = [n for n, e in enumerate(examples) if not e.has_parts and e.text.says_something]
    if not rows:
        return None
    true = _matrix([examples[row].labels for row in rows], labels)
    return calibration_error(judged.probabilities[rows], true)


def _mistakes(
    examples: Sequence[Example], decisions: Sequence[Decision], policy: Policy
) -> list[Mistake]:
    found: list[Mistake] = []
    for example, decision in zip(examples, decisions, strict=True):
        true_route = _route(policy, example.labels, example)
        if true_route != decision.route:
            text = example.text.turn.decode("utf-8", "replace")
            found.append(Mistake(text, true_route, decision.route, decision.confidence))
    return sorted(found, key=lambda mistake: -mistake.confidence)[:_MISTAKES]


def evaluate_keywords(
    policy: Policy, examples: Sequence[Example], labels: Sequence[str], on: str = ""
) -> Evaluation:
    """Judge the same rows by the keyword rules, which read the whole turn and no parts."""
    given = [keyword_labels(asked(example)) for example in examples]
    routes = [policy.choose(frozenset(row)).route for row in given]
    name = f"keyword rules, {on}" if on else "keyword rules"
    return _compare(name, examples, given, routes, labels, policy, None)


def _compare(
    name: str,
    examples: Sequence[Example],
    given: Sequence[tuple[str, ...]],
    given_routes: Sequence[str],
    labels: Sequence[str],
    policy: Policy,
    error: float | None,
) -> Evaluation:
    true_routes = [_route(policy, example.labels, example) for example in examples]
    right = [a == b for a, b in zip(true_routes, given_routes, strict=True)]
    by_source = _by_source(examples, right)
    scores, macro_f1 = _label_scores(labels, examples, given)
    routes = tuple(dict.fromkeys(rule.route for rule in policy.rules))
    return Evaluation(
        name,
        len(examples),
        float(np.mean(right)),
        float(np.mean([accuracy for accuracy, _ in by_source.values()])),
        routes,
        _confusion(routes, true_routes, given_routes),
        scores,
        macro_f1,
        error,
        by_source,
        slice_accuracy(examples, right),
    )


def _route(policy: Policy, labels: Sequence[str], example: Example) -> str:
    return policy.choose(_facts(policy, example).union(labels)).route


def _facts(policy: Policy, example: Example) -> frozenset[Fact]:
    """Return what a policy looks at beside labels; a labelled request has no tags."""
    return parts_of(example.request) | Conditions(policy.conditions()).holding(example.request)


def _confusion(routes: Sequence[str], true: Sequence[str], given: Sequence[str]) -> list[list[int]]:
    counts = Counter(zip(true, given, strict=True))
    return [[counts[row, column] for column in routes] for row in routes]


def _by_source(examples: Sequence[Example], right: Sequence[bool]) -> dict[str, tuple[float, int]]:
    found: dict[str, list[bool]] = {}
    for example, is_right in zip(examples, right, strict=True):
        found.setdefault(example.source or "(no source)", []).append(is_right)
    return {source: (float(np.mean(rows)), len(rows)) for source, rows in sorted(found.items())}


def _label_scores(
    labels: Sequence[str], examples: Sequence[Example], given: Sequence[tuple[str, ...]]
) -> tuple[dict[str, LabelScore], float]:
    """Score each label, and return the macro-F1: a report's figures, without intervals."""
    true, said = _matrix([example.labels for example in examples], labels), _matrix(given, labels)
    sums = (part.sum(axis=0, keepdims=True, dtype=np.float64) for part in (true, said, true & said))
    found, macro_f1 = name_scores(*sums)
    scores = (LabelScore(s.precision.value, s.recall.value, s.f1.value, s.rows) for s in found)
    return dict(zip(labels, scores, strict=True)), macro_f1.value


def _matrix(rows: Sequence[Sequence[str]], labels: Sequence[str]) -> NDArray[np.bool_]:
    return np.array([[label in row for label in labels] for row in rows], bool)


def calibration_error(
    probabilities: NDArray[Any], true: NDArray[np.bool_], bins: int = _BINS
) -> float:
    """Return the expected calibration error, the mean over labels.

    Args:
        probabilities: float [n, labels].
        true: bool [n, labels].
        bins: of equal width over [0, 1].

    """
    columns = zip(probabilities.T, true.T, strict=True)
    return float(np.mean([_error(p, y, bins) for p, y in columns]))


def _error(probability: NDArray[Any], true: NDArray[np.bool_], bins: int) -> float:
    which = np.minimum((probability * bins).astype(int), bins - 1)
    count = np.bincount(which, minlength=bins)
    said = np.bincount(which, probability, bins)
    held = np.bincount(which, true.astype(float), bins)
    return float(np.abs(said - held).sum() / max(1, count.sum()))
