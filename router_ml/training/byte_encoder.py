"""The project's own encoder as a sentence-transformers module, and how it is trained.

    SentenceTransformer(modules=[ByteEncoder(orders=(2, 3, 4, 6), shapes=(4, 8))])

works with that library's losses and trainer; `fit` is the short way to train it on
labels. Needs the extra `encoders`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from sentence_transformers.sentence_transformer.modules import InputModule
from torch import nn
from torch.nn import functional

from router_ml.classifier import SEPARATOR
from router_ml.request import ModelText
from router_ml.training.byte_ngrams import Ngrams, bags, graph
from router_ml.training.objectives import label_loss
from router_ml.training.recipe import EncoderRecipe
from router_ml.training.variants import vary

_INT8 = 127
_TABLE_RATE = 2.5
"""The table learns faster than the layers: each of its rows sees few of the examples."""


class ByteEncoder(InputModule):
    """Hashed byte n-grams, a learned table, sums over segments of the text, one layer.

    Args:
        orders: lengths in bytes of n-grams of folded bytes.
        table_bits: log2 of the table's rows.
        width: the table's columns.
        hidden: the layer's width; the embedding is the layer and the pooled sums.
        hash_seed: of the hash's multipliers.
        dropout: of the pooled features, in training.
        feature_dropout: share of n-grams left out, in training.
        shapes: lengths in bytes of n-grams of shapes.
        members: how many networks stand side by side, each with `width` columns of the
            table and a layer of its own, none of which sees another. Their errors differ,
            and one lookup serves them all.

    """

    config_keys = [  # noqa: RUF012 - the base class declares it so
        "orders",
        "table_bits",
        "width",
        "hidden",
        "hash_seed",
        "dropout",
        "feature_dropout",
        "shapes",
        "members",
    ]
    save_in_root = True

    def __init__(
        self,
        orders: Sequence[int] = (3, 4, 5, 6),
        table_bits: int = 17,
        width: int = 32,
        hidden: int = 64,
        hash_seed: int = 1,
        dropout: float = 0.3,
        feature_dropout: float = 0.1,
        shapes: Sequence[int] = (),
        members: int = 1,
    ) -> None:
        super().__init__()
        self.orders, self.shapes = list(orders), list(shapes)
        self.table_bits, self.hash_seed = table_bits, hash_seed
        self.width, self.hidden, self.members = width, hidden, members
        self.dropout, self.feature_dropout = dropout, feature_dropout
        self.ngrams = Ngrams.make(orders, table_bits, hash_seed, shapes=shapes)
        self.table = nn.EmbeddingBag(1 << table_bits, members * width, mode="sum")
        nn.init.normal_(self.table.weight, std=0.05)
        self.drop = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            nn.Linear(self.ngrams.segments * width, hidden) for _ in range(members)
        )

    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, **_: Any
    ) -> dict[str, torch.Tensor]:
        """Hash texts; a text is a str or UTF-8 bytes, with 0x1E before its context."""
        start = (prompt or "").encode()
        pairs = [(start + turn, context) for turn, context in map(_split, inputs)]
        ids, starts = bags(pairs, self.ngrams)
        return {"input_ids": torch.from_numpy(ids), "offsets": torch.from_numpy(starts)}

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Add `sentence_embedding`, float32 [batch, members * (hidden + segments * width)].

        And `member_embeddings`, a list of what each member contributes to it, float32
        [batch, hidden + segments * width].
        """
        ids, starts = features["input_ids"], features["offsets"]
        sums = self.table(ids.reshape(-1), starts * ids.shape[1], self._sample(ids))
        # The direction of a sum says what a segment is about, whatever its length.
        split = sums.reshape(-1, self.ngrams.segments, self.members, self.width)
        pooled = functional.normalize(split, dim=3)
        own = [pooled[:, :, member].flatten(1) for member in range(self.members)]
        layers = zip(self.layers, own, strict=True)
        hidden = [functional.relu(layer(self.drop(part))) for layer, part in layers]
        pairs = zip(hidden, own, strict=True)
        features["member_embeddings"] = [torch.cat(pair, 1) for pair in pairs]
        features["sentence_embedding"] = torch.cat([*hidden, pooled.flatten(1)], 1)
        return features

    def _sample(self, ids: torch.Tensor) -> torch.Tensor | None:
        if not self.training or not self.feature_dropout:
            return None
        kept = torch.rand(ids.numel(), device=ids.device) > self.feature_dropout
        return kept.to(self.table.weight.dtype)

    def get_embedding_dimension(self) -> int:
        """Return the embedding's width."""
        return self.members * (self.hidden + self.ngrams.segments * self.width)

    @property
    def max_seq_length(self) -> float:
        """Texts of any length are read; the request layer cuts them."""
        return float("inf")

    def quantize(self) -> None:
        """Round the table to the 255 whole steps the exported graph stores.

        Sums of whole numbers are exact, here as there, and their length does not matter.
        """
        with torch.no_grad():
            self.table.weight.copy_(torch.round(self.table.weight / self._scale()))

    def _scale(self) -> float:
        return max(float(self.table.weight.detach().abs().max()), 1e-12) / _INT8

    def to_onnx(self) -> onnx.ModelProto:
        """Export as raw bytes -> `embedding`; quantize first, or the two differ."""
        weight = _array(self.table.weight)
        table = np.clip(np.round(weight / self._scale()), -_INT8, _INT8).astype(np.int8)
        return graph(self.ngrams, table, self._joined_layers(), self.members)

    def _joined_layers(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the members' layers as one over all pooled sums: weight, zero between
        members, and bias.
        """
        joined = np.zeros(
            (self.ngrams.segments, self.members, self.width, self.members, self.hidden), np.float32
        )
        for member, layer in enumerate(self.layers):
            weight = _array(layer.weight).T.reshape(self.ngrams.segments, self.width, -1)
            joined[:, member, :, member] = weight
        bias = np.concatenate([_array(layer.bias) for layer in self.layers])
        return joined.reshape(-1, self.members * self.hidden), bias

    def save(self, output_path: str, *_: Any, safe_serialization: bool = True, **__: Any) -> None:
        """Write config and weights, as sentence-transformers does."""
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=safe_serialization)

    @classmethod
    def load(cls, model_name_or_path: str, **kwargs: Any) -> ByteEncoder:
        """Read what `save` wrote, from a path or the hub."""
        places = ("subfolder", "token", "cache_folder", "revision", "local_files_only")
        place = {key: value for key, value in kwargs.items() if key in places}
        encoder = cls(**cls.load_config(model_name_or_path, **place))
        return cls.load_torch_weights(model_name_or_path, model=encoder, **place)


def _array(tensor: Any) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().cpu().numpy()
    return array


def _split(text: str | bytes) -> tuple[bytes, bytes]:
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    turn, _, context = data.partition(SEPARATOR)
    return turn.replace(b"\0", b" ") or b" ", context.replace(b"\0", b" ").replace(SEPARATOR, b" ")


def joined(text: ModelText) -> str:
    """Return a text as the module reads it; bytes cut inside a character survive."""
    row = text.turn + SEPARATOR + text.context if text.context else text.turn
    return row.decode("utf-8", "surrogateescape")


def fit(
    recipe: EncoderRecipe,
    texts: Sequence[ModelText],
    targets: NDArray[np.float32],
    weights: NDArray[np.float32],
    single_label: bool,
    seed: int,
    done: Callable[[int], object] = lambda rows: None,
) -> ByteEncoder:
    """Train an encoder so that a linear layer on each member predicts the labels.

    Args:
        recipe: sizes and rates.
        texts: n of them.
        targets: 0 or 1 (or a teacher's probability), [n, labels].
        weights: of the rows, [n].
        single_label: whether the labels exclude each other.
        seed: of the initial weights, the order of rows, and what is dropped.
        done: told how many rows each step had, for a progress bar.

    """
    torch.manual_seed(seed)
    encoder = ByteEncoder(
        recipe.orders,
        recipe.table_bits or 17,
        recipe.width or 32,
        recipe.hidden,
        dropout=recipe.dropout,
        feature_dropout=recipe.feature_dropout,
        shapes=recipe.shapes,
        members=recipe.members,
    )
    width = encoder.get_embedding_dimension() // recipe.members
    heads = nn.ModuleList(
        nn.Sequential(nn.Dropout(recipe.dropout), nn.Linear(width, targets.shape[1]))
        for _ in range(recipe.members)
    )
    _optimise(encoder, heads, recipe, _Rows(texts, targets, weights), single_label, seed, done)
    encoder.eval()
    encoder.quantize()
    return encoder


class _Rows:
    """Texts with their targets and weights, handed out as batches."""

    def __init__(
        self,
        texts: Sequence[ModelText],
        targets: NDArray[np.float32],
        weights: NDArray[np.float32],
    ) -> None:
        self.texts = [joined(text) for text in texts]
        self.targets = torch.from_numpy(targets.astype(np.float32))
        self.weights = torch.from_numpy((weights / weights.mean()).astype(np.float32))

    def __len__(self) -> int:
        return len(self.texts)

    def batches(
        self, recipe: EncoderRecipe, seed: int
    ) -> Iterator[tuple[list[str], torch.Tensor, torch.Tensor]]:
        draw, chance = np.random.default_rng(seed), Random(seed)
        for _ in range(recipe.epochs):
            order = draw.permutation(len(self))
            for start in range(0, len(order), recipe.batch_size):
                rows = order[start : start + recipe.batch_size]
                texts = [self._text(row, recipe.varied, chance) for row in rows]
                yield texts, self.targets[rows], self.weights[rows]

    def _text(self, row: int, varied: float, chance: Random) -> str:
        text = self.texts[row]
        return vary(text, chance) if chance.random() < varied else text


def _optimise(
    encoder: ByteEncoder,
    heads: nn.ModuleList,
    recipe: EncoderRecipe,
    data: _Rows,
    single_label: bool,
    seed: int,
    done: Callable[[int], object],
) -> None:
    rates = [recipe.learning_rate * _TABLE_RATE, recipe.learning_rate]
    layers = [*encoder.layers.parameters(), *heads.parameters()]
    optimiser = torch.optim.Adam(
        [
            {"params": encoder.table.parameters(), "lr": rates[0], "eps": recipe.epsilon},
            {"params": layers, "lr": rates[1]},
        ],
        fused=True,  # one pass over the table's eight million weights a step, not nine
    )
    steps = recipe.epochs * -(-len(data) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rates, total_steps=steps + 1, pct_start=0.1
    )
    encoder.train()
    heads.train()
    for texts, targets, weights in data.batches(recipe, seed):
        embeddings = encoder(encoder.preprocess(texts))["member_embeddings"]
        losses = [
            label_loss(head(own), targets, single_label)
            for head, own in zip(heads, embeddings, strict=True)
        ]
        loss = (sum(losses) * weights).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        done(len(texts))
