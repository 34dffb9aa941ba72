"""What a user could pick instead, each fitted on the same rows and asked the same way.

Heavy imports are inside the methods: what a fresh process pays for a saved peer, from the
import of this module to the first decision, is then the peer's own cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from peer_fasttext import FastText, FastTextQuantised
from peer_linear import Matrix
from peer_minilm import MiniLm
from peer_static import Static
from peer_tfidf import Tfidf


class Peer(Protocol):
    """A multi-label text classifier."""

    name: str

    def fit(self, texts: Sequence[str], targets: Matrix) -> None:
        """Learn from n texts and 0 or 1 [n, labels]."""
        ...

    def probabilities(self, texts: Sequence[str]) -> Matrix:
        """Return float32 [n, labels]."""
        ...


class Served(Peer, Protocol):
    """A peer as a program would run it: saved once, loaded, asked one text at a time."""

    def save(self, directory: Path) -> None:
        """Write what `load` needs into an empty directory."""
        ...

    def load(self, directory: Path) -> None:
        """Read a fitted peer, and nothing that only fitting needs."""
        ...

    def decide(self, text: str) -> object:
        """Return the labels of at least one half, as the library gives them."""
        ...

    def decide_many(self, texts: Sequence[str]) -> object:
        """Do the same in the library's fastest way for many texts."""
        ...


class Keywords:
    """The keyword rules: `math` or nothing."""

    name = "keyword rules"

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = labels

    def fit(self, texts: Sequence[str], targets: Matrix) -> None:
        """Learn nothing."""

    def probabilities(self, texts: Sequence[str]) -> Matrix:
        """Return 1 where a rule fires."""
        from router_ml.evaluation import keyword_labels

        rows = [keyword_labels(text) for text in texts]
        return np.array([[label in row for label in self.labels] for row in rows], np.float32)


def all_peers(labels: Sequence[str]) -> list[Peer]:
    """Return every peer, unfitted."""
    return [Keywords(labels), Tfidf(), FastText(False), FastText(True), Static(), MiniLm()]


SERVED: dict[str, Callable[[], Served]] = {
    "fasttext-words": lambda: FastText(False),
    "fasttext-subwords": lambda: FastText(True),
    "fasttext-quantised": FastTextQuantised,
    "tfidf": Tfidf,
    "static": Static,
    "minilm": MiniLm,
}
"""Folder name -> how to make the peer that is saved there."""


def open_served(key: str, directory: str) -> Served:
    """Load a saved peer."""
    peer = SERVED[key]()
    peer.load(Path(directory))
    return peer
