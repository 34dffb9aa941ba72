"""How fast logs larger than a machine are classified, and what a billion prompts would take.

    python benchmarks/batch.py training/prompts/*.jsonl [--rows 200000] [--bytes 500] [--ray]

Rows are prompts of the files, as they are or (`--bytes`) joined and cut to about so many bytes.

- *Rows per second and core*, by processor time: the batch path from Parquet to Parquet, its
  graph alone, `Router.route_many`, a loop over `Router.route`, fastText's and scikit-learn's
  batch predictions of the same prompts. Rounds of all of them alternate; medians.
- *Scaling*: rows a second by the clock between the first finished fragment and the last, with
  one and with two worker processes, and with `--ray` so many actors of a local cluster, whose
  output is compared with that of the processes.
- *A billion prompts*: reckoned from the rate and the scaling above, with the assumptions.

Figures of a machine that does other things are worth little: its load is printed with them.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
from peers import FastText, Tfidf
from pyarrow import dataset, parquet

from router_ml import Router
from router_ml.batch import Engine, LocalEngine, Progress, RayEngine, classify
from router_ml.batch.texts import texts_of_prompts

FILES = 24
"""Files that the rows are written to, a fragment each."""
LOOP = 2000
"""Rows of the loop over `Router.route`: it is as slow for more."""
FITTED = 20_000
"""Labelled prompts that the peers are fitted on."""
BILLION, CORES, DOLLARS = 10**9, 16, 0.05
"""Prompts of the estimate, cores of a machine, and US dollars of a core's hour on demand: about
what clouds ask for general-purpose x86-64 with 4 GiB a core; spot prices are a third of it."""


def prompts_of(files: Sequence[Path]) -> list[tuple[str, list[str]]]:
    """Return (prompt, labels) of every row that has a plain prompt."""
    lines = (line for file in files for line in file.open(encoding="utf-8"))
    rows = (json.loads(line) for line in lines)
    return [(row["prompt"], row["labels"]) for row in rows if row.get("prompt") and "labels" in row]


def rows_of(prompts: Sequence[str], count: int, size: int) -> list[str]:
    """Return so many prompts: as they are, or of about `size` bytes."""
    endless = cycle(prompts)
    if not size:
        return list(islice(endless, count))
    return list(islice(_of_size(endless, size), count))


def _of_size(prompts: Iterator[str], size: int) -> Iterator[str]:
    while True:
        text = next(prompts)
        while len(text.encode()) < size:
            text += "\n" + next(prompts)
        yield text.encode()[:size].decode("utf-8", "ignore")


def write(rows: Sequence[str], directory: Path) -> int:
    """Write rows as Parquet; return the bytes of all files."""
    directory.mkdir()
    for number in range(FILES):
        part = rows[number::FILES]
        table = pa.table({"prompt": part, "id": range(number, len(rows), FILES)})
        parquet.write_table(table, directory / f"{number:02}.parquet", compression="zstd")
    return sum(path.stat().st_size for path in directory.iterdir())


def rates(calls: dict[str, tuple[int, Callable[[], object]]], rounds: int) -> dict[str, float]:
    """Return the median rows per processor second of each call; rounds alternate."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, (rows, call) in calls.items():
            started = time.process_time()
            call()
            found[name].append(rows / (time.process_time() - started))
    return {name: median(each) for name, each in found.items()}


def one_core(
    rows: Sequence[str], labelled: Sequence[tuple[str, list[str]]], place: Path, rounds: int
) -> dict[str, float]:
    """Measure everything on the same prompts."""
    router = Router.load()
    labels = router.classifier.labels
    fit = [text for text, _ in labelled[:FITTED]]
    targets = np.array([[name in given for name in labels] for _, given in labelled[:FITTED]])
    fasttext, tfidf = FastText(subwords=False), Tfidf()
    for peer in (fasttext, tfidf):
        peer.fit(fit, targets.astype(np.float32))
    packed = texts_of_prompts(pa.array(rows)).packed
    count = len(rows)

    def batch() -> None:
        with tempfile.TemporaryDirectory() as output:
            classify(place, output, router=router, workers=1)

    return rates(
        {
            "batch, Parquet to Parquet": (count, batch),
            "its graph alone": (count, lambda: router.classifier.probabilities_packed(packed)),
            "Router.route_many": (count, lambda: router.route_many(rows)),
            "a loop over Router.route": (LOOP, lambda: [router.route(r) for r in rows[:LOOP]]),
            "fastText, words": (count, lambda: fasttext.decide_many(rows)),
            "TF-IDF + logistic regression": (count, lambda: tfidf.decide_many(rows)),
        },
        rounds,
    )


def steady_rate(place: Path, output: Path, engine: Engine) -> float:
    """Return rows a second by the clock, without the start of the processes."""
    seen: list[tuple[float, int]] = []

    def done(run: Progress) -> None:
        seen.append((time.perf_counter(), run.new_rows))

    classify(place, output, engine=engine, done=done)
    (first, before), (last, after) = seen[1], seen[-1]
    return (after - before) / (last - first)


def scaling(place: Path, work: Path, with_ray: bool, rounds: int) -> dict[str, tuple[float, float]]:
    """Return (one worker's rate, two workers') of each engine."""
    kinds: dict[str, Callable[[int], Engine]] = {"local": LocalEngine}
    if with_ray:
        kinds["ray"] = RayEngine
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in kinds}
    for at in range(rounds):
        for name, make in kinds.items():
            for workers in (1, 2):
                output = work / f"{name}-{workers}-{at}"
                found[name][workers - 1].append(steady_rate(place, output, make(workers)))
    return {name: (median(one), median(two)) for name, (one, two) in found.items()}


def compare(first: Path, second: Path) -> str:
    """Say how far two outputs are the same."""
    one, two = (
        dataset.dataset(str(path), format="parquet").to_table().sort_by("id")
        for path in (first, second)
    )
    alike = all(
        one[name].equals(two[name])
        for name in ("prompt", "predicted_labels", "predicted_route", "predicted_model")
    )
    a, b = (_probabilities(table) for table in (one, two))
    return (
        f"{len(one):,} rows by processes and by Ray: prompts, labels, routes and models "
        f"{'equal' if alike else 'DIFFERENT'}, probabilities differ by {np.abs(a - b).max():.1e}"
    )


def _probabilities(table: pa.Table) -> np.ndarray:
    column = table["predicted_probabilities"].combine_chunks()
    return np.stack([np.nan_to_num(part.to_numpy(False)) for part in column.flatten()])


def estimate(rate: float, efficiency: float, stored: float, size: float) -> Iterator[str]:
    """Reckon with a billion prompts."""
    core_hours = BILLION / (rate * efficiency) / 3600
    machines = max(1, round(core_hours / CORES))
    hours = core_hours / CORES / machines
    flow = stored * BILLION / (hours * 3600) / machines / 1e6
    yield f"One billion prompts of {size:.0f} bytes, {stored:.0f} of them in Parquet (zstd):"
    yield (
        f"  {core_hours:,.0f} core hours: {machines} machines of {CORES} cores for {hours:.1f} h, "
        f"${core_hours * DOLLARS:,.2f}"
    )
    yield (
        f"  by {rate:,.0f} rows a second and core, {efficiency:.0%} of it with every core at work, "
        f"${DOLLARS:.2f} a core hour, object storage that gives each machine {flow:,.0f} MB/s; "
        "storage and requests to it are not counted, nor is the start of the cluster"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, help="labelled prompts (JSON Lines)")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--bytes", type=int, default=0, help="of a row; 0: prompts as they are")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ray", action="store_true")
    args = parser.parse_args()
    print("load:", *(f"{load:.1f}" for load in os.getloadavg()), "of", os.cpu_count(), "cores")
    labelled = prompts_of(args.files)
    rows = rows_of([text for text, _ in labelled], args.rows, args.bytes)
    size = sum(len(row.encode()) for row in rows) / len(rows)
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        stored = write(rows, work / "input") / len(rows)
        print(f"{len(rows):,} rows of {size:.0f} bytes")
        found = one_core(rows, labelled, work / "input", args.rounds)
        for name, rate in found.items():
            print(f"{name:32}{rate:12,.0f} rows a second and core")
        scaled = scaling(work / "input", work, args.ray, args.rounds)
        for name, (one, two) in scaled.items():
            print(f"{name:8}{one:12,.0f} with one worker{two:12,.0f} with two: {two / one:.2f} x")
        if args.ray:
            print(compare(work / "local-2-0", work / "ray-2-0"))
        efficiency = scaled["local"][1] / scaled["local"][0] / 2
        rate = found["batch, Parquet to Parquet"]
        print(*estimate(rate, min(1.0, efficiency), stored, size), sep="\n")
    print("load:", *(f"{load:.1f}" for load in os.getloadavg()))


if __name__ == "__main__":
    main()
