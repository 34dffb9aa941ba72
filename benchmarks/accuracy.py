"""Accuracy on what training did not see, beside everything a user could pick instead.

    python benchmarks/accuracy.py training/recipe.toml --public-data DIR --folds 10 -o out.json

Two questions, the same rows for all:

- *unseen sources*: the sources of the recipe's data are divided into folds, and each is
  judged by a classifier trained without any row of it;
- *test themes*: the recipe's `test` files, by a classifier trained on all its data.

The second alone takes minutes with `--artifact models/default`: what was trained already is asked,
and only its peers are fitted.

Rows with an image or audio part are left out: the part decides, no classifier is asked.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from itertools import compress
from pathlib import Path

import numpy as np
from peers import Peer, all_peers

from router_ml.artifact import load_artifact
from router_ml.classifier import Classifier, plain_text
from router_ml.evaluation import Evaluation, Judged, compare, judge
from router_ml.examples import Example, read_examples
from router_ml.router import default_policy
from router_ml.training import Recipe, clean, judge_unseen, load_recipe, read_data
from router_ml.training.pipeline import learn
from router_ml.training.prepare import Data, Rows
from router_ml.training.progress import silent
from router_ml.training.recipe import expand
from router_ml.training.unseen import Unseen, all_to_learn_from, judged_unseen, leave_out

SMALLEST_SLICE = 100


OURS = "router-ml"


def judge_peer(peer: Peer, data: Data, learned: Rows, asked: Sequence[Example]) -> Judged:
    """Fit a peer on these rows and name the labels to which it gives at least one half."""
    texts = [plain_text(text) for text in data.texts(learned)]
    peer.fit(texts, data.targets[learned])
    probabilities = peer.probabilities([plain_text(example.text) for example in asked])
    rows = [tuple(compress(data.labels, row)) for row in probabilities >= 0.5]
    return Judged(probabilities, rows)


def unseen_sources(
    recipe: Recipe, unseen: Unseen, peers: Sequence[Peer], folds: int
) -> dict[str, Judged]:
    """Judge every source by classifiers that were fitted without it."""
    data = unseen.data
    found = {OURS: judged_unseen(recipe, unseen)}
    for peer in peers:
        probabilities = np.zeros((len(data.targets), len(data.labels)), np.float32)
        given: list[tuple[str, ...]] = [()] * len(probabilities)
        for seen, judged in leave_out(data.cleaned, folds):
            said = judge_peer(peer, data, seen, data.examples(judged))
            probabilities[judged] = said.probabilities
            for row, names in zip(judged, said.given, strict=True):
                given[row] = names
        found[peer.name] = Judged(probabilities, given)
        print(f"unseen sources: {peer.name}", file=sys.stderr, flush=True)
    return found


def trained_on_all(recipe: Recipe, unseen: Unseen, test: Sequence[Example]) -> Judged:
    """Judge the test files by a classifier trained on all the recipe's data."""
    with tempfile.TemporaryDirectory() as scratch:
        learned = learn(recipe, unseen.data, unseen, Path(scratch), silent)
        return judge(learned.classifier, test)


def peers_on_all(data: Data, peers: Sequence[Peer], test: Sequence[Example]) -> dict[str, Judged]:
    """Judge the test files by peers fitted on all the recipe's data."""
    found = {}
    for peer in peers:
        found[peer.name] = judge_peer(peer, data, data.split.train, test)
        print(f"test themes: {peer.name}", file=sys.stderr, flush=True)
    return found


def report(
    title: str, examples: Sequence[Example], judged: dict[str, Judged], labels: Sequence[str]
) -> dict[str, object]:
    """Print a table, and return its figures with those of every slice."""
    policy = default_policy(labels)
    found = {name: compare(name, examples, said, labels, policy) for name, said in judged.items()}
    print(f"\n## {title}, {len(examples)} rows\n")
    print("| | route accuracy | mean over sources | macro-F1 | calibration error |")
    print("|---|---|---|---|---|")
    for name, e in found.items():
        print(
            f"| {name} | {e.accuracy:.4f} | {e.macro_source_accuracy:.4f} "
            f"| {e.macro_f1:.4f} | {e.calibration_error:.4f} |"
        )
    by_slice = {
        name: {who: e.slices[name].accuracy for who, e in found.items()} | {"rows": part.rows}
        for name, part in found[OURS].slices.items()
        if part.rows >= SMALLEST_SLICE
    }
    print_slices(by_slice)
    return {"systems": {name: _figures(e) for name, e in found.items()}, "slices": by_slice}


def _figures(evaluation: Evaluation) -> dict[str, object]:
    return {
        "route_accuracy": evaluation.accuracy,
        "macro_source_accuracy": evaluation.macro_source_accuracy,
        "macro_f1": evaluation.macro_f1,
        "calibration_error": evaluation.calibration_error,
        "f1": {label: score.f1 for label, score in evaluation.labels.items()},
        "by_source": evaluation.by_source,
    }


def print_slices(by_slice: dict[str, dict[str, float]]) -> None:
    """Print each slice: our accuracy, the best other, and where we are behind."""
    print("\n| slice | rows | router-ml | best other | |")
    print("|---|---|---|---|---|")
    for name, row in by_slice.items():
        others = {who: p for who, p in row.items() if who not in {"rows", OURS}}
        best = max(others, key=others.__getitem__)
        behind = f"behind {best}" if others[best] > row[OURS] else ""
        print(f"| {name} | {row['rows']} | {row[OURS]:.4f} | {others[best]:.4f} | {behind} |")


def main() -> None:
    """Read the arguments and print both tables."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("recipe", type=Path)
    arguments.add_argument("--public-data", type=Path)
    arguments.add_argument("--folds", type=int, default=10)
    arguments.add_argument("--only", help="comma-separated beginnings of peers' names")
    arguments.add_argument("--artifact", type=Path, help="ask this one, about the test themes only")
    arguments.add_argument("-o", "--output", type=Path, required=True)
    options = arguments.parse_args()
    recipe = load_recipe(options.recipe)
    base = options.recipe.parent
    test = [e for e in read_examples(expand(recipe.data.test, base, None)) if _by_words(e)]
    cleaned = clean(recipe, read_data(recipe, base, options.public_data), silent, test)
    peers = [p for p in all_peers(recipe.labels) if _wanted(p.name, options.only)]
    results = {}
    if options.artifact:
        ours = judge(Classifier(load_artifact(options.artifact)), test)
    else:
        unseen = judge_unseen(recipe, cleaned, options.folds, silent)
        by_source = unseen_sources(recipe, unseen, peers, options.folds)
        title, rows = "Unseen sources", cleaned.examples
        results["unseen sources"] = report(title, rows, by_source, recipe.labels)
        ours = trained_on_all(recipe, unseen, test)
    data = all_to_learn_from(recipe, cleaned)
    by_theme = {OURS: ours, **peers_on_all(data, peers, test)}
    results["test themes"] = report("Test themes", test, by_theme, recipe.labels)
    options.output.write_text(json.dumps(results, indent=1))


def _by_words(example: Example) -> bool:
    return not example.has_parts and example.text.says_something


def _wanted(name: str, only: str | None) -> bool:
    return only is None or any(name.startswith(start) for start in only.split(","))


if __name__ == "__main__":
    main()
