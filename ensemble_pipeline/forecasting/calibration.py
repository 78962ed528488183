"""Log-odds stretched or squeezed, and shifted by category, until they fit what came true.

Belongs here: the ridge temperature, the category intercepts, and their use. Does not: reliability diagrams
(reliability.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import FloatArray, IntArray, finite, integers, outcomes, positive, weights
from ensemble_pipeline.forecasting.pooling import MEMBER_CLIP, clip_probability, expit, logit
from ensemble_pipeline.forecasting.root import root_of_increasing

_LAST_CATEGORY = 32_767


@dataclass(frozen=True, slots=True)
class TemperatureFit:
    """A fitted slope and the number of rows behind it."""

    slope: float
    n: int


@dataclass(frozen=True, slots=True)
class CalibrationFit:
    """A fitted slope and one intercept a category, shape ``(n_categories,)``, in log-odds; 0 where none was fitted."""

    slope: float
    intercepts: FloatArray


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
    z, y, w = _evidence(logit_p, outcome, weight)
    slope, _ = _minimum(z, y, w, positive(ridge, "ridge"))
    return TemperatureFit(slope, len(z))


def fit_ridge_calibration(
    logit_p: ArrayLike,
    outcome: ArrayLike,
    category: ArrayLike,
    weight: ArrayLike | None = None,
    slope_ridge: float = 10.0,
    intercept_ridge: float = 10.0,
    intercept_from: float = 200.0,
) -> CalibrationFit:
    """Fit one slope a ≥ 0 and an intercept b_c per category with enough events to ``σ(a z + b_c)``.

    The minimum of ``Σ w NLL(y, σ(a z + b_c)) + slope_ridge/2 (a - 1)² + intercept_ridge/2 Σ_c b_c²``. The weights are
    shares of events, so that Σ w over a category is its number of events; below `intercept_from` its b_c is exactly 0.
    An intercept says that what came true in a category lies to one side of the forecasts; measured without a ridge it
    costs up to 200 forecasts and pays at 400. Without any such category the slope is `fit_ridge_temperature`'s.

    Args:
        logit_p: Log-odds of the forecasts, shape ``(n,)``, finite.
        outcome: 0 or 1, shape ``(n,)``.
        category: Index of the category, 0 to 32767, shape ``(n,)``.
        weight: Share of each row in its event, shape ``(n,)``, finite, ≥ 0; all 1 where not given.
        slope_ridge: Strength of the prior at a = 1, > 0; see `fit_ridge_temperature`.
        intercept_ridge: Strength of the prior at b_c = 0, > 0, in units of ``Σ w p(1-p)``: 10 weigh as much as some
            40 events at p = 0.5.
        intercept_from: Events from which a category has an intercept, > 0.

    Returns:
        The slope and the intercepts, as many as the largest index + 1; slope 1 without evidence.

    Raises:
        InputError: an element is out of range, the shapes differ, or a ridge or `intercept_from` is not positive.

    Source: Platt 1999, Advances in Large Margin Classifiers, with ridges at the identity.

    >>> few = fit_ridge_calibration([0.0] * 100, [1] * 100, [1] * 100)
    >>> few.slope, few.intercepts.tolist()
    (1.0, [0.0, 0.0])
    >>> many = fit_ridge_calibration([0.0] * 400, [1, 1, 1, 0] * 100, [1] * 400)
    >>> b = float(many.intercepts[1])  # where 400 (σ(b) - 0.75) + 10 b = 0
    >>> round(b, 4), round(400 * (0.75 - float(expit(b))), 4)
    (0.9728, 9.7281)
    """
    z, y, w = _evidence(logit_p, outcome, weight)
    index = integers(category, "category", 0, _LAST_CATEGORY)
    if index.shape != z.shape:
        raise InputError(f"category has shape {index.shape}; it must match {z.shape}")
    n_events = np.bincount(index, weights=w)
    fitted = np.flatnonzero(n_events >= positive(intercept_from, "intercept_from"))
    intercepts = np.zeros(len(n_events))
    slope, intercepts[fitted] = _minimum(
        z,
        y,
        w,
        positive(slope_ridge, "slope_ridge"),
        positive(intercept_ridge, "intercept_ridge"),
        [np.flatnonzero(index == c) for c in fitted],
    )
    return CalibrationFit(slope, intercepts)


def apply_calibration(p: ArrayLike, slope: float, intercept: ArrayLike = 0.0, clip: float = MEMBER_CLIP) -> FloatArray:
    """Calibrated probabilities: ``σ(a · logit(p) + b)`` with p held in [clip, 1 - clip].

    Args:
        p: P(YES), any shape, in [0, 1]; NaN is refused.
        slope: a, finite; see `fit_ridge_temperature`.
        intercept: b, in log-odds, finite, one for all or one for each of p; see `fit_ridge_calibration`.
        clip: In (0, 0.5).

    Returns:
        P(YES), same shape.

    Raises:
        InputError: an argument is out of range.

    >>> apply_calibration([0.8, 0.2], 0.5).round(12).tolist()
    [0.666666666667, 0.333333333333]
    >>> apply_calibration(0.5, 1.0, intercept=1.3862943611198906).round(12).tolist()
    0.8
    """
    return expit(finite(slope, "slope") * logit(clip_probability(p, clip)) + finite(intercept, "intercept"))


def _evidence(
    logit_p: ArrayLike, outcome: ArrayLike, weight: ArrayLike | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    z = np.atleast_1d(finite(logit_p, "logit_p"))
    y = outcomes(outcome, z.shape)
    return z, y, np.ones_like(z) if weight is None else weights(weight, z.shape)


def _minimum(
    z: FloatArray,
    y: FloatArray,
    w: FloatArray,
    slope_ridge: float,
    intercept_ridge: float = np.inf,
    groups: Sequence[IntArray] = (),
) -> tuple[float, list[float]]:
    """The slope and one intercept a group of rows at the minimum, found along the slope.

    At every slope the intercepts are independent of each other, so each is put at its best; what remains is convex in
    the slope alone, its curvature being that of the whole less what the intercepts take up (the Schur complement).
    """

    def intercepts(a: float) -> list[float]:
        return [_best_intercept(a * z[rows], y[rows], w[rows], intercept_ridge) for rows in groups]

    def slope_and_curvature(a: float) -> tuple[float, float]:
        shift = np.zeros_like(z)
        for rows, b in zip(groups, intercepts(a), strict=True):
            shift[rows] = b
        p = expit(a * z + shift)
        bend = w * p * (1 - p)
        curvature = float(np.sum(bend * z * z)) + slope_ridge
        for rows in groups:
            curvature -= float(np.sum(bend[rows] * z[rows]) ** 2 / (np.sum(bend[rows]) + intercept_ridge))
        # never below the ridge, but for rounding
        return float(np.sum(w * z * (p - y))) + slope_ridge * (a - 1), max(curvature, slope_ridge)

    # the gradient's data part lies within ± Σ w|z|, so the root lies below this bound
    upper = 1 + float(np.sum(w * np.abs(z))) / slope_ridge
    slope = root_of_increasing(slope_and_curvature, 0.0, upper, start=1.0)
    return slope, intercepts(slope)


def _best_intercept(z: FloatArray, y: FloatArray, w: FloatArray, ridge: float) -> float:
    """The minimum over b of ``Σ w NLL(y, σ(z + b)) + ridge/2 b²``."""

    def slope_and_curvature(b: float) -> tuple[float, float]:
        p = expit(z + b)
        return float(np.sum(w * (p - y))) + ridge * b, float(np.sum(w * p * (1 - p))) + ridge

    bound = float(np.sum(w)) / ridge
    return root_of_increasing(slope_and_curvature, -bound, bound, start=0.0)
