"""Quantiles and intervals: how far an estimate from so many events may be off.

Belongs here: the normal and Student's t distribution, and intervals made of a standard error. Does not: where the
standard error comes from (ranking.py, trend.py), intervals one may look at again and again (sequences.py).
"""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import FloatArray, finite, fraction, refuse_where, require_shape, weights

_NORMAL_FROM = 1e7  # degrees of freedom from which t is the normal to seven digits
_BISECTIONS = 60
_MOST_TERMS = 1000
_SETTLED = 1e-14


def normal_quantile(q: float) -> float:
    """The z below which a standard normal variable lies with probability q: ``Φ⁻¹(q)``.

    Args:
        q: In (0, 1).

    Returns:
        A finite number, exact to about 15 digits.

    Raises:
        InputError: `q` is out of range.

    Source: Wichura 1988, Applied Statistics 37(3), as in Python's `statistics`.

    >>> round(normal_quantile(0.975), 6), normal_quantile(0.5)
    (1.959964, 0.0)
    """
    return NormalDist().inv_cdf(fraction(q, "q", is_open=True))


def student_t_quantile(q: float, df: float) -> float:
    """The t below which Student's t with `df` degrees of freedom lies with probability q; found by bisection.

    Args:
        q: In (0, 1).
        df: Degrees of freedom, finite, ≥ 1; need not be whole.

    Returns:
        A number accurate to nine digits, or better; odd around q = 0.5, where it is 0.

    Raises:
        InputError: an argument is out of range.

    >>> round(student_t_quantile(0.975, 1), 6), round(student_t_quantile(0.975, 19), 6), student_t_quantile(0.5, 3)
    (12.706205, 2.093024, 0.0)
    """
    freedom = float(_degrees_of_freedom(df))
    beyond = 2 * min(fraction(q, "q", is_open=True), 1 - q)
    high = 1.0
    while _two_sided_p(high, freedom) > beyond:
        high *= 2
    low = high / 2 if high > 1 else 0.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _two_sided_p(middle, freedom) > beyond else (low, middle)
    return math.copysign(high, q - 0.5) if q != 0.5 else 0.0


def student_t_two_sided_p(t: ArrayLike, df: ArrayLike) -> FloatArray:
    """Probability of a t at least this far from 0 by chance: ``P(|T| ≥ |t|) = I_x(df/2, 1/2)``, ``x = df/(df + t²)``.

    Args:
        t: Estimate over standard error, any shape; infinite gives 0, NaN gives NaN.
        df: Degrees of freedom, finite, ≥ 1, one number or the same shape.

    Returns:
        p-values in [0, 1], same shape as `t`, small ones to the same relative accuracy as large ones.

    Raises:
        InputError: an element of `df` is out of range, or the shapes differ.

    Source: Abramowitz and Stegun 1964, 26.7.1 and 26.5.8.

    >>> student_t_two_sided_p([0.0, 1.0, -1.0], 1).round(12).tolist()
    [1.0, 0.5, 0.5]
    >>> student_t_two_sided_p([2.093024], 19).round(6).tolist()
    [0.05]
    """
    values, freedom = np.asarray(t, dtype=np.float64), _degrees_of_freedom(df)
    if freedom.ndim:
        require_shape(freedom, values.shape, "df")
    return np.asarray(np.vectorize(_two_sided_p, otypes=[np.float64])(values, freedom))


def clustered_interval(
    estimate: ArrayLike, standard_error: ArrayLike, clusters: ArrayLike, level: float = 0.95
) -> tuple[FloatArray, FloatArray]:
    """Interval of an estimate whose standard error rests on G clusters: ``estimate ± t_{(1 + level)/2, G - 1} · s``.

    Args:
        estimate: Any shape, finite; NaN where there is none.
        standard_error: s ≥ 0, clustered by event, same shape; NaN where unknown.
        clusters: Number of events G behind each, finite, ≥ 0, same shape.
        level: Share of such intervals that cover the truth, in (0, 1), if one looks once; see `sequences` if not.

    Returns:
        Lower and upper ends, same shape; -inf and inf where fewer than two clusters, a NaN estimate or a NaN standard
        error say nothing. Below some 20 clusters the standard error is too small on average, and so is the interval.

    Raises:
        InputError: an element is out of range or the shapes differ.

    Source: Cameron and Miller 2015, Journal of Human Resources 50(2), for t with G - 1 degrees of freedom.

    >>> low, high = clustered_interval([-0.02, -0.02], [0.01, 0.01], [20, 1])
    >>> low.round(6).tolist(), high.round(6).tolist()
    ([-0.04093, -inf], [0.00093, inf])
    """
    centre, s = np.asarray(estimate, dtype=np.float64), np.asarray(standard_error, dtype=np.float64)
    require_shape(s, centre.shape, "standard_error")
    n_clusters = weights(clusters, centre.shape, "clusters")
    refuse_where(np.isinf(centre), centre, "estimate", "is not finite")
    refuse_where(np.isinf(s) | (s < 0), s, "standard_error", "is no standard error; allowed: finite and >= 0, or NaN")
    upper_q = (1 + fraction(level, "level", is_open=True)) / 2
    is_known = (n_clusters >= 2) & ~np.isnan(centre) & ~np.isnan(s)
    freedom, which = np.unique(n_clusters[is_known] - 1, return_inverse=True)
    quantile = np.array([student_t_quantile(upper_q, df) for df in freedom.tolist()])
    half = np.full(centre.shape, np.inf)
    half[is_known] = quantile[which] * s[is_known]
    middle = np.where(is_known, centre, 0.0)
    return middle - half, middle + half


def bootstrap_interval(
    difference: ArrayLike, cluster: ArrayLike, level: float = 0.95, draws: int = 4000, seed: int = 0
) -> tuple[float, float] | None:
    """Percentile interval of a mean difference, from drawing whole clusters anew with replacement.

    Args:
        difference: Shape ``(n,)``, finite.
        cluster: What errs together, any sortable labels, shape ``(n,)``.
        level: Share of the draws inside, within (0, 1).
        draws: How many samples of clusters are drawn, ≥ 1; 4,000 hold an end of a 95% interval within some 3% of
            its width.
        seed: Of the draws; the same seed gives the same interval.

    Returns:
        Lower and upper end; ``None`` where there are fewer than two clusters. From few clusters (below some 20) it is
        too narrow.

    Raises:
        InputError: an argument is out of range or the shapes differ.

    Source: Field and Welsh 2007, Journal of the Royal Statistical Society B 69(3), the cluster bootstrap.

    >>> bootstrap_interval([0.5, 0.5, 0.5], ["a", "a", "b"])
    (0.5, 0.5)
    >>> bootstrap_interval([0.1, 0.2], ["a", "a"]) is None
    True
    """
    d = finite(difference, "difference")
    label = np.asarray(cluster)
    if d.ndim != 1 or label.shape != d.shape:
        raise InputError(f"difference has shape {d.shape}, cluster {label.shape}; both must be (n,)")
    if draws < 1:
        raise InputError(f"draws = {draws} is out of range; allowed: >= 1")
    tail = (1 - fraction(level, "level", is_open=True)) / 2
    _, index = np.unique(label, return_inverse=True)
    total, count = np.bincount(index, d), np.bincount(index)
    if len(count) < 2:
        return None
    drawn = np.random.default_rng(seed).multinomial(len(count), np.full(len(count), 1 / len(count)), size=draws)
    means = (drawn @ total) / (drawn @ count)
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _degrees_of_freedom(df: ArrayLike) -> FloatArray:
    freedom = np.asarray(df, dtype=np.float64)
    is_good = np.isfinite(freedom) & (freedom >= 1)
    refuse_where(~is_good, freedom, "df", "is no number of degrees of freedom; allowed: finite and >= 1")
    return freedom


def _two_sided_p(t: float, df: float) -> float:
    if math.isnan(t) or t == 0:
        return 1.0 if t == 0 else math.nan
    if df > _NORMAL_FROM:
        return math.erfc(abs(t) / math.sqrt(2))
    ratio = abs(t) / math.sqrt(df)
    length = math.hypot(1.0, ratio)
    if math.isinf(length):
        return 0.0
    a, x, y = df / 2, (1 / length) ** 2, (ratio / length) ** 2
    log_front = math.lgamma(a + 0.5) - math.lgamma(a) - math.lgamma(0.5) - df * math.log(length)
    front = math.exp(log_front) * ratio / length
    if x < (a + 1) / (a + 2.5):
        return front * _beta_fraction(a, 0.5, x) / a
    return 1 - front * _beta_fraction(0.5, a, y) / 0.5


def _beta_fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function, by the method of Lentz.

    For ``x ≤ (a + 1)/(a + b + 2)`` and a or b = 1/2 no denominator comes near 0 and some 70 terms are the most.
    """
    c = 1.0
    result = d = 1 / (1 - (a + b) * x / (a + 1))
    for m in range(1, _MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        change = 1.0
        for term in (even, odd):
            d = 1 / (1 + term * d)
            c = 1 + term / c
            change *= c * d
        result *= change
        if abs(change - 1) < _SETTLED:
            break
    return result
