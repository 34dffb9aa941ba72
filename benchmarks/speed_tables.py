"""What speed.py measured, as Markdown tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from single_calls import LANGUAGES

from router_ml.evaluation.latency import Latency

REFERENCE = "fastText, subwords"
NOTES = """
router-ml reads about 512 bytes of a longer prompt, static embeddings the first 2,000
characters, MiniLM 128 tokens of the first 4,000; the others read all of it. fastText by
words sees a Chinese clause as one unknown word. router-ml's time is that of the whole
decision: reading the request, the model and its fallbacks included.
"""


def accuracies(path: Path | None) -> dict[str, dict[str, float]]:
    """Return question -> name -> route accuracy, of what benchmarks/accuracy.py wrote."""
    results = json.loads(path.read_text()) if path else {}
    return {
        question: {name: one["route_accuracy"] for name, one in part["systems"].items()}
        for question, part in results.items()
    }


def print_report(results: Mapping[str, Any], right: Mapping[str, Mapping[str, float]]) -> None:
    """Print everything."""
    print_machine(results["machine"])
    for code, language in LANGUAGES.items():
        chosen = {n: c for n, c in results["one call"].items() if n.startswith(code)}
        print_calls(f"One call, {language}, by characters", chosen, right)
    print(NOTES)
    if results["cold caches"]:
        touched = results["settings"]["touched_mb"]
        cells = {"en 200": results["cold caches"]}
        print_calls(f"One call, {touched} MB touched before each", cells, right)
    print_starts(results["cold start"])
    print_batches(results["batches"])


def print_machine(about: Mapping[str, Any]) -> None:
    """Print where the figures were taken, in a paragraph."""
    packages = ", ".join(f"{name} {number}" for name, number in about["packages"].items())
    load = ", ".join(f"{figure:.1f}" for figure in about["load_average"] or ())
    print(f"{about['cpu']}, {about['cores']} cores, {about['system']}; load average {load}.")
    print(f"Python {about['python']}, {packages}.")


def print_calls(title: str, cells: Mapping[str, Mapping[str, Latency]], right: Mapping) -> None:
    """Print one row a candidate: accuracy, then p50 / p99 / p99.9 and the ratio of each bucket."""
    print(f"\n## {title}\n")
    print(f"Microseconds, p50 / p99 / p99.9 (ratio of p50 to {REFERENCE}).\n")
    names = list(next(iter(cells.values())))
    rows = [
        [
            name,
            *(f"{by[name]:.4f}" if name in by else "–" for by in right.values()),
            *(cell(column[name], column.get(REFERENCE)) for column in cells.values()),
        ]
        for name in names
    ]
    print_table(["", *(f"accuracy, {question}" for question in right), *cells], rows)


def cell(latency: Latency, reference: Latency | None) -> str:
    """Format one bucket."""
    figures = (latency.p50_us, latency.p99_us, latency.p999_us)
    shown = " / ".join(f"{us:.1f}" if us < 10 else f"{us:,.0f}" for us in figures)
    return f"{shown} ({latency.p50_us / reference.p50_us:.2g})" if reference else shown


def print_starts(starts: Mapping[str, Mapping[str, float]]) -> None:
    """Print what a fresh process takes."""
    print("\n## Cold start\n")
    rows = [
        [name, f"{x['start_ms']:,.1f}", f"{x['resident_mb']:,.0f}"] for name, x in starts.items()
    ]
    print_table(["", "import, load and first decision, ms", "peak resident, MiB"], rows)


def print_batches(rates: Mapping[str, Mapping[str, Any]]) -> None:
    """Print short prompts a second."""
    print("\n## Batches: short prompts a second, one process on each core\n")
    columns = list(next(iter(rates.values())))
    rows = [[name, *(rate_cell(row[c]) for c in columns)] for name, row in rates.items()]
    print_table(["", *columns], rows)


def rate_cell(rate: Mapping[str, float]) -> str:
    """Format prompts a second, and say so if something else ran on the same cores."""
    share = rate["core_share"]
    return f"{rate['per_s']:,.0f}" + (f" (of {share:.0%} of the time)" if share < 0.9 else "")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    for line in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(line)} |")
