"""An encoder learned without torch and without labels: latent semantic analysis of n-grams.

The hashed n-grams of the byte encoder, weighted by inverse document frequency and
projected on the leading singular vectors of the training texts (Deerwester et al. 1990).
Weight and projection are one table row an n-gram, so the graph that serves it is that of
the byte encoder: a lookup, a sum, a length brought to 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import scipy.sparse
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.preprocessing import normalize

from router_ml.request import ModelText
from router_ml.training.byte_ngrams import Bags, Ngrams, bags, graph

_INT8 = 127
_ITERATIONS = 4


class NgramEncoder:
    """N-grams with an int8 table, pooled over the turn and its context.

    Attributes:
        ngrams: what is hashed.
        table: int8 [2 ** table_bits, width].

    """

    def __init__(self, ngrams: Ngrams, table: NDArray[np.int8]) -> None:
        self.ngrams, self.table = ngrams, table

    @classmethod
    def fit(
        cls,
        texts: Sequence[ModelText],
        orders: Sequence[int],
        table_bits: int,
        width: int,
        seed: int,
    ) -> NgramEncoder:
        """Learn a table from texts.

        Args:
            texts: at least two.
            orders: n-gram lengths in bytes.
            table_bits: log2 of the table's rows.
            width: the table's columns; fewer if there are fewer texts.
            seed: of the hash and of the randomized decomposition.

        """
        ngrams = Ngrams.make(orders, table_bits, seed, edges=())
        counts = _counts(bags([_pair(text) for text in texts], ngrams), 1 << table_bits)
        idf = _idf(counts)
        used = np.unique(counts.indices)  # of few texts, a small part of the table
        width = min(width, len(texts) - 1, len(used))
        svd = TruncatedSVD(width, n_iter=_ITERATIONS, random_state=seed)
        svd.fit(normalize(counts[:, used].multiply(idf[used]).tocsr()))
        table = np.zeros((len(idf), len(svd.components_)), np.float32)
        table[used] = svd.components_.T * idf[used, None]
        return cls(ngrams, np.round(table * (_INT8 / np.abs(table).max())).astype(np.int8))

    def graph(self) -> onnx.ModelProto:
        """Return raw bytes -> `embedding`, float32 [batch, 2 * width]."""
        return graph(self.ngrams, self.table)

    def embed(self, texts: Sequence[ModelText]) -> NDArray[np.float32]:
        """Return what the graph gives, by numpy: [n, 2 * width]."""
        found = bags([_pair(text) for text in texts], self.ngrams)
        counts = _counts(found, len(self.table))
        contexts = _counts(found, len(self.table), segment=1)
        parts = [normalize(part @ self.table.astype(np.float32)) for part in (counts, contexts)]
        return np.concatenate(parts, axis=1).astype(np.float32)


def _pair(text: ModelText) -> tuple[bytes, bytes]:
    return text.turn or b" ", text.context


def _counts(found: Bags, ids: int, segment: int = 0) -> scipy.sparse.csr_matrix:
    """Count each id in one segment of each text: float32 [n, ids]."""
    ends = np.append(found.starts[1:], len(found.ids))
    starts, ends = found.starts[segment::2], ends[segment::2]
    rows = np.repeat(np.arange(len(starts)), (ends - starts) * found.ids.shape[1])
    chosen = [found.ids[start:end].ravel() for start, end in zip(starts, ends, strict=True)]
    columns = np.concatenate(chosen)
    ones = np.ones(len(columns), np.float32)
    return scipy.sparse.csr_matrix((ones, (rows, columns)), (len(starts), ids))


def _idf(counts: scipy.sparse.csr_matrix) -> NDArray[np.float32]:
    """Return the smoothed inverse document frequency, as scikit-learn's TfidfTransformer."""
    documents = np.bincount(counts.indices, minlength=counts.shape[1])
    return (np.log((1 + counts.shape[0]) / (1 + documents)) + 1).astype(np.float32)
