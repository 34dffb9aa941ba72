"""Peers fitted on a sample of the recipe's rows, and kept for the next time."""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from candidates import wanted
from peers import SERVED
from progress import progress

from router_ml.classifier import plain_text
from router_ml.examples import Example
from router_ml.training import Recipe, clean, load_recipe, read_data
from router_ml.training.prepare import divide
from router_ml.training.progress import silent


class Rows(NamedTuple):
    """A sample of the recipe's rows: what peers learn from and texts are cut from."""

    recipe: Recipe
    examples: list[Example]


def read_rows(options: argparse.Namespace) -> Rows:
    """Read the recipe's rows and draw a sample, in random order."""
    recipe = load_recipe(options.recipe)
    examples = read_data(recipe, options.recipe.parent, options.public_data)
    order = np.random.default_rng(recipe.seed).permutation(len(examples))
    return Rows(recipe, [examples[at] for at in order[: options.rows or None]])


def fit_peers(rows: Rows, cache: Path, only: str | None) -> dict[str, Path]:
    """Fit and save the wanted peers that the cache lacks; return where each lies."""
    folder = cache / fingerprint(rows)
    where = {key: folder / key for key, make in SERVED.items() if wanted(make().name, only)}
    missing = [key for key, path in where.items() if not path.is_dir()]
    if missing:
        cleaned = clean(rows.recipe, rows.examples, silent)
        data = divide(rows.recipe, cleaned, len(rows.examples))
        texts = [plain_text(example.text) for example in data.cleaned.examples]
        for key in missing:
            progress(f"fitting {key} on {len(texts)} rows")
            fit_peer(key, where[key], texts, data.targets)
    return where


def fingerprint(rows: Rows) -> str:
    """Return a name for these rows, so that a cache never serves those of others."""
    digest = hashlib.sha256()
    for example in rows.examples:
        digest.update(repr((example.text[:2], example.labels)).encode())
    return digest.hexdigest()[:16]


def fit_peer(key: str, path: Path, texts: Sequence[str], targets: Any) -> None:
    """Fit one peer and save it, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        peer = SERVED[key]()
        peer.fit(texts, targets)
        staged = Path(scratch, "peer")
        staged.mkdir()
        peer.save(staged)
        staged.rename(path)
