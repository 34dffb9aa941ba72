"""New labels beside those of an artifact, which it decides exactly as before.

The artifact's graph stays node for node as it is; encoder and head of the new labels stand
beside it in one graph. Rows say which of the new labels they carry and nothing of the others.
What carries none of the new ones is learned too: from rows without a label or, where a log has
too few of them, from the artifact's golden rows, on which nothing is measured.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnx

from router_ml.artifact import (
    MODEL,
    TOKENIZER,
    Artifact,
    Config,
    GoldenRow,
    find_artifact,
    load_artifact,
)
from router_ml.classifier import Classifier
from router_ml.errors import RecipeError, TrainingError
from router_ml.examples import Example, label_names
from router_ml.request import ModelText, Request, Turn
from router_ml.training.former import LEARNED_FROM, NONE
from router_ml.training.prepare import GOLDEN, is_single
from router_ml.training.recipe import Recipe
from router_ml.training.side_by_side import side_by_side

AGREEMENT = 1e-6
"""How far a probability may be from what the graph that gives it said alone."""


@dataclass(frozen=True)
class Extension:
    """An artifact to which labels are added.

    Attributes:
        artifact: it.
        exclusive: whether each row carries exactly one of the new labels or none.

    """

    artifact: Artifact
    exclusive: bool

    def rows(self, examples: Sequence[Example]) -> list[Example]:
        """Name what carries none of the new labels, where exactly one is to be chosen."""
        if not self.exclusive:
            return list(examples)
        return [e if e.labels else e._replace(labels=(NONE,), single=True) for e in examples]

    def join(self, config: Config, files: dict[str, bytes]) -> tuple[Config, dict[str, bytes]]:
        """Put a classifier of the new labels beside this artifact's.

        Args:
            config: of the new classifier; its probability of `NONE` is left out.
            files: of the new classifier, name -> content.

        Returns:
            The config and the files of both.

        Raises:
            RecipeError: the two do not read the same input.

        """
        old = self.artifact
        self._check_input(config, files)
        before, new = (onnx.load_from_string(graph) for graph in (old.model, files[MODEL]))
        model = side_by_side(before, new, _kept(config.labels))
        learned = np.frombuffer(files[LEARNED_FROM] + self._file(LEARNED_FROM), "<u4")
        joined = {
            **files,
            MODEL: model.SerializeToString(),
            LEARNED_FROM: np.unique(learned).tobytes(),
        }
        return self._config(config), joined

    def _config(self, config: Config) -> Config:
        old = self.artifact.config
        labels = tuple(config.labels[at] for at in _kept(config.labels))
        thresholds = {label: config.thresholds[label] for label in labels}
        extends = {
            "name": old.name,
            "labels": old.labels,
            "sha256": hashlib.sha256(self.artifact.model).hexdigest(),
            "calibration": old.calibration,
        }
        return msgspec.structs.replace(
            config,
            labels=(*old.labels, *labels),
            thresholds={**old.thresholds, **thresholds},
            single_label=False,
            golden_tolerance=max(old.golden_tolerance, config.golden_tolerance),
            trained={**config.trained, "extends": extends},
        )

    def _check_input(self, config: Config, files: dict[str, bytes]) -> None:
        old = self.artifact.config.input
        if config.input != old or files.get(TOKENIZER, b"") != self._file(TOKENIZER):
            raise RecipeError(
                f"The encoder of the new labels reads {config.input.kind}, and not what "
                f"{self.artifact.path} reads ({old.kind}): one graph has one input. Take the "
                "encoder `ngrams` beside one that reads bytes, or the artifact's own."
            )

    def _file(self, name: str) -> bytes:
        path = self.artifact.path / name
        return path.read_bytes() if path.is_file() else b""

    def check(self, joined: Classifier, alone: Classifier, texts: Sequence[ModelText]) -> None:
        """Compare what the joined graph says with what each said alone.

        Raises:
            TrainingError: they differ.

        """
        before = Classifier(self.artifact).probabilities_many(texts)
        new = alone.probabilities_many(texts)[:, _kept(alone.labels)]
        found = joined.probabilities_many(texts)
        worst = float(np.abs(found - np.concatenate([before, new], axis=1)).max(initial=0))
        if not worst <= AGREEMENT:
            raise TrainingError(
                f"Beside each other the classifiers differ by {worst:.2g} in probability from what "
                f"each says alone (at most {AGREEMENT:g} is allowed): nothing was written."
            )


def _kept(labels: Sequence[str]) -> list[int]:
    return [at for at, label in enumerate(labels) if label != NONE]


def extend(
    recipe: Recipe, examples: Sequence[Example], base: Path
) -> tuple[Extension, Recipe, list[Example]]:
    """Make ready to add the labels of some rows to those of the recipe's `extend`.

    Args:
        recipe: its `extend` names the artifact.
        examples: rows with the new labels.
        base: what paths of the recipe are relative to.

    Returns:
        The extension, and the recipe and the rows to learn the new labels by.

    Raises:
        ArtifactError: there is no such artifact, or it cannot be used.
        RecipeError: it cannot be extended, or not by these labels.

    """
    artifact = _artifact(str(recipe.extend), base)
    _check_new(artifact, label_names(examples))
    rest = sum(not example.labels for example in examples)
    others = _others(artifact) if rest < recipe.data.min_examples else []
    labelled = [example for example in examples if example.labels]
    extension = Extension(artifact, is_single(labelled))
    if extension.exclusive and recipe.labels:
        recipe = msgspec.structs.replace(recipe, labels=(*recipe.labels, NONE))
    return extension, recipe, extension.rows([*examples, *others])


def _artifact(name: str, base: Path) -> Artifact:
    artifact = load_artifact(find_artifact(base / name if (base / name).exists() else name))
    if artifact.config.single_label:
        raise RecipeError(
            f"{artifact.path} chooses exactly one of its labels for every request, so that no "
            "others can hold beside them: train it on rows with `labels`, or anew on all rows."
        )
    return artifact


def _check_new(artifact: Artifact, labels: Sequence[str]) -> None:
    known = [label for label in labels if label in artifact.config.labels]
    if known:
        raise RecipeError(
            f"{artifact.path} has the label {known[0]!r} already, and decides it as before: leave "
            "it out of the rows, give it another name, or train without `extend`."
        )


def _others(artifact: Artifact) -> list[Example]:
    return [_other(row) for row in artifact.golden()]


def _other(row: GoldenRow) -> Example:
    text = ModelText(row.turn.encode(), row.context.encode())
    request = Request((Turn("user", row.turn),))
    return Example(request, text, (), single=False, source=GOLDEN)
