"""How much of a long prompt must be read? Accuracy and time by bytes read.

    python benchmarks/long_prompts.py FILE.jsonl.gz ... -o long.json

Reads labelled rows and keeps those whose deciding turn is over 512 bytes; and makes
others out of short labelled rows, put at the head, in the middle and at the tail of the
longest general texts, so that where the request stands is known. The classifier stays
the same: only the bytes it is given change.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import NamedTuple

import numpy as np

from router_ml import Router, request
from router_ml.examples import Example, read_examples

LONG = request.TURN_BYTES
PASTES, REQUESTS = 40, 200


class Scheme(NamedTuple):
    """How a long text is cut: head and tail, and windows between, all in bytes."""

    head: int
    window: int
    windows: int

    @property
    def total(self) -> int:
        """Return how many bytes are read."""
        return 2 * self.head + self.windows * self.window


SCHEMES = (
    Scheme(128, 0, 0),
    Scheme(256, 0, 0),
    Scheme(512, 0, 0),
    Scheme(176, 52, 3),
    Scheme(352, 104, 3),
    Scheme(256, 102, 5),
    Scheme(704, 208, 3),
    Scheme(1408, 416, 3),
)


def read_by(scheme: Scheme, texts: Sequence[str]) -> list[request.ModelText]:
    """Cut texts by a scheme instead of the one that the text version fixes."""
    data = [text.encode("utf-8", "replace") for text in texts]
    return [request.ModelText(_cut(row, scheme), b"", len(row) > scheme.total) for row in data]


def _cut(data: bytes, scheme: Scheme) -> bytes:
    clean = data.translate(request._CLEAN)
    if len(clean) <= scheme.total:
        return clean
    gap = (len(clean) - 2 * scheme.head - scheme.window) / (scheme.windows + 1)
    starts = [int(scheme.head + gap * (at + 1)) for at in range(scheme.windows)]
    middle = [clean[start : start + scheme.window] for start in starts]
    return b"\n".join([clean[: scheme.head], *middle, clean[-scheme.head :]])


def natural(examples: Sequence[Example]) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return (where, text, labels) of single turns that are long as they are."""
    return [
        ("as it is", e.request.turns[0].text, e.labels)
        for e in examples
        if len(e.request.turns) == 1 and len(e.request.turns[0].text.encode()) > LONG
    ]


def planted(examples: Sequence[Example]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield short requests planted at the head, the middle and the tail of general texts."""
    single = [e for e in examples if len(e.request.turns) == 1 and e.lang == "en"]
    pastes = sorted(
        (e.request.turns[0].text for e in single if not e.labels), key=len, reverse=True
    )[:PASTES]
    short = [e for e in single if "math" in e.labels and 60 < len(e.text.turn) < 300][:REQUESTS]
    for number, example in enumerate(short):
        paste = " ".join(pastes[number % PASTES : number % PASTES + 3])
        ask, half = example.request.turns[0].text, len(paste) // 2
        yield "at the head", f"{ask}\n\n{paste}", example.labels
        yield "in the middle", f"{paste[:half]}\n\n{ask}\n\n{paste[half:]}", example.labels
        yield "at the tail", f"{paste}\n\n{ask}", example.labels


def measure(
    router: Router, scheme: Scheme, rows: Sequence[tuple[str, str, tuple[str, ...]]]
) -> dict[str, float]:
    """Return route accuracy by place, and the median time of the graph in microseconds."""
    classifier, choose = router.classifier, router.policy.choose
    texts = read_by(scheme, [text for _, text, _ in rows])
    found: dict[str, list[bool]] = {}
    for (where, _, labels), row in zip(
        rows, classifier.probabilities_many(texts).tolist(), strict=True
    ):
        given = classifier.predict(row, classifier.thresholds).labels
        right = choose(frozenset(given)).route == choose(frozenset(labels)).route
        found.setdefault(where, []).append(right)
    figures = {where: float(np.mean(hits)) for where, hits in found.items()}
    return figures | {"median us": _median_us(router, texts[:400])}


def _median_us(router: Router, texts: Sequence[request.ModelText]) -> float:
    stamps: list[int] = []
    for text in texts:
        stamps.append(perf_counter_ns())
        router.classifier.probabilities(text)
    stamps.append(perf_counter_ns())
    return median((after - before) / 1000 for before, after in pairwise(stamps))


def main() -> None:
    """Read the arguments and print the table."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("files", type=Path, nargs="+")
    arguments.add_argument("--artifact", help="the shipped one by default")
    arguments.add_argument("-o", "--output", type=Path, required=True)
    options = arguments.parse_args()
    examples = read_examples(options.files)
    rows = [*natural(examples), *planted(examples)]
    router = Router.load(options.artifact)
    results = {}
    places = list(dict.fromkeys(where for where, _, _ in rows))
    counts = [sum(where == place for where, _, _ in rows) for place in places]
    names = [f"{place} ({count})" for place, count in zip(places, counts, strict=True)]
    print(f"| bytes read | head + windows + tail | {' | '.join(names)} | graph, µs |")
    print("|---|---|" + "---|" * (len(places) + 1))
    for scheme in SCHEMES:
        found = measure(router, scheme, rows)
        results[str(scheme)] = found
        parts = f"{scheme.head} + {scheme.windows} x {scheme.window} + {scheme.head}"
        figures = " | ".join(f"{found[place]:.3f}" for place in places)
        print(f"| {scheme.total} | {parts} | {figures} | {found['median us']:.0f} |", flush=True)
    options.output.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
