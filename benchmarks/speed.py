"""Speed beside everything a user could pick instead, and accuracy beside the speed.

    python benchmarks/speed.py training/recipe.toml --public-data DIR --cold -o speed.json

Peers are fitted on a sample of the recipe's rows, saved, and loaded as a program would
load them. Then four questions:

- *one call*: all candidates take turns, call by call, in one process on one core; each
  gets a text of its own, cut at a random offset out of the rows of a language, so that no
  cache has seen it;
- *cold caches* (`--cold`): the same with 8 MB, or as many as given, touched before each
  call; only more than the processor's last cache empties all of them;
- *cold start*: a fresh process imports, loads and decides once, the median of five;
- *batches*: short prompts a second, by one process on one core and by two on two.

Taking turns leaves little of a candidate's tables in the processor's caches, as between
two requests of a server; a loop over one candidate flatters, the more the larger its
tables. Take ratios rather than absolute times, and say on what machine they were taken.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from candidates import CLASSIFIER, Candidate, all_candidates, wanted
from fitted_peers import fit_peers, read_rows
from fresh_processes import batches, cold_start
from machine import machine, pin, usable_cores
from single_calls import single_calls
from speed_tables import accuracies, print_report

from router_ml.artifact import find_artifact

TOUCHED_MB = 8


def measure(options: argparse.Namespace, cache: Path) -> dict[str, Any]:
    """Fit what is missing, and answer the four questions."""
    rows = read_rows(options)
    artifact = find_artifact(options.artifact)
    candidates = all_candidates(artifact, fit_peers(rows, cache, options.only))
    candidates = [c for c in candidates if wanted(c.name, options.only)]
    cores = usable_cores()
    pin(cores[-1])
    about = machine()
    calls, cold = single_calls(candidates, rows, options.calls, options.cold)
    classifier = Candidate("router-ml, Classifier", candidates[0].code + CLASSIFIER)
    return {
        "machine": about,
        "settings": {
            "calls": options.calls,
            "rows": len(rows.examples),
            "artifact": str(artifact),
            "touched_mb": options.cold,
        },
        "one call": calls,
        "cold caches": cold,
        "cold start": {c.name: cold_start(c) for c in candidates},
        "batches": batches([candidates[0], classifier, *candidates[1:]], rows, cores),
    }


def main() -> None:
    """Read the arguments, measure, and print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("recipe", type=Path)
    arguments.add_argument("--public-data", type=Path)
    arguments.add_argument("--artifact", help="directory or shipped name; the shipped one")
    arguments.add_argument("--rows", type=int, default=20_000, help="to fit peers on; 0: all")
    arguments.add_argument("--calls", type=int, default=2_000, help="slow ones get a tenth")
    arguments.add_argument("--cache", type=Path, help="where fitted peers are kept")
    arguments.add_argument(
        "--cold",
        nargs="?",
        type=int,
        default=0,
        const=TOUCHED_MB,
        metavar="MB",
        help="also with so many megabytes touched before each call; 8",
    )
    arguments.add_argument("--only", help="comma-separated beginnings of names")
    arguments.add_argument("--accuracy", type=Path, help="what benchmarks/accuracy.py wrote")
    arguments.add_argument("-o", "--output", type=Path)
    options = arguments.parse_args()
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    right = accuracies(options.accuracy)
    with tempfile.TemporaryDirectory() as scratch:
        results = measure(options, options.cache or Path(scratch))
    print_report(results, right)
    if options.output:
        encoded = msgspec.json.encode(results | {"accuracy": right})
        options.output.write_bytes(msgspec.json.format(encoded, indent=1))


if __name__ == "__main__":
    main()
