"""Whether two samples come from one distribution: of categories, and of vectors."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

_P95 = 1.644854
"""The standard normal distribution's 95th percentile."""


class Shift(msgspec.Struct, frozen=True):
    """How far two distributions over the same categories are apart.

    Attributes:
        before, now: category -> its share, in [0, 1].
        psi: population stability index, the sum of (now - before) ln(now / before). By custom
            less than 0.1 is stable and more than 0.25 a major shift (Siddiqi 2006, Credit Risk
            Scorecards). Half a row is added to each category, so that it stays finite.
        psi_by_chance: what it exceeds once in twenty times where nothing shifted, about
            (1/n + 1/m) times the 95th percentile of chi-squared (Yurdakul 2018, Statistical
            Properties of Population Stability Index).
        js: Jensen-Shannon divergence in bits, in [0, 1] (Lin 1991).

    """

    before: dict[str, float]
    now: dict[str, float]
    psi: float
    psi_by_chance: float
    js: float

    @property
    def verdict(self) -> str:
        """Say it in a word: "stable", "shifted", or "by chance" where the rows are too few."""
        if self.psi < 0.1:
            return "stable"
        return "shifted" if self.psi > self.psi_by_chance else "by chance"


def shift_of(before: Mapping[str, int], now: Mapping[str, int]) -> Shift:
    """Compare counts by category; each side counts at least one row."""
    names = sorted({*before, *now})
    counts = np.array([[side.get(name, 0) for name in names] for side in (before, now)], float)
    rows = counts.sum(axis=1)
    p, q = (counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True)
    psi = float(((q - p) * np.log(q / p)).sum())
    chance = float((1 / rows).sum()) * _chi_squared_95(len(names) - 1)
    shares = counts / rows[:, None]
    was, now_is = (dict(zip(names, side.tolist(), strict=True)) for side in shares)
    return Shift(was, now_is, psi, chance, _jensen_shannon(*shares))


def _chi_squared_95(freedom: int) -> float:
    """Approximate the 95th percentile of chi-squared (Wilson and Hilferty 1931)."""
    if not freedom:
        return 0.0
    part = 2 / (9 * freedom)
    return float(freedom * (1 - part + _P95 * math.sqrt(part)) ** 3)


def _jensen_shannon(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    middle = (p + q) / 2
    both = [x[x > 0] @ np.log2(x[x > 0] / middle[x > 0]) for x in (p, q)]
    return float(sum(both)) / 2


class Discrepancy(msgspec.Struct, frozen=True):
    """How far two samples of vectors are apart.

    Attributes:
        mmd2: maximum mean discrepancy, squared, its unbiased estimate: about 0 for samples of
            one distribution, and sometimes below.
        p_value: how often samples of one distribution are as far apart.
        rows_before, rows_now: the sizes of the samples.

    """

    mmd2: float
    p_value: float
    rows_before: int
    rows_now: int


def discrepancy(
    before: ArrayLike, now: ArrayLike, permutations: int = 999, seed: int = 0
) -> Discrepancy:
    """Test whether two samples of vectors come from one distribution.

    The kernel two-sample test of Gretton et al. 2012 (JMLR 13, equation 3) with a Gaussian
    kernel as wide as the median distance; p by permutation, never 0 (Phipson and Smyth 2010).

    Args:
        before, now: float [m, width] and [n, width], two rows each at least.
        permutations: how often the rows are dealt anew.
        seed: of the permutations.

    """
    before, now = np.asarray(before, np.float32), np.asarray(now, np.float32)
    kernel = _gaussian_kernel(np.concatenate([before, now]))
    rows, first = len(kernel), len(before)
    dealt = np.zeros((rows, permutations + 1), np.float32)
    dealt[:first, 0] = 1
    draw = np.random.default_rng(seed)
    for column in range(1, permutations + 1):
        dealt[draw.permutation(rows)[:first], column] = 1
    found = _mmd2(kernel, dealt, first)
    extreme = int((found[1:] >= found[0]).sum())
    p_value = (1 + extreme) / (1 + permutations)
    return Discrepancy(float(found[0]), p_value, first, rows - first)


def _gaussian_kernel(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the kernel matrix, its diagonal 0, since the unbiased estimate leaves it out."""
    squares = (rows**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * rows @ rows.T, 0)
    wide = float(np.median(distances[np.triu_indices(len(rows), 1)])) or 1.0
    kernel: NDArray[np.float32] = np.exp(-distances / wide).astype(np.float32)
    np.fill_diagonal(kernel, 0)
    return kernel


def _mmd2(
    kernel: NDArray[np.float32], dealt: NDArray[np.float32], first: int
) -> NDArray[np.float64]:
    """Return the estimate for each way (a column) to deal the rows into two samples."""
    second = len(kernel) - first
    within = (dealt * (kernel @ dealt)).sum(axis=0, dtype=np.float64)
    touching = dealt.T.astype(np.float64) @ kernel.sum(axis=1, dtype=np.float64)
    across = touching - within
    rest = kernel.sum(dtype=np.float64) - 2 * touching + within
    found: NDArray[np.float64] = (
        within / (first * (first - 1))
        + rest / (second * (second - 1))
        - 2 * across / (first * second)
    )
    return found
