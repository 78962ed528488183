"""Whether forecasts come true as often as they say: the reliability diagram, its error, and what chance alone shows.

Belongs here: tables over bins of probability and the band a perfect forecaster would stay in. Does not: scores of
single forecasts (scoring.py), the parts of a mean score (decomposition.py), repairing a forecast (calibration.py).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import (
    FloatArray,
    IntArray,
    fraction,
    outcomes,
    probabilities,
    require_shape,
)


@dataclass(frozen=True, slots=True)
class ReliabilityBins:
    """A reliability diagram as data; every array has shape ``(bins,)``, means of empty bins are NaN."""

    lower: FloatArray
    upper: FloatArray
    n: IntArray
    mean_p: FloatArray
    mean_outcome: FloatArray


@dataclass(frozen=True, slots=True)
class NullBand:
    """What a perfect forecaster shows by chance: mean outcome per bin from `low` to `high`, and calibration error.

    The arrays have shape ``(bins,)`` and are NaN for empty bins; `calibration_error` is the upper limit of the
    expected calibration error, NaN where n = 0.
    """

    low: FloatArray
    high: FloatArray
    calibration_error: float


def bin_index(p: ArrayLike, bins: int = 10) -> IntArray:
    """Which of the equal bins [k/bins, (k+1)/bins) each forecast lies in; 1 belongs to the last bin.

    Args:
        p: Probabilities of YES, shape ``(n,)``, in [0, 1]; NaN is refused.
        bins: Number of bins, ≥ 1.

    Returns:
        Bin numbers from 0 to bins - 1, shape ``(n,)``. An edge k/bins as Python computes it lies in bin k.

    Raises:
        InputError: an element is out of range, `p` has more than one dimension, or `bins` < 1.

    >>> bin_index([0.0, 0.29, 0.3, 1.0]).tolist()
    [0, 2, 3, 9]
    """
    probability = np.atleast_1d(probabilities(p, "p"))
    require_shape(probability, (probability.size,), "p")
    if bins < 1:
        raise InputError(f"bins = {bins} is out of range; allowed: 1 or more")
    inner_edges = np.arange(1, bins) / bins
    return np.searchsorted(inner_edges, probability, side="right").astype(np.int64)


def reliability_bins(p: ArrayLike, y: ArrayLike, bins: int = 10) -> ReliabilityBins:
    """Forecasts sorted into equal bins [k/bins, (k+1)/bins), the last one closed, with what came of them.

    Args:
        p: Probabilities of YES, shape ``(n,)``, in [0, 1]; NaN is refused.
        y: Outcomes 0 or 1, shape ``(n,)``.
        bins: Number of bins, ≥ 1.

    Returns:
        Edges, counts and means per bin. A bin's mean outcome has standard error ``sqrt(p(1-p)/n)``: below some
        30 forecasts in a bin its bar says little; `null_band` shows how little.

    Raises:
        InputError: an element is out of range, the shapes differ, or `bins` < 1.

    Source: Murphy and Winkler 1977, Journal of the Royal Statistical Society C 26(1).

    >>> table = reliability_bins([0.1, 0.3, 0.9], [0, 1, 1], bins=2)
    >>> table.n.tolist(), table.mean_p.round(12).tolist(), table.mean_outcome.tolist()
    ([2, 1], [0.2, 0.9], [0.5, 1.0])
    """
    probability = np.atleast_1d(probabilities(p, "p"))
    outcome = outcomes(np.atleast_1d(np.asarray(y)), probability.shape, "y")
    bin_of = bin_index(probability, bins)
    edges = np.arange(bins + 1) / bins
    n = np.bincount(bin_of, minlength=bins).astype(np.int64)
    count = np.where(n > 0, n, np.nan)
    return ReliabilityBins(
        lower=edges[:-1],
        upper=edges[1:],
        n=n,
        mean_p=np.bincount(bin_of, weights=probability, minlength=bins) / count,
        mean_outcome=np.bincount(bin_of, weights=outcome, minlength=bins) / count,
    )


def expected_calibration_error(p: ArrayLike, y: ArrayLike, bins: int = 10) -> float:
    """Mean gap between forecast and outcome over the bins: ``Σ_b (n_b / n) |mean p_b - mean y_b|``.

    Never read it alone: it is biased upwards. A perfect forecaster shows .178 at n = 30, .099 at 100, .045 at 500
    and .014 at 5,000 (10 bins, measured on simulated outcomes); put it beside `null_band`. Smallest useful n is
    about 500.

    Args:
        p: Probabilities of YES, shape ``(n,)``, in [0, 1]; NaN is refused.
        y: Outcomes 0 or 1, shape ``(n,)``.
        bins: Number of equal bins, ≥ 1.

    Returns:
        A number in [0, 1]; NaN where n = 0.

    Raises:
        InputError: an element is out of range, the shapes differ, or `bins` < 1.

    Source: Naeini, Cooper and Hauskrecht 2015, AAAI.

    >>> round(expected_calibration_error([0.1, 0.3, 0.9], [0, 1, 1], bins=2), 12)
    0.233333333333
    """
    table = reliability_bins(p, y, bins)
    is_filled = table.n > 0
    if not is_filled.any():
        return float("nan")
    gap = np.abs(table.mean_p[is_filled] - table.mean_outcome[is_filled])
    return float(np.average(gap, weights=table.n[is_filled]))


def null_band(
    p: ArrayLike,
    bins: int = 10,
    level: float = 0.90,
    cluster: ArrayLike | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> NullBand:
    """What a perfect forecaster who said exactly `p` would show: outcomes drawn as ``U < p``, again and again.

    One uniform U is drawn per cluster and draw, so that several forecasts of one market come true or fail together.
    The band holds for each bin by itself: of ten bins, one is expected outside a 90% band. Bins are those of
    `reliability_bins`.

    Args:
        p: Probabilities of YES, shape ``(n,)``, in [0, 1]; NaN is refused.
        bins: Number of equal bins, ≥ 1.
        level: Chance of a perfect forecaster to lie within the band, and not above the error; in (0, 1).
        cluster: Market of each forecast, any sortable labels, shape ``(n,)``; each its own where not given.
        draws: Simulated sets of outcomes, ≥ 1; with 1,000 a limit meant for 90% is one for 89 to 91%.
        seed: Seed of the draws; the same seed gives the same band.

    Returns:
        The ``(1 ± level)/2`` quantiles of each bin's mean outcome and the `level` quantile of the expected
        calibration error; each is a value that was drawn, so that no less than `level` lies within. Of use from
        the first forecast on: it is as wide as the data are thin.

    Raises:
        InputError: an argument is out of range or the shapes differ.

    Source: consistency bars of Bröcker and Smith 2007, Weather and Forecasting 22(3), with fixed forecasts.

    >>> band = null_band([0.0, 0.5, 1.0], bins=3)
    >>> band.low.tolist(), band.high.tolist(), round(band.calibration_error, 12)
    ([0.0, 0.0, 1.0], [0.0, 1.0, 1.0], 0.166666666667)
    """
    probability = np.atleast_1d(probabilities(p, "p"))
    bin_of = bin_index(probability, bins)
    label = np.arange(probability.size) if cluster is None else np.asarray(cluster)
    if label.shape != probability.shape:
        raise InputError(f"cluster has shape {label.shape}; it must be {probability.shape}")
    if draws < 1:
        raise InputError(f"draws = {draws} is out of range; allowed: 1 or more")
    inside = fraction(level, "level", is_open=True)

    names, cluster_of = np.unique(label, return_inverse=True)
    rng = np.random.default_rng(seed)
    is_yes = (rng.random(len(names))[cluster_of] < probability for _ in range(draws))
    n_yes = np.array([np.bincount(bin_of[came_true], minlength=bins) for came_true in is_yes])
    n = np.bincount(bin_of, minlength=bins)
    expected_yes = np.bincount(bin_of, weights=probability, minlength=bins)
    limits = np.array([1 - inside, 1 + inside]) / 2
    low, high = np.quantile(n_yes / np.where(n > 0, n, np.nan), limits, axis=0, method="inverted_cdf")
    error = np.abs(n_yes - expected_yes).sum(axis=1) / (n.sum() or np.nan)
    return NullBand(low, high, float(np.quantile(error, inside, method="inverted_cdf")))
