"""Texts in, calibrated probabilities out: one ONNX graph, run by onnxruntime.

The graph's input is either the raw UTF-8 bytes (the features are computed inside
the graph) or, for encoders that need them, the ids of a tokenizer in the artifact.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import compress
from operator import ge
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from router_ml.artifact import MODEL, TOKENIZER, Artifact, GoldenRow, InputSpec
from router_ml.errors import ArtifactCorrupt, MissingExtra
from router_ml.request import CONTEXT_BYTES, TURN_BYTES, ModelText
from router_ml.types import Prediction

Probabilities = NDArray[np.float32]
Feed = dict[str, NDArray[Any]]
OUTPUT = "probabilities"
INPUTS = {"bytes": ("bytes",), "tokens": ("attention_mask", "input_ids")}
"""Input kind -> the names a graph of that kind must have, all of them and no others."""
SEPARATOR = b"\x1e"
"""Between the turn and its context; the text itself has no control characters."""

SPARE = TURN_BYTES + CONTEXT_BYTES + len(SEPARATOR)
"""The longest text there is."""
BATCH_BYTES = {"bytes": 1 << 15, "tokens": 1 << 9}
"""A batch's padded size: larger ones leave the processor's cache and are slower. Texts of as many
bytes have unlike numbers of tokens: half of what 32 of them are padded to is padding."""


def new_session(model: bytes | str, where: Path | str) -> ort.InferenceSession:
    """Open a graph for one thread, the setting with the shortest tail of latencies.

    Raises:
        ArtifactCorrupt: onnxruntime cannot read it.

    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen types of its own
        first = str(error).splitlines()[0]
        raise ArtifactCorrupt(f"{where} is no graph that onnxruntime can run: {first}") from error


def runner(session: ort.InferenceSession) -> Callable[[Feed], Probabilities]:
    """Return what runs a classifier's graph.

    A call of `session.run` makes options of its own and compares the inputs' names, which
    `_check_inputs` has done: together 1.5 of some 20 microseconds. What it calls in turn is
    not public, so where an onnxruntime has no such thing `session.run` itself is called.
    """
    run, outputs, options = getattr(session, "_sess", session).run, [OUTPUT], ort.RunOptions()

    def probabilities(feed: Feed) -> Probabilities:
        found: Probabilities = run(outputs, feed, options)[0]
        return found

    return probabilities


class PackedTexts(NamedTuple):
    """What the classifier reads of n texts, one behind another or wherever they lie.

    Attributes:
        data: uint8; `SPARE` more than the texts, so that each can be read beyond its end.
        starts, lengths: int64 [n], bytes. A text is its turn, and `SEPARATOR` and its
            context if it has any.

    """

    data: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]


class Classifier:
    """A verified artifact's graph, ready to run.

    Attributes:
        labels: names in the order of the graph's output.

    """

    def __init__(self, artifact: Artifact) -> None:
        config = artifact.config
        self.labels = config.labels
        self.single_label = config.single_label
        self.thresholds = tuple(config.thresholds[label] for label in config.labels)
        session = new_session(artifact.model, artifact.path / MODEL)
        _check_inputs(session, artifact)
        _check_output(session, artifact)
        self._run = runner(session)
        self._kind = config.input.kind
        self._feed = make_feeder(config.input, artifact.path)

    def probabilities(self, text: ModelText) -> list[float]:
        """Return the calibrated probability of each label, in [0, 1]."""
        row: list[float] = self._run(self._feed((text,))).tolist()[0]
        return row

    def probabilities_many(self, texts: Sequence[ModelText]) -> Probabilities:
        """Return calibrated probabilities, float32 [len(texts), len(labels)]."""
        return self._probabilities(texts)

    def probabilities_packed(self, texts: PackedTexts) -> Probabilities:
        """Return calibrated probabilities, float32 [n, len(labels)], on one core.

        No Python runs for each text: rows of like length become one matrix by a single
        gather from where they lie.
        """
        if self._kind != "bytes":
            return self._probabilities([*_unpacked(texts)], parallel=False)
        result = np.empty((len(texts.starts), len(self.labels)), np.float32)
        for rows, longest in _batches(texts.lengths, BATCH_BYTES["bytes"]):
            lengths = texts.lengths[rows]
            view = np.lib.stride_tricks.sliding_window_view(texts.data, longest)
            matrix = view[texts.starts[rows]]
            matrix *= np.arange(longest) < lengths[:, None]
            result[rows] = self._run({"bytes": matrix[:, None, :]})
        return result

    def _probabilities(self, texts: Sequence[ModelText], *, parallel: bool = True) -> Probabilities:
        return run_batches(
            lambda some: self._run(self._feed(some)),
            texts,
            len(self.labels),
            most=BATCH_BYTES[self._kind],
            parallel=parallel,
        )

    def replay(self, rows: Sequence[GoldenRow]) -> float:
        """Return by how much the graph, run here, differs from golden rows at most."""
        texts = [ModelText(row.turn.encode(), row.context.encode()) for row in rows]
        recorded = np.array([row.probabilities for row in rows], np.float32)
        found = self.probabilities_many(texts)
        return float(np.abs(found - recorded.reshape(found.shape)).max(initial=0))

    def predict(self, row: Sequence[float], thresholds: Sequence[float]) -> Prediction:
        """Name the labels that hold at these thresholds; both in the order of `labels`."""
        if self.single_label:
            best = max(range(len(row)), key=row.__getitem__)
            holding = self.labels[best : best + 1] if row[best] >= thresholds[best] else ()
        else:
            holding = tuple(compress(self.labels, map(ge, row, thresholds)))
        # `strict` takes half as long again; the graph's width was compared when it was loaded.
        return Prediction(holding, dict(zip(self.labels, row)))  # noqa: B905


def check_replay(artifact: Artifact, difference: float) -> None:
    """Check by how much replayed golden rows differ.

    Raises:
        ArtifactCorrupt: by more than processors do.

    """
    tolerance = artifact.config.golden_tolerance
    if not difference <= tolerance:  # so written, NaN is an error too
        raise ArtifactCorrupt(
            f"{artifact.path}: replaying its golden rows gives probabilities that "
            f"differ by {difference:.1e}; at most {tolerance:.0e} is expected."
        )


def _check_inputs(session: ort.InferenceSession, artifact: Artifact) -> None:
    """Compare the graph's inputs with the config's input kind before anything is run."""
    kind = artifact.config.input.kind
    names = sorted(given.name for given in session.get_inputs())
    if names != sorted(INPUTS[kind]):
        raise ArtifactCorrupt(
            f"{artifact.path / MODEL} takes {', '.join(names) or 'nothing'} where its config says "
            f"{kind!r}, that is {', '.join(INPUTS[kind])}."
        )


def _check_output(session: ort.InferenceSession, artifact: Artifact) -> None:
    """Compare the graph's output with the config's labels before anything is run."""
    outputs = {output.name: output.shape for output in session.get_outputs()}
    if OUTPUT not in outputs:
        raise ArtifactCorrupt(f"{artifact.path / MODEL} has no output named `{OUTPUT}`.")
    width = outputs[OUTPUT][-1] if outputs[OUTPUT] else None  # a scalar has no width
    if width != len(artifact.config.labels):
        raise ArtifactCorrupt(
            f"{artifact.path / MODEL} gives {width} probabilities where its config names "
            f"{len(artifact.config.labels)} labels."
        )


def make_feeder(spec: InputSpec, path: Path) -> Callable[[Sequence[ModelText]], Feed]:
    """Return the function that turns texts into the graph's inputs."""
    if spec.kind == "bytes":
        return feed_bytes
    return _TokenFeeder(path / TOKENIZER, spec.max_tokens or 256)


def feed_bytes(texts: Sequence[ModelText]) -> Feed:
    """Pack texts as uint8 [batch, 1, longest]: turn, 0x1E and context if any, zeros."""
    if len(texts) == 1:
        row = byte_row(texts[0])
        return {"bytes": np.ndarray((1, 1, len(row)), np.uint8, row)}
    rows = [byte_row(text) for text in texts]
    length = max(map(len, rows))
    packed = b"".join(row.ljust(length, b"\0") for row in rows)
    return {"bytes": np.frombuffer(packed, np.uint8).reshape(len(rows), 1, length)}


def _unpacked(texts: PackedTexts) -> Iterator[ModelText]:
    data = texts.data.tobytes()
    for start, length in zip(texts.starts.tolist(), texts.lengths.tolist(), strict=True):
        turn, _, context = data[start : start + length].partition(SEPARATOR)
        yield ModelText(turn, context)


def byte_row(text: ModelText) -> bytes:
    """Return what a graph of bytes reads of a text; never nothing."""
    return text.turn + SEPARATOR + text.context if text.context else text.turn or b" "


class _TokenFeeder:
    """Turns texts into `input_ids` and `attention_mask`, int64 [batch, longest]."""

    def __init__(self, path: Path, max_tokens: int) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingExtra("tokenizers", f"The artifact in {path.parent}") from error
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ArtifactCorrupt(f"{path} is no tokenizer that can be read.") from error
        self._tokenizer.enable_truncation(max_tokens)
        self._tokenizer.enable_padding()

    def __call__(self, texts: Sequence[ModelText]) -> Feed:
        encoded = self._tokenizer.encode_batch([plain_text(text) for text in texts])
        return {
            "input_ids": np.array([row.ids for row in encoded], np.int64),
            "attention_mask": np.array([row.attention_mask for row in encoded], np.int64),
        }


def plain_text(text: ModelText) -> str:
    """Return what an encoder without a place for context reads: the turn, then the context."""
    joined = text.turn + b"\n" + text.context if text.context else text.turn
    return joined.decode("utf-8", "ignore") or " "


def run_batches(
    run: Callable[[Sequence[ModelText]], NDArray[np.float32]],
    texts: Sequence[ModelText],
    width: int,
    done: Callable[[int], object] = lambda rows: None,
    most: int = BATCH_BYTES["bytes"],
    *,
    parallel: bool = True,
) -> NDArray[np.float32]:
    """Run texts through a graph in batches of like length, on every core if they are many.

    Args:
        run: takes texts, returns float32 [len(texts), width].
        texts: in any order; the result is in theirs.
        width: columns of the result.
        done: told how many rows each finished batch had, for a progress bar.
        most: a batch's padded bytes; a text alone may have more.
        parallel: whether threads may be started, for more than `BATCH_BYTES["bytes"]` in all.

    """
    result = np.empty((len(texts), width), np.float32)
    lengths = np.array([len(text.turn) + len(text.context) for text in texts], np.int64)
    batches = (rows for rows, _ in _batches(lengths, most))

    def work(rows: NDArray[np.int64]) -> None:
        result[rows] = run([texts[row] for row in rows.tolist()])
        done(len(rows))

    if parallel and lengths.sum() > BATCH_BYTES["bytes"]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(work, batches))
    else:
        for rows in batches:
            work(rows)
    return result


def _batches(lengths: NDArray[np.int64], most: int) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield row numbers of like length, so that little of a batch is padding, and the longest."""
    order = np.argsort(lengths, kind="stable")
    ordered = np.maximum(lengths[order], 1)
    start = 0
    while start < len(order):
        sizes = ordered[start : start + most] * np.arange(1, 1 + min(most, len(order) - start))
        end = start + max(1, int(np.searchsorted(sizes, most, "right")))
        yield order[start:end], int(ordered[end - 1])
        start = end
