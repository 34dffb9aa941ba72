"""One call at a time: all candidates take turns, each with a text that no cache has seen."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter_ns

import numpy as np
from candidates import Candidate, load
from fitted_peers import Rows
from progress import progress

from router_ml.classifier import plain_text
from router_ml.evaluation.latency import LENGTHS, Latency, latency_of
from router_ml.examples import Example

LANGUAGES = {"en": "English", "zh": "Chinese"}
SLOW = 10
"""A slow candidate is called in one round of so many."""
WARM_ROUNDS = 20


class Cutter:
    """Cuts texts of a length at random offsets out of the rows of one language."""

    def __init__(self, examples: Sequence[Example], language: str, length: int) -> None:
        spoken = (e.text for e in examples if e.lang.startswith(language))
        self.body = "\n".join(map(plain_text, spoken)) or " "
        self.body *= 1 + 2 * length // len(self.body)
        self.length, self.draw = length, np.random.default_rng(length)

    def __call__(self) -> str:
        """Return a string that nobody holds: a shared one would carry its UTF-8 along."""
        at = int(self.draw.integers(len(self.body) - self.length))
        return self.body[at : at + self.length]


def take_turns(
    deciders: Mapping[Candidate, Callable[[str], object]],
    cut: Callable[[], str],
    calls: int,
    before: Callable[[], object] = lambda: None,
) -> dict[str, Latency]:
    """Time single calls, every round in another order so that none always follows another.

    Args:
        deciders: candidate -> what decides on one text.
        cut: makes a text; not timed.
        calls: timed calls of each; slow ones get one in `SLOW`.
        before: done before each call; not timed.

    """
    draw, candidates = np.random.default_rng(7), list(deciders)
    times: dict[str, list[int]] = {candidate.name: [] for candidate in candidates}
    for number in range(-WARM_ROUNDS, calls):
        for at in draw.permutation(len(candidates)):
            candidate = candidates[at]
            if candidate.slow and number % SLOW:
                continue
            took = time_ns(deciders[candidate], cut(), before)
            if number >= 0:
                times[candidate.name].append(took)
    return {name: latency_of(taken) for name, taken in times.items()}


def time_ns(decide: Callable[[str], object], text: str, before: Callable[[], object]) -> int:
    """Return how long one call takes."""
    before()
    started = perf_counter_ns()
    decide(text)
    return perf_counter_ns() - started


def single_calls(
    candidates: Sequence[Candidate], rows: Rows, calls: int, touched_mb: int
) -> tuple[dict[str, dict[str, Latency]], dict[str, Latency]]:
    """Measure every bucket, and English 200 with cold caches if any megabyte is touched."""
    deciders = {candidate: load(candidate) for candidate in candidates}
    # Rows and vocabularies are millions of objects that a server would not hold: without
    # this the collector walks them in the middle of somebody's call.
    gc.collect()
    gc.freeze()
    found = {}
    for language in LANGUAGES:
        for length in LENGTHS:
            progress(f"one call: {language}, {length} characters")
            cut = Cutter(rows.examples, language, length)
            found[f"{language} {length}"] = take_turns(deciders, cut, calls)
    if not touched_mb:
        return found, {}
    progress("one call: cold caches")
    other = np.zeros(touched_mb << 20, np.uint8)  # as the rest of a server writes
    cut = Cutter(rows.examples, "en", 200)
    return found, take_turns(deciders, cut, calls, lambda: np.add(other, 1, out=other))
