"""Where a model is better or worse than it is elsewhere: a category, a volatility regime, an expiry bucket.

Belongs here: estimates of segments within models, pulled towards the model's own, and which of them are findings.
Does not: the model's own skill (ranking.py). Differences are in Brier points against the panel; negative is better.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import (
    BoolArray,
    FloatArray,
    finite,
    fraction,
    positive,
    probabilities,
    refuse_where,
    require_shape,
    weights,
)
from ensemble_pipeline.forecasting.intervals import student_t_two_sided_p


class Verdict(StrEnum):
    """What is known of a model in a segment, against the same model over all segments."""

    STRENGTH = "strength"
    WEAKNESS = "weakness"
    AS_ELSEWHERE = "as_elsewhere"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"


def shrink_within(
    delta_segment: ArrayLike, n_segment: ArrayLike, overall: ArrayLike, prior_n: float = 100.0
) -> FloatArray:
    """Pull a segment's difference towards the model's own: ``d̂_mc = d̂_m + (δ_mc - d̂_m) · n_mc / (n_mc + n_0)``.

    Rankings of models in one topic resemble those in all others (rank correlations of .3 to .9), so that a model's
    own level is the best guess where a segment is thin: after 5 events a segment has moved 5% of the way.

    Args:
        delta_segment: Mean difference δ_mc, Brier points, shape ``(n_models, n_segments)``; NaN where there is none.
        n_segment: Effective number of events n_mc, finite, ≥ 0, same shape.
        overall: The model's shrunk difference d̂_m, Brier points, finite, shape ``(n_models,)``.
        prior_n: n_0, the events at which a segment counts as much as the model, > 0: ``s²/τ_c²``, with differences
            that scatter by s = .1 and segments that differ by τ_c = .01 within a model.

    Returns:
        Shrunk differences, same shape, between δ_mc and d̂_m; d̂_m where there are no data.

    Raises:
        InputError: an element is out of range or the shapes do not fit.

    Source: Efron and Morris 1975, Journal of the American Statistical Association 70, one level down.

    >>> shrink_within([[-0.05, -0.05, float("nan")]], [[100, 0, 0]], [-0.01]).round(12).tolist()
    [[-0.03, -0.01, -0.01]]
    """
    delta = _cells(delta_segment, "delta_segment")
    n = weights(n_segment, delta.shape, "n_segment")
    own = finite(overall, "overall")
    require_shape(own, delta.shape[:1], "overall")
    own = np.broadcast_to(own[:, None], delta.shape)
    share = n / (n + positive(prior_n, "prior_n"))
    return np.where(np.isnan(delta), own, own + (delta - own) * share)


def is_discovery(p_values: ArrayLike, rate: float = 0.10) -> BoolArray:
    """Which of many tests are findings, if a share `rate` of all findings may be false (Benjamini and Hochberg).

    With p_(1) ≤ … ≤ p_(m), the findings are the k smallest for the largest k with ``p_(k) · m / k ≤ rate``. It holds
    for independent tests and for positively dependent ones.

    Args:
        p_values: One family of tests, any shape, in [0, 1]; NaN is no test and never a finding.
        rate: Expected share of false findings among the findings, in (0, 1).

    Returns:
        Booleans, same shape.

    Raises:
        InputError: an element is out of range.

    Source: Benjamini and Hochberg 1995, Journal of the Royal Statistical Society B 57(1).

    >>> is_discovery([0.01, 0.06, 0.07, 0.5], rate=0.10).tolist()  # .07 · 4/3 ≤ .1 carries .06 along
    [True, True, True, False]
    """
    p = probabilities(p_values, "p_values", has_gaps=True)
    allowed = fraction(rate, "rate", is_open=True)
    ordered = np.sort(p[~np.isnan(p)])
    passed = np.flatnonzero(ordered * len(ordered) / np.arange(1, len(ordered) + 1) <= allowed)
    return p <= ordered[passed[-1]] if len(passed) else np.zeros(p.shape, dtype=np.bool_)


def judge_segments(
    delta_segment: ArrayLike,
    standard_error: ArrayLike,
    clusters: ArrayLike,
    overall: ArrayLike,
    min_clusters: int = 20,
    rate: float = 0.10,
) -> NDArray[np.object_]:
    """Say of each segment of each model whether it is a strength or a weakness, with few false findings in all.

    Tests ``t = (δ_mc - δ_m) / s_mc`` against Student's t with G - 1 degrees of freedom; the tests of all models and
    segments are one family for `is_discovery`. The comparison is with the model itself: a weak model's best segment
    is its strength. The error of δ_m is left out; since the segment is part of the whole, the difference varies
    less than δ_mc does (``1 - n_mc/n_m`` of its variance), and the test errs towards finding nothing.

    Args:
        delta_segment: Mean difference δ_mc, Brier points, shape ``(n_models, n_segments)``; NaN where there is none.
        standard_error: s_mc ≥ 0, clustered by event, same shape; NaN where unknown. Where it is 0 nothing scatters,
            and nothing can be told from chance.
        clusters: Number of events G behind each, finite, ≥ 0, same shape.
        overall: The model's own mean difference δ_m, unshrunk, shape ``(n_models,)``; NaN where there is none.
        min_clusters: Events below which a segment is no test, ≥ 2. Where differences scatter by .075, a lone finding
            among 240 tests must differ by .07 with 20 events, by .027 with 100.
        rate: Expected share of false findings among the findings, in (0, 1).

    Returns:
        A `Verdict` each, same shape.

    Raises:
        InputError: an element is out of range or the shapes do not fit.

    >>> verdicts = judge_segments([[-0.08, 0.06, -0.01, 0.09]], [[0.01, 0.01, 0.01, 0.01]], [[50, 50, 50, 19]], [-0.01])
    >>> [str(verdict) for verdict in verdicts[0]]
    ['strength', 'weakness', 'as_elsewhere', 'not_enough_evidence']
    """
    delta, s = _cells(delta_segment, "delta_segment"), np.asarray(standard_error, dtype=np.float64)
    require_shape(s, delta.shape, "standard_error")
    refuse_where(np.isinf(s) | (s < 0), s, "standard_error", "is no standard error; allowed: finite and >= 0, or NaN")
    n_clusters = weights(clusters, delta.shape, "clusters")
    own = np.asarray(overall, dtype=np.float64)
    require_shape(own, delta.shape[:1], "overall")
    refuse_where(np.isinf(own), own, "overall", "is not finite")
    if min_clusters < 2:
        raise InputError(f"min_clusters = {min_clusters} is out of range; allowed: 2 or more")

    gap = delta - own[:, None]
    is_tested = (n_clusters >= min_clusters) & (s > 0) & ~np.isnan(gap)
    p = np.full(delta.shape, np.nan)
    p[is_tested] = student_t_two_sided_p(gap[is_tested] / s[is_tested], n_clusters[is_tested] - 1)
    is_found = is_discovery(p, rate)
    verdict = np.full(delta.shape, Verdict.NOT_ENOUGH_EVIDENCE, dtype=np.object_)
    verdict[is_tested] = Verdict.AS_ELSEWHERE
    verdict[is_found & (gap < 0)] = Verdict.STRENGTH
    verdict[is_found & (gap > 0)] = Verdict.WEAKNESS
    return verdict


def _cells(values: ArrayLike, name: str) -> FloatArray:
    cells = np.asarray(values, dtype=np.float64)
    if cells.ndim != 2:
        raise InputError(f"{name} has shape {cells.shape}; it must be (n_models, n_segments)")
    refuse_where(np.isinf(cells), cells, name, "is not finite")
    return cells
