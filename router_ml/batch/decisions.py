"""Decisions of many requests at once: what the policy makes of each distinct outcome, once.

Requests of which the same labels hold, and the same facts, take the same route: the policy is
asked once for each such group, and only the confidence is a request's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from router_ml.classifier import Probabilities
from router_ml.decider import Settled
from router_ml.policy import NO_FACTS, Below, Choice, Fact
from router_ml.router import Router
from router_ml.types import Reason


class Outcome(NamedTuple):
    """All of a decision but its confidence and what was read."""

    route: str
    model: str | None
    labels: tuple[str, ...]
    reason: Reason


class Decisions(NamedTuple):
    """What n requests got.

    Attributes:
        outcomes: the distinct ones.
        which: int64 [n], the number of each request's outcome.
        confidence: float64 [n], as `router_ml.types.Decision` has it.

    """

    outcomes: list[Outcome]
    which: NDArray[np.int64]
    confidence: NDArray[np.float64]


def decide(
    router: Router,
    probabilities: Probabilities,
    speaks: NDArray[np.bool_],
    facts: Sequence[frozenset[Fact]] | None = None,
) -> Decisions:
    """Decide on n requests as `Router.route` does on each.

    Args:
        router: classifier's labels and thresholds, and policy.
        probabilities: float32 [n, labels]; 0 where nothing was judged.
        speaks: bool [n], whether there was text to judge.
        facts: what each request's parts and conditions say; None: nothing of any.

    """
    sure = probabilities.astype(np.float64)
    holds = _holding(router, sure) & speaks[:, None]
    doubts = [*router.decider.doubts]
    doubtful = _doubtful(router, doubts, sure)
    kinds, codes = _coded(facts, len(sure))
    first, group = _groups(np.column_stack((holds, doubtful, speaks)), codes)
    found = Decisions([], np.zeros(len(sure), np.int64), np.ones(len(sure)))
    for number, row in enumerate(first.tolist()):
        known = kinds[codes[row]]
        labels = tuple(np.array(router.classifier.labels)[holds[row]].tolist())
        given = {doubts[d] for d in np.flatnonzero(doubtful[row]) if doubts[d].label not in known}
        rows = np.flatnonzero(group == number)
        _fill(found, router, rows, sure, (labels, known | given), bool(speaks[row]))
    return found


def _holding(router: Router, sure: NDArray[np.float64]) -> NDArray[np.bool_]:
    holds: NDArray[np.bool_] = sure >= np.array(router.thresholds)
    if router.classifier.single_label and len(sure):
        best = np.zeros_like(holds)
        best[np.arange(len(sure)), sure.argmax(axis=1)] = True
        holds &= best
    return holds


def _doubtful(
    router: Router, doubts: Sequence[Below], sure: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Say which labels are less probable than some rule asks; what is no label is 0."""
    labels = router.classifier.labels
    known = {label: sure[:, at] for at, label in enumerate(labels)}
    never = np.zeros(len(sure))
    found = [known.get(doubt.label, never) < doubt.threshold for doubt in doubts]
    return np.array(found, bool).reshape(len(doubts), len(sure)).T


def _coded(
    facts: Sequence[frozenset[Fact]] | None, size: int
) -> tuple[list[frozenset[Fact]], NDArray[np.int64]]:
    """Return the distinct sets of facts, and the number of each request's."""
    if facts is None:
        return [NO_FACTS], np.zeros(size, np.int64)
    numbers: dict[frozenset[Fact], int] = {}
    codes = [numbers.setdefault(each, len(numbers)) for each in facts]
    return [*numbers], np.array(codes, np.int64)


def _groups(
    bits: NDArray[np.bool_], codes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return a row of each group of equal bits and codes, and the group of each row."""
    packed = np.packbits(bits, axis=1)
    keys = np.column_stack((packed, codes.view(np.uint8).reshape(len(codes), 8)))
    rows = np.ascontiguousarray(keys).view(f"V{keys.shape[1]}").ravel().tolist()
    numbers: dict[bytes, int] = {}
    group = [numbers.setdefault(row, len(numbers)) for row in rows]
    first = np.full(len(numbers), -1, np.int64)
    found = np.array(group, np.int64)
    first[found[::-1]] = np.arange(len(found))[::-1]
    return first, found


def _fill(
    found: Decisions,
    router: Router,
    rows: NDArray[np.int64],
    sure: NDArray[np.float64],
    known: tuple[tuple[str, ...], frozenset[Fact]],
    judged: bool,
) -> None:
    """Decide on the rows of one group."""
    decider = router.decider
    settled = decider.settle(*known)
    if not judged:
        reason = Reason.EMPTY if settled.reason is Reason.CLASSIFIED else settled.reason
        _add(found, rows, _outcome(settled, settled.choice, reason))
        return
    confidence = _confidence(settled, router.classifier.labels, sure[rows])
    found.confidence[rows] = confidence
    doubted = (confidence < decider.below) & (settled.reason is Reason.CLASSIFIED)
    _add(found, rows[~doubted], _outcome(settled, settled.choice, settled.reason))
    if doubted.any():
        choice = decider.in_doubt(settled, known[1])
        _add(found, rows[doubted], _outcome(settled, choice, Reason.LOW_CONFIDENCE))


def _confidence(
    settled: Settled, labels: Sequence[str], sure: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the probability of the least sure judgement, as `Settled.confidence` does."""
    confidence = np.ones(len(sure))
    for label, holds in settled.rests_on:
        if label in labels:
            p = sure[:, labels.index(label)]
            confidence = np.minimum(confidence, p if holds else 1 - p)
    return confidence


def _outcome(settled: Settled, choice: Choice, reason: Reason) -> Outcome:
    return Outcome(choice.route, choice.model, settled.labels, reason)


def _add(found: Decisions, rows: NDArray[np.int64], outcome: Outcome) -> None:
    if len(rows):
        found.which[rows] = len(found.outcomes)
        found.outcomes.append(outcome)
