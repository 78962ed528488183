"""Whether a model has become worse than it was, measured against the panel.

Belongs here: the one-sided CUSUM and its threshold. Does not: slow change (trend.py), being bad from the start
(ranking.py: such a model loses its weight, but nothing has happened to it).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import FloatArray, finite, positive, require_shape

SMALLEST_SD = 0.02
"""Paired differences scatter by .055 to .09. A past that scatters by almost nothing, as when members copy each other,
says nothing about how far differences scatter once they no longer do; without a floor the first would be an alarm."""

_OVERSHOOT = 1.166
_NEWTON_STEPS = 100


@dataclass(frozen=True, slots=True)
class Degradation:
    """Outcome of the watch over n events: S_t after the reference, shape ``(n - reference_n,)``, and its threshold.

    `since` is the index, into the differences, of the event from which S_t has been above 0 without a break; ``None``
    where it is 0 now. An empty `statistic` says that there is not enough evidence.
    """

    is_degraded: bool
    statistic: FloatArray
    threshold: float
    since: int | None
    n: int


def cusum_threshold(k: float, run_length: float) -> float:
    """The h at which a CUSUM with slack k raises a false alarm once in `run_length` observations on average.

    Solves ``(exp(2kb) - 2kb - 1) / (2k²) = run_length`` for ``b = h + 1.166``, both in standard deviations.

    Args:
        k: Slack per observation in standard deviations, > 0: half the shift that is to be found fastest.
        run_length: Mean number of observations up to a false alarm, > 0.

    Returns:
        h ≥ 0; 0 where so short a run length needs no threshold.

    Raises:
        InputError: an argument is not finite and positive.

    Source: Siegmund 1985, Sequential Analysis, Springer. For k = 0.5, h = 4 it says 338; exact is 336.

    >>> round(cusum_threshold(0.5, 338.1), 2), round(cusum_threshold(0.25, 2000), 2)
    (4.0, 9.93)
    """
    slack = positive(k, "k")
    target = 2 * slack**2 * positive(run_length, "run_length")
    # at u = 2 ln(2 + target) the function is above its target, and Newton's steps on it only go down
    u = 2 * math.log(2 + target)
    for _ in range(_NEWTON_STEPS):
        u -= (math.expm1(u) - u - target) / math.expm1(u)
    return max(0.0, u / (2 * slack) - _OVERSHOOT)


def detect_degradation(
    difference: ArrayLike, reference_n: int = 100, k: float = 0.25, run_length: float = 2000.0
) -> Degradation:
    """Watch a model's paired differences against its own past: ``S_t = max(0, S_{t-1} + (D_t - m)/s - k)``.

    m and s are mean and standard deviation of the first `reference_n` differences. S_t is a random walk that is pulled
    down by k at every step and held at 0; it rises where the model is worse than it was. Degraded: S_t passed h since
    it last left 0; the alarm holds until it is back at 0.

    m is itself an estimate, and a past that looks better than it was makes every later event look worse. h is
    therefore `cusum_threshold` at ``k - 1/sqrt(reference_n)``, the slack that is left where m is one standard error
    too low. Simulated with normal differences, 10% of unchanged models raise an alarm within 400 events (29% without
    this). A shift of +.03 at s = .075 is found after 67 events in the median, in 96% of cases within 400.

    Args:
        difference: Mean Brier points against the panel per event, in the order in which events became known, shape
            ``(n,)``, finite; negative is better. Never raw scores: they follow the difficulty of the questions, which
            the panel shares and the difference takes out (paired differences vary 3 to 8 times less). Where members
            came or went, level the panels first (`ranking.level_panels`): a better newcomer is nobody's fall.
        reference_n: Events that make up the past, ≥ 2 and more than ``1/k²``.
        k: Slack in standard deviations, > 0; 0.25 is half a shift of .0375 at s = .075.
        run_length: Mean number of events up to a false alarm, > 0.

    Returns:
        Whether the model is degraded now, S_t, h, since when, and n. With fewer than ``reference_n + 1`` events there
        is not enough evidence: not degraded, empty `statistic`.

    Raises:
        InputError: an argument is out of range or `reference_n` is too small for `k`.

    Source: Page 1954, Biometrika 41.

    >>> past = [0.05, -0.05] * 50
    >>> fallen = detect_degradation([*past, -0.05, *[0.05] * 30])
    >>> fallen.is_degraded, fallen.since, fallen.statistic[:3].round(2).tolist(), round(fallen.threshold, 2)
    (True, 101, [0.0, 0.74, 1.49], 14.03)
    >>> detect_degradation(past).statistic.tolist()
    []
    """
    d = np.atleast_1d(finite(difference, "difference"))
    require_shape(d, (d.size,), "difference")
    slack = positive(k, "k")
    if reference_n < 2 or slack <= 1 / math.sqrt(reference_n):
        raise InputError(
            f"reference_n = {reference_n} is out of range; needed with k = {k}: at least 2, more than {1 / slack**2:g}"
        )
    threshold = cusum_threshold(slack - 1 / math.sqrt(reference_n), run_length)
    past, watched = d[:reference_n], d[reference_n:]
    if not len(watched):
        return Degradation(False, np.empty(0), threshold, None, len(d))
    statistic = _held_at_zero((watched - past.mean()) / max(float(past.std(ddof=1)), SMALLEST_SD) - slack)
    at_zero = np.flatnonzero(statistic == 0)
    start = int(at_zero[-1]) + 1 if len(at_zero) else 0
    since = reference_n + start if start < len(statistic) else None
    return Degradation(bool(np.any(statistic[start:] > threshold)), statistic, threshold, since, len(d))


def _held_at_zero(step: FloatArray) -> FloatArray:
    """``S_t = max(0, S_{t-1} + step_t)`` from 0, as the height of the walk above its lowest point so far."""
    walk = np.cumsum(step)
    held: FloatArray = walk - np.minimum(np.minimum.accumulate(walk), 0.0)
    return held
