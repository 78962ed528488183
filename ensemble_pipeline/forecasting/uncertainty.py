"""How far apart the members are, and how far off their pool may be.

Belongs here: measures of one panel's spread. Does not: what a decision does about it (ensemble, sizing.py).
"""

import math
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import FloatArray, IntArray, fraction, panel
from ensemble_pipeline.forecasting.pooling import MEMBER_CLIP, clip_probability, logit

USUAL_SD = 0.395
"""Spread between models in log-odds as measured on five of them over 400 questions."""

USUAL_SD_WEIGHT = 2.0
"""How many degrees of freedom the usual spread counts beside the one seen."""

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


def between_member_sd(p: ArrayLike, weight: ArrayLike, clip: float = MEMBER_CLIP) -> float:
    """How far members lie apart in log-odds, drawn towards what is usual: ``sqrt((ν S² + (K-1) s²) / (ν + K-1))``.

    ``s² = Σ w_k (z_k - z̄)² / (1 - Σ w_k²)`` over normalised weights is the unbiased weighted variance of the log-odds,
    ``K = (Σw)² / Σw²`` the effective count, S = `USUAL_SD` and ν = `USUAL_SD_WEIGHT`. Two that happen to say the same
    are not certain: a few members show their spread by chance alone.

    Args:
        p: Members' P(YES), shape ``(n_models,)``, in [0, 1]; NaN is refused (leave absent members out).
        weight: Shape ``(n_models,)``, finite, ≥ 0, not all 0.
        clip: Members are held within [clip, 1 - clip]; in (0, 0.5).

    Returns:
        A standard deviation in log-odds (nats), > 0; `USUAL_SD` for a single member.

    Raises:
        InputError: an argument is out of range, there is no member, or all weights are 0.

    Source: the mean of a scaled inverse chi-squared posterior, Gelman et al. 2013, Bayesian Data Analysis, 2.6.

    >>> between_member_sd([0.7], [1])
    0.395
    >>> round(between_member_sd([0.5, 0.8], [1, 1]), 6), round(math.sqrt((2 * 0.395**2 + math.log(4)**2 / 2) / 3), 6)
    (0.651397, 0.651397)
    """
    probability, share = panel(p, weight)
    spread, heterogeneity = _pair_moments(logit(clip_probability(probability, clip)), share)
    if heterogeneity == 0:
        return USUAL_SD
    freedom = effective_count(weight) - 1
    seen = freedom * spread / heterogeneity
    return math.sqrt((USUAL_SD_WEIGHT * USUAL_SD**2 + seen) / (USUAL_SD_WEIGHT + freedom))


def effective_count(weight: ArrayLike) -> float:
    """How many equally weighted members these weights amount to: ``K = (Σw)² / Σw²``.

    Args:
        weight: Shape ``(n_models,)``, finite, ≥ 0, not all 0.

    Returns:
        A number from 1 to n_models.

    Raises:
        InputError: a weight is out of range, there is none, or all are 0.

    Source: Kish 1965, Survey Sampling.

    >>> effective_count([1, 1, 1, 1]), effective_count([2, 0]), effective_count([0.5, 0.25, 0.25])
    (4.0, 1.0, 2.6666666666666665)
    """
    share = np.asarray(weight, dtype=np.float64)
    _, share = panel(np.zeros(share.shape), share)
    # rounding must not make less of one member
    return max(1.0, math.fsum(share) ** 2 / math.fsum(np.square(share)))


def independent_members(count: float, rho: float = MEMBER_CORRELATION) -> float:
    """How many independent members `count` correlated ones are worth: ``K / (1 + (K - 1) ρ)``.

    Args:
        count: K, ≥ 1.
        rho: Correlation ρ of the members' errors, in [0, 1].

    Returns:
        A number from 1 to `count`, never above 1/ρ.

    Raises:
        InputError: `count` is below 1 or `rho` out of range.

    Source: Kish 1965, Survey Sampling, the design effect.

    >>> independent_members(4, 0.0), independent_members(4, 1.0), round(independent_members(4, 0.25), 4)
    (4.0, 1.0, 2.2857)
    """
    if not count >= 1:
        raise InputError(f"count = {count} is out of range; allowed: >= 1")
    return count / (1 + (count - 1) * fraction(rho, "rho"))


def uncertainty(standard_error: float) -> float:
    """Width, in probability, of the 95% interval around an even pool: ``σ(1.96 s) - σ(-1.96 s) = tanh(0.98 s)``.

    Taken around 0.5 whatever the pool says, so that it measures the panel and not the question.

    Args:
        standard_error: s, in log-odds, finite, ≥ 0; see ``extremizing.extremized_pool``.

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
    i, k = _pairs(len(values))
    pair = normal[i] * normal[k]
    return math.fsum(pair * np.square(values[i] - values[k])), math.fsum(2 * pair)


@cache
def _pairs(n: int) -> tuple[IntArray, IntArray]:
    return np.triu_indices(n, k=1)
