"""The logistic regression that several peers end in, served as one matrix product."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]


class Linear(NamedTuple):
    """A logistic regression for each label, served as one matrix product.

    scikit-learn's one-versus-rest asks one model after the other, which costs more than
    the product: a careful engineer would serve it this way.

    Attributes:
        weight: float32 [features, labels].
        bias: float32 [labels].

    """

    weight: Matrix
    bias: Matrix

    @classmethod
    def fit(cls, features: Any, targets: Matrix, **parameters: Any) -> Linear:
        """Fit scikit-learn's LogisticRegression on features [n, width], a label at a time."""
        from joblib import parallel_config
        from sklearn.linear_model import LogisticRegression
        from sklearn.multiclass import OneVsRestClassifier

        models = OneVsRestClassifier(LogisticRegression(**parameters), n_jobs=2)
        # A copy for each process: joblib would else share large features read-only, which
        # liblinear refuses. Threads will not do: each sorts the same sparse matrix in place.
        with parallel_config("loky", max_nbytes=None):
            each = models.fit(features, targets).estimators_
        weight = np.vstack([model.coef_ for model in each]).T
        bias = np.concatenate([model.intercept_ for model in each])
        return cls(np.ascontiguousarray(weight, np.float32), bias.astype(np.float32))

    def logits(self, features: Any) -> Matrix:
        """Return float32 [n, labels], at least 0 where a label holds."""
        found: Matrix = features @ self.weight + self.bias
        return found

    def probabilities(self, features: Any) -> Matrix:
        """Return float32 [n, labels]."""
        found: Matrix = 1 / (1 + np.exp(-self.logits(features)))
        return found.astype(np.float32)

    def save(self, directory: Path) -> None:
        """Write weight and bias."""
        np.savez(directory / "linear.npz", weight=self.weight, bias=self.bias)

    @classmethod
    def load(cls, directory: Path) -> Linear:
        """Read weight and bias."""
        with np.load(directory / "linear.npz") as stored:
            return cls(stored["weight"], stored["bias"])
