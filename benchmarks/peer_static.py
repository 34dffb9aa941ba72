"""Static embeddings over a byte-level BPE."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from peer_linear import Linear, Matrix


class Static:
    """A learned static embedding over a Hugging Face byte-level BPE, mean-pooled.

    What model2vec and sentence-transformers' StaticEmbedding serve: tokenize, look up,
    average, one linear layer. Tokenizer and table are trained on the same rows.
    """

    name = "static embeddings, Hugging Face BPE"

    def __init__(self, width: int = 256, vocabulary: int = 32_000, epochs: int = 4) -> None:
        self.width, self.vocabulary, self.epochs = width, vocabulary, epochs

    def fit(self, texts: Sequence[str], targets: Matrix) -> None:
        """Train the tokenizer, then the table and the layer together."""
        import torch
        from tokenizers import ByteLevelBPETokenizer

        tokenizer = ByteLevelBPETokenizer(lowercase=True)
        tokenizer.train_from_iterator(texts, self.vocabulary, show_progress=False)
        self.tokenizer: Any = tokenizer
        ids = [row.ids or [0] for row in tokenizer.encode_batch([text[:2000] for text in texts])]
        torch.manual_seed(7)
        table = torch.nn.EmbeddingBag(self.vocabulary, self.width, mode="mean")
        layer = torch.nn.Linear(self.width, targets.shape[1])
        parts = [*table.parameters(), *layer.parameters()]
        optimiser = torch.optim.Adam(parts, lr=3e-3)
        draw = np.random.default_rng(7)
        for _ in range(self.epochs):
            order = draw.permutation(len(ids))
            for start in range(0, len(order), 256):
                rows = order[start : start + 256]
                lengths = np.array([len(ids[row]) for row in rows])
                flat = torch.from_numpy(np.concatenate([ids[row] for row in rows]))
                starts = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)[:-1]]))
                said = layer(table(flat, starts))
                loss = torch.nn.functional.binary_cross_entropy_with_logits(
                    said, torch.from_numpy(targets[rows])
                )
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        self.table = table.weight.detach().numpy()
        weight = np.ascontiguousarray(layer.weight.detach().numpy().T)
        self.linear = Linear(weight, layer.bias.detach().numpy())

    def pool(self, text: str) -> Matrix:
        """Return the mean of a text's vectors, float32 [width]."""
        ids = self.tokenizer.encode(text[:2000]).ids
        found: Matrix = self.table[ids or [0]].mean(0)
        return found

    def pool_many(self, texts: Sequence[str]) -> Matrix:
        """Return float32 [n, width]."""
        rows = self.tokenizer.encode_batch([text[:2000] for text in texts])
        return np.stack([self.table[row.ids or [0]].mean(0) for row in rows])

    def probabilities(self, texts: Sequence[str]) -> Matrix:
        """Return one column a label."""
        return self.linear.probabilities(self.pool_many(texts))

    def save(self, directory: Path) -> None:
        """Write tokenizer, table and layer."""
        self.tokenizer.save(str(directory / "tokenizer.json"))
        np.save(directory / "table.npy", self.table)
        self.linear.save(directory)

    def load(self, directory: Path) -> None:
        """Read tokenizer, table and layer."""
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.table = np.load(directory / "table.npy")
        self.linear = Linear.load(directory)

    def decide(self, text: str) -> object:
        """Return columns."""
        return np.flatnonzero(self.linear.logits(self.pool(text)) >= 0)

    def decide_many(self, texts: Sequence[str]) -> object:
        """Return bool [n, labels]."""
        return self.linear.logits(self.pool_many(texts)) >= 0
