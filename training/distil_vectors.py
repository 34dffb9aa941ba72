"""N-gram vectors that say of a text about what a sentence-transformers model says of it.

    python training/distil_vectors.py TEXTS ... --others TEXTS ... --without FILE ... \\
        -o models/vectors/english-chinese.npz

TEXTS are lines of text (`.txt`, `.txt.gz`) or prompts (`.jsonl`, `.jsonl.gz`: those in English,
as far as they say). The model embeds each once; then a table of a vector an n-gram is trained
so that their sum points where the embedding does, on its principal directions, and nearer to it
than to those of the other texts of a batch. --others are lines in languages that the model does
not know: they point where latent semantic analysis of their characters says. Lines that are a
prompt of a file after --without are left out, so that what is measured on those is measured on
texts that no vector was made from.

Two to four minutes a pass for 300,000 texts, after ten to embed 200,000 of them on two cores.
Needs the extra `encoders`.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from torch.nn import functional

from router_ml.training.byte_ngrams import bags
from router_ml.training.vectors import Vectors, own_ngrams

ORDERS, TABLE_BITS, HASH_SEED = (2, 3, 4, 6), 16, 7
BYTES, TOKENS = 320, 64
"""Of a text; what router_ml's users label is short."""
OTHERS, CHARACTERS = 100_000, 150
"""So many of the others are drawn, and read no further."""
HELD_OUT = 4000
BATCH, RATE, DROPPED = 512, 5e-3, 0.15
CONTRAST, TEMPERATURE = 0.1, 0.05

Floats = NDArray[np.float32]


class Pairs(NamedTuple):
    """Texts as n-gram ids, and where their embeddings point, float32 [n, width]."""

    ids: list[NDArray[np.int64]]
    directions: Floats


def read_texts(paths: Sequence[Path]) -> Iterator[str]:
    """Yield lines, or the prompts of rows that have one and are English as far as they say."""
    for path in paths:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
            for line in lines:
                if ".jsonl" not in path.name:
                    yield line.strip()
                    continue
                row = json.loads(line)
                if row.get("lang", "en") == "en" and "prompt" in row:
                    yield row["prompt"].strip()


def choose_texts(paths: Sequence[Path], without: Sequence[Path]) -> list[str]:
    """Return each text once, but for those that are not to be learned from."""
    tabu = {text.lower() for text in read_texts(without)}
    return [text for text in dict.fromkeys(read_texts(paths)) if text and text.lower() not in tabu]


def embed(model: SentenceTransformer, texts: Sequence[str]) -> Floats:
    """Return embeddings, float32 [n, any], by bfloat16: it turns them by a cosine of .99999."""
    model.max_seq_length = TOKENS
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found: Floats = model.encode(list(texts), batch_size=64, show_progress_bar=True)
    return found.astype(np.float32)


def main_directions(embeddings: Floats, width: int) -> Floats:
    """Return where embeddings point from their mean, on their principal directions [n, width]."""
    centred = embeddings - embeddings.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    turned = centred @ vectors[:, ::-1][:, :width]
    directions: Floats = turned / np.linalg.norm(turned, axis=1, keepdims=True)
    return directions


def analyse(texts: Sequence[str], width: int, seed: int) -> Floats:
    """Return where texts point by what characters, alone and in pairs, they share [n, width]."""
    counts = TfidfVectorizer(
        analyzer="char", ngram_range=(1, 2), max_features=50_000, min_df=5, sublinear_tf=True
    ).fit_transform(texts)
    found = TruncatedSVD(width, n_iter=3, random_state=seed).fit_transform(counts)
    found -= found.mean(axis=0)
    found /= np.sqrt(found.std(axis=0))  # or the first few directions would be all that is seen
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    directions: Floats = (found / np.maximum(lengths, 1e-9)).astype(np.float32)
    return directions


def draw_others(paths: Sequence[Path], without: Sequence[Path], seed: int) -> list[str]:
    """Return some of the lines in other languages, cut."""
    texts = choose_texts(paths, without)
    drawn = np.random.default_rng(seed).permutation(len(texts))[:OTHERS]
    return [texts[at][:CHARACTERS] for at in drawn]


def hash_texts(texts: Sequence[str]) -> list[NDArray[np.int64]]:
    """Return the ids of each text's n-grams."""
    ngrams, found = own_ngrams(ORDERS, TABLE_BITS, HASH_SEED), []
    for start in range(0, len(texts), BATCH):
        some = [(text.encode()[:BYTES], b"") for text in texts[start : start + BATCH]]
        ids, starts = bags(some, ngrams)
        found += [part.ravel() for part in np.split(ids, starts[1:])[::2]]
    return found


class Table:
    """A vector an n-gram, in training."""

    def __init__(self, width: int, steps: int) -> None:
        self.bag = torch.nn.EmbeddingBag(1 << TABLE_BITS, width, mode="sum")
        torch.nn.init.normal_(self.bag.weight, std=0.02)
        self.optimiser = torch.optim.Adam(self.bag.parameters(), lr=RATE)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, RATE, total_steps=steps + 1, pct_start=0.1
        )

    def directions(self, ids: Sequence[NDArray[np.int64]], dropped: float = 0.0) -> torch.Tensor:
        """Return where the sums point, [n, width], with a share of the n-grams left out."""
        starts = np.cumsum([0, *map(len, ids[:-1])])
        joined = torch.from_numpy(np.concatenate(ids))
        kept = (torch.rand(len(joined)) >= dropped).float()
        return functional.normalize(self.bag(joined, torch.from_numpy(starts), kept), dim=1)

    def learn(self, ids: Sequence[NDArray[np.int64]], wanted: torch.Tensor) -> None:
        """Take a step towards these directions and away from each other's."""
        found = self.directions(ids, DROPPED)
        others = functional.cross_entropy(found @ wanted.T / TEMPERATURE, torch.arange(len(ids)))
        loss = 1 - (found * wanted).sum(dim=1).mean() + CONTRAST * others
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.schedule.step()


def distil(pairs: Pairs, epochs: int, seed: int) -> Floats:
    """Train a table, [2 ** TABLE_BITS, width]; tell how near it comes to texts it has not seen."""
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    held, learned = np.split(draw.permutation(len(pairs.ids)), [HELD_OUT])
    wanted = torch.from_numpy(pairs.directions)
    table = Table(wanted.shape[1], epochs * -(-len(learned) // BATCH))
    for epoch in range(epochs):
        order = draw.permutation(learned)
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            table.learn([pairs.ids[row] for row in rows], wanted[rows])
        with torch.no_grad():
            near = (table.directions([pairs.ids[row] for row in held]) * wanted[held]).sum(dim=1)
        print(
            f"pass {epoch + 1}: cosine {near.mean():.3f} on {len(held)} held-out texts", flush=True
        )
    trained: Floats = table.bag.weight.detach().numpy()
    return trained


def main() -> None:
    """Embed, distil, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--others", nargs="*", type=Path, default=[])
    parser.add_argument("--without", nargs="*", type=Path, default=[])
    parser.add_argument("--model", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked: Any = parser.parse_args()
    texts = choose_texts(asked.texts, asked.without)
    others = draw_others(asked.others, asked.without, asked.seed)
    print(f"{len(texts)} texts, {len(others)} others", flush=True)
    embeddings = embed(SentenceTransformer(asked.model, device="cpu"), texts)
    directions = main_directions(embeddings, asked.width)
    if others:
        directions = np.concatenate([directions, analyse(others, asked.width, asked.seed)])
    pairs = Pairs(hash_texts([*texts, *others]), directions)
    table = distil(pairs, asked.epochs, asked.seed)
    Vectors.rounded(asked.output.stem, ORDERS, HASH_SEED, table).save(asked.output)


if __name__ == "__main__":
    main()
