"""How far apart the members are, and how far off their pool may be.

Belongs here: measures of one panel's spread. Does not: what a decision does about it (ensemble, sizing.py).
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import FloatArray, fraction, panel
from ensemble_pipeline.forecasting.pooling import MEMBER_CLIP, clip_probability, logit

SINGLE_MODEL_SD = 0.395
"""Spread between models in log-odds as measured on five of them over 400 questions; stands in where one is alone."""

MEMBER_CORRELATION = 0.25
"""Correlation of members' errors once the question's difficulty is taken out; measured: .08 to .30."""


def disagreement(p: ArrayLike, weight: ArrayLike) -> float:
    """Twice the weighted standard deviation of the members: ``2 sqrt(Σ w_k (p_k - p̄)² / Σ w_k)``.

    0 when all say the same, 1 when half the weight says 0 and half says 1, which is as far apart as probabilities
    can be. It is continuous, and the same for a market and its mirror image. It is no error bar: on questions of
    different kinds members agree most where the question is easy to get wrong together.

    Args:
        p: Members' P(YES), shape ``(n_models,)``, in [0, 1]; NaN is refused (leave absent members out).
        weight: Shape ``(n_models,)``, finite, ≥ 0, not all 0.

    Returns:
        A number in [0, 1]; exactly 0 for a unanimous panel and for a single member.

    Raises:
        InputError: an element is out of range, there is no member, or all weights are 0.

    Source: with d the result, ``p̄(1 - p̄) = mean p_k(1 - p_k) + d²/4`` and ``Brier(p̄) = mean Brier - d²/4``.

    >>> disagreement([0.0, 1.0], [1, 1]), disagreement([0.3, 0.3, 0.3], [1, 2, 3])
    (1.0, 0.0)
    >>> round(disagreement([0.2, 0.8], [1, 1]), 12)
    0.6
    """
    probability, share = panel(p, weight)
    spread, _ = _pair_moments(probability, share)
    return min(1.0, 2 * math.sqrt(spread))


def pooled_standard_error(
    p: ArrayLike, weight: ArrayLike, rho: float = MEMBER_CORRELATION, clip: float = MEMBER_CLIP
) -> float:
    """Standard error of the pooled log-odds: ``sd_between / sqrt(K_eff)``.

    ``K = (Σw)² / Σw²`` members that speak with correlation ρ are worth ``K_eff = K / (1 + (K - 1) ρ)`` independent
    ones. ``sd_between² = Σ w_k (z_k - z̄)² / (1 - Σ w_k²)`` over normalised weights: the unbiased weighted variance,
    for equal weights the usual one with K - 1. A single member shows no spread and is given `SINGLE_MODEL_SD`.

    Args:
        p: Members' P(YES), shape ``(n_models,)``, in [0, 1]; NaN is refused (leave absent members out).
        weight: Shape ``(n_models,)``, finite, ≥ 0, not all 0.
        rho: Correlation ρ of the members' errors, in [0, 1].
        clip: Members are held within [clip, 1 - clip]; in (0, 0.5).

    Returns:
        A standard error in log-odds (nats), ≥ 0. With two or three members it is rough; five are useful.

    Raises:
        InputError: an argument is out of range, there is no member, or all weights are 0.

    Source: Kish 1965, Survey Sampling, for K and for the design effect ``1 + (K - 1) ρ``.

    >>> round(pooled_standard_error([0.5, 0.8], [1, 1], rho=0.0), 6), round(math.log(4) / 2, 6)
    (0.693147, 0.693147)
    """
    fraction(rho, "rho")
    probability, share = panel(p, weight)
    spread, heterogeneity = _pair_moments(logit(clip_probability(probability, clip)), share)
    if heterogeneity == 0:
        return SINGLE_MODEL_SD
    count = 1 / (1 - heterogeneity)
    effective = count / (1 + (count - 1) * rho)
    return math.sqrt(spread / heterogeneity / effective)


def uncertainty(standard_error: float) -> float:
    """Width, in probability, of the 95% interval around an even pool: ``σ(1.96 s) - σ(-1.96 s) = tanh(0.98 s)``.

    Taken around 0.5 whatever the pool says, so that it measures the panel and not the question.

    Args:
        standard_error: s, in log-odds, finite, ≥ 0; see `pooled_standard_error`.

    Returns:
        A number in [0, 1] that grows with s: 0 at 0, .27 at .28, .75 at 1.

    Raises:
        InputError: the standard error is negative, infinite or NaN.

    >>> uncertainty(0.0), round(uncertainty(1.0), 6)
    (0.0, 0.753066)
    """
    if not 0 <= standard_error < math.inf:
        raise InputError(f"standard_error = {standard_error} is out of range; allowed: finite and >= 0")
    return math.tanh(0.98 * standard_error)


def _pair_moments(values: FloatArray, share: FloatArray) -> tuple[float, float]:
    """``Σ w_k (x_k - x̄)²`` and ``1 - Σ w_k²`` over normalised weights, both as sums over pairs of members.

    Over pairs nothing cancels: equal values give exactly 0, and the order of the members does not matter.
    """
    normal = share / math.fsum(share)
    i, k = np.triu_indices(len(values), k=1)
    pair = normal[i] * normal[k]
    return math.fsum(pair * np.square(values[i] - values[k])), math.fsum(2 * pair)
