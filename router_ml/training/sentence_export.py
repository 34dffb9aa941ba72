"""Sentence-transformers models as ONNX graphs: tokens in, `embedding` out."""

from __future__ import annotations

import io
import json
import warnings
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from torch import nn

from router_ml.errors import RecipeError

_OPSET = 18


def load(name_or_path: str, max_tokens: int) -> SentenceTransformer:
    """Load a model by path or hub name.

    Raises:
        RecipeError: there is none, or it cannot be loaded.

    """
    try:
        model = SentenceTransformer(name_or_path, device="cpu")
    except Exception as error:  # the hub client and the loaders each raise their own
        first = str(error).strip().splitlines()[0]
        raise RecipeError(f"The encoder {name_or_path!r} cannot be loaded: {first}") from error
    if isinstance(model[0], StaticEmbedding):
        model[0].tokenizer.enable_truncation(max_tokens)
    else:
        model.max_seq_length = max_tokens
    return model


def tokenizer_json(model: SentenceTransformer) -> bytes:
    """Return the model's fast tokenizer as `tokenizer.json`.

    Raises:
        RecipeError: it has no fast tokenizer.

    """
    tokenizer = getattr(model[0], "tokenizer", None)
    backend: Any = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(backend, "to_str"):
        raise RecipeError("The encoder has no fast tokenizer, which serving needs.")
    content = json.loads(backend.to_str())
    content["truncation"] = content["padding"] = None
    if isinstance(model[0], StaticEmbedding):
        content["post_processor"] = None  # StaticEmbedding adds no special tokens
    return json.dumps(content, ensure_ascii=False).encode()


def to_onnx(model: SentenceTransformer) -> onnx.ModelProto:
    """Export `input_ids` and `attention_mask`, int64 [batch, length], -> `embedding`."""
    if isinstance(model[0], StaticEmbedding):
        if len(model) > 1:
            raise RecipeError("A StaticEmbedding followed by other modules is not supported.")
        return _static_graph(model[0].embedding.weight.detach().cpu().numpy())
    return _traced_graph(model)


def _token_inputs() -> list[onnx.ValueInfoProto]:
    shape = ["batch", "length"]
    names = ("input_ids", "attention_mask")
    return [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in names]


def _static_graph(table: np.ndarray) -> onnx.ModelProto:
    """Build the mean of table rows over the tokens that are not padding."""
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "input_ids"], ["rows"]),
        node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["mask", "last_axis"], ["weights"]),
        node("Mul", ["rows", "weights"], ["used"]),
        node("ReduceSum", ["used", "token_axis"], ["sum"], keepdims=0),
        node("ReduceSum", ["weights", "token_axis"], ["count"], keepdims=0),
        node("Max", ["count", "one"], ["counted"]),
        node("Div", ["sum", "counted"], ["embedding"]),
    ]
    tensors = {
        "table": table.astype(np.float32),
        "last_axis": np.array([-1], np.int64),
        "token_axis": np.array([1], np.int64),
        "one": np.array(1, np.float32),
    }
    width = table.shape[1]
    output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", width])
    initializers = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    body = helper.make_graph(nodes, "encoder", _token_inputs(), [output], initializers)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return model


class _Traceable(nn.Module):
    """A whole sentence-transformers model as a function of two tensors."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        features = {"input_ids": input_ids, "attention_mask": attention_mask}
        return self.model(features)["sentence_embedding"]


def _traced_graph(model: SentenceTransformer) -> onnx.ModelProto:
    ids = torch.ones((2, 16), dtype=torch.int64)
    axes = {name: {0: "batch", 1: "length"} for name in ("input_ids", "attention_mask")}
    buffer: Any = io.BytesIO()
    model.eval()
    with warnings.catch_warnings():
        # Tracing warns of every Python condition in the model, and of being the older way.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Traceable(model),
            (ids, torch.ones_like(ids)),
            buffer,
            input_names=list(axes),
            output_names=["embedding"],
            dynamic_axes={**axes, "embedding": {0: "batch"}},
            opset_version=_OPSET,
            dynamo=False,
        )
    return onnx.load_from_string(buffer.getvalue())
