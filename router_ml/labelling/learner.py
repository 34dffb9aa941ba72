"""A classifier learned anew from every answer, in milliseconds: no one waits for it.

Texts are embedded once, by latent semantic analysis of the log's own n-grams: no label is
needed for that, and the shipped encoder knows little of a team's own. On them a regularised
least-squares classifier has a closed form, and so has what it would have said of each answer
had it not learned from it. One against the rest it is as good as a support vector machine
(Rifkin & Klautau 2004, "In Defense of One-Vs-All Classification").
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.preprocessing import normalize

from router_ml.request import ModelText
from router_ml.training.byte_ngrams import Ngrams
from router_ml.training.ngram_features import count, idf, weighted

Floats = NDArray[np.float64]

_ORDERS, _TABLE_BITS, _WIDTH = (2, 3, 4, 6), 16, 128
_RIDGE = 0.1
_CLUSTERS, _CLUSTER_SIZE = 100, 8
"""At most so many clusters, of so many questions or more on average."""


class Said(NamedTuple):
    """What a classifier says.

    Attributes:
        scores: of every question, float64 [questions, labels]; 1: it holds, 0: it does not.
        held_out: of each answered one, by the classifier that did not learn from it.

    """

    scores: Floats
    held_out: Floats


def embed(texts: Sequence[ModelText], seed: int = 0) -> Floats:
    """Embed texts, each row of length 1 or 0: [n, width].

    TF-IDF of hashed n-grams on the leading singular vectors (Deerwester et al. 1990), the
    turn's and the context's side by side.
    """
    if len(texts) < 2:  # nothing to tell apart
        return np.zeros((len(texts), 1))
    counts = count(texts, Ngrams.make(_ORDERS, _TABLE_BITS, seed, edges=()))
    used = np.unique(np.concatenate([part.indices for part in counts]))
    turns, contexts = (normalize(weighted(part, idf(counts))[:, used]) for part in counts)
    svd = TruncatedSVD(min(_WIDTH, len(texts) - 1, len(used)), n_iter=4, random_state=seed)
    with np.errstate(divide="ignore", invalid="ignore"):  # of texts that are all the same
        svd.fit(turns)
    parts = [normalize(part @ svd.components_.T) for part in (turns, contexts)]
    found: Floats = normalize(np.concatenate(parts, axis=1).astype(np.float64))
    return found


def cluster(embeddings: Floats, seed: int = 0) -> tuple[NDArray[np.intp], Floats]:
    """Divide questions into clusters of like ones, by k-means.

    Returns:
        The cluster of each question, [n], and how far it is from its centre, [n].

    """
    count = max(1, min(_CLUSTERS, len(embeddings) // _CLUSTER_SIZE))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer distinct points than clusters: so be it
        means = MiniBatchKMeans(count, n_init=1, random_state=seed).fit(embeddings)
    found = means.labels_.astype(np.intp)
    return found, np.linalg.norm(embeddings - means.cluster_centers_[found], axis=1)


def learn(embeddings: Floats, answered: Sequence[int], targets: Floats) -> Said:
    """Fit the classifier to the answers.

    A row's held-out residual is its residual over 1 - its leverage (Allen 1974, PRESS).

    Args:
        embeddings: [n, width].
        answered: row numbers, m of them, at least one.
        targets: 1 where a label holds, else 0: [m, labels].

    """
    rows = embeddings[answered]
    middle, mean = rows.mean(axis=0), targets.mean(axis=0)
    centred = rows - middle
    gram = centred.T @ centred + _RIDGE * np.eye(rows.shape[1])
    solved = np.linalg.solve(gram, centred.T)
    weights = solved @ (targets - mean)
    fitted = centred @ weights + mean
    leverage = np.einsum("ij,ji->i", centred, solved) + 1 / len(rows)
    rest = np.maximum(1 - leverage, 1e-9)[:, None]
    held_out = targets - (targets - fitted) / rest
    if len(rows) == 1:  # nothing else was learned from
        held_out = np.zeros_like(targets)
    return Said((embeddings - middle) @ weights + mean, held_out)


def margins(scores: Floats, single: bool) -> Floats:
    """Return how sure scores are, [n] in [0, 1]: 0 where two answers are equally near.

    The margin of Scheffer, Decomain & Wrobel (2001): of one label before the next; where
    several may hold, of the least sure of them from one half.
    """
    if single:
        best = np.sort(scores, axis=1)[:, ::-1]
        found = best[:, 0] - best[:, 1] if scores.shape[1] > 1 else np.ones(len(scores))
    else:
        found = (2 * np.abs(scores - 0.5)).min(axis=1)
    return np.clip(found, 0, 1)


def holding(scores: Floats, labels: Sequence[str], single: bool) -> list[tuple[str, ...]]:
    """Name the labels that scores say hold, of every row."""
    if single:
        return [(labels[at],) for at in scores.argmax(axis=1)]
    return [
        tuple(label for label, s in zip(labels, row, strict=True) if s >= 0.5) for row in scores
    ]
