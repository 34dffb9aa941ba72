"""Encoders behind one contract: text -> embedding, as a graph that the runtime can serve.

- "ngrams": learned here from the rows themselves, without torch (`ngram_encoder`).
- "shipped": the encoder inside an artifact, cut out of its graph; needs no torch.
- "bytes": the project's own, trained here (`byte_encoder`).
- "static", "transformer": any sentence-transformers model, as it is or trained further
  (`fine_tuning`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
import onnx.utils
from numpy.typing import NDArray

from router_ml.artifact import MODEL, TOKENIZER, InputSpec, find_artifact, load_artifact
from router_ml.classifier import BATCH_BYTES, make_feeder, new_session, plain_text, run_batches
from router_ml.errors import MissingExtra, RecipeError, TrainingError
from router_ml.plurals import counted
from router_ml.request import TEXT_VERSION, ModelText
from router_ml.training.ngram_encoder import NgramEncoder
from router_ml.training.progress import Done
from router_ml.training.recipe import EncoderRecipe, FineTuneRecipe
from router_ml.training.vectors import SHIPPED, Vectors, load_vectors, own_ngrams

Embeddings = NDArray[np.float32]
EMBEDDING = "embedding"
BYTES = InputSpec("bytes", TEXT_VERSION)
_COMPARED = 500
"""On so many rows, about, a graph is compared with its model before its weights are rounded."""
_EXPORT = 1e-4
"""How far a component of an exported graph's embeddings may be from the model's own."""


class Encoder(Protocol):
    """Text -> embedding.

    Attributes:
        input: how a text becomes the graph's input.
        files: name -> content of what the artifact needs beside the graph.
        about: what the model card says of it.

    """

    input: InputSpec
    files: dict[str, bytes]
    about: dict[str, Any]

    def graph(self) -> onnx.ModelProto:
        """Return the graph from the input to `embedding`, float32 [batch, width]."""
        ...

    def reference(self, texts: Sequence[ModelText]) -> Embeddings:
        """Return embeddings as the trained model itself gives them, not its export."""
        ...


def make_encoder(
    recipe: EncoderRecipe,
    texts: Sequence[ModelText],
    targets: NDArray[np.float32],
    weights: NDArray[np.float32],
    single_label: bool,
    seed: int,
    done: Done,
) -> Encoder:
    """Make, and where the kind asks for it train, the encoder of a recipe.

    Raises:
        MissingExtra: it needs sentence-transformers, which is not installed.
        RecipeError: its model cannot be loaded, or it is none to be trained further or rounded.
        TrainingError: its graph is not what the model is.

    """
    check_encoder(recipe)
    if recipe.kind == "shipped":
        return ShippedEncoder(recipe.model)
    if recipe.kind == "ngrams":
        return NgramsEncoder(recipe, texts, targets, weights, seed)
    try:
        import sentence_transformers  # noqa: F401
    except ImportError as error:
        raise MissingExtra("encoders", f"The encoder kind {recipe.kind!r}") from error
    if recipe.kind == "bytes":
        return BytesEncoder.fit(recipe, texts, targets, weights, single_label, seed, done)
    encoder = SentenceEncoder(recipe)
    if recipe.fine_tune:
        encoder.train(recipe.fine_tune, texts, targets, weights, single_label, seed, done)
    if recipe.int8:
        encoder.round(texts[:: max(1, len(texts) // _COMPARED)])
    return encoder


def check_encoder(recipe: EncoderRecipe) -> None:
    """Refuse, before any work, to train further or to round what is no model for that.

    Raises:
        RecipeError: it is none.

    """
    if recipe.int8 and recipe.kind != "transformer":
        raise RecipeError(
            f'`int8` rounds the graph of an encoder of kind "transformer", not of {recipe.kind!r}.'
        )
    if recipe.fine_tune and recipe.kind not in {"static", "transformer"}:
        raise RecipeError(
            f"`fine_tune` trains a sentence-transformers model, and the encoder kind "
            f"{recipe.kind!r} is none: say which with `model`, on the command line --encoder."
        )


def encode(encoder: Encoder, directory: Path, texts: Sequence[ModelText], done: Done) -> Embeddings:
    """Return embeddings as the exported graph gives them: what the head will be served.

    Args:
        encoder: whose graph to run.
        directory: where the encoder's files lie.
        texts: n of them.
        done: told how many rows each finished batch had.

    """
    session = new_session(encoder.graph().SerializeToString(), directory)
    feed = make_feeder(encoder.input, directory)
    width = session.get_outputs()[0].shape[-1]

    def run(batch: Sequence[ModelText]) -> Embeddings:
        found: Embeddings = session.run([EMBEDDING], feed(batch))[0]
        return found

    return run_batches(run, texts, width, done, BATCH_BYTES[encoder.input.kind])


class ShippedEncoder:
    """The encoder inside an artifact: its graph up to the tensor `embedding`."""

    def __init__(self, artifact: str | None = None) -> None:
        loaded = load_artifact(find_artifact(artifact))
        self.input = loaded.config.input
        self.files = {
            name: (loaded.path / name).read_bytes()
            for name in loaded.config.files
            if name == TOKENIZER
        }
        self.about = {"kind": "shipped", "artifact": loaded.config.name}
        model = onnx.load_from_string(loaded.model)
        inputs = [tensor.name for tensor in model.graph.input]
        try:
            self._graph = onnx.utils.Extractor(model).extract_model(inputs, [EMBEDDING])
        except Exception as error:  # the extractor raises whatever it trips over
            raise RecipeError(f"{loaded.path / MODEL} has no tensor `{EMBEDDING}`.") from error
        self._session = new_session(self._graph.SerializeToString(), loaded.path / MODEL)
        self._feed = make_feeder(self.input, loaded.path)

    def graph(self) -> onnx.ModelProto:
        """Return the graph as it was cut out."""
        return self._graph

    def reference(self, texts: Sequence[ModelText]) -> Embeddings:
        """Return the embeddings of the shipped graph, which is all there is of it."""
        rows = [self._session.run([EMBEDDING], self._feed([text]))[0] for text in texts]
        return np.concatenate(rows)


class NgramsEncoder:
    """N-grams weighted by what the rows say of the labels; learned and served by numpy."""

    def __init__(
        self,
        recipe: EncoderRecipe,
        texts: Sequence[ModelText],
        targets: NDArray[np.float32],
        weights: NDArray[np.float32],
        seed: int,
    ) -> None:
        bits, width = recipe.table_bits or 16, recipe.width or 128
        vectors = _vectors(recipe, bits)
        ngrams = vectors.ngrams if vectors else own_ngrams(recipe.orders, bits, seed)
        known = vectors.floats if vectors else None
        self.fitted = NgramEncoder.fit(texts, targets, weights, ngrams, width, seed, known)
        self.input = BYTES
        self.files: dict[str, bytes] = {}
        self.about = {
            "kind": "ngrams",
            "orders": list(recipe.orders),
            "table_bits": bits,
            "width": self.fitted.width,
            "vectors": vectors.name if vectors else "none",
        }

    def graph(self) -> onnx.ModelProto:
        """Return the graph that looks up and sums."""
        return self.fitted.graph()

    def reference(self, texts: Sequence[ModelText]) -> Embeddings:
        """Return the same by numpy."""
        return self.fitted.embed(texts)


def _vectors(recipe: EncoderRecipe, table_bits: int) -> Vectors | None:
    """Read the recipe's vectors, which must be of the n-grams that it hashes."""
    if recipe.vectors == "":
        return None
    found = load_vectors(recipe.vectors or SHIPPED)
    if (found.orders, found.table_bits) == (recipe.orders, table_bits):
        return found
    if recipe.vectors is None:
        return None
    raise RecipeError(
        f"The n-gram vectors {recipe.vectors!r} are for orders {list(found.orders)} and "
        f'table_bits {found.table_bits}: take these, or `vectors = ""` for none.'
    )


class BytesEncoder:
    """The project's own encoder, trained with torch, served without."""

    def __init__(self, module: Any, recipe: EncoderRecipe) -> None:
        self.module = module
        self.input = BYTES
        self.files: dict[str, bytes] = {}
        self.about = {
            "kind": "bytes",
            "orders": list(recipe.orders),
            "shapes": list(recipe.shapes),
            "table_bits": module.ngrams.table_bits,
            "width": module.width,
            "hidden": module.hidden,
            "members": module.members,
            "epochs": recipe.epochs,
            "learning_rate": recipe.learning_rate,
            "epsilon": recipe.epsilon,
            "dropout": recipe.dropout,
            "varied": recipe.varied,
        }

    @classmethod
    def fit(cls, recipe: EncoderRecipe, *data: Any) -> BytesEncoder:
        """Train one; `data` as of `byte_encoder.fit`."""
        from router_ml.training.byte_encoder import fit

        return cls(fit(recipe, *data), recipe)

    def graph(self) -> onnx.ModelProto:
        """Return the exported module."""
        return self.module.to_onnx()

    def reference(self, texts: Sequence[ModelText]) -> Embeddings:
        """Return the module's own embeddings, by torch."""
        from sentence_transformers import SentenceTransformer

        from router_ml.training.byte_encoder import joined

        model = SentenceTransformer(modules=[self.module], device="cpu")
        return model.encode([joined(text) for text in texts], show_progress_bar=False)


class SentenceEncoder:
    """Any sentence-transformers model by path or hub name."""

    def __init__(self, recipe: EncoderRecipe) -> None:
        from router_ml.training import sentence_export

        if not recipe.model:
            raise RecipeError(f"An encoder of kind {recipe.kind!r} needs `model`.")
        self.model = sentence_export.load(recipe.model, recipe.max_tokens)
        self.input = InputSpec("tokens", TEXT_VERSION, recipe.max_tokens)
        self.files = {TOKENIZER: sentence_export.tokenizer_json(self.model)}
        # Of a directory its name alone: where it lay is no business of the artifact's readers.
        name = Path(recipe.model).name if Path(recipe.model).is_dir() else recipe.model
        self.about: dict[str, Any] = {"kind": recipe.kind, "model": name}
        self._graph: onnx.ModelProto | None = None
        self._is_rounded = False

    def train(self, recipe: FineTuneRecipe, *data: Any) -> None:
        """Train it further; `data` as of `fine_tuning.fine_tune`."""
        from router_ml.training.fine_tuning import fine_tune

        fine_tune(self.model, recipe, *data)
        self.about["fine_tuned"] = f"{counted(recipe.epochs, 'epoch')} for {recipe.objective}"

    def round(self, texts: Sequence[ModelText]) -> None:
        """Keep the graph's weights in 8 bits from here on.

        Args:
            texts: to compare the graph with the model on, before it is rounded and after.

        Raises:
            TrainingError: they differ before.

        """
        from router_ml.training.rounding import rounded

        own, exported = self.reference(texts), self._served(texts)
        worst = float(np.abs(own - exported).max())
        if not worst <= _EXPORT:
            raise TrainingError(
                f"The exported graph differs from the trained encoder by {worst:.2g} in an "
                f"embedding (at most {_EXPORT:g} is allowed): nothing was written."
            )
        self._graph, self._is_rounded = rounded(self.graph()), True
        moved = _cosines(exported, self._served(texts))
        self.about["weights"] = (
            f"int8 (before rounding the export differs from the model by at most {worst:.1e}; "
            f"cosine of its embeddings to the unrounded graph's: mean {moved.mean():.4f}, "
            f"least {moved.min():.4f})"
        )

    def graph(self) -> onnx.ModelProto:
        """Return the exported model; exported once, since tracing takes seconds."""
        from router_ml.training import sentence_export

        if self._graph is None:
            self._graph = sentence_export.to_onnx(self.model)
        return self._graph

    def reference(self, texts: Sequence[ModelText]) -> Embeddings:
        """Return the model's own embeddings, by torch; once rounded, the graph is the model."""
        if self._is_rounded:
            return self._served(texts)
        return self.model.encode([plain_text(text) for text in texts], show_progress_bar=False)

    def _served(self, texts: Sequence[ModelText]) -> Embeddings:
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / TOKENIZER).write_bytes(self.files[TOKENIZER])
            return encode(self, Path(place), texts, lambda rows: None)


def _cosines(some: Embeddings, others: Embeddings) -> Embeddings:
    """Return the cosine of each row of one and the same row of the other, [n]."""
    lengths = np.linalg.norm(some, axis=1) * np.linalg.norm(others, axis=1)
    cosines: Embeddings = (some * others).sum(axis=1) / lengths
    return cosines
