"""Log-odds and the ways to make one probability of several.

Belongs here: pools of the members' P(YES) and the step towards the market price. Does not: where the weights come
from (ranking.py), how sure the pool is (uncertainty.py).

Sums run through `math.fsum`, which rounds once: members in another order give the same bits.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import (
    FloatArray,
    clip_bound,
    finite,
    fraction,
    panel,
    positive,
    probabilities,
    refuse_where,
)

MEMBER_CLIP = 0.01
"""Members are pooled within [0.01, 0.99]: one "certain" answer moves a pool of K by at most 4.6 / K in log-odds."""

PRICE_CLIP = 1e-3
"""A price is believed down to a tenth of a cent, the finest price step of a binary contract."""


PRICE_GAP_SCALE = 2.5
"""The gap to a price, in log-odds, that moves a forecast most; 2 to 3 did alike where measured."""


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


def bounded_gap(gap: ArrayLike, scale: float = PRICE_GAP_SCALE) -> FloatArray:
    """How much of a gap between ensemble and price is evidence: ``g / (1 + (g/c)²)``.

    Small gaps count in full; beyond c the larger the gap, the less. An ensemble that is odds of 20 to 1 away from a
    price at which money changes hands does not know what the traders know.

    Args:
        gap: g = ``logit p - logit q``, in log-odds, any shape, finite.
        scale: c, in log-odds, > 0.

    Returns:
        Log-odds in [-c/2, c/2], same shape; odd in g.

    Raises:
        InputError: an argument is out of range.

    Source: the score function of a Student-t error (Cauchy's), Huber and Ronchetti 2009, Robust Statistics.

    >>> bounded_gap([0.0, 2.5, -2.5, 25.0]).round(6).tolist()
    [0.0, 1.25, -1.25, 0.247525]
    """
    g = finite(gap, "gap")
    bounded: FloatArray = g / (1 + np.square(g / positive(scale, "scale")))
    return bounded


def anchor_to_price(
    p: float, price: float, market_weight: float, clip: float = MEMBER_CLIP, gap_scale: float = PRICE_GAP_SCALE
) -> float:
    """Step from the price towards the ensemble, in log-odds: ``σ(logit q + w g / (1 + (g/c)²))``, g their gap.

    With truth scattered around the price by τ and the ensemble's own error σ (both in log-odds) the best w for small
    gaps is τ² / (τ² + σ²); measured on ensembles without access to the price it is 0.1 to 0.4. See `bounded_gap`.

    Args:
        p: The ensemble's P(YES), in [0, 1]; held within [clip, 1 - clip].
        price: The market's probability of YES, q, in [0, 1]; held within [0.001, 0.999].
        market_weight: w, the ensemble's weight against the price, in [0, 1]. 0 returns the price to the bit.
        clip: In (0, 0.5).
        gap_scale: c, the gap that counts most, in log-odds, > 0.

    Returns:
        P(YES) between the price and p.

    Raises:
        InputError: an argument is out of range.

    >>> round(anchor_to_price(0.8, 0.5, 0.5, gap_scale=1e9), 12)
    0.666666666667
    >>> anchor_to_price(0.8, 0.37, 0.0)
    0.37
    """
    fraction(market_weight, "market_weight")
    believed = clip_probability(p, clip)
    anchor = float(clip_probability(price, PRICE_CLIP))
    if market_weight == 0:
        return anchor
    base = logit(anchor)
    return float(expit(base + market_weight * bounded_gap(logit(believed) - base, gap_scale)))


def shrink_log_odds(p: float, standard_error: float, spread_of_truth: float, clip: float = MEMBER_CLIP) -> float:
    """Draw a pool towards even odds by its own error: ``σ(z τ² / (τ² + s²))``.

    With true log-odds scattered by τ around 0 and a pool that is off by s, this is the expected truth.

    Args:
        p: The pool's P(YES), in [0, 1]; held within [clip, 1 - clip].
        standard_error: s, in log-odds, finite, ≥ 0.
        spread_of_truth: τ, in log-odds, > 0.
        clip: In (0, 0.5).

    Returns:
        P(YES) between 0.5 and p.

    Raises:
        InputError: an argument is out of range.

    Source: the posterior mean of a normal truth seen with normal noise; log-odds of 0.8 halved are those of 2/3.

    >>> round(shrink_log_odds(0.8, 1.5, 1.5), 12)
    0.666666666667
    >>> shrink_log_odds(0.5, 0.7, 1.5)
    0.5
    """
    if not 0 <= standard_error < math.inf:
        raise InputError(f"standard_error = {standard_error} is out of range; allowed: finite and >= 0")
    variance = positive(spread_of_truth, "spread_of_truth") ** 2
    return float(expit(logit(clip_probability(p, clip)) * variance / (variance + standard_error**2)))


def _weighted_mean(values: FloatArray, share: FloatArray) -> float:
    """``Σ w x / Σ w``, the same to the bit in any order of the members."""
    return math.fsum(share * values) / math.fsum(share)
