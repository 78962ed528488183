"""Whether a model is getting better or worse, measured against the panel.

Belongs here: a straight line through paired differences over time. Does not: a sudden fall (degradation.py).
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import FloatArray, IntArray, finite
from ensemble_pipeline.forecasting.intervals import clustered_interval


class Direction(StrEnum):
    """Where paired differences are heading; negative differences are good ones."""

    IMPROVING = "improving"
    DECLINING = "declining"
    STABLE = "stable"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"


@dataclass(frozen=True, slots=True)
class Trend:
    """Change in Brier points per day with its interval; slope NaN and limits ∓infinity where there is none to fit."""

    slope_per_day: float
    low: float
    high: float
    direction: Direction


def trend(
    days: ArrayLike, difference: ArrayLike, cluster: ArrayLike, level: float = 0.95, min_clusters: int = 20
) -> Trend:
    """Least-squares slope of paired differences on time, ``b = Σ x_i D_i / Σ x_i²`` with x centred days.

    Its standard error is clustered by event: ``s² = G/(G-1) · (n-1)/(n-2) · Σ_c (Σ_{i in c} x_i e_i)² / (Σ x_i²)²``
    over G events and n questions with residuals e, and its interval ``b ± t_{G-1} s``. It lies below 0: improving;
    above: declining; around: stable, which says that no trend is shown, not that there is none.

    Args:
        days: When each question became known, in days from any instant, shape ``(n,)``, finite.
        difference: Brier points against the panel, shape ``(n,)``, finite; see `ranking.panel_differences`.
        cluster: Event of each question, any sortable labels, shape ``(n,)``.
        level: Of the interval, in (0, 1).
        min_clusters: Events below which the direction is not judged. Where differences scatter by .075, a change of .05
            from the first day to the last shows half of the time with 110 events, nearly always with 450.

    Returns:
        The slope with its interval, and the direction. Without three questions of two events at two times there is
        no slope.

    Raises:
        InputError: an element is not finite, `level` is out of range or the shapes differ.

    Source: Liang and Zeger 1986, Biometrika 73(1), with the usual correction for few clusters (CR1).

    >>> days = np.arange(40.0)
    >>> noise = np.where(days % 2 == 0, 0.01, -0.01)
    >>> line = trend(days, 0.001 * days + noise, days)
    >>> round(line.slope_per_day, 4), line.low > 0, str(line.direction)
    (0.001, True, 'declining')
    >>> str(trend(days, noise, days).direction)
    'stable'
    """
    x, y = finite(days, "days"), finite(difference, "difference")
    label: NDArray[Any] = np.asarray(cluster)
    if x.ndim != 1 or y.shape != x.shape or label.shape != x.shape:
        raise InputError(
            f"days, difference and cluster have shapes {x.shape}, {y.shape}, {label.shape}; all must be (n,)"
        )
    names, event = np.unique(label, return_inverse=True)
    slope, standard_error = _clustered_slope(x, y, event)
    low, high = (float(end) for end in clustered_interval(slope, standard_error, len(names), level))
    if math.isnan(slope) or len(names) < min_clusters:
        direction = Direction.NOT_ENOUGH_EVIDENCE
    elif high < 0:
        direction = Direction.IMPROVING
    elif low > 0:
        direction = Direction.DECLINING
    else:
        direction = Direction.STABLE
    return Trend(slope, low, high, direction)


def _clustered_slope(days: FloatArray, difference: FloatArray, event: IntArray) -> tuple[float, float]:
    # from the first row on, so that what does not vary is exactly 0
    x, y = days - days[:1], difference - difference[:1]
    n, n_events = len(x), len(np.unique(event))
    if n < 3 or n_events < 2 or not x.any():
        return math.nan, math.nan
    x -= x.mean()
    y -= y.mean()
    spread = float(x @ x)
    slope = float(x @ y) / spread
    by_event = np.bincount(event, weights=x * (y - slope * x))
    variance = n_events / (n_events - 1) * (n - 1) / (n - 2) * float(by_event @ by_event) / spread**2
    return slope, math.sqrt(variance)
