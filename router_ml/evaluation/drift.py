"""Whether traffic has moved away from an earlier log: its routes, its confidence, what it says.

Counts are kept of every row; of what rows say, a sample. A row is new where the nearest row of
the earlier log's sample is farther away than 99 in 100 of that sample are from each other.

What is kept of parts of a log adds up to what is kept of the whole, whatever the parts and
their order. The sample is of the rows whose places have the lowest hashes; a place is a file
and a row's number in it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from router_ml.chunks import chunks
from router_ml.errors import DataError
from router_ml.evaluation.embeddings import Embedder
from router_ml.evaluation.judging import Judge, JudgedRow, LogRow
from router_ml.evaluation.rows import digest
from router_ml.evaluation.tally import Best
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
_DIGITS = 9
"""Digits of a distance that do not depend on how many are taken at once."""


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
        sampled: texts, each as likely as any other.

    """

    def __init__(self) -> None:
        self.rows = 0
        self.routes: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.confidence: Counter[str] = Counter()
        self.sampled: Best[ModelText] = Best(_SAMPLE)

    def add(self, rows: Sequence[JudgedRow], decisions: Sequence[Decision]) -> None:
        """Count some rows."""
        self.rows += len(rows)
        for decision in decisions:
            self.routes[decision.route] += 1
            self.labels.update(decision.labels)
            start = min(int(decision.confidence * _BINS), _BINS - 1) / _BINS
            self.confidence[f"{start:.2f}"] += 1
        texts = ((_rank(row.log), row.log.text) for row in rows if row.probabilities)
        self.sampled = self.sampled.plus(Best.of(_SAMPLE, texts))

    def merge(self, other: Profile) -> None:
        """Add another part of the log."""
        self.rows += other.rows
        self.routes += other.routes
        self.labels += other.labels
        self.confidence += other.confidence
        self.sampled = self.sampled.plus(other.sampled)

    @property
    def sample(self) -> list[ModelText]:
        """The sampled texts, in an order that says nothing of where they were."""
        return sorted(self.sampled.rows)

    def with_label(self, label: str) -> dict[str, int]:
        """Return how many rows have a label, and how many do not."""
        held = self.labels[label]
        return {"held": held, "not held": self.rows - held}


def _rank(row: LogRow) -> bytes:
    return digest(_absolute(row.path), b"%d" % row.number)


@lru_cache(maxsize=64)
def _absolute(path: Path | str) -> bytes:
    return str(Path(path).absolute()).encode("utf-8", "surrogateescape")


def profile(judge: Judge, rows: Iterable[JudgedRow]) -> Profile:
    """Keep of a log what it is compared by."""
    found = Profile()
    for chunk in chunks(rows, _CHUNK):
        found.add(chunk, [judge.decide(row) for row in chunk])
    return found


def compare(judge: Judge, rows: Iterable[JudgedRow], known: Known, most: int) -> Later:
    """Keep of a later log what it is compared by, and which of its rows are new."""
    found = Later(Profile(), NewRows(most))
    for chunk in chunks(rows, _CHUNK):
        decisions = [judge.decide(row) for row in chunk]
        found.profile.add(chunk, decisions)
        found.new.add(chunk, decisions, known)
    return found


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
    before = profile(judge, judge.judge(against))
    embedder = Embedder(judge.router.artifact)
    known = know(embedder, before)
    return drift_of(judge, before, compare(judge, judge.judge(log), known, most), known)


def drift_of(judge: Judge, before: Profile, later: Later, known: Known) -> Drift:
    """Say how what was kept of two logs differs."""
    now = later.profile
    return Drift(
        now.rows,
        before.rows,
        shift_of(before.routes, now.routes),
        {name: shift_of(before.with_label(name), now.with_label(name)) for name in judge.labels},
        shift_of(before.confidence, now.confidence),
        known.test(now.sample),
        known.embedder.tensor,
        known.far,
        later.new.found / now.rows,
        later.new.farthest(),
    )


class Known(NamedTuple):
    """A sample of the earlier log.

    Attributes:
        embedder: makes embeddings.
        units: the sample's, all of length 1, float64 [n, width].
        far: the distance from which a row is new.

    """

    embedder: Embedder
    units: NDArray[np.float64]
    far: float

    def distances(self, texts: Sequence[ModelText]) -> NDArray[np.float64]:
        """Return how far each text is from the nearest that is known, float64 [n]."""
        likeness = _unit(self.embedder.embed(texts)) @ self.units.T
        nearest: NDArray[np.float64] = np.round(1 - likeness.max(axis=1), _DIGITS)
        return nearest

    def test(self, sample: list[ModelText]) -> Discrepancy | None:
        """Test whether other texts come from the same distribution."""
        if len(sample) < 2:
            return None
        now = _unit(self.embedder.embed([sample[at] for at in _some(len(sample))]))
        return discrepancy(self.units[_some(len(self.units))], now)


def know(embedder: Embedder, earlier: Profile) -> Known:
    """Embed the sample of an earlier log.

    Raises:
        DataError: it has fewer than two rows of text.

    """
    sample = earlier.sample
    if len(sample) < 2:
        raise DataError("the earlier log", None, "has fewer than two rows of text.")
    units = _unit(embedder.embed(sample))
    likeness = units @ units.T
    np.fill_diagonal(likeness, -1)
    return Known(embedder, units, float(np.quantile(1 - likeness.max(axis=1), _FAR)))


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    exact = rows.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    units: NDArray[np.float64] = exact / np.maximum(lengths, 1e-12)
    return units


def _some(rows: int) -> list[int]:
    """Draw which rows of a sample are tested: a sample is in the order of its texts."""
    return random.Random(0).sample(range(rows), min(rows, _TESTED))


class NewRows:
    """The farthest rows of a log.

    Attributes:
        found: how many rows are new, those not kept included.

    """

    def __init__(self, most: int) -> None:
        self.found = 0
        self._best: Best[tuple[str, dict[str, Any]]] = Best(most)

    def add(self, rows: Sequence[JudgedRow], decisions: Sequence[Decision], known: Known) -> None:
        """Count rows, and keep the new ones that are farther than those that were kept."""
        distances = known.distances([row.log.text for row in rows]).tolist()
        new = [
            (-distance, row, decision)
            for row, decision, distance in zip(rows, decisions, distances, strict=True)
            if distance > known.far and row.probabilities
        ]
        self.found += len(new)
        ranked = (
            ((rank, digest(*row.log.text[:2])), _told(row, decision, -rank))
            for rank, row, decision in new
        )
        self._best = self._best.plus(Best.of(self._best.most, ranked))

    def merge(self, other: NewRows) -> None:
        """Add those of another part of the log."""
        self.found += other.found
        self._best = self._best.plus(other._best)

    def farthest(self) -> list[NewRow]:
        """Return the rows kept, the farthest first, each text once."""
        return [NewRow(-rank[0], row) for rank, (_, row) in self._best.found]


def _told(row: JudgedRow, decision: Decision, distance: float) -> tuple[str, dict[str, Any]]:
    """Return a row with what was decided, behind a text that it can be ordered by."""
    told = {"suggested_labels": list(decision.labels), "route": decision.route}
    data = {key: value for key, value in row.log.data.items() if key not in ("labels", "label")}
    return repr(data), {**data, **told, "distance": round(distance, 4)}


class Later(NamedTuple):
    """What is kept of the later log."""

    profile: Profile
    new: NewRows

    def merge(self, other: Later) -> None:
        """Add another part of the log."""
        self.profile.merge(other.profile)
        self.new.merge(other.new)


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
    return label_drift_of(judge, profile(judge, judge.judge(log)))


def label_drift_of(judge: Judge, now: Profile) -> LabelDrift:
    """Compare what was kept of a log with the counts of the training data.

    Raises:
        DataError: the artifact records no counts.

    """
    trained = judge.router.artifact.config.trained.get("data", {})
    counts, rows = trained.get("labels"), trained.get("rows")
    if not isinstance(counts, dict) or not isinstance(rows, int):
        path = judge.router.artifact.path
        raise DataError(path, None, "its config counts no labels: give a log to compare with.")
    return LabelDrift(now.rows, rows, dict(_label_shifts(judge.labels, counts, rows, now)))


def _label_shifts(
    labels: Iterable[str], counts: dict[str, int], rows: int, now: Profile
) -> Iterator[tuple[str, Shift]]:
    for label in labels:
        held = counts.get(label, 0)
        before = {"held": held, "not held": rows - held}
        yield label, shift_of(before, now.with_label(label))
