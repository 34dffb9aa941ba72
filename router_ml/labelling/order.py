"""Which question to ask next: those that teach most, and now and then one drawn at random.

Questions are clustered, and answers dealt to the clusters in proportion to the uncertainty
they hold (by highest averages, Sainte-Laguë): so they are diverse, and what is new, a cluster
without answers, has its turn early. Within a cluster the least sure one is asked, by its margin
(Scheffer et al. 2001; margin sampling within clusters as in Citovsky et al. 2021, "Batch Active
Learning at Scale"). While nothing is known all are equally unsure, and the most typical one of
each cluster comes first, which teaches more than odd ones do while answers are few (Hacohen,
Dekel & Weinshall 2022, "Active Learning on a Budget").

What is chosen for being hard says nothing of the log as a whole. So one question in
`DRAW_EVERY` is the next of a random permutation of the log's rows, which is the same for
everyone who labels it: the rows up to there are a random sample, and accuracy is measured on
them alone, agreement between people too.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np
from numpy.typing import NDArray

from router_ml.labelling.learner import Floats
from router_ml.labelling.questions import Question

DRAW_EVERY = 5


def choose(
    is_open: NDArray[np.bool_],
    clusters: NDArray[np.intp],
    answered: NDArray[np.intp],
    unsure: Floats,
    distance: Floats,
) -> int:
    """Choose the question that teaches most.

    Args:
        is_open: which may be asked, bool [n], at least one.
        clusters: of each, int [n].
        answered: the numbers of those answered.
        unsure: how unsure their proposals are, [n] in [0, 1].
        distance: of each from the centre of its cluster, [n].

    """
    count = int(clusters.max()) + 1
    held = np.bincount(clusters[is_open], unsure[is_open] + 1e-6, count)
    dealt = np.bincount(clusters[answered], minlength=count)
    best = (held / (2 * dealt + 1)).argmax()
    among = np.flatnonzero(is_open & (clusters == best))
    return int(among[np.lexsort((distance[among], -unsure[among]))[0]])


def permute(questions: Sequence[Question], seed: int = 0) -> NDArray[np.intp]:
    """Return the question of each row of the log, the rows in random order."""
    sizes = [len(question.rows) for question in questions]
    rows = np.repeat(np.arange(len(questions)), sizes)
    return np.random.default_rng(seed).permutation(rows)


def sample(permuted: NDArray[np.intp], drawn: Container[int]) -> NDArray[np.intp]:
    """Return the questions of the random sample: all up to the last one drawn."""
    last = max((at for at, number in enumerate(permuted.tolist()) if number in drawn), default=-1)
    return permuted[: last + 1]
