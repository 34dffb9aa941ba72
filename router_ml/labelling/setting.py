"""What a session starts from: its labels, their kind, and who can propose them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from router_ml.artifact import find_artifact, load_artifact
from router_ml.classifier import Classifier
from router_ml.errors import LabellingError
from router_ml.examples import is_label
from router_ml.labelling.answers import AnswersFile
from router_ml.labelling.questions import Question
from router_ml.labelling.voices import Voice, artifact_voice, rows_voice


class Setting(NamedTuple):
    """What a session starts from.

    Attributes:
        labels: to choose from.
        single: whether exactly one holds.
        voices: who can propose: the log's own labels, the artifact.

    """

    labels: tuple[str, ...]
    single: bool
    voices: list[Voice]


def find_setting(
    questions: Sequence[Question],
    file: AnswersFile,
    labels: Sequence[str],
    *,
    multi: bool | None = None,
    artifact: str | None = None,
) -> Setting:
    """Choose labels and kind: what is asked for, else what answers have, else the artifact's.

    An artifact proposes only if its labels are in use: those of the shipped one say nothing of
    a team's own.

    Args:
        questions: to be answered.
        file: of the answers there are already.
        labels: asked for.
        multi: whether several may hold; None: not asked for.
        artifact: directory or shipped name; None: the shipped default.

    Raises:
        LabellingError: a label is none.
        DataError: the answers there are of another kind than is asked for.
        ArtifactError: the artifact cannot be used.

    """
    for label in labels:
        if not is_label(label):
            raise LabellingError(f"{label[:100]!r} is no label.")
    classifier = Classifier(load_artifact(find_artifact(artifact)))
    log = rows_voice(questions)
    answered = [name for answer in file.answers for name in answer.labels]
    logged = sorted({name for found in log.labels for name in found or ()})
    used = dict.fromkeys([*labels, *answered] or logged)
    is_its = not used or bool(set(used) & set(classifier.labels))
    own = classifier.labels if is_its and not labels else ()
    several = any(len(found or ()) > 1 for found in log.labels)
    if multi is not None:
        single = not multi
    elif file.answers:
        single = file.answers[0].single
    else:
        single = classifier.single_label if own else not several
    file.check_kind(single=single)
    proposing = [artifact_voice(classifier, questions, artifact or "router-ml")] if is_its else []
    return Setting(tuple(dict.fromkeys((*own, *used))), single, [log, *proposing])


def read_guideline(path: Path) -> str:
    """Read a guideline.

    Raises:
        LabellingError: it cannot be read.

    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise LabellingError(f"The guideline {path} cannot be read: {why}.") from error
