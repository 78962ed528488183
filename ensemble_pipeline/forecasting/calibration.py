"""One number that stretches or squeezes log-odds until they fit what came true.

Belongs here: the ridge temperature and its use. Does not: reliability tables (scoring.py).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ensemble_pipeline.forecasting.arrays import FloatArray, finite, outcomes, positive, weights
from ensemble_pipeline.forecasting.pooling import MEMBER_CLIP, clip_probability, expit, logit

_MAX_STEPS = 200  # bisection alone needs some 60 from a bracket of ordinary size
_TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True)
class TemperatureFit:
    """A fitted slope with the evidence behind it: rows and ``(Σw)² / Σw²``."""

    slope: float
    n: int
    effective_n: float


def fit_ridge_temperature(
    logit_p: ArrayLike, outcome: ArrayLike, weight: ArrayLike | None = None, ridge: float = 10.0
) -> TemperatureFit:
    """Fit the slope a ≥ 0 of ``σ(a z)``: the minimum of ``Σ w NLL(y, σ(a z)) + ridge/2 (a - 1)²``.

    a > 1 says that the forecasts were too timid, a < 1 that they were too bold. The prior at 1 is what makes it safe
    from the first resolution on (on measured ensembles: no worse at n = 15, better from some 50). a is bounded below
    by 0, where every forecast becomes 0.5: a negative slope would trade against what the members say, on evidence
    that is noise or a bug in how outcomes are read; a model that is wrong more often than right loses its weight.

    Args:
        logit_p: Log-odds of the forecasts, shape ``(n,)``, finite.
        outcome: 0 or 1, shape ``(n,)``.
        weight: Shape ``(n,)``, finite, ≥ 0; all 1 where not given.
        ridge: Strength of the prior at 1, > 0: as much as so many units of curvature ``Σ w z² p(1-p)``.

    Returns:
        The slope; exactly 1 without evidence (n = 0, or all weights 0).

    Raises:
        InputError: an element is out of range, the shapes differ, or `ridge` is not positive (separable data would
            then have no minimum).

    Source: Platt 1999, Advances in Large Margin Classifiers, without intercept and with a ridge at the identity.

    >>> fit_ridge_temperature([], []).slope
    1.0
    >>> fit_ridge_temperature([2.0] * 4, [1, 1, 1, 0]).slope < 1 < fit_ridge_temperature([2.0] * 4, [1] * 4).slope
    True
    """
    z = np.atleast_1d(finite(logit_p, "logit_p"))
    y = outcomes(outcome, z.shape)
    w = np.ones_like(z) if weight is None else weights(weight, z.shape)
    strength = positive(ridge, "ridge")

    def slope_and_curvature(a: float) -> tuple[float, float]:
        p = expit(a * z)
        gradient = float(np.sum(w * z * (p - y))) + strength * (a - 1)
        return gradient, float(np.sum(w * z * z * p * (1 - p))) + strength

    # the gradient's data part lies within ± Σ w|z|, so the root lies below this bound
    upper = 1 + float(np.sum(w * np.abs(z))) / strength
    slope = _root_of_increasing(slope_and_curvature, 0.0, upper, start=1.0)
    return TemperatureFit(slope, len(z), _effective_n(w))


def apply_temperature(p: ArrayLike, slope: float, clip: float = MEMBER_CLIP) -> FloatArray:
    """Calibrated probabilities: ``σ(a · logit(p))`` with p held in [clip, 1 - clip].

    Args:
        p: P(YES), any shape, in [0, 1]; NaN is refused.
        slope: a, finite; see `fit_ridge_temperature`.
        clip: In (0, 0.5).

    Returns:
        P(YES), same shape.

    Raises:
        InputError: an argument is out of range.

    >>> apply_temperature([0.8, 0.2], 0.5).round(12).tolist()
    [0.666666666667, 0.333333333333]
    """
    return expit(finite(slope, "slope") * logit(clip_probability(p, clip)))


def _root_of_increasing(
    function: Callable[[float], tuple[float, float]], low: float, high: float, *, start: float
) -> float:
    """Newton's method inside a bracket that every step narrows; `low` where the function is positive throughout.

    `function` returns its value and its derivative, which is positive; its root does not lie above `high`.
    """
    if function(low)[0] >= 0:
        return low
    x = start
    for _ in range(_MAX_STEPS):
        value, derivative = function(x)
        if value == 0:
            return x
        low, high = (x, high) if value < 0 else (low, x)
        newton = x - value / derivative
        step_to = newton if low < newton < high else (low + high) / 2
        if abs(step_to - x) <= _TOLERANCE * max(1.0, abs(x)):
            return step_to
        x = step_to
    return x


def _effective_n(w: FloatArray) -> float:
    total = float(w.sum())
    return total * total / float(np.square(w).sum()) if total > 0 else 0.0
