"""How much the ensemble may move a market's price: learned from settled events, from a prior, up to a cap.

Belongs here: fitting the weight. Does not: using it (``pooling.anchor_to_price``), calibrating the ensemble first.
"""

import numpy as np
from numpy.typing import ArrayLike

from ensemble_pipeline.forecasting.arrays import finite, fraction, outcomes, positive, weights
from ensemble_pipeline.forecasting.pooling import (
    PRICE_CLIP,
    PRICE_GAP_SCALE,
    bounded_gap,
    clip_probability,
    expit,
    logit,
)
from ensemble_pipeline.forecasting.root import root_of_increasing


def fit_market_weight(
    p: ArrayLike,
    price: ArrayLike,
    outcome: ArrayLike,
    weight: ArrayLike | None = None,
    prior: float = 0.2,
    ridge: float = 100.0,
    cap: float = 0.5,
    gap_scale: float = PRICE_GAP_SCALE,
) -> float:
    """Fit w of ``pooling.anchor_to_price``: the minimum of ``Σ g NLL + ridge/2 (w - prior)²`` on [0, cap].

    NLL is that of ``σ(logit q + w h)``, with h the bounded gap between ensemble and price (``pooling.bounded_gap``).

    Args:
        p: The ensemble's calibrated P(YES), shape ``(n,)``, strictly between 0 and 1.
        price: The market's q at the same time, shape ``(n,)``, in [0, 1]; held within [0.001, 0.999].
        outcome: 0 or 1, shape ``(n,)``.
        weight: g, the share of each row in its event, shape ``(n,)``, finite, ≥ 0; all 1 where not given.
        prior: w without evidence, in [0, cap].
        ridge: Strength of the prior, > 0: 1 over its variance, 100 for a standard deviation of 0.1.
        cap: Largest w, in [0, 1]. Ensembles without access to the price did best with 0.1 to 0.4 where measured.
        gap_scale: c of the bounded gap, in log-odds, > 0.

    Returns:
        A weight in [0, cap]; exactly `prior` without evidence. Where the price knew better than any mixture, 0.

    Raises:
        InputError: an element is out of range, the shapes differ, or an option is out of range.

    Source: a logistic regression on the offset ``logit q`` with one coefficient and a ridge at the prior.

    >>> fit_market_weight([], [], [])
    0.2
    >>> fit_market_weight([0.9] * 400, [0.5] * 400, [0] * 400), fit_market_weight([0.9] * 400, [0.5] * 400, [1] * 400)
    (0.0, 0.5)
    """
    q = clip_probability(price, PRICE_CLIP)
    y = outcomes(outcome, q.shape)
    g = np.ones(q.shape) if weight is None else weights(weight, q.shape)
    base = logit(q)
    step = bounded_gap(finite(logit(p), "p") - base, gap_scale)
    strength = positive(ridge, "ridge")
    start = fraction(prior, "prior")

    def slope_and_curvature(w: float) -> tuple[float, float]:
        v = expit(base + w * step)
        return (
            float(np.sum(g * step * (v - y))) + strength * (w - start),
            float(np.sum(g * step * step * v * (1 - v))) + strength,
        )

    most = fraction(cap, "cap")
    if slope_and_curvature(most)[0] <= 0:
        return most
    return root_of_increasing(slope_and_curvature, 0.0, most, start=min(start, most))
