"""What a mean Brier score is made of: miscalibration, discrimination, and how uncertain the world was.

Belongs here: exact decompositions of the mean score and the isotonic fit they rest on. Does not: scores of single
forecasts (scoring.py), the diagram (reliability.py), calibrators fit for use (calibration.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import (
    FloatArray,
    outcomes,
    probabilities,
    refuse_where,
    require_shape,
    weights,
)
from ensemble_pipeline.forecasting.reliability import bin_index


@dataclass(frozen=True, slots=True)
class CorpDecomposition:
    """``brier = miscalibration - discrimination + uncertainty``, each ≥ 0, in Brier points."""

    brier: float
    miscalibration: float
    discrimination: float
    uncertainty: float


@dataclass(frozen=True, slots=True)
class MurphyDecomposition:
    """``brier = reliability - resolution + uncertainty + within_bin``, in Brier points; only the last may be < 0."""

    reliability: float
    resolution: float
    uncertainty: float
    within_bin: float


def isotonic_fit(p: ArrayLike, y: ArrayLike, weight: ArrayLike | None = None) -> FloatArray:
    """Recalibrated probabilities: the non-decreasing function r of p with the least ``Σ w (r(p) - y)²``.

    Equal forecasts are pooled first, then neighbours out of order are pooled until none is (pool adjacent
    violators). A diagnostic: as a calibrator it made forecasts worse at every n up to 400 (by .009 at 100).

    Args:
        p: Probabilities of YES, shape ``(n,)``, n ≥ 1, in [0, 1]; NaN is refused.
        y: Outcomes 0 or 1, shape ``(n,)``.
        weight: Shape ``(n,)``, finite, > 0; all 1 where not given.

    Returns:
        Probabilities in [0, 1], shape ``(n,)``, in the order of `p`. It fits noise: smallest useful n is about 1,000.

    Raises:
        InputError: an element is out of range, the shapes differ, or n = 0.

    Source: Ayer, Brunk, Ewing, Reid and Silverman 1955, Annals of Mathematical Statistics 26(4).

    >>> isotonic_fit([0.8, 0.1, 0.4, 0.3, 0.3], [1, 0, 0, 1, 0]).round(12).tolist()
    [1.0, 0.0, 0.333333333333, 0.333333333333, 0.333333333333]
    """
    probability, outcome = _scored(p, y)
    w = np.ones_like(probability) if weight is None else weights(weight, probability.shape)
    refuse_where(w == 0, w, "weight", "says nothing about the fit; allowed: > 0")
    _, level_of = np.unique(probability, return_inverse=True)
    mass = np.bincount(level_of, weights=w)
    mean = np.bincount(level_of, weights=w * outcome) / mass
    fitted: FloatArray = _pool_adjacent_violators(mean.tolist(), mass.tolist())[level_of]
    return fitted


def corp_decomposition(p: ArrayLike, y: ArrayLike) -> CorpDecomposition:
    """Parts of the mean Brier score S by isotonic recalibration r and climatology ȳ: ``S = MCB - DSC + UNC``.

    ``MCB = S - S(r)``: what recalibration would save. ``DSC = S(ȳ) - S(r)``: what telling questions apart is worth.
    ``UNC = S(ȳ) = ȳ(1 - ȳ)``. No bins to choose.

    Args:
        p: Probabilities of YES, shape ``(n,)``, n ≥ 1, in [0, 1]; NaN is refused.
        y: Outcomes 0 or 1, shape ``(n,)``.

    Returns:
        The mean score and its parts. MCB and DSC are biased upwards: a perfect forecaster shows an MCB of .046 at
        n = 30, .023 at 100, .009 at 500 and .002 at 5,000; smallest useful n is about 500.

    Raises:
        InputError: an element is out of range, the shapes differ, or n = 0.

    Source: Dimitriadis, Gneiting and Jordan 2021, Proceedings of the National Academy of Sciences 118(8).

    >>> parts = corp_decomposition([0.2, 0.4, 0.6, 0.7], [0, 1, 0, 1])
    >>> [round(part, 12) for part in (parts.brier, parts.miscalibration, parts.discrimination, parts.uncertainty)]
    [0.2125, 0.0875, 0.125, 0.25]
    """
    probability, outcome = _scored(p, y)
    recalibrated = isotonic_fit(probability, outcome)
    base_rate = float(outcome.mean())
    brier = float(np.square(probability - outcome).mean())
    after = float(np.square(recalibrated - outcome).mean())
    return CorpDecomposition(
        brier=brier,
        miscalibration=max(0.0, brier - after),
        # the same as S(ȳ) - S(r), because r is the mean outcome of each of its steps
        discrimination=float(np.square(recalibrated - base_rate).mean()),
        uncertainty=base_rate * (1 - base_rate),
    )


def murphy_decomposition(p: ArrayLike, y: ArrayLike, bins: int = 10) -> MurphyDecomposition:
    """Parts of the mean Brier score over bins b of share n_b / n: ``brier = REL - RES + UNC + within_bin``, exactly.

    ``REL = Σ n_b/n (p̄_b - ȳ_b)²``, ``RES = Σ n_b/n (ȳ_b - ȳ)²``, ``UNC = ȳ(1 - ȳ)``. What the first three leave out
    where forecasts of one bin differ is ``within_bin = mean (p - p̄_b)² - 2 mean (p - p̄_b)(y - ȳ_b)``: their
    variance, less twice their covariance with the outcome. Below 0, it is skill that the bins hide.

    Args:
        p: Probabilities of YES, shape ``(n,)``, n ≥ 1, in [0, 1]; NaN is refused.
        y: Outcomes 0 or 1, shape ``(n,)``.
        bins: Number of equal bins, ≥ 1, as in `reliability.reliability_bins`.

    Returns:
        The parts. Chance alone adds up to ``bins / (4 n)`` to REL and to RES; smallest useful n is about 50 per bin.

    Raises:
        InputError: an element is out of range, the shapes differ, `bins` < 1, or n = 0.

    Source: Murphy 1973, Journal of Applied Meteorology 12(4); Stephenson, Coelho and Jolliffe 2008, Weather and
    Forecasting 23(4), for the part within bins.

    >>> parts = murphy_decomposition([0.2, 0.4, 0.6, 0.8], [0, 1, 0, 1], bins=2)
    >>> [round(part, 12) for part in (parts.reliability, parts.resolution, parts.uncertainty, parts.within_bin)]
    [0.04, 0.0, 0.25, -0.09]
    """
    probability, outcome = _scored(p, y)
    _, bin_of = np.unique(bin_index(probability, bins), return_inverse=True)
    n = np.bincount(bin_of)
    bin_p = (np.bincount(bin_of, weights=probability) / n)[bin_of]
    bin_outcome = (np.bincount(bin_of, weights=outcome) / n)[bin_of]
    base_rate = float(outcome.mean())
    spread = probability - bin_p
    return MurphyDecomposition(
        reliability=float(np.square(bin_p - bin_outcome).mean()),
        resolution=float(np.square(bin_outcome - base_rate).mean()),
        uncertainty=base_rate * (1 - base_rate),
        within_bin=float((spread * (spread - 2 * (outcome - bin_outcome))).mean()),
    )


def _scored(p: ArrayLike, y: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """At least one probability and its outcome, in one dimension."""
    probability = np.atleast_1d(probabilities(p, "p"))
    require_shape(probability, (probability.size,), "p")
    outcome = outcomes(np.atleast_1d(np.asarray(y)), probability.shape, "y")
    if probability.size == 0:
        raise InputError("p is empty: there is no score to take apart")
    return probability, outcome


def _pool_adjacent_violators(mean: Sequence[float], mass: Sequence[float]) -> FloatArray:
    """The increasing sequence nearest to `mean` in squares weighted by `mass`; each level enters and leaves once."""
    blocks: list[tuple[float, float, int]] = []
    for level_mean, level_mass in zip(mean, mass, strict=True):
        block = (level_mean, level_mass, 1)
        while blocks and blocks[-1][0] >= block[0]:
            block = _merged(blocks.pop(), block)
        blocks.append(block)
    return np.repeat([block[0] for block in blocks], [block[2] for block in blocks])


def _merged(left: tuple[float, float, int], right: tuple[float, float, int]) -> tuple[float, float, int]:
    total = left[1] + right[1]
    return (left[0] * left[1] + right[0] * right[1]) / total, total, left[2] + right[2]
