"""From labelled requests to a verified artifact, in the order it happens."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from router_ml.artifact import SCHEMA_VERSION, Artifact, Config
from router_ml.classifier import Classifier
from router_ml.errors import TrainingError
from router_ml.evaluation import Evaluation, evaluate, evaluate_keywords
from router_ml.examples import Example, label_names, read_examples
from router_ml.router import default_policy
from router_ml.training.artifact_files import golden_rows, write_artifact
from router_ml.training.card import model_card
from router_ml.training.duplicates import Cleaned, drop_duplicates
from router_ml.training.encoders import Encoder, encode, make_encoder
from router_ml.training.heads import Head, attach, calibrate, choose_thresholds, fit_head
from router_ml.training.recipe import Recipe, expand
from router_ml.training.split import Split, split_rows

PARITY = 1e-4
"""How far a served probability may be from the trained pipeline's."""

Done = Callable[[int], object]
Progress = Callable[[str, int], AbstractContextManager[Done]]
_LIBRARIES = ("numpy", "scikit-learn", "onnx", "onnxruntime", "skl2onnx")


class Trained(NamedTuple):
    """What training made.

    Attributes:
        path: the artifact.
        evaluations: on held-out rows: the classifier, and the keyword rules where the
            labels are those they know.
        parity: the largest difference between the graph and the trained pipeline.

    """

    path: Path
    evaluations: list[Evaluation]
    parity: float


class _Data(NamedTuple):
    cleaned: Cleaned
    labels: tuple[str, ...]
    single_label: bool
    targets: NDArray[np.float32]
    weights: NDArray[np.float32]
    split: Split
    test: list[Example]
    left_out: int


def _silent(stage: str, total: int) -> AbstractContextManager[Done]:
    return nullcontext(lambda rows: None)


def train(
    recipe: Recipe,
    output: Path,
    *,
    base: Path = Path(),
    public_data: Path | None = None,
    progress: Progress = _silent,
) -> Trained:
    """Train a classifier and write it as an artifact.

    Args:
        recipe: what decides the result.
        output: the artifact's directory; replaced as a whole, and only at the end.
        base: what the recipe's paths are relative to.
        public_data: where files named `public:…` lie; None leaves them out.
        progress: called with a stage and how many rows it takes; a context manager
            that gives a function to tell of finished rows.

    Raises:
        DataError: a file cannot be read.
        RecipeError: the recipe cannot be followed.
        TrainingError: no classifier can be learned from this data.

    """
    data = _prepare(recipe, base, public_data, progress)
    encoder = _make_encoder(recipe, data, progress)
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in encoder.files.items():
            (Path(scratch) / name).write_bytes(content)
        head, probabilities = _fit(recipe, data, encoder, Path(scratch), progress)
        model = attach(encoder.graph(), head, width=_width(head)).SerializeToString()
        config = _config(recipe, data, encoder, head, probabilities)
        classifier = Classifier(Artifact(Path(scratch), config, model))
        parity = _check_parity(classifier, encoder, head, _held_out(data), progress)
        evaluations = _measure(classifier, data)
        config.trained["metrics"] = _metrics(evaluations)
        golden = golden_rows(classifier, _golden_candidates(recipe, data, base))
    card = model_card(recipe, config, evaluations, parity)
    write_artifact(output, config, {**encoder.files, "model.onnx": model}, golden, card)
    return Trained(output, evaluations, parity)


def _prepare(recipe: Recipe, base: Path, public_data: Path | None, progress: Progress) -> _Data:
    examples = read_examples(expand(recipe.data.files, base, public_data))
    test = read_examples(expand(recipe.data.test, base, public_data))
    usable = [example for example in examples if not example.has_parts and example.text.turn]
    with progress("Finding duplicates", len(usable)) as done:
        cleaned = drop_duplicates(usable, recipe.data.near_duplicate, recipe.data.same_group, done)
    labels = recipe.labels or label_names(cleaned.examples)
    _check_labels(cleaned.examples, labels, recipe.data.min_examples)
    single = all(example.single and len(example.labels) == 1 for example in cleaned.examples)
    return _Data(
        cleaned,
        labels,
        single,
        _targets(cleaned.examples, labels),
        _weights(cleaned.examples, recipe.data.weights),
        split_rows(
            cleaned.examples,
            cleaned.groups,
            recipe.data.calibration_share,
            recipe.data.test_share,
            recipe.seed,
        ),
        test,
        len(examples) - len(usable),
    )


def _check_labels(examples: Sequence[Example], labels: Sequence[str], least: int) -> None:
    found = label_names(examples)
    unknown = sorted(set(found) - set(labels))
    if unknown:
        raise TrainingError(
            f"The data has the label {unknown[0]!r}, which the recipe's `labels` do not name."
        )
    counts = {label: sum(label in e.labels for e in examples) for label in labels}
    few = {label: count for label, count in counts.items() if count < least}
    if few:
        listed = ", ".join(f"{label} ({count})" for label, count in few.items())
        raise TrainingError(
            f"Too few distinct examples to learn from, {least} needed a label: {listed}."
        )
    if not labels or all(len(e.labels) == len(labels) for e in examples):
        only = f"the label {labels[0]!r}" if labels else "no label"
        raise TrainingError(f"Every row has {only}: there is nothing to tell apart.")


def _targets(examples: Sequence[Example], labels: Sequence[str]) -> NDArray[np.float32]:
    return np.array([[label in e.labels for label in labels] for e in examples], np.float32)


def _weights(examples: Sequence[Example], weights: dict[str, float]) -> NDArray[np.float32]:
    def weight(source: str) -> float:
        return next((w for glob, w in weights.items() if fnmatch(source, glob)), 1.0)

    return np.array([weight(example.source) for example in examples], np.float32)


def _texts(data: _Data, rows: NDArray[np.intp]) -> list[Any]:
    return [data.cleaned.examples[row].text for row in rows]


def _make_encoder(recipe: Recipe, data: _Data, progress: Progress) -> Encoder:
    rows = data.split.train
    with progress("Training the encoder", len(rows) * recipe.encoder.epochs) as done:
        return make_encoder(
            recipe.encoder,
            _texts(data, rows),
            data.targets[rows],
            data.weights[rows],
            data.single_label,
            recipe.seed,
            done,
        )


def _fit(
    recipe: Recipe, data: _Data, encoder: Encoder, directory: Path, progress: Progress
) -> tuple[Head, NDArray]:
    """Fit and calibrate the head; also return the calibration rows' probabilities."""
    train_rows, held_rows = data.split.train, data.split.calibration
    with progress("Encoding", len(train_rows) + len(held_rows)) as done:
        seen = encode(encoder, directory, _texts(data, train_rows), done)
        held = encode(encoder, directory, _texts(data, held_rows), done)
    with progress("Fitting the head", 1) as done:
        head = fit_head(
            recipe.head,
            seen,
            data.targets[train_rows],
            data.weights[train_rows],
            data.single_label,
            recipe.seed,
        )
        done(1)
    if recipe.calibration == "sigmoid":
        head = calibrate(head, held, data.targets[held_rows])
    return head, head.predict_proba(held)


def _width(head: Head) -> int:
    return int(head.models[0].n_features_in_)


def _config(
    recipe: Recipe, data: _Data, encoder: Encoder, head: Head, probabilities: NDArray
) -> Config:
    rows = data.split.calibration
    thresholds = choose_thresholds(probabilities, data.targets[rows], data.single_label)
    slope, intercept = head.calibration
    return Config(
        schema_version=SCHEMA_VERSION,
        name=recipe.name,
        labels=data.labels,
        thresholds=dict(zip(data.labels, thresholds, strict=True)),
        single_label=data.single_label,
        input=encoder.input,
        calibration={
            "method": recipe.calibration,
            "slope": [round(float(value), 6) for value in slope],
            "intercept": [round(float(value), 6) for value in intercept],
        },
        files={},
        trained={
            "seed": recipe.seed,
            "data": _data_facts(data),
            "encoder": encoder.about,
            "head": {"classifier": recipe.head.classifier, **recipe.head.parameters},
            "libraries": {name: version(name) for name in _LIBRARIES},
        },
    )


def _data_facts(data: _Data) -> dict[str, Any]:
    examples, split = data.cleaned.examples, data.split
    digest = hashlib.sha256()
    for example in examples:
        digest.update(repr((example.text[:2], example.labels)).encode())
    return {
        "sha256": digest.hexdigest(),
        "rows": len(examples),
        "train": len(split.train),
        "calibration": len(split.calibration),
        "test": len(split.test),
        "duplicates_dropped": data.cleaned.dropped,
        "conflicts_dropped": data.cleaned.conflicts,
        "without_judgeable_text": data.left_out,
        "labels": {
            label: int(count) for label, count in zip(data.labels, data.targets.sum(0), strict=True)
        },
        "without_label": int((data.targets.sum(1) == 0).sum()),
    }


def _held_out(data: _Data) -> list[Any]:
    return _texts(data, np.concatenate([data.split.calibration, data.split.test]))


def _check_parity(
    classifier: Classifier, encoder: Encoder, head: Head, texts: list[Any], progress: Progress
) -> float:
    """Compare the graph with the trained pipeline on every held-out row."""
    with progress("Checking the export", len(texts)) as done:
        trained = head.predict_proba(encoder.reference(texts))
        served = classifier.probabilities_many(texts)
        done(len(texts))
    worst = float(np.abs(trained - served).max())
    if not worst <= PARITY:
        raise TrainingError(
            f"The exported graph differs from the trained pipeline by {worst:.2g} in probability "
            f"(at most {PARITY:g} is allowed): nothing was written."
        )
    return worst


def _measure(classifier: Classifier, data: _Data) -> list[Evaluation]:
    policy = default_policy(data.labels)
    held = [data.cleaned.examples[row] for row in data.split.test]
    found = []
    for name, examples in (("held-out rows", held), ("test files", data.test)):
        if examples:
            found.append(evaluate(classifier, policy, examples, name=name))
            if "math" in data.labels:
                found.append(evaluate_keywords(policy, examples, data.labels))
    return found


def _metrics(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    return {
        e.name: {
            "rows": e.rows,
            "route_accuracy": round(e.accuracy, 4),
            "macro_source_accuracy": round(e.macro_source_accuracy, 4),
            "macro_f1": round(e.macro_f1, 4),
            "calibration_error": round(e.calibration_error, 4),
        }
        for e in evaluations
        if e.calibration_error is not None
    }


def _golden_candidates(recipe: Recipe, data: _Data, base: Path) -> list[Example]:
    """Golden rows are copied into the artifact: a recipe can say which files may be."""
    if recipe.data.golden:
        return read_examples(expand(recipe.data.golden, base, None))
    rows = np.concatenate([data.split.test, data.split.calibration])
    return [data.cleaned.examples[row] for row in rows]
