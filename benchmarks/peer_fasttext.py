"""fastText, whole and quantised."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from peer_linear import Matrix

HALF = 0.5
"""From which probability a peer's label holds."""


class FastText:
    """fastText: words with bigrams, or subwords of 2 to 4 characters.

    One-versus-all, as its documentation says for tags; for labels that exclude each other
    its own default is the loss "softmax".
    """

    file = "model.bin"

    def __init__(self, subwords: bool, loss: str = "ova", epochs: int = 8) -> None:
        self.subwords, self.loss, self.epochs = subwords, loss, epochs
        self.name = "fastText, subwords" if subwords else "fastText, words"

    def fit(self, texts: Sequence[str], targets: Matrix) -> None:
        """Train at the rate that its documentation suggests."""
        self.columns = targets.shape[1]
        with training_file(texts, targets) as path:
            self.train(path)

    def train(self, path: str) -> None:
        """Train on a file."""
        import fasttext

        sizes = {"minn": 2, "maxn": 4} if self.subwords else {"wordNgrams": 2}
        self.model = fasttext.train_supervised(
            path, loss=self.loss, lr=0.5, epoch=self.epochs, dim=64, thread=2, verbose=0, **sizes
        )

    def probabilities(self, texts: Sequence[str]) -> Matrix:
        """Return one column a label."""
        found = np.zeros((len(texts), self.columns), np.float32)
        for row, text in enumerate(texts):
            self.predict_into(found[row], text)
        return found

    def predict_into(self, row: Matrix, text: str) -> None:
        """Fill one row; the library's own numpy call is broken with numpy 2."""
        for p, mark in self.model.f.predict(one_line(text) + "\n", -1, 0.0, "strict"):
            if mark != "__label__none":
                row[int(mark.removeprefix("__label__"))] = min(p, 1.0)

    def save(self, directory: Path) -> None:
        """Write the library's own file."""
        self.model.save_model(str(directory / self.file))

    def load(self, directory: Path) -> None:
        """Read the library's own file."""
        import fasttext

        self.model = fasttext.load_model(str(directory / self.file))
        self.columns = len(set(self.model.f.getLabels("strict")[0]) - {"__label__none"})

    def decide(self, text: str) -> object:
        """Return pairs of probability and mark."""
        return self.model.f.predict(one_line(text) + "\n", -1, HALF, "strict")

    def decide_many(self, texts: Sequence[str]) -> object:
        """Return the same, in one call into the library."""
        lines = [one_line(text) + "\n" for text in texts]
        return self.model.f.multilinePredict(lines, -1, HALF, "strict")


class FastTextQuantised(FastText):
    """The words one, pruned and quantised as fastText's own example script does."""

    file = "model.ftz"

    def __init__(self) -> None:
        super().__init__(subwords=False)
        self.name = "fastText, words, quantised"

    def train(self, path: str) -> None:
        """Train, keep the 100,000 weightiest features, train once more, quantise."""
        super().train(path)
        self.model.quantize(path, cutoff=100_000, retrain=True, epoch=1, qnorm=True, thread=2)


@contextmanager
def training_file(texts: Sequence[str], targets: Matrix) -> Iterator[str]:
    """Write rows as fastText reads them, and give the file's name."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        for text, row in zip(texts, targets, strict=True):
            marks = " ".join(f"__label__{column}" for column in np.flatnonzero(row))
            file.write(f"{marks or '__label__none'} {one_line(text)}\n")
        file.flush()
        yield file.name


def one_line(text: str) -> str:
    """Return a text as fastText reads it."""
    return text.replace("\n", " ").replace("\r", " ").replace("\0", " ")
