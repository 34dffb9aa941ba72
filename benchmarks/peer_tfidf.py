"""TF-IDF and logistic regression, of scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from peer_linear import Linear, Matrix


class Tfidf:
    """TF-IDF of character 2-5-grams within words, and logistic regression."""

    name = "TF-IDF + logistic regression"

    def fit(self, texts: Sequence[str], targets: Matrix) -> None:
        """Fit one classifier a label."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.vectorizer: Any = TfidfVectorizer(
            analyzer="char_wb", ngram_range=(2, 5), min_df=2, max_features=300_000, dtype=np.float32
        )
        features = self.vectorizer.fit_transform(texts)
        self.linear = Linear.fit(features, targets, C=10, solver="liblinear")

    def probabilities(self, texts: Sequence[str]) -> Matrix:
        """Return one column a label."""
        return self.linear.probabilities(self.vectorizer.transform(texts))

    def save(self, directory: Path) -> None:
        """Write vocabulary and classifier."""
        import joblib

        joblib.dump(self.vectorizer, directory / "vectorizer.joblib")
        self.linear.save(directory)

    def load(self, directory: Path) -> None:
        """Read vocabulary and classifier."""
        import joblib

        self.vectorizer = joblib.load(directory / "vectorizer.joblib")
        self.linear = Linear.load(directory)

    def decide(self, text: str) -> object:
        """Return columns."""
        return np.flatnonzero(self.decide_many([text])[0])

    def decide_many(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return bool [n, labels]."""
        return self.linear.logits(self.vectorizer.transform(texts)) >= 0
