"""Whether traffic has moved away from an earlier log: its routes, its confidence, what it says.

Counts are kept of every row; of what rows say, a sample. A row is new where the nearest row of
the earlier log's sample is farther away than 99 in 100 of that sample are from each other.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from router_ml.errors import DataError
from router_ml.evaluation.embeddings import Embedder
from router_ml.evaluation.judging import Judge, JudgedRow
from router_ml.evaluation.two_samples import Discrepancy, Shift, discrepancy, shift_of
from router_ml.request import ModelText
from router_ml.types import Decision

_SAMPLE = 4096
"""Rows of a log whose embeddings stand for all."""
_TESTED = 1000
"""Rows of either sample that the two-sample test compares: it takes the square of both."""
_CHUNK = 1024
_FAR = 0.99
"""A row of the earlier log is farther from the others than it is new with one less this chance."""
_BINS = 20


class NewRow(msgspec.Struct, frozen=True):
    """A row unlike those of the earlier log.

    Attributes:
        distance: to the nearest of them, 1 - cosine, in [0, 2].
        row: as it was read, with what was decided: `suggested_labels` and `route`. It has no
            `labels`: those a person gives.

    """

    distance: float
    row: dict[str, Any]


class Drift(msgspec.Struct, frozen=True):
    """How a log differs from an earlier one.

    Attributes:
        rows, rows_before: of the log and of the earlier one.
        routes: shift of the decided routes.
        labels: label -> shift of how often it holds.
        confidence: shift of the decisions' confidence, by twentieths.
        embedding: the test on what rows say; None where either has fewer than two rows of text.
        tensor: what stands for what a row says: the graph's `embedding`, or `probabilities`.
        far: the distance from which a row is new.
        new_share: how many rows are; 0.01 where nothing changed.
        new: the farthest of them, each text once.

    """

    rows: int
    rows_before: int
    routes: Shift
    labels: dict[str, Shift]
    confidence: Shift
    embedding: Discrepancy | None
    tensor: str
    far: float
    new_share: float
    new: list[NewRow]


class Profile:
    """What is kept of a log: counts, and a sample of its texts.

    Attributes:
        rows: how many there were.
        routes: route -> rows.
        labels: label -> rows that have it.
        confidence: interval -> rows.
        sample: texts, each as likely as any other (Vitter 1985, algorithm R).

    """

    def __init__(self, seed: int = 0) -> None:
        self.rows, self._texts = 0, 0
        self.routes: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.confidence: Counter[str] = Counter()
        self.sample: list[ModelText] = []
        self._draw = random.Random(seed)

    def add(self, row: JudgedRow, decision: Decision) -> None:
        """Count a row."""
        self.rows += 1
        self.routes[decision.route] += 1
        self.labels.update(decision.labels)
        start = min(int(decision.confidence * _BINS), _BINS - 1) / _BINS
        self.confidence[f"{start:.2f}"] += 1
        if row.probabilities:
            self._texts += 1
            at = len(self.sample)
            if at >= _SAMPLE:
                at = self._draw.randrange(self._texts)
            self.sample[at : at + 1] = [row.log.text] if at < _SAMPLE else []

    def with_label(self, label: str) -> dict[str, int]:
        """Return how many rows have a label, and how many do not."""
        held = self.labels[label]
        return {"held": held, "not held": self.rows - held}


def measure_drift(
    judge: Judge,
    log: Iterable[Path | str],
    against: Iterable[Path | str],
    most: int = 200,
) -> Drift:
    """Compare a log with an earlier one; both are streamed.

    Args:
        judge: the router that decides on both.
        log: the later rows.
        against: the earlier ones, such as the training data.
        most: how many new rows are kept, at least one.

    Raises:
        DataError: a row of either cannot be read.

    """
    before, now = Profile(), Profile()
    for row in judge.judge(against):
        before.add(row, judge.decide(row))
    embedder = Embedder(judge.router.artifact)
    known = _Known(embedder, before.sample)
    new = _NewRows(known.far, most)
    rows = judge.judge(log)
    while chunk := list(islice(rows, _CHUNK)):
        decisions = [judge.decide(row) for row in chunk]
        for row, decision in zip(chunk, decisions, strict=True):
            now.add(row, decision)
        new.add(chunk, decisions, known.distances([row.log.text for row in chunk]))
    return Drift(
        now.rows,
        before.rows,
        shift_of(before.routes, now.routes),
        {name: shift_of(before.with_label(name), now.with_label(name)) for name in judge.labels},
        shift_of(before.confidence, now.confidence),
        known.test(now.sample),
        embedder.tensor,
        known.far,
        new.found / now.rows,
        new.farthest(),
    )


class _Known:
    """The embeddings of a sample of the earlier log, all of length 1."""

    def __init__(self, embedder: Embedder, sample: list[ModelText]) -> None:
        if len(sample) < 2:
            raise DataError("the earlier log", None, "has fewer than two rows of text.")
        self._embedder = embedder
        self._units = _unit(embedder.embed(sample))
        likeness = self._units @ self._units.T
        np.fill_diagonal(likeness, -1)
        self.far = float(np.quantile(1 - likeness.max(axis=1), _FAR))

    def distances(self, texts: list[ModelText]) -> NDArray[np.float32]:
        """Return how far each text is from the nearest that is known, float32 [n]."""
        likeness = _unit(self._embedder.embed(texts)) @ self._units.T
        nearest: NDArray[np.float32] = 1 - likeness.max(axis=1)
        return nearest

    def test(self, sample: list[ModelText]) -> Discrepancy | None:
        """Test whether other texts come from the same distribution."""
        if len(sample) < 2:
            return None
        now = _unit(self._embedder.embed([sample[at] for at in _some(len(sample))]))
        return discrepancy(self._units[_some(len(self._units))], now)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    units: NDArray[np.float32] = rows / np.maximum(lengths, 1e-12)
    return units


def _some(rows: int) -> list[int]:
    """Draw which rows of a sample are tested: one that is not full is in the log's order."""
    return random.Random(0).sample(range(rows), min(rows, _TESTED))


class _NewRows:
    """The farthest rows of a stream.

    Attributes:
        found: how many rows are new, those not kept included.

    """

    def __init__(self, far: float, most: int) -> None:
        self.found, self._far, self._most = 0, far, most
        self._heap: list[tuple[float, int, dict[str, Any]]] = []
        self._seen: set[bytes] = set()

    def add(
        self, rows: list[JudgedRow], decisions: list[Decision], distances: NDArray[np.float32]
    ) -> None:
        """Count rows, and keep the new ones that are farther than those that were kept."""
        for row, decision, distance in zip(rows, decisions, distances.tolist(), strict=True):
            if distance > self._far and row.probabilities:
                self.found += 1
                self._keep(row, decision, distance)

    def _keep(self, row: JudgedRow, decision: Decision, distance: float) -> None:
        text = row.log.text
        key = blake2b(text.turn + b"\x1e" + text.context, digest_size=8).digest()
        full = len(self._heap) == self._most
        if key in self._seen or (full and distance <= self._heap[0][0]):
            return
        self._seen.add(key)
        told = {"suggested_labels": list(decision.labels), "route": decision.route}
        data = {key: value for key, value in row.log.data.items() if key not in ("labels", "label")}
        item = (distance, self.found, {**data, **told, "distance": round(distance, 4)})
        push = heapq.heappushpop if full else heapq.heappush
        push(self._heap, item)

    def farthest(self) -> list[NewRow]:
        """Return the rows kept, the farthest first."""
        return [NewRow(distance, row) for distance, _, row in sorted(self._heap, reverse=True)]


class LabelDrift(msgspec.Struct, frozen=True):
    """How often labels hold in a log, beside how often they did in the training data.

    Attributes:
        rows, rows_before: of the log, and of the training data.
        labels: label -> shift of how often it holds.

    """

    rows: int
    rows_before: int
    labels: dict[str, Shift]


def measure_label_drift(judge: Judge, log: Iterable[Path | str]) -> LabelDrift:
    """Compare a log with what the artifact records of its training data: its labels' counts.

    That is all that an artifact knows of them; their mix was chosen to learn from, and is not
    that of any traffic.

    Raises:
        DataError: a row cannot be read, or the artifact records no counts.

    """
    trained = judge.router.artifact.config.trained.get("data", {})
    counts, rows = trained.get("labels"), trained.get("rows")
    if not isinstance(counts, dict) or not isinstance(rows, int):
        path = judge.router.artifact.path
        raise DataError(path, None, "its config counts no labels: give a log to compare with.")
    now = Profile()
    for row in judge.judge(log):
        now.add(row, judge.decide(row))
    return LabelDrift(now.rows, rows, dict(_label_shifts(judge.labels, counts, rows, now)))


def _label_shifts(
    labels: Iterable[str], counts: dict[str, int], rows: int, now: Profile
) -> Iterator[tuple[str, Shift]]:
    for label in labels:
        held = counts.get(label, 0)
        before = {"held": held, "not held": rows - held}
        yield label, shift_of(before, now.with_label(label))
