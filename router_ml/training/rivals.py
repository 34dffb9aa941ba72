"""What a classifier has to beat: ways of labelling that cost nothing, or nearly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline

from router_ml.evaluation import keyword_labels, keywords_apply
from router_ml.evaluation.contest import Said
from router_ml.training.prepare import Data, Rows

Rival = Callable[[Data, Rows, Rows], Said]
"""Learns from the first rows, and labels the second."""

_WORDS = r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]|\w\w+"
"""Words, or of scripts that put no space between them each character; pairs of either."""


def rivals_of(data: Data) -> dict[str, Rival]:
    """Return what to compare with, by name; keyword rules where they know the labels."""
    rivals: dict[str, Rival] = {"TF-IDF + logistic regression": label_by_words}
    if keywords_apply(data.labels):
        rivals["keyword rules"] = label_by_keywords
    return {**rivals, "majority class": label_as_most}


def label_as_most(data: Data, seen: Rows, judged: Rows) -> Said:
    """Give every row the labels that most rows of the log have."""
    most, _ = Counter(map(tuple, data.targets[seen[data.own[seen]]].tolist())).most_common(1)[0]
    return np.tile(np.array(most) > 0, (len(judged), 1))


def label_by_keywords(data: Data, seen: Rows, judged: Rows) -> Said:
    """Give rows the label of the keyword rules; there is nothing to learn."""
    found = [keyword_labels(text) for text in _words(data, judged)]
    return np.array([[label in given for label in data.labels] for given in found])


def label_by_words(data: Data, seen: Rows, judged: Rows) -> Said:
    """Learn from words and pairs of them, one linear classifier a label."""
    model = _pipeline()
    model.fit(_words(data, seen), data.targets[seen].astype(int))
    scores = model.decision_function(_words(data, judged)).reshape(len(judged), -1)
    if not data.single_label:
        return scores > 0
    return scores.argmax(1)[:, None] == np.arange(scores.shape[1])


def _pipeline() -> Pipeline:
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=_WORDS)
    # There are more words than rows: the dual problem has the same answer, and far sooner.
    linear = LogisticRegression(C=10.0, solver="liblinear", dual=True, random_state=0)
    return make_pipeline(vectorizer, OneVsRestClassifier(linear))


def _words(data: Data, rows: Rows) -> list[str]:
    return [text.turn.decode("utf-8", "replace") for text in data.texts(rows)]
