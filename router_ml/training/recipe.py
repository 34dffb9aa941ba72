"""A training recipe: everything that decides what comes out, in one TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from router_ml.catalog import read_toml
from router_ml.errors import DataError, RecipeError
from router_ml.logs.mapping import FIELDS
from router_ml.logs.sources import find_files, split_table

PUBLIC = "public:"
"""Prefix of data files that lie in the directory given by `--public-data`."""

Share = Annotated[float, msgspec.Meta(gt=0, lt=0.5)]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class DataRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which rows are learned from, and which are held out.

    Attributes:
        files: labelled files or globs, relative to the recipe.
        test: files or globs that are only measured on, never learned from.
        golden: files or globs whose rows may be copied into the artifact as golden rows;
            none: the golden rows of the shipped artifact, so that no prompt is in it.
        calibration_share: share of rows held out to calibrate and to choose thresholds.
        test_share: share of rows held out to measure; 0 where `test` says it all.
        unseen_folds: calibrate, choose thresholds and measure on unseen sources: the
            sources are left out in so many folds, and nothing else is held out to
            calibrate. 0: on held-out rows of the sources that were learned from.
        folds: measure by repeated cross-validation in so many folds, and calibrate and
            choose thresholds on what it says; nothing else is held out. 0: do not.
        map: field -> where rows keep it, if their layout is not known (`router_ml.logs`).
        near_duplicate: Jaccard similarity of character 5-grams from which two rows
            with the same labels are one.
        same_group: similarity from which two rows stay on one side of the split.
        min_examples: fewer rows than this of a label are an error.
        planted: rows to add to those learned from, as a share of them: requests at the
            head or the tail of texts that carry no label. Never measured on.
        illustrated: rows to add likewise: requests in English or Chinese, maths problems more
            often than others, with words put in that point at a figure; they carry `vision`.
        scrub: a country (US, DE …), to learn from rows without their e-mail addresses, phone
            numbers as they are dialled there, keys and card numbers; "": from rows as they are.
        weights: glob over `source` -> weight of its rows in training; the first match.

    """

    files: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    golden: tuple[str, ...] = ()
    calibration_share: Share = 0.1
    test_share: Annotated[float, msgspec.Meta(ge=0, lt=0.5)] = 0.1
    unseen_folds: Annotated[int, msgspec.Meta(ge=0)] = 0
    folds: Annotated[int, msgspec.Meta(ge=0)] = 0
    map: dict[str, str] = {}
    near_duplicate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.9
    same_group: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.6
    min_examples: Annotated[int, msgspec.Meta(ge=2)] = 8
    planted: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    illustrated: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    scrub: str = ""
    weights: dict[str, float] = {}

    def __post_init__(self) -> None:
        """Refuse what no type says: it is an error before any work."""
        for name in ("unseen_folds", "folds"):
            if getattr(self, name) == 1:
                raise ValueError(f"`{name}` must be 0 or at least 2: one fold leaves nothing")
        for field in self.map:
            if field not in FIELDS:
                known = ", ".join(FIELDS)
                raise ValueError(f"`map` has the field {field!r}, and must be of {known}")


Order = Annotated[int, msgspec.Meta(ge=1, le=8)]


class FineTuneRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a sentence-transformers model is trained further.

    Attributes:
        objective: "contrast" (rows of one label come together: for few rows, some dozens a label)
            or "labels" (a linear layer on it predicts the labels, and is thrown away afterwards:
            for many rows).
        epochs: how often it sees every row, for "contrast" each time beside another of its labels.
        batch_size: rows a step; for "contrast" half of them those others.
        learning_rate: of its weights, at its highest.
        precision: "bfloat16" is faster where the processor has instructions for it (AVX512-BF16,
            AMX), and slower where it has none.

    """

    objective: Literal["contrast", "labels"] = "contrast"
    epochs: Positive = 4
    batch_size: Annotated[int, msgspec.Meta(ge=4)] = 64
    learning_rate: Annotated[float, msgspec.Meta(gt=0)] = 1e-4
    precision: Literal["float32", "bfloat16"] = "float32"


class EncoderRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which encoder, and how it is trained.

    Attributes:
        kind: "ngrams" (n-grams weighted by linear classifiers of these rows' labels, learned
            in seconds without torch), "shipped" (the shipped artifact's, as it is), "bytes"
            (the project's own, trained from nothing), "static" (sentence-transformers
            StaticEmbedding) or "transformer" (any sentence-transformers model, as it is).
        model: for "static" and "transformer": a path or hub name; for "shipped": an
            artifact to take the encoder from instead.
        orders: byte n-gram lengths of "ngrams" and "bytes".
        shapes: lengths of n-grams of what kind of byte stands where, of "bytes".
        vectors: for "ngrams": n-gram vectors learned before, a shipped name or the path of a
            .npz; None: those shipped, if they are of these orders and table_bits; "": none,
            so that all is learned from the rows.
        table_bits: log2 of the rows of their hashed table; None: 16 for "ngrams", 17 for
            "bytes".
        width: columns of the table; None: as many as labels but 128 at most for "ngrams", 32
            for "bytes".
        hidden: width of the layer of "bytes".
        members: how many networks "bytes" trains side by side, to err less than one does;
            each has `width` columns and a layer of `hidden`.
        epochs, batch_size, learning_rate, dropout: how "bytes" is trained.
        epsilon: of Adam (Kingma & Ba 2015), for the table of "bytes". Rows with gradients far
            below it move in proportion to them; with Adam's own 1e-8 an n-gram seen once
            moves as far as one seen a thousand times.
        feature_dropout: share of n-grams left out at random in training.
        varied: share of the texts that "bytes" sees framed, in another case or mistyped,
            drawn anew each epoch.
        max_tokens: where "static" and "transformer" cut a text.
        fine_tune: how "static" and "transformer" are trained on the rows; None: not at all.
        int8: whether the graph of a "transformer" keeps its weights in 8 bits, a quarter of the
            size and faster (`rounding`); the head is fitted on what that graph says.

    """

    kind: Literal["ngrams", "shipped", "bytes", "static", "transformer"] = "ngrams"
    model: str | None = None
    orders: tuple[Order, ...] = (2, 3, 4, 6)
    shapes: tuple[Order, ...] = ()
    vectors: str | None = None
    table_bits: Annotated[int, msgspec.Meta(ge=8, le=20)] | None = None
    width: Positive | None = None
    hidden: Positive = 64
    members: Positive = 1
    epochs: Positive = 4
    batch_size: Positive = 256
    learning_rate: Annotated[float, msgspec.Meta(gt=0)] = 2e-3
    epsilon: Annotated[float, msgspec.Meta(gt=0)] = 3e-4
    dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.3
    feature_dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.1
    varied: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    max_tokens: Positive = 256
    fine_tune: FineTuneRecipe | None = None
    int8: bool = False

    @property
    def from_rows(self) -> bool:
        """Whether it is another encoder for other rows."""
        return self.kind in {"ngrams", "bytes"} or self.fine_tune is not None

    @property
    def passes(self) -> int:
        """How often its training by gradients sees every row; 0 without such training."""
        if self.kind == "bytes":
            return self.epochs
        return self.fine_tune.epochs if self.fine_tune else 0


class HeadRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which scikit-learn classifier, by class name, and its parameters."""

    classifier: str = "LogisticRegression"
    parameters: dict[str, Any] = {}


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole recipe.

    Attributes:
        name: the artifact's name, and its directory's.
        seed: of everything random.
        labels: the labels to learn, in the graph's order; empty: those of the data.
        extend: an artifact, by its directory or shipped name, whose labels the new one has too
            and decides as before; the rows say nothing of those.
        calibration: "sigmoid" (Platt scaling a label; temperature if single-label) or
            "none".
        quote_mistakes: whether the model card may quote rows of the test files.
        notes: Markdown for the end of the model card.

    """

    name: str = "mine"
    seed: int = 7
    labels: tuple[str, ...] = ()
    extend: str | None = None
    data: DataRecipe = DataRecipe()
    encoder: EncoderRecipe = EncoderRecipe()
    head: HeadRecipe = HeadRecipe()
    calibration: Literal["sigmoid", "none"] = "sigmoid"
    quote_mistakes: bool = False
    notes: str = ""


def load_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        RecipeError: it is missing, no TOML, or has an unknown key or a wrong value.

    """
    try:
        return msgspec.convert(read_toml(path, RecipeError), Recipe)
    except msgspec.ValidationError as error:
        raise RecipeError(f"{path}: {error}.") from error


def expand(patterns: tuple[str, ...], base: Path, public_data: Path | None) -> list[Path]:
    """Return the files that globs name, sorted within each; public ones only if at hand.

    Raises:
        RecipeError: a pattern matches nothing.

    """
    files: list[Path] = []
    for pattern in patterns:
        public = pattern.startswith(PUBLIC)
        if public and public_data is None:
            continue
        root = public_data if public and public_data is not None else base
        found = _find(root / pattern.removeprefix(PUBLIC))
        if not found:
            raise RecipeError(f"No file matches {pattern!r} in {root}.")
        files += found
    return files


def _find(pattern: Path) -> list[Path]:
    try:
        found = find_files(pattern)
    except DataError:
        return []
    return [path for path in found if Path(split_table(str(path))[0]).exists()]
