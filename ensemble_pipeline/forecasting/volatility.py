"""How much a market's price moved before the models were asked.

Belongs here: a market's own volatility and its regime. Does not: spread between models (uncertainty.py).
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import finite, refuse_where
from ensemble_pipeline.forecasting.pooling import MEMBER_CLIP, clip_probability, logit

SECONDS_PER_DAY = 86_400
MIN_OBSERVATIONS = 3
CALM_BELOW = 0.15
"""Per √day: an even market moves less than 4 cents on an ordinary day."""
VOLATILE_FROM = 0.5
"""Per √day: an even market moves 12 cents or more on an ordinary day."""


def daily_logit_volatility(times_s: ArrayLike, p: ArrayLike, clip: float = MEMBER_CLIP) -> float | None:
    """Root mean square move in log-odds per square root of a day: ``sqrt(Σ Δz² / Σ Δt)`` over consecutive prices.

    Each move counts by the time it took: a bounce between bid and ask within a minute is not blown up to a day's
    move, as the plain mean of ``Δz² / Δt`` would do.

    Args:
        times_s: When each price was seen, seconds since the Unix epoch, shape ``(n,)``, never falling.
        p: The market's probability of YES at these times, shape ``(n,)``, in [0, 1]; NaN is refused.
        clip: Prices are held within [clip, 1 - clip]; in (0, 0.5).

    Returns:
        A volatility ≥ 0 per √day, or ``None`` where fewer than 3 observations, or none apart in time, say nothing.
        Its relative standard error is about ``1 / sqrt(2 (n - 1))``: 30 observations pin it to some 13%.

    Raises:
        InputError: an element is out of range, times fall, or the lengths differ.

    Source: realised variance, Andersen et al. 2003, Econometrica 71(2), on log-odds.

    >>> round(daily_logit_volatility([0, 86400, 172800], [0.5, 0.8, 0.5]), 6), round(math.log(4), 6)
    (1.386294, 1.386294)
    """
    seconds = np.atleast_1d(finite(times_s, "times_s"))
    log_odds = np.atleast_1d(logit(clip_probability(p, clip)))
    if seconds.shape != log_odds.shape or seconds.ndim != 1:
        raise InputError(f"times_s has shape {seconds.shape}, p has shape {log_odds.shape}; both must be (n,)")
    elapsed = np.diff(seconds)
    refuse_where(elapsed < 0, elapsed, "diff(times_s)", "runs backwards; sort the observations by time")
    days = float(elapsed.sum()) / SECONDS_PER_DAY
    if len(seconds) < MIN_OBSERVATIONS or days == 0:
        return None
    return math.sqrt(float(np.square(np.diff(log_odds)).sum()) / days)


def regime(volatility: float | None) -> Literal["unknown", "calm", "normal", "volatile"]:
    """Name a volatility: "calm" below 0.15 per √day, "volatile" from 0.5 on, "normal" between.

    Args:
        volatility: Per √day, ≥ 0, see `daily_logit_volatility`; ``None`` is "unknown".

    Returns:
        The regime's name.

    Raises:
        InputError: the volatility is negative or NaN.

    >>> [regime(volatility) for volatility in (None, 0.0, 0.15, 0.5)]
    ['unknown', 'calm', 'normal', 'volatile']
    """
    if volatility is None:
        return "unknown"
    if not volatility >= 0:
        raise InputError(f"volatility = {volatility} is out of range; allowed: >= 0")
    if volatility < CALM_BELOW:
        return "calm"
    return "normal" if volatility < VOLATILE_FROM else "volatile"
