"""A classifier's inner representation of a request: the tensor `embedding` inside its graph.

The shipped graph keeps it to itself. To read it, no ONNX library is needed: a serialized
protocol buffer may be followed by more of the same message, and the two are merged (Protocol
Buffers, Encoding: "Last One Wins"), so that a few bytes behind the model give its graph one
more output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from router_ml.artifact import MODEL, Artifact
from router_ml.classifier import BATCH_BYTES, OUTPUT, make_feeder, new_session, run_batches
from router_ml.errors import ArtifactCorrupt
from router_ml.request import ModelText

EMBEDDING = "embedding"

_GRAPH, _OUTPUT, _NAME = 7, 12, 1
"""Field numbers of ModelProto.graph, GraphProto.output and ValueInfoProto.name (onnx.proto)."""


class Embedder:
    """Texts -> what the classifier's head reads.

    Attributes:
        tensor: `embedding`; or `probabilities` where a graph has none, which sees less.

    """

    def __init__(self, artifact: Artifact) -> None:
        where = artifact.path / MODEL
        self.tensor = EMBEDDING
        try:
            session = new_session(artifact.model + _one_more_output(EMBEDDING), where)
        except ArtifactCorrupt:
            self.tensor = OUTPUT
            session = new_session(artifact.model, where)
        self._run = session.run
        self._feed = make_feeder(artifact.config.input, artifact.path)
        self._most = BATCH_BYTES[artifact.config.input.kind]
        shapes = {output.name: output.shape for output in session.get_outputs()}
        self._width = int(shapes[self.tensor][-1])

    def embed(self, texts: Sequence[ModelText]) -> NDArray[np.float32]:
        """Return embeddings, float32 [len(texts), width]."""
        return run_batches(self._run_batch, texts, self._width, most=self._most)

    def _run_batch(self, texts: Sequence[ModelText]) -> NDArray[np.float32]:
        found: Any = self._run([self.tensor], self._feed(texts))[0]
        return found  # type: ignore[no-any-return]


def _one_more_output(name: str) -> bytes:
    return _field(_GRAPH, _field(_OUTPUT, _field(_NAME, name.encode())))


def _field(number: int, content: bytes) -> bytes:
    """Encode a length-delimited field (wire type 2) of at most 127 bytes."""
    return bytes((number << 3 | 2, len(content))) + content
