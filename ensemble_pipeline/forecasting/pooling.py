"""Log-odds and the ways to make one probability of several.

Belongs here: pools of the members' P(YES) and the step towards the market price. Does not: where the weights come
from (ranking.py), how sure the pool is (uncertainty.py).

Sums run through `math.fsum`, which rounds once: members in another order give the same bits.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from ensemble_pipeline.forecasting.arrays import (
    FloatArray,
    clip_bound,
    finite,
    fraction,
    panel,
    probabilities,
    refuse_where,
)

MEMBER_CLIP = 0.01
"""Members are pooled within [0.01, 0.99]: one "certain" answer moves a pool of K by at most 4.6 / K in log-odds."""

PRICE_CLIP = 1e-3
"""A price is believed down to a tenth of a cent, the finest price step of a binary contract."""


def logit(p: ArrayLike) -> FloatArray:
    """Log-odds of a probability: ``ln(p / (1 - p))``, in nats; odd around p = 0.5.

    Args:
        p: Probabilities of any shape within the open interval (0, 1); NaN is refused (see `clip_probability`).

    Returns:
        Log-odds, same shape.

    Raises:
        InputError: an element is not strictly between 0 and 1.

    >>> logit([0.5, 0.8]).round(6).tolist()
    [0.0, 1.386294]
    """
    values = np.asarray(p, dtype=np.float64)
    refuse_where(~((values > 0) & (values < 1)), values, "p", "has no log-odds; clip it into (0, 1) first")
    return np.log(values) - np.log1p(-values)


def expit(log_odds: ArrayLike) -> FloatArray:
    """Probability of log-odds: ``1 / (1 + exp(-z))``; the inverse of `logit`, without overflow for any z.

    Args:
        log_odds: Log-odds in nats, any shape; NaN and infinities are refused.

    Returns:
        Probabilities in [0, 1], same shape.

    Raises:
        InputError: an element is not finite.

    >>> expit([0.0, 1.3862943611198906, -800.0]).round(12).tolist()
    [0.5, 0.8, 0.0]
    """
    z = finite(log_odds, "log_odds")
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, small) / (1.0 + small)


def clip_probability(p: ArrayLike, clip: float = MEMBER_CLIP) -> FloatArray:
    """Hold probabilities within [clip, 1 - clip].

    Args:
        p: Probabilities of any shape, in [0, 1]; NaN is refused.
        clip: Smallest probability left standing, in (0, 0.5).

    Returns:
        Probabilities, same shape.

    Raises:
        InputError: an element or `clip` is out of range.

    >>> clip_probability([0.0, 0.3, 1.0]).tolist()
    [0.01, 0.3, 0.99]
    """
    bound = clip_bound(clip)
    return np.clip(probabilities(p, "p"), bound, 1 - bound)


def log_odds_pool(p: ArrayLike, weight: ArrayLike, clip: float = MEMBER_CLIP) -> float:
    """Weighted mean in log-odds: ``σ(Σ w_k logit(p_k) / Σ w_k)``; weights need not sum to 1.

    Mirroring every member mirrors the pool; each member's evidence multiplies the odds.

    Args:
        p: Members' P(YES), shape ``(n_models,)``, in [0, 1]; NaN is refused (leave absent members out).
        weight: Shape ``(n_models,)``, finite, ≥ 0, not all 0.
        clip: Members are held within [clip, 1 - clip]; in (0, 0.5).

    Returns:
        The pooled P(YES), within [clip, 1 - clip].

    Raises:
        InputError: an element is out of range, there is no member, or all weights are 0.

    Source: Satopää et al. 2014, International Journal of Forecasting 30(2) (there with equal weights).

    >>> round(log_odds_pool([0.5, 0.8], [1, 1]), 12)
    0.666666666667
    """
    probability, share = panel(p, weight)
    return float(expit(_weighted_mean(logit(clip_probability(probability, clip)), share)))


def linear_pool(p: ArrayLike, weight: ArrayLike) -> float:
    """Weighted mean: ``Σ w_k p_k / Σ w_k``; weights need not sum to 1.

    A linear pool of calibrated members is underconfident; it serves as the plain baseline.

    Args:
        p: Members' P(YES), shape ``(n_models,)``, in [0, 1]; NaN is refused (leave absent members out).
        weight: Shape ``(n_models,)``, finite, ≥ 0, not all 0.

    Returns:
        The pooled P(YES).

    Raises:
        InputError: an element is out of range, there is no member, or all weights are 0.

    Source: Ranjan and Gneiting 2010, Journal of the Royal Statistical Society B 72(1).

    >>> linear_pool([0.5, 0.8], [2, 1])
    0.6
    """
    probability, share = panel(p, weight)
    return _weighted_mean(probability, share)


def median_pool(p: ArrayLike) -> float:
    """The middle member, or the mean of the middle two: immune to a single broken member from three on.

    Args:
        p: Members' P(YES), shape ``(n_models,)``, in [0, 1]; NaN is refused (leave absent members out).

    Returns:
        The pooled P(YES).

    Raises:
        InputError: an element is out of range or there is no member.

    >>> median_pool([0.9, 0.2, 0.3])
    0.3
    """
    values = np.asarray(p, dtype=np.float64)
    return float(np.median(panel(values, np.ones(values.shape))[0]))


def anchor_to_price(p: float, price: float, market_weight: float, clip: float = MEMBER_CLIP) -> float:
    """Step from the price towards the ensemble, in log-odds: ``σ(logit q + w (logit p - logit q))``.

    With truth scattered around the price by τ and the ensemble's own error σ (both in log-odds) the best w is
    τ² / (τ² + σ²); measured on ensembles without access to the price it is 0.1 to 0.2.

    Args:
        p: The ensemble's P(YES), in [0, 1]; held within [clip, 1 - clip].
        price: The market's probability of YES, q, in [0, 1]; held within [0.001, 0.999].
        market_weight: w, the ensemble's weight against the price, in [0, 1]. 0 returns the price to the bit.
        clip: In (0, 0.5).

    Returns:
        P(YES) between the price and p.

    Raises:
        InputError: an argument is out of range.

    >>> round(anchor_to_price(0.8, 0.5, 0.5), 12)
    0.666666666667
    >>> anchor_to_price(0.8, 0.37, 0.0)
    0.37
    """
    fraction(market_weight, "market_weight")
    believed = clip_probability(p, clip)
    anchor = float(clip_probability(price, PRICE_CLIP))
    if market_weight == 0:
        return anchor
    return float(expit((1 - market_weight) * logit(anchor) + market_weight * logit(believed)))


def _weighted_mean(values: FloatArray, share: FloatArray) -> float:
    """``Σ w x / Σ w``, the same to the bit in any order of the members."""
    return math.fsum(share * values) / math.fsum(share)
