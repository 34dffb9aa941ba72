"""Who can propose labels: an artifact, an LLM, the log itself. The one most often right does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from router_ml.classifier import Classifier
from router_ml.errors import DataError
from router_ml.examples import labels_of
from router_ml.labelling.answers import Labels
from router_ml.labelling.learner import Floats
from router_ml.labelling.questions import Question


class Voice(NamedTuple):
    """What one of them says of every question.

    Attributes:
        name: of who says it.
        labels: one entry a question; None where it says nothing.
        margins: how sure it is, float64 [questions] in [0, 1]; None: it does not say.

    """

    name: str
    labels: list[Labels | None]
    margins: Floats | None = None


def artifact_voice(classifier: Classifier, questions: Sequence[Question], name: str) -> Voice:
    """Return what an artifact says."""
    found = classifier.probabilities_many([question.text for question in questions])
    said = [classifier.predict(row, classifier.thresholds).labels for row in found.tolist()]
    if classifier.single_label:
        best = np.sort(found, axis=1)[:, ::-1]
        margins = best[:, 0] - best[:, 1] if found.shape[1] > 1 else best[:, 0]
    else:
        margins = np.abs(found - np.array(classifier.thresholds)).min(axis=1)
    return Voice(name, [tuple(sorted(labels)) for labels in said], margins.astype(np.float64))


def rows_voice(questions: Sequence[Question]) -> Voice:
    """Return what the log's own labels say, where its rows have some."""
    return Voice("log", [_own_labels(question) for question in questions])


def _own_labels(question: Question) -> Labels | None:
    row = question.rows[0]
    try:
        return labels_of(row.path, row.number, row.data)[0]
    except DataError:
        return None


def answers_voice(name: str, said: Mapping[str, Labels], questions: Sequence[Question]) -> Voice:
    """Return what is answered already, key by key, such as by an LLM."""
    return Voice(name, [said.get(question.key) for question in questions])
