"""What each step of one decision costs, and each operator of the graph.

    python benchmarks/steps.py [--artifact DIR]

Medians over a warm loop, in microseconds; texts are cut out of the shipped artifact's
golden rows. Operators are timed by onnxruntime's own profiler, whose clock adds about a
microsecond to each: read them against one another.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from statistics import mean, median
from time import perf_counter_ns

import onnxruntime as ort

from router_ml import Router
from router_ml.classifier import OUTPUT, make_feeder
from router_ml.evaluation.latency import texts_of
from router_ml.request import model_text, read_request

LENGTHS = (40, 200, 2000)
CALLS = 2000
STEPS = ("read_request", "model_text", "feed", "graph", "to list", "labels", "policy", "all")


def time_us(call: Callable[[], object]) -> float:
    """Return the median time of a call."""
    times = []
    for _ in range(CALLS):
        started = perf_counter_ns()
        call()
        times.append(perf_counter_ns() - started)
    return median(times) / 1000


def steps(router: Router, text: str) -> list[float]:
    """Return the time of each of STEPS."""
    classifier = router.classifier
    request = read_request(text)
    read = model_text(request)
    feeder = make_feeder(router.artifact.config.input, router.artifact.path)
    fed = feeder((read,))
    raw = classifier._run([OUTPUT], fed)[0]
    row = classifier.probabilities(read)
    prediction = classifier.predict(row, classifier.thresholds)
    calls: list[Callable[[], object]] = [
        lambda: read_request(text),
        lambda: model_text(request),
        lambda: feeder((read,)),
        lambda: classifier._run([OUTPUT], fed),
        raw[0].tolist,
        lambda: classifier.predict(row, classifier.thresholds),
        lambda: router.decider(prediction),
        lambda: router.route(text),
    ]
    return [time_us(call) for call in calls]


def operators(router: Router, text: str) -> dict[str, float]:
    """Return the mean time of each operator of the graph, the slowest first."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as scratch:
        options.profile_file_prefix = str(Path(scratch, "profile"))
        session = ort.InferenceSession(router.artifact.model, options)
        feed = make_feeder(router.artifact.config.input, router.artifact.path)
        fed = feed((model_text(read_request(text)),))
        for _ in range(CALLS):
            session.run([OUTPUT], fed)
        events = json.loads(Path(session.end_profiling()).read_text())
    found: dict[str, list[int]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            found[event["args"]["op_name"]].append(event["dur"])
    calls = {name: mean(times) * len(times) / CALLS for name, times in found.items()}
    return dict(sorted(calls.items(), key=lambda item: -item[1]))


def main() -> None:
    """Read the arguments and print both tables."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--artifact")
    options = arguments.parse_args()
    router, golden = Router.load(options.artifact), Router.load().artifact.golden()
    texts = [next(islice(texts_of(length, "en", golden), 3, None)) for length in LENGTHS]
    print(f"| step, µs | {' | '.join(f'{length} characters' for length in LENGTHS)} |")
    print("|---|" + "---|" * len(LENGTHS))
    for name, times in zip(
        STEPS, zip(*(steps(router, t) for t in texts), strict=True), strict=True
    ):
        print(f"| {name} | {' | '.join(f'{time:.1f}' for time in times)} |")
    print(f"\n| operator, µs at {LENGTHS[-1]} characters | |\n|---|---|")
    for name, time in list(operators(router, texts[-1]).items())[:12]:
        print(f"| {name} | {time:.1f} |")


if __name__ == "__main__":
    main()
