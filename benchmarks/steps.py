"""What each step of one decision costs, and each operator of the graph.

    python benchmarks/steps.py [--artifact DIR]

Medians over a warm loop, in microseconds; texts are cut out of the shipped artifact's
golden rows. What a call costs whatever the graph is timed by a graph of the same input and
output that has no operators. Operators are timed by onnxruntime's own profiler, whose
clock adds about a microsecond to each: read them against one another.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import NamedTuple

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from router_ml import Router
from router_ml.classifier import OUTPUT, Feed, make_feeder, new_session, runner
from router_ml.evaluation.latency import texts_of
from router_ml.request import model_text, read_request

LENGTHS = (40, 200, 2000)
CALLS = 2000
GRAPH, FLOOR = "graph", "of it, the call of any graph"


def time_us(call: Callable[[], object]) -> float:
    """Return the median time of a call."""
    times = []
    for _ in range(CALLS):
        started = perf_counter_ns()
        call()
        times.append(perf_counter_ns() - started)
    return median(times) / 1000


def steps(router: Router, text: str) -> dict[str, float]:
    """Return the time of each step, and of all."""
    classifier = router.classifier
    request = read_request(text)
    read = model_text(request)
    feeder = make_feeder(router.artifact.config.input, router.artifact.path)
    fed = feeder((read,))
    raw = classifier._run(fed)
    floor = runner(new_session(constant(fed, raw), "the constant"))
    row = classifier.probabilities(read)
    prediction = classifier.predict(row, classifier.thresholds)
    calls: dict[str, Callable[[], object]] = {
        "read_request": lambda: read_request(text),
        "model_text": lambda: model_text(request),
        "feed": lambda: feeder((read,)),
        GRAPH: lambda: classifier._run(fed),
        FLOOR: lambda: floor(fed),
        "to list": raw[0].tolist,
        "labels": lambda: classifier.predict(row, classifier.thresholds),
        "policy": lambda: router.decider(prediction),
        "all": lambda: router.route(text),
    }
    return {name: time_us(call) for name, call in calls.items()}


def constant(fed: Feed, output: np.ndarray) -> bytes:
    """Return a graph that takes what is fed, reads none of it, and gives this output."""
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
        )
        for name, value in fed.items()
    ]
    outputs = [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, output.shape)]
    node = helper.make_node("Constant", [], [OUTPUT], value=numpy_helper.from_array(output))
    body = helper.make_graph([node], "constant", inputs, outputs)
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(body, opset_imports=opset, ir_version=8).SerializeToString()


class Operator(NamedTuple):
    """How often the graph has an operator, and the mean time of all of them in one call."""

    name: str
    number: int
    time: float


def operators(router: Router, text: str) -> list[Operator]:
    """Return the operators of the graph as onnxruntime runs it, the slowest first."""
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
    calls = [Operator(name, len(t) // CALLS, sum(t) / CALLS) for name, t in found.items()]
    return sorted(calls, key=lambda operator: -operator.time)


def print_steps(columns: list[dict[str, float]]) -> None:
    """Print the steps, a column a length."""
    print(f"| step, µs | {' | '.join(f'{length} characters' for length in LENGTHS)} |")
    print("|---|" + "---|" * len(LENGTHS))
    for name in columns[0]:
        print(f"| {name} | {' | '.join(f'{column[name]:.1f}' for column in columns)} |")


def print_operators(found: list[Operator], time: float) -> None:
    """Print what an operator takes of the graph's time for a short text; the slowest for a long."""
    number = sum(operator.number for operator in found)
    print(f"\n{number} operators, {time / number:.2f} µs each at {LENGTHS[0]} characters.")
    print(f"\n| operator | how many | µs at {LENGTHS[-1]} characters |\n|---|---|---|")
    for operator in found[:12]:
        print(f"| {operator.name} | {operator.number} | {operator.time:.1f} |")


def main() -> None:
    """Read the arguments and print both tables."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--artifact")
    options = arguments.parse_args()
    router, golden = Router.load(options.artifact), Router.load().artifact.golden()
    texts = [next(islice(texts_of(length, "en", golden), 3, None)) for length in LENGTHS]
    columns = [steps(router, text) for text in texts]
    print_steps(columns)
    print_operators(operators(router, texts[-1]), columns[0][GRAPH] - columns[0][FLOOR])


if __name__ == "__main__":
    main()
