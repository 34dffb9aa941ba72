"""An encoder learned without torch: linear classifiers on n-grams, folded into one table.

Byte n-grams, weighted by inverse document frequency and brought to length 1, are what one
logistic regression a label learns from. What those say of a text is its embedding, turned to
where texts differ most: as many columns as labels, or fewer. N-gram weights, regression weights
and that turn are one table row an n-gram, so the graph that serves it is a lookup, a sum and a
division; and the head, which sees all labels at once, is small and soon fitted.

The regressions see, beside the n-grams themselves, vectors learned before (`vectors`): the more
of a decision those can carry, the less must be learned from the rows. They are a linear map of
the same n-grams, so they too end in the table's rows and take nothing when it is served.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import onnx
import scipy.sparse
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from router_ml.request import ModelText
from router_ml.training.byte_ngrams import Ngrams, graph, round_columns
from router_ml.training.ngram_features import Sparse, count, idf, weighted

Floats = NDArray[np.float32]

_C, _SWEEPS, _TOLERANCE = 10.0, 5, 0.1
"""Of the regressions; the head corrects what a few more sweeps would."""
_KNOWN = 0.5
"""Root mean square of the lengths of texts' known vectors, beside the 1 of their n-grams."""
_LENGTH = 0.4
"""Root mean square of the embeddings' lengths: of what the head's own C is right for."""


class NgramEncoder:
    """N-grams with an int8 table, pooled over the turn and its context apart.

    Attributes:
        ngrams: what is hashed.
        table: int8 [2 ** table_bits, width + 1]; the last column is what an n-gram adds to
            the square of its text's length.
        scale: of the table's columns, float32 [width + 1].

    """

    def __init__(self, ngrams: Ngrams, table: NDArray[np.int8], scale: Floats) -> None:
        self.ngrams, self.table, self.scale = ngrams, table, scale

    @classmethod
    def fit(
        cls,
        texts: Sequence[ModelText],
        targets: Floats,
        weights: Floats,
        ngrams: Ngrams,
        width: int,
        seed: int,
        known: Floats | None = None,
    ) -> NgramEncoder:
        """Learn a table.

        Args:
            texts: n of them.
            targets: 0 or 1, [n, labels].
            weights: of the texts, [n].
            ngrams: what to hash; it has no edges.
            width: how many columns to keep at most.
            seed: of the order in which the regressions see texts.
            known: a vector an n-gram, [2 ** table_bits, any width], of any scale; or none.

        """
        counts = count(texts, ngrams)
        ngram_weight = idf(counts)
        known = _sized(known, counts.turns, ngram_weight)
        used = np.unique(np.concatenate([part.indices for part in counts]))
        turns, contexts = (_features(part, ngram_weight, used, known) for part in counts)
        learned = _learn(scipy.sparse.hstack([turns, contexts]).tocsr(), targets, weights, seed)
        of_turn, of_context = np.split(learned, 2)
        said = np.concatenate([turns @ of_turn, contexts @ of_context], axis=1)
        turned = np.concatenate([of_turn, of_context], axis=1) @ _directions(said, width)
        table = _fold(turned, ngram_weight, used, known)
        return cls(ngrams, *round_columns(table))

    @property
    def width(self) -> int:
        """How many columns the embedding of a segment has."""
        return self.table.shape[1] - 1

    def graph(self) -> onnx.ModelProto:
        """Return raw bytes -> `embedding`, float32 [batch, 2 * width]."""
        return graph(self.ngrams, self.table, scale=self.scale)

    def embed(self, texts: Sequence[ModelText]) -> Floats:
        """Return what the graph gives, by numpy: [n, 2 * width]."""
        pooled = [self._pool(part) for part in count(texts, self.ngrams)]
        return np.concatenate(pooled, axis=1).astype(np.float32)

    def _pool(self, counts: Sparse) -> Floats:
        sums = (counts @ self.table.astype(np.float32)) * self.scale
        return sums[:, :-1] / np.sqrt(np.maximum(sums[:, -1:], 1))


def _sized(known: Floats | None, counts: Sparse, ngram_weight: Floats) -> Floats:
    """Bring known vectors to the size at which texts have them beside their n-grams."""
    if known is None:
        return np.zeros((len(ngram_weight), 0), np.float32)
    of_texts = _shortened(counts, ngram_weight) @ known
    size = np.sqrt(np.square(of_texts).sum(axis=1).mean())
    return known * np.float32(_KNOWN / max(size, np.finfo(np.float32).tiny))


def _features(
    counts: Sparse, ngram_weight: Floats, used: NDArray[np.intp], known: Floats
) -> Sparse:
    """Return each text's weighted n-grams, of those used, and its known vector."""
    shares = _shortened(counts, ngram_weight)
    vectors = scipy.sparse.csr_matrix(shares @ known)
    return scipy.sparse.hstack([weighted(shares, ngram_weight)[:, used], vectors]).tocsr()


def _shortened(counts: Sparse, ngram_weight: Floats) -> Sparse:
    """Divide each text's counts by the length that the table's last column gives."""
    length = np.sqrt(np.maximum(counts @ ngram_weight**2, 1))
    return (scipy.sparse.diags(1 / length) @ counts).tocsr()


def _learn(features: Sparse, targets: Floats, weights: Floats, seed: int) -> Floats:
    """Fit one regression a label, [features, labels]; of a label that all have, nothing."""
    learned = np.zeros((features.shape[1], targets.shape[1]), np.float32)
    features = features.astype(np.float64)  # which liblinear would convert anew for each label
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for column, answer in enumerate(targets.T):
            if np.ptp(answer):
                model = LogisticRegression(
                    C=_C,
                    solver="liblinear",
                    dual=True,
                    max_iter=_SWEEPS,
                    tol=_TOLERANCE,
                    random_state=seed,
                )
                learned[:, column] = model.fit(features, answer > 0, weights).coef_[0]
    return learned


def _fold(turned: Floats, ngram_weight: Floats, used: NDArray[np.intp], known: Floats) -> Floats:
    """Return all that an n-gram adds to an embedding as its row, and to the square of a length."""
    of_ngrams, of_known = np.split(turned, [len(used)])
    table = np.zeros((len(ngram_weight), turned.shape[1] + 1), np.float32)
    table[:, :-1] = known @ of_known
    table[used, :-1] += ngram_weight[used, None] * of_ngrams
    table[:, -1] = ngram_weight**2
    return table


def _directions(said: Floats, width: int) -> Floats:
    """Return the principal directions of what is said of the texts, [columns, width]."""
    values, vectors = np.linalg.eigh(said.T @ said)
    kept = np.flatnonzero(values > values[-1] * 1e-6)[::-1][:width]
    length = np.sqrt(max(values.sum() / len(said), 1e-12))
    return vectors[:, kept] * (_LENGTH / length)
