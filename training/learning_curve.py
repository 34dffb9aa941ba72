"""How accuracy on the test themes grows with the number of our own prompts.

    python training/learning_curve.py --public-data DIR -o training/learning-curve.png

Trains the recipe on all public rows and a growing share of our own, drawn at random.
The test themes are only looked at: nothing is chosen by them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import matplotlib as mpl
import msgspec
import numpy as np

from router_ml.evaluation import Evaluation, evaluate
from router_ml.examples import Example, read_examples
from router_ml.router import default_policy
from router_ml.training import Recipe, clean, load_recipe, read_data
from router_ml.training.pipeline import learn
from router_ml.training.prepare import divide
from router_ml.training.progress import silent
from router_ml.training.recipe import expand

RECIPE = Path(__file__).with_name("recipe.toml")
SHARES = (0, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)


def measure(recipe: Recipe, rows: list[Example], test: list[Example]) -> Evaluation:
    """Train on rows and evaluate on the test themes."""
    cleaned = clean(recipe, rows, silent)
    data = divide(recipe, cleaned, len(rows))
    with tempfile.TemporaryDirectory() as scratch:
        classifier = learn(recipe, data, None, Path(scratch), silent).classifier
    return evaluate(classifier, default_policy(recipe.labels), test)


def curve(recipe: Recipe, public_data: Path) -> dict[int, Evaluation]:
    """Return an evaluation for each number of our own prompts."""
    base = RECIPE.parent
    # Held-out rows to calibrate on: leaving sources out for each point would take hours.
    recipe = msgspec.structs.replace(
        recipe, data=msgspec.structs.replace(recipe.data, unseen_folds=0)
    )
    rows = read_data(recipe, base, public_data)
    own = [row for row in rows if row.source.startswith("router-ml/")]
    public = [row for row in rows if not row.source.startswith("router-ml/")]
    test = read_examples(expand(recipe.data.test, base, None))
    order = np.random.default_rng(recipe.seed).permutation(len(own))
    found = {}
    for share in SHARES:
        chosen = [own[row] for row in order[: int(share * len(own))]]
        found[len(chosen)] = e = measure(recipe, chosen + public, test)
        print(f"| {len(chosen)} | {e.accuracy:.4f} | {e.macro_f1:.4f} |", flush=True)
    return found


def draw(found: dict[int, Evaluation], path: Path) -> None:
    """Draw both figures over the number of prompts."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    sizes = list(found)
    axes.plot(sizes, [e.accuracy for e in found.values()], "o-", label="route accuracy")
    axes.plot(sizes, [e.macro_f1 for e in found.values()], "s-", label="macro-F1 over labels")
    axes.set_xlabel("our own prompts learned from, beside the public rows")
    axes.set_ylabel("on the test themes")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Read the arguments, print the table and draw the plot."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--public-data", type=Path, required=True)
    arguments.add_argument("-o", "--output", type=Path, required=True)
    options = arguments.parse_args()
    print("| our own prompts | route accuracy | macro-F1 |\n|---|---|---|")
    draw(curve(load_recipe(RECIPE), options.public_data), options.output)


if __name__ == "__main__":
    main()
