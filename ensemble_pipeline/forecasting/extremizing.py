"""The log-odds pool stretched for what its members know apart, and drawn in where they contradict each other.

Belongs here: how far a panel's pool may go beyond its mean. Does not: the mean itself (pooling.py), what came true
(calibration.py).
"""

import math
from typing import NamedTuple

from numpy.typing import ArrayLike

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import positive
from ensemble_pipeline.forecasting.pooling import MEMBER_CLIP, expit, log_odds_pool, logit
from ensemble_pipeline.forecasting.uncertainty import (
    MEMBER_CORRELATION,
    USUAL_SD,
    between_member_sd,
    effective_count,
    independent_members,
)

SPREAD_OF_TRUTH = 2.0
"""Spread of true log-odds around even odds, against which the members' own spread is held."""


class ExtremizedPool(NamedTuple):
    """A pooled P(YES), and the standard error of the plain pool in log-odds."""

    p_yes: float
    standard_error: float


def extremized_pool(
    p: ArrayLike,
    weight: ArrayLike,
    rho: float = MEMBER_CORRELATION,
    clip: float = MEMBER_CLIP,
    spread_of_truth: float = SPREAD_OF_TRUTH,
) -> ExtremizedPool:
    """The weighted log-odds pool, stretched and drawn in: ``σ(z̄ d(K_eff) (1 + S²/τ²) / (1 + v/τ²))``.

    d is `extremizing_factor` of the independent members the panel is worth: what each knows alone, the mean counts
    too little. v is the squared `between_member_sd`: members far apart know less than they say; S = `USUAL_SD`, so
    that a usual spread changes nothing. A single member is left as it is.

    Args:
        p: Members' P(YES), shape ``(n_models,)``, in [0, 1]; NaN is refused (leave absent members out).
        weight: Shape ``(n_models,)``, finite, ≥ 0, not all 0.
        rho: Correlation ρ of the members' errors, in [0, 1].
        clip: Members are held within [clip, 1 - clip]; in (0, 0.5).
        spread_of_truth: τ, in log-odds, > 0.

    Returns:
        P(YES), on the same side of 0.5 as the plain pool, and the standard error of that: ``sqrt(v / K_eff)``.

    Raises:
        InputError: an argument is out of range, there is no member, or all weights are 0.

    Source: Neyman and Roughgarden 2022 for d; for v the posterior mean of a truth scattered by τ, seen with noise v.

    >>> extremized_pool([0.7], [1]).p_yes == log_odds_pool([0.7], [1])
    True
    >>> agreed, split = extremized_pool([0.7, 0.7], [1, 1]), extremized_pool([0.9, 0.377], [1, 1])
    >>> round(agreed.p_yes, 4), round(split.p_yes, 4)
    (0.7384, 0.6901)
    """
    z = float(logit(log_odds_pool(p, weight, clip)))
    scale = positive(spread_of_truth, "spread_of_truth") ** 2
    spread = between_member_sd(p, weight, clip)
    independent = independent_members(effective_count(weight), rho)
    stretched = z * extremizing_factor(independent) * (1 + USUAL_SD**2 / scale) / (1 + spread**2 / scale)
    return ExtremizedPool(float(expit(stretched)), spread / math.sqrt(independent))


def extremizing_factor(independent: float) -> float:
    """By how much a mean of log-odds is too timid: ``d = 3K / (sqrt(3K² - 3K + 1) + 2)``.

    Each of K members knows something the others do not; their mean counts each bit by one K-th. The factor is the
    optimum against the worst such split of knowledge: 1 for a single member, √3 for very many.

    Args:
        independent: K, how many independent members the panel is worth, ≥ 1; see ``uncertainty.independent_members``.

    Returns:
        A factor in [1, √3).

    Raises:
        InputError: K is below 1 or not finite.

    Source: Neyman and Roughgarden 2022, Operations Research 70(5), ``n (sqrt(3n² - 3n + 1) - 2) / (n² - n - 1)``,
    rewritten so that no denominator vanishes.

    >>> extremizing_factor(1), round(extremizing_factor(2), 3), round(extremizing_factor(4), 3)
    (1.0, 1.292, 1.485)
    """
    if not 1 <= independent < math.inf:
        raise InputError(f"independent = {independent} is out of range; allowed: finite and >= 1")
    return 3 * independent / (math.sqrt(3 * independent**2 - 3 * independent + 1) + 2)
