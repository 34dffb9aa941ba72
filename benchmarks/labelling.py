"""How good a classifier is after so many answers: questions chosen by the session, or at random.

    python benchmarks/labelling.py train.jsonl test.jsonl --answers 100 200 400 --seeds 3

The files are labelled; a session asks the rows of the first, and their labels answer. What is
learned from the answers, as the session learns it, is measured on the second.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from router_ml.examples import Example, read_examples
from router_ml.labelling.learner import cluster, embed, learn, margins
from router_ml.labelling.order import DRAW_EVERY, choose


class Simulation:
    """Two files, embedded as a session embeds a log; the second is never asked."""

    def __init__(self, asked: Sequence[Example], test: Sequence[Example]) -> None:
        names = sorted({example.labels for example in (*asked, *test)})
        examples = [*asked, *test]
        answers = np.array([names.index(example.labels) for example in examples])
        self.count = len(asked)
        self.targets = np.eye(len(names))[answers]
        self.truth = answers
        self.embeddings = embed([example.text for example in examples])
        self.clusters, self.distance = cluster(self.embeddings[: self.count])

    def curve(self, sizes: Sequence[int], chosen: bool, seed: int) -> list[float]:
        """Return the accuracy on the test rows after so many answers."""
        order = np.random.default_rng(seed).permutation(self.count)
        is_open, answered, found = np.ones(self.count, bool), list[int](), []
        unsure = np.ones(self.count)
        for number in range(max(sizes)):
            if chosen and number % DRAW_EVERY != DRAW_EVERY - 1:
                done = np.array(answered, np.intp)
                at = choose(is_open, self.clusters, done, unsure, self.distance)
            else:
                at = int(order[is_open[order].argmax()])
            is_open[at] = False
            answered.append(at)
            if number + 1 in sizes or (chosen and number % 5 == 0 and number):
                scores = self._scores(answered)
                unsure = 1 - margins(scores[: self.count], single=True)
                if number + 1 in sizes:
                    found.append(self._accuracy(scores))
        return found

    def _scores(self, answered: Sequence[int]) -> NDArray[np.float64]:
        targets = self.targets[answered]
        seen = targets.any(axis=0)
        scores = np.full(self.targets.shape, -np.inf)
        scores[:, seen] = learn(self.embeddings, answered, targets[:, seen]).scores
        return scores

    def _accuracy(self, scores: NDArray[np.float64]) -> float:
        said = scores[self.count :].argmax(axis=1)
        return float((said == self.truth[self.count :]).mean())


def main() -> None:
    """Print accuracy by answers, medians over seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--answers", type=int, nargs="+", default=[100, 200, 400])
    parser.add_argument("--seeds", type=int, default=3)
    told = parser.parse_args()
    simulation = Simulation(read_examples([told.train]), read_examples([told.test]))
    print(f"{'answers':>10}" + "".join(f"{size:>8}" for size in sorted(told.answers)))
    for name, chosen in (("random", False), ("chosen", True)):
        curves = [simulation.curve(told.answers, chosen, seed) for seed in range(told.seeds)]
        medians = [statistics.median(column) for column in zip(*curves, strict=True)]
        print(f"{name:>10}" + "".join(f"{value:8.3f}" for value in medians))


if __name__ == "__main__":
    main()
