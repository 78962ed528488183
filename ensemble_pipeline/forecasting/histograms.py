"""Additive histograms: what the sums of the sibling cubes over probability and latency tell.

Belongs here: the buckets of latency, and figures read from the sums of bins. Does not: adding up (skill_cube.py), the
bins of probability and diagrams of single forecasts (reliability.py).
"""

import numpy as np
from numpy.typing import ArrayLike

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import FloatArray, IntArray, finite, fraction, integers, refuse_where

PROBABILITY_BINS = 20
"""Bins of five cents, [0, 0.05), [0.05, 0.10), … [0.95, 1], as `reliability.bin_index` numbers them."""

LATENCY_BUCKETS = 41
"""Bucket 0 holds 0 ms, bucket k holds [2^(k-1), 2^k) ms; the last one begins at 17 years."""

_LARGEST_LATENCY = 10**12


def latency_bucket(latency_ms: ArrayLike) -> IntArray:
    """The power-of-two bucket of each latency: 0 for 0 ms, else the k with ``2^(k-1) <= latency < 2^k``.

    Args:
        latency_ms: Whole milliseconds, 0 to 10¹², shape ``(n,)``.

    Returns:
        Buckets 0 to 40, int64, same shape.

    Raises:
        InputError: an element is negative, too large or no integer.

    >>> latency_bucket([0, 1, 2, 3, 1000]).tolist()
    [0, 1, 2, 2, 10]
    """
    _, exponent = np.frexp(integers(latency_ms, "latency_ms", 0, _LARGEST_LATENCY).astype(np.float64))
    return exponent.astype(np.int64)


def binned_calibration_error(n: ArrayLike, p_e9: ArrayLike, outcome: ArrayLike) -> float:
    """Expected calibration error from the sums of bins: ``Σ_b |Σp - Σy| / Σ_b n``.

    Equals `expected_calibration_error` of the single forecasts over the same bins, but for their rounding to
    billionths. Biased upwards as that is: read it beside `null_band`; smallest useful n is about 500.

    Args:
        n: Forecasts per bin, ≥ 0, shape ``(bins,)``.
        p_e9: Sum of their probabilities in billionths, shape ``(bins,)``.
        outcome: How many of them came true, shape ``(bins,)``.

    Returns:
        A number in [0, 1]; NaN where there is no forecast.

    Raises:
        InputError: the lengths differ, a count is negative or a sum is not finite.

    Source: Naeini, Cooper and Hauskrecht 2015, AAAI.

    >>> round(binned_calibration_error([2, 1], [400_000_000, 900_000_000], [1, 1]), 12)
    0.233333333333
    """
    counts, said, came_true = _counts(n), finite(p_e9, "p_e9"), finite(outcome, "outcome")
    if not counts.shape == said.shape == came_true.shape:
        raise InputError(f"n, p_e9 and outcome differ in shape: {counts.shape}, {said.shape}, {came_true.shape}")
    total = counts.sum()
    return float(np.abs(said / 1e9 - came_true).sum() / total) if total else float("nan")


def latency_quantile_ms(n: ArrayLike, share: float) -> float:
    """The latency below which a share of the calls lies, interpolated within its power-of-two bucket.

    Args:
        n: Calls per bucket of `latency_bucket`, from bucket 0 on, ≥ 0, shape ``(buckets,)``.
        share: In [0, 1]; 0.95 for the 95th percentile.

    Returns:
        Milliseconds, NaN where there is no call. It lies in the bucket of the ``⌈share · n⌉``-th fastest call, and so
        differs from that call's latency by at most a factor of two.

    Raises:
        InputError: a count is negative or `share` out of range.

    >>> [latency_quantile_ms([0, 0, 4], share) for share in (0.0, 0.5, 1.0)]
    [2.0, 3.0, 4.0]
    """
    counts, share = _counts(n), fraction(share, "share")
    reach = np.cumsum(counts)
    if not counts.any():
        return float("nan")
    wanted = share * reach[-1]
    bucket = int(np.argmax((counts > 0) & (reach >= wanted)))
    low = 2.0 ** (bucket - 1) if bucket else 0.0  # and twice as much at the top
    before = reach[bucket] - counts[bucket]
    return float(low + low * (wanted - before) / counts[bucket])


def _counts(n: ArrayLike) -> FloatArray:
    counts = finite(n, "n")
    if counts.ndim != 1:
        raise InputError(f"n has shape {counts.shape}; a histogram has one dimension")
    refuse_where(counts < 0, counts, "n", "is no count; allowed: >= 0")
    return counts
