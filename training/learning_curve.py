"""How accuracy on unseen themes and sources grows with the prompts of our own.

    python training/learning_curve.py training/recipe.toml --public-data DIR -o learning_curve.svg

Sources and themes are divided into folds. Each fold is judged by classifiers that learned
from the others: from all of their public rows, and from a share of their prompts of ours.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from itertools import compress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from matplotlib import pyplot
from numpy.typing import NDArray

from router_ml.router import default_policy
from router_ml.training import Recipe, clean, load_recipe, read_data
from router_ml.training.duplicates import Cleaned
from router_ml.training.fit import fit
from router_ml.training.prepare import Data, Rows, divide
from router_ml.training.progress import silent
from router_ml.training.split import Split
from router_ml.training.unseen import leave_out

OWN = "router-ml/"
SHARES = (0.0, 0.125, 0.25, 0.5, 1.0)
NONE = np.zeros(0, np.intp)


class Point(NamedTuple):
    """Route accuracy on unseen rows after learning from so many prompts of ours."""

    prompts: int
    themes: float
    sources: float


def curve(recipe: Recipe, cleaned: Cleaned, folds: int) -> list[Point]:
    """Measure a point a share of our prompts, with the same folds for all."""
    data = divide(recipe, cleaned, len(cleaned.examples))
    own = np.array([example.source.startswith(OWN) for example in cleaned.examples])
    order = np.random.default_rng(recipe.seed).random(len(own))
    parts = list(leave_out(cleaned, folds))
    points = []
    for share in SHARES:
        kept = ~own | (order < share)
        right = np.zeros(len(own), bool)
        judged = (delayed(judge)(recipe, data, seen[kept[seen]], rows) for seen, rows in parts)
        for (_, rows), found in zip(parts, Parallel(n_jobs=-1)(judged), strict=True):
            right[rows] = found
        points.append(Point(int((own & kept).sum()), right[own].mean(), right[~own].mean()))
        print(points[-1], file=sys.stderr, flush=True)
    return points


def judge(recipe: Recipe, data: Data, learned: Rows, judged: Rows) -> NDArray[np.bool_]:
    """Return which rows get their own route from a classifier fitted to others.

    At one half, whatever the label: thresholds would have to be chosen on further folds.
    """
    with tempfile.TemporaryDirectory() as scratch:
        rows = data._replace(split=Split(learned, NONE, NONE))
        fitted = fit(recipe, rows, Path(scratch), silent)
        raw = fitted.raw(data.texts(judged), silent)
    return routes(data.labels, raw > 0) == routes(data.labels, data.targets[judged] > 0)


def routes(labels: Sequence[str], holding: NDArray[np.bool_]) -> NDArray[np.str_]:
    """Return the route that each row's labels lead to."""
    policy = default_policy(labels)
    return np.array([policy.choose(frozenset(compress(labels, row))).route for row in holding])


def draw(points: Sequence[Point], path: Path) -> None:
    """Draw both curves over the number of our prompts."""
    figure, axes = pyplot.subplots(figsize=(6.4, 4), layout="constrained")
    prompts = [point.prompts for point in points]
    axes.plot(prompts, [point.sources for point in points], "o-", label="unseen public sources")
    axes.plot(prompts, [point.themes for point in points], "s-", label="unseen themes of our own")
    axes.set(xlabel="our own prompts learned from, of all folds", ylabel="route accuracy")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)


def main() -> None:
    """Read the arguments, print the points as JSON and draw them."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("recipe", type=Path)
    arguments.add_argument("--public-data", type=Path)
    arguments.add_argument("--folds", type=int, default=3)
    arguments.add_argument("-o", "--output", type=Path, required=True)
    options = arguments.parse_args()
    recipe = load_recipe(options.recipe)
    examples = read_data(recipe, options.recipe.parent, options.public_data)
    points = curve(recipe, clean(recipe, examples, silent), options.folds)
    draw(points, options.output)
    print(json.dumps([point._asdict() for point in points], indent=1))


if __name__ == "__main__":
    main()
