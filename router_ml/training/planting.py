"""Requests planted beside pasted text: augmentation for long prompts.

People paste a document and ask something before or after it. The labels are those of
the request, whatever the document is about; rows like that are rare in labelled data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from router_ml.request import ModelText, model_text, read_request

_ASK_BYTES, _PASTE_BYTES = 300, 300
"""A request is no longer than this; a document no shorter."""
_MOST_PASTES = 3
"""So many documents are joined at most, so that some prompts are longer than what is read."""


class Planted(NamedTuple):
    """New texts, and for each the row whose labels it has."""

    texts: list[ModelText]
    rows: NDArray[np.intp]


def plant(
    texts: Sequence[ModelText], targets: NDArray[np.float32], share: float, seed: int
) -> Planted:
    """Put requests at the head or the tail of texts that carry no label.

    Args:
        texts: n of them; short ones are requests, long ones without labels documents.
        targets: 0 or 1, [n, labels].
        share: how many to make, as a share of n.
        seed: of the draw.

    """
    sizes = np.array([len(text.turn) for text in texts])
    alone = np.array([not text.context for text in texts])
    asks = np.flatnonzero(alone & (sizes <= _ASK_BYTES))
    pastes = np.flatnonzero(alone & (sizes >= _PASTE_BYTES) & (targets.sum(1) == 0))
    if not len(asks) or not len(pastes):
        return Planted([], np.zeros(0, np.intp))
    draw = np.random.default_rng(seed)
    chosen = draw.choice(asks, int(share * len(texts)))
    made = [_join(texts[row], [texts[p] for p in _some(draw, pastes)], draw) for row in chosen]
    return Planted(made, chosen)


def _some(draw: np.random.Generator, pastes: NDArray[np.intp]) -> NDArray[np.intp]:
    return draw.choice(pastes, draw.integers(1, _MOST_PASTES + 1))


def _join(ask: ModelText, pastes: Sequence[ModelText], draw: np.random.Generator) -> ModelText:
    parts = [part.turn.decode("utf-8", "ignore") for part in (ask, *pastes)]
    if draw.random() < 0.5:
        parts = [*parts[1:], parts[0]]
    return model_text(read_request("\n\n".join(parts)))
