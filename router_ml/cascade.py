"""Two classifiers of the same labels: the second is asked only where the first is in doubt.

A small classifier is sure of most requests. A larger one of another kind, which errs
elsewhere, costs little if it judges only the rest; there, what both say is pooled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from router_ml.artifact import Artifact, Config, GoldenRow, find_artifact, load_artifact
from router_ml.classifier import Classifier, PackedTexts, Probabilities
from router_ml.errors import ArtifactError, PolicyError
from router_ml.policy import Policy, Second
from router_ml.request import ModelText

_LEAST = float(np.finfo(np.float32).eps)
"""A probability that float32 rounds to 0 or 1 would silence the other classifier."""
_SURE_EITHER_WAY = 0.5
"""A label or its absence is as probable as this."""


class Cascade(Classifier):
    """A classifier that asks a second one where the first is in doubt.

    Attributes:
        labels, single_label, thresholds: the first's.
        first, second: the classifiers; the second may have the labels in another order.

    """

    def __init__(
        self, first: Classifier, second: Classifier, doubted: Sequence[str], below: float
    ) -> None:
        """Join two classifiers.

        Args:
            first: asked always.
            second: asked where the first is in doubt.
            doubted: the labels whose doubt counts, unless labels exclude each other.
            below: the probability below which a judgement is in doubt.

        """
        self.labels, self.single_label = first.labels, first.single_label
        self.thresholds = first.thresholds
        self.first, self.second, self._below = first, second, below
        self._doubted = [self.labels.index(label) for label in doubted]
        self._order = [second.labels.index(label) for label in self.labels]

    def probabilities(self, text: ModelText) -> list[float]:
        """Return the probability of each label, in [0, 1]: the first's, or both's pooled."""
        row = self.first.probabilities(text)
        if not self._is_doubtful(row):
            return row
        found = np.array([row], np.float32)
        self._pool(found, np.array([0]), np.array([self.second.probabilities(text)]))
        pooled: list[float] = found.tolist()[0]
        return pooled

    def probabilities_many(self, texts: Sequence[ModelText]) -> Probabilities:
        """Return the probabilities, float32 [len(texts), len(labels)]."""
        found = self.first.probabilities_many(texts)
        rows = self._doubtful(found)
        asked = [texts[row] for row in rows.tolist()]
        self._pool(found, rows, self.second.probabilities_many(asked))
        return found

    def probabilities_packed(self, texts: PackedTexts) -> Probabilities:
        """Return the probabilities, float32 [n, len(labels)]."""
        found = self.first.probabilities_packed(texts)
        rows = self._doubtful(found)
        asked = PackedTexts(texts.data, texts.starts[rows], texts.lengths[rows])
        self._pool(found, rows, self.second.probabilities_packed(asked))
        return found

    def replay(self, rows: Sequence[GoldenRow]) -> float:
        """Return by how much the first's graph, run here, differs from its golden rows at most."""
        return self.first.replay(rows)

    def _is_doubtful(self, row: Sequence[float]) -> bool:
        if self.single_label:
            return max(row) < self._below
        judged = (row[at] for at in self._doubted)
        return any(p < self._below and 1 - p < self._below for p in judged)

    def _doubtful(self, found: Probabilities) -> NDArray[np.intp]:
        """Return the numbers of the rows of which `_is_doubtful` holds."""
        p = found.astype(np.float64)
        if self.single_label:
            return np.flatnonzero(p.max(axis=1) < self._below)
        judged = p[:, self._doubted]
        return np.flatnonzero((np.maximum(judged, 1 - judged) < self._below).any(axis=1))

    def _pool(
        self, found: Probabilities, rows: NDArray[np.intp], said: NDArray[np.floating]
    ) -> None:
        """Put in the place of some rows what both classifiers say of them."""
        found[rows] = pool(found[rows], said[:, self._order], exclusive=self.single_label)


def pool(
    one: NDArray[np.floating], other: NDArray[np.floating], *, exclusive: bool
) -> NDArray[np.float64]:
    """Return the logarithmic opinion pool of two judges, who weigh the same.

    Of each label its mean log-odds or, of labels that exclude each other, the normalised
    geometric mean of their probabilities (Genest and Zidek, "Combining Probability
    Distributions", Statistical Science 1, 1986).

    Args:
        one, other: probabilities [n, labels].
        exclusive: whether exactly one label holds.

    """
    p, q = (np.clip(given.astype(np.float64), _LEAST, 1 - _LEAST) for given in (one, other))
    both = np.sqrt(p * q)
    whole = both.sum(axis=1, keepdims=True) if exclusive else both + np.sqrt((1 - p) * (1 - q))
    found: NDArray[np.float64] = both / whole
    return found


def load_second(policy: Policy, first: Artifact, second: Artifact | None = None) -> Artifact | None:
    """Return the artifact that a policy asks where the first is in doubt; None if it asks none.

    Args:
        policy: says which, and when it is asked.
        first: the artifact that is asked always.
        second: the one to be asked; None: it is read from where the policy says.

    Raises:
        PolicyError: it is missing or cannot be used, or judges otherwise than the first.

    """
    if policy.second is None:
        return None
    second = second or _read(policy.second)
    for problem in _problems(policy.second, first.config, second.config):
        raise PolicyError(problem)
    return second


def problems_of_second(policy: Policy, first: Artifact) -> Iterator[str]:
    """Say, a sentence each, what keeps a policy from asking its second artifact, if it has one."""
    if policy.second is None:
        return
    try:
        second = _read(policy.second)
    except PolicyError as error:
        yield str(error)
        yield from _idle(policy.second, first.config)
    else:
        yield from _problems(policy.second, first.config, second.config)


def _read(asked: Second) -> Artifact:
    try:
        return load_artifact(find_artifact(asked.artifact))
    except ArtifactError as error:
        raise PolicyError(f"The policy's `second.artifact` cannot be used: {error}") from error


def _problems(asked: Second, first: Config, second: Config) -> Iterator[str]:
    yield from _misfits(asked, first, second)
    yield from _idle(asked, first)


def _misfits(asked: Second, first: Config, second: Config) -> Iterator[str]:
    """Say what keeps two artifacts from judging together."""
    if set(second.labels) != set(first.labels):
        yield (
            f"The policy's `second.artifact` {asked.artifact} has the labels "
            f"{', '.join(second.labels)}, but the first has {', '.join(first.labels)}."
        )
    if second.single_label != first.single_label:
        kinds = ("any number of labels", "exactly one label")
        yield (
            f"The policy's `second.artifact` {asked.artifact} gives {kinds[second.single_label]}, "
            f"but the first gives {kinds[first.single_label]}."
        )


def _idle(asked: Second, first: Config) -> Iterator[str]:
    """Say what a policy says of doubt that there cannot be."""
    if asked.labels and first.single_label:
        yield (
            "The policy has `second.labels`, but the artifact's labels exclude each other, so "
            "that only the most probable one can be in doubt: leave it out."
        )
    if asked.below <= _SURE_EITHER_WAY and not first.single_label:
        yield (
            f"The policy's `second.below` is {asked.below:g}, but of labels that do not exclude "
            "each other one or its absence always has a probability of at least 0.5: give more."
        )
