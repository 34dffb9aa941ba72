"""Hashed byte n-grams as sparse features: counted, and weighted by how few texts have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from router_ml.request import ModelText
from router_ml.training.byte_ngrams import Ngrams, bags

Sparse: TypeAlias = scipy.sparse.csr_matrix


class Counts(NamedTuple):
    """How often each n-gram is in the turns and in their contexts, float32 [n, ids] each."""

    turns: Sparse
    contexts: Sparse


def count(texts: Sequence[ModelText], ngrams: Ngrams) -> Counts:
    """Count the n-grams of texts, of turns and contexts apart; `ngrams` has no edges."""
    found = bags([(text.turn or b" ", text.context) for text in texts], ngrams)
    bounds = np.append(found.starts, len(found.ids)) * found.ids.shape[1]
    ones = np.ones(bounds[-1], np.float32)
    ids = 1 << ngrams.table_bits
    # Texts and contexts take turns, each one's n-grams in a row: what CSR is made of.
    both = scipy.sparse.csr_matrix((ones, found.ids.ravel(), bounds), (len(bounds) - 1, ids))
    both.sum_duplicates()
    return Counts(both[0::2], both[1::2])


def idf(counts: Counts) -> NDArray[np.float32]:
    """Return the smoothed inverse document frequency, as scikit-learn's TfidfTransformer.

    A document is a turn, or a context where there is one.
    """
    documents = sum(int((np.diff(part.indptr) > 0).sum()) for part in counts)
    having = sum(np.bincount(part.indices, minlength=part.shape[1]) for part in counts)
    return (np.log((1 + documents) / (1 + having)) + 1).astype(np.float32)


def weighted(counts: Sparse, weight: NDArray[np.float32]) -> Sparse:
    """Multiply each n-gram's count by its weight."""
    return (counts @ scipy.sparse.diags(weight)).tocsr()
