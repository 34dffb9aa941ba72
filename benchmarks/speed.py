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
import gc
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any, NamedTuple

import msgspec
import numpy as np
from peers import SERVED, Keywords

from router_ml.artifact import find_artifact
from router_ml.classifier import plain_text
from router_ml.evaluation import keywords
from router_ml.evaluation.latency import LENGTHS, RESIDENT_MB, Latency, latency_of
from router_ml.examples import Example
from router_ml.training import Recipe, clean, load_recipe, read_data
from router_ml.training.prepare import divide
from router_ml.training.progress import silent

LANGUAGES = {"en": "English", "zh": "Chinese"}
REFERENCE = "fastText, subwords"
SLOW = 10
"""A slow candidate is called in one round of so many."""
SLOW_PEERS = {"tfidf", "minilm"}
WARM_ROUNDS = 20
TOUCHED_MB = 8
STARTS = 5
BATCH = 1024
SHORT_BYTES = range(45, 76)
"""A short prompt: around 60 bytes of UTF-8."""
NOTES = """
router-ml reads about 1,024 bytes of a longer prompt, static embeddings the first 2,000
characters, MiniLM 128 tokens of the first 4,000; the others read all of it. fastText by
words sees a Chinese clause as one unknown word. router-ml's time is that of the whole
decision: reading the request, the model and its fallbacks included.
"""
PACKAGES = ("onnxruntime", "numpy", "fasttext-wheel", "scikit-learn", "tokenizers", "litellm")

# What a program runs once; each leaves `decide` (one text) and `decide_many` (a list).
OURS = """
from router_ml import Router
router = Router.load({artifact!r})
decide, decide_many = router.route, router.route_many
"""
CLASSIFIER = """
from router_ml.request import model_text, read_request
prepare = lambda texts: [model_text(read_request(text)) for text in texts]
decide_many = router.classifier.probabilities_many
"""
# The rule's own file: importing it by name would bring the whole package along.
RULES = """
import runpy
decide = runpy.run_path({file!r})["keyword_labels"]
decide_many = lambda texts: list(map(decide, texts))
"""
PEER = """
import sys
sys.path.insert(0, {folder!r})
from peers import open_served
peer = open_served({key!r}, {directory!r})
decide, decide_many = peer.decide, peer.decide_many
"""
LITELLM = """
from litellm.router_strategy.complexity_router.complexity_router import ComplexityRouter
decide = ComplexityRouter("auto", None, {}, "default").classify
decide_many = lambda texts: list(map(decide, texts))
"""

START_PROGRAM = """
from time import perf_counter
started = perf_counter()
{code}
decide("Prove that the square root of 2 is irrational")
took = perf_counter() - started
{resident_mb}
import json
print(json.dumps([took * 1000, resident_mb()]))
"""
BATCH_PROGRAM = """
import json, os, sys, time
core, size, prepare = int(sys.argv[1]), int(sys.argv[3]), list
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {{core}})  # before anything counts the cores and starts threads
{code}
texts = prepare(json.load(open(sys.argv[2]))[:size])
decide_many(texts)
print("ready", flush=True)
sys.stdin.readline()
started, busy, took, decided = time.perf_counter(), time.process_time(), 0.0, 0
while took < 1:
    decide_many(texts)
    decided += len(texts)
    took = time.perf_counter() - started
print(json.dumps([decided / took, (time.process_time() - busy) / took]))
"""


class Candidate(NamedTuple):
    """What is measured: its name, the code that loads it, and whether it gets fewer calls."""

    name: str
    code: str
    slow: bool = False


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


def all_candidates(artifact: Path, saved: Mapping[str, Path]) -> list[Candidate]:
    """Return everything that can run here, ours first."""
    folder = str(Path(__file__).parent)
    peers = [
        Candidate(
            SERVED[key]().name,
            PEER.format(folder=folder, key=key, directory=str(path)),
            key in SLOW_PEERS,
        )
        for key, path in saved.items()
    ]
    rules = Candidate(Keywords.name, RULES.format(file=keywords.__file__))
    found = [Candidate("router-ml", OURS.format(artifact=str(artifact))), rules, *peers]
    if find_spec("litellm"):
        return [*found, Candidate("LiteLLM, heuristic complexity", LITELLM, slow=True)]
    progress("litellm is not installed: its heuristic classifier is left out")
    return found


def load(candidate: Candidate) -> Callable[[str], object]:
    """Load a candidate into this process; return what decides on one text."""
    names: dict[str, Any] = {}
    exec(candidate.code, names)
    return names["decide"]


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


def cold_start(candidate: Candidate) -> dict[str, float]:
    """Return the medians of a fresh process's time to its first decision, and its memory."""
    program = START_PROGRAM.format(code=candidate.code, resident_mb=RESIDENT_MB)
    runs = []
    for _ in range(STARTS + 1):
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=plain(), capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    took, resident = zip(*runs[1:], strict=True)  # the first run reads the disk and compiles
    return {"start_ms": median(took), "resident_mb": median(x or np.nan for x in resident)}


def plain() -> dict[str, str]:
    """Return an environment as on a server: bytecode is kept, and litellm fetches nothing."""
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def throughput(candidate: Candidate, texts: Path, cores: Sequence[int]) -> dict[str, float]:
    """Return short prompts a second of one process on each core, added up.

    Beside it, how much of its core a process got on average: on a machine that does
    something else, two processes get less of two cores than one gets of one.
    """
    program = BATCH_PROGRAM.format(code=candidate.code)
    size = str(BATCH // 4 if candidate.slow else BATCH)
    commands = [[sys.executable, "-c", program, str(core), str(texts), size] for core in cores]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen(one, env=plain(), text=True, **pipes) for one in commands]
    rates, shares = zip(*map(json.loads, run_together(processes)), strict=True)
    return {"per_s": sum(rates), "core_share": sum(shares) / len(shares)}


def run_together(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    """Start the work of processes at once when all are ready; return what each prints last."""
    for process in processes:
        while (line := process.stdout.readline()) and line != "ready\n":
            pass
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate()[0].splitlines()[-1] for process in processes]


def batches(candidates: Sequence[Candidate], rows: Rows, cores: Sequence[int]) -> dict[str, Any]:
    """Measure batches on one core and, where there are two, on two."""
    whole = (plain_text(example.text) for example in rows.examples)
    short = [text for text in whole if len(text.encode()) in SHORT_BYTES]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "texts.json")
        path.write_text(json.dumps((short * (1 + BATCH // len(short)))[:BATCH]))
        for candidate in candidates:
            progress(f"batches: {candidate.name}")
            sets = {count: cores[-count:] for count in (1, 2) if count <= len(cores)}
            found[candidate.name] = {
                f"{count} {'core' if count == 1 else 'cores'}": throughput(candidate, path, chosen)
                for count, chosen in sets.items()
            }
    return found


def usable_cores() -> list[int]:
    """Return the cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def pin(core: int) -> None:
    """Keep this process, and those it starts, on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


def machine() -> dict[str, Any]:
    """Describe where the figures were taken."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := version_of(name))},
    }


def cpu_model() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), "")


def version_of(package: str) -> str | None:
    """Return a package's version, None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def accuracies(path: Path | None) -> dict[str, dict[str, float]]:
    """Return question -> name -> route accuracy, of what benchmarks/accuracy.py wrote."""
    results = json.loads(path.read_text()) if path else {}
    return {
        question: {name: one["route_accuracy"] for name, one in part["systems"].items()}
        for question, part in results.items()
    }


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


def rate_cell(rate: Mapping[str, float]) -> str:
    """Format prompts a second, and say so if something else ran on the same cores."""
    share = rate["core_share"]
    return f"{rate['per_s']:,.0f}" + (f" (of {share:.0%} of the time)" if share < 0.9 else "")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    for line in (header, ["---"] * len(header), *rows):
        print(f"| {' | '.join(line)} |")


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


def progress(stage: str) -> None:
    """Say what is being done."""
    print(stage, file=sys.stderr, flush=True)


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


def wanted(name: str, only: str | None) -> bool:
    """Whether a candidate was asked for; ours always is."""
    return only is None or name.startswith(("router-ml", *only.split(",")))


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
