"""How right a probability was: Brier score, log loss, correctness; and their exact form.

Belongs here: scores of single forecasts. Does not: calibration tables of many (reliability.py), the parts of a mean
score (decomposition.py), windows over time (windows.py), comparisons between models (ranking.py).
"""

import numpy as np
from numpy.typing import ArrayLike

from ensemble_pipeline.forecasting.arrays import (
    BoolArray,
    FloatArray,
    IntArray,
    clip_bound,
    finite,
    outcomes,
    probabilities,
    refuse_where,
)

LOG_LOSS_CLIP = 1e-3
"""A tenth of a cent, the finest price step of a binary contract: a probability beyond it cannot be acted upon.
No loss exceeds -ln(0.001) = 6.9 nats, so that one answer of "0" cannot outweigh some ten ordinary errors."""

E9 = 1_000_000_000
_LARGEST_FIXED = 9.0e6  # times 1e9 this stays below 2**53, where floats still tell integers apart


def brier_score(p_yes: ArrayLike, outcome: ArrayLike) -> FloatArray:
    """Squared distance between probability and outcome: ``(p - y)²``; 0 is perfect, 0.25 is a coin, 1 is worst.

    Args:
        p_yes: Probability of YES, any shape, in [0, 1]; NaN is refused.
        outcome: 0 or 1, same shape.

    Returns:
        Brier scores in [0, 1], same shape. A model's mean is worth reading from about 100 forecasts
        (standard deviation of one score: about 0.15).

    Raises:
        InputError: an element is out of range or the shapes differ.

    Source: Brier 1950, Monthly Weather Review 78(1), in the one-component form for binary events.

    >>> brier_score([0.7, 0.7], [1, 0]).round(12).tolist()
    [0.09, 0.49]
    """
    p = probabilities(p_yes, "p_yes")
    squared: FloatArray = np.square(p - outcomes(outcome, p.shape))
    return squared


def log_loss(p_yes: ArrayLike, outcome: ArrayLike, clip: float = LOG_LOSS_CLIP) -> FloatArray:
    """Negative log likelihood in nats, ``-ln(p)`` on YES and ``-ln(1 - p)`` on NO, with p held in [clip, 1 - clip].

    Args:
        p_yes: Probability of YES, any shape, in [0, 1]; NaN is refused.
        outcome: 0 or 1, same shape.
        clip: Smallest probability taken at its word, in (0, 0.5); see `LOG_LOSS_CLIP` for the default's reason.

    Returns:
        Losses in [``-ln(1 - clip)``, ``-ln(clip)``], same shape, finite also at p = 0 and p = 1.

    Raises:
        InputError: an element or `clip` is out of range, or the shapes differ.

    Source: Good 1952, Journal of the Royal Statistical Society B 14(1).

    >>> log_loss([0.5, 0.0], [1, 1]).round(6).tolist()
    [0.693147, 6.907755]
    """
    p = probabilities(p_yes, "p_yes")
    y = outcomes(outcome, p.shape)
    bound = clip_bound(clip)
    loss: FloatArray = -np.log(np.clip(np.where(y == 1, p, 1 - p), bound, 1 - bound))
    return loss


def is_correct(p_yes: ArrayLike, outcome: ArrayLike) -> BoolArray:
    """Whether the likelier side came true: ``p > 0.5`` on YES, ``p < 0.5`` on NO.

    A probability of exactly 0.5 names no side and is wrong for both outcomes: the rule that treats YES and NO alike
    and rewards no abstention.

    Args:
        p_yes: Probability of YES, any shape, in [0, 1]; NaN is refused.
        outcome: 0 or 1, same shape.

    Returns:
        Booleans, same shape.

    Raises:
        InputError: an element is out of range or the shapes differ.

    >>> is_correct([0.51, 0.5, 0.5, 0.49], [1, 1, 0, 0]).tolist()
    [True, False, False, True]
    """
    p = probabilities(p_yes, "p_yes")
    return np.where(outcomes(outcome, p.shape) == 1, p > 0.5, p < 0.5)


def to_fixed_e9(x: ArrayLike) -> IntArray:
    """Whole billionths: ``round(x · 10⁹)``, ties to even, as int64.

    Sums of the results are exact, hence the same in any order and free of cancellation when subtracted; int64 holds
    the sum of 9.2 billion scores of at most 1. Each result is the integer nearest to the float product ``x · 1e9``,
    which itself is off by at most half a unit in its last place: for |x| ≤ 1 less than 6·10⁻⁸ billionths.

    Args:
        x: Numbers of any shape, at most 9 million in size; NaN and infinities are refused.

    Returns:
        int64, same shape.

    Raises:
        InputError: an element is not finite or too large to be exact.

    >>> to_fixed_e9([0.09, -0.25, 2.5e-9, 1.5e-9]).tolist()
    [90000000, -250000000, 2, 2]
    """
    values = finite(x, "x")
    refuse_where(np.abs(values) > _LARGEST_FIXED, values, "x", f"is too large; allowed: up to {_LARGEST_FIXED:.0f}")
    return np.asarray(np.rint(values * E9)).astype(np.int64)
