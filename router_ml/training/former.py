"""The artifact that a new one would replace, and whether that would be a loss.

Judged on rows it has learned from, an artifact looks better than it is. So each carries a
fingerprint of every row it learned from: 32 bits of a hash of the folded text, from which no
text can be had back. On the rows that are new to it the comparison is fair; where none is, what
was measured when it was made is compared with what is measured now.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from router_ml.artifact import CONFIG, load_artifact
from router_ml.classifier import Classifier
from router_ml.errors import ArtifactError, TrainingError
from router_ml.evaluation import judge
from router_ml.evaluation.contest import OURS, Score
from router_ml.examples import Example
from router_ml.plurals import counted
from router_ml.training.cross_validation import CrossValidation, Known
from router_ml.training.duplicates import fold
from router_ml.training.prepare import Data

LEARNED_FROM = "learned-from.bin"
"""The file of fingerprints: uint32, little-endian, ascending."""
NONE = "(none)"
"""What a request is given that carries none of the labels to choose from."""


class Former(NamedTuple):
    """The artifact in use.

    Attributes:
        known: what it says of the rows, and which of them are new to it.
        measured: what cross-validation said when it was made; empty if nothing did.

    """

    known: Known
    measured: dict[str, Any]


def fingerprints(examples: Sequence[Example]) -> NDArray[np.uint32]:
    """Return a fingerprint of each row's text, [n]."""
    folded = (fold(example.text).encode("utf-8", "replace") for example in examples)
    return np.fromiter(map(zlib.crc32, folded), np.dtype("<u4"))


def find_former(place: Path, data: Data) -> Former | None:
    """Ask the artifact at a place about the rows; None if there is none that can be used."""
    if not (place / CONFIG).is_file():
        return None
    try:
        artifact = load_artifact(place)
        classifier = Classifier(artifact)
    except ArtifactError:
        return None  # what cannot be loaded is no loss
    examples = data.cleaned.examples
    given = judge(classifier, examples).given
    said = np.array([[label in row for label in data.labels] for row in given])
    if NONE in data.labels:
        said[:, data.labels.index(NONE)] = ~said.any(axis=1)
    path = artifact.path / LEARNED_FROM
    seen = np.fromfile(path, "<u4") if path.is_file() else np.zeros(0, "<u4")
    fair = ~np.isin(fingerprints(examples), seen)
    measured = artifact.config.trained.get("cross_validation", {})
    return Former(Known(f"{place} as it is", said, fair), measured)


def check_better(place: Path, former: Former, found: CrossValidation) -> None:
    """Refuse to replace an artifact that is surely better.

    Raises:
        TrainingError: it is right more often than the new one, beyond chance.

    """
    ours = found.scores[OURS]
    theirs = found.scores.get(former.known.name)
    if theirs is not None and theirs.lead.low > 0:
        raise TrainingError(_sentence(place, theirs.accuracy.value, _on_new_rows(theirs)))
    if theirs is None and former.measured.get("low", 0.0) > ours.accuracy.high:
        now = f"the new one to {ours.accuracy.value:.4f}"
        raise TrainingError(_sentence(place, former.measured["accuracy"], now))


def _on_new_rows(theirs: Score) -> str:
    own = theirs.accuracy.value - theirs.lead.value
    return (
        f"the new one to {own:.4f}, on {counted(theirs.rows, 'row')} that the old one has not seen"
    )


def _sentence(place: Path, accuracy: float, now: str) -> str:
    return (
        f"{place} is better than what would replace it: it comes to an accuracy of "
        f"{accuracy:.4f}, {now}. Nothing was written; --force replaces it all the same."
    )
