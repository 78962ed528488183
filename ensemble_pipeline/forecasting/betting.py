"""Evidence that the mean of bounded numbers lies below a bound, good at whatever time one looks at it.

Belongs here: tests by betting, which take no spread for granted. Does not: intervals that do (sequences.py).
"""

import numpy as np
from numpy.typing import ArrayLike

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import FloatArray, finite, refuse_where, require_shape

_MOST_STAKED = 0.9
_PRIOR_VARIANCE = 0.01
_LARGEST_LOG = 700.0  # beyond it no float


def evidence_of_mean_below(x: ArrayLike, bound: float) -> FloatArray:
    """E-values, one after each observation, against a mean of `bound` or more.

    Whoever doubts that the mean is so high bets on it, at odds that are fair or worse if it is, and begins with 1:
    ``K_t = Π (1 + λ_i (bound - x_i))``. The stake ``λ_i = (bound - m) / (v + (bound - m)²)``, from the mean m and
    the variance v of what came before, never below 0 or above .9 / (1 - bound). If the mean is at least `bound`, the
    chance that K ever reaches 20 is 5% at most, however often one looks and however the numbers are spread: a rare
    large loss that has not come yet is not taken for impossible.

    Args:
        x: One observation per event in an order that does not depend on them, each within [-1, 1]; shape ``(n,)``.
            For evidence that the mean lies above a bound, hand over both with the other sign.
        bound: Within (-1, 1).

    Returns:
        K after t = 1..n, shape ``(n,)``. What never varies around 0 reaches 20 after 665 events at a bound of .005,
        after 165 at .02; with a standard deviation of .05 after some 830 and 180.

    Raises:
        InputError: an argument is out of range or `x` has more than one dimension.

    Source: Waudby-Smith and Ramdas 2024, Journal of the Royal Statistical Society B 86(1), with their stake "aGRAPA".

    >>> evidence_of_mean_below([0.0] * 166, 0.02)[[0, 164, 165]].round(3).tolist()
    [1.018, 20.148, 20.518]
    """
    values = np.atleast_1d(finite(x, "x"))
    require_shape(values, (values.size,), "x")
    refuse_where(np.abs(values) > 1, values, "x", "is out of range; allowed: -1 to 1")
    if not -1 < bound < 1:
        raise InputError(f"bound = {bound} is out of range; allowed: between -1 and 1, both excluded")
    # one observation of 0 with the prior variance stands before the first
    count = np.arange(1, values.size + 1)
    mean_after = np.cumsum(values) / (count + 1)
    spread_after = _PRIOR_VARIANCE + np.cumsum(np.square(values - mean_after))
    mean = _before(mean_after, 0.0)
    variance = _before(spread_after / (count + 1), _PRIOR_VARIANCE)
    gap = bound - mean
    stake = np.clip(gap / (variance + np.square(gap)), 0, _MOST_STAKED / (1 - bound))
    won = np.cumsum(np.log1p(stake * (bound - values)))
    evidence: FloatArray = np.exp(np.minimum(won, _LARGEST_LOG))
    return evidence


def _before(after: FloatArray, first: float) -> FloatArray:
    """What was known before each observation."""
    return np.concatenate([[first], after[:-1]])[: after.size]
