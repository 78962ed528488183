import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.histograms import (
    LATENCY_BUCKETS,
    PROBABILITY_BINS,
    binned_calibration_error,
    latency_bucket,
    latency_quantile_ms,
)
from ensemble_pipeline.forecasting.reliability import bin_index, expected_calibration_error
from ensemble_pipeline.forecasting.scoring import to_fixed_e9
from ensemble_pipeline_tests.forecasting.strategies import make_rows, probabilities

forecasts = st.lists(st.tuples(probabilities | st.sampled_from([k / 20 for k in range(21)]), st.integers(0, 1)))
latencies = st.lists(st.integers(0, 10**12) | st.integers(0, 5000), min_size=1)


@pytest.mark.parametrize("k", range(PROBABILITY_BINS))
def test_probability_bins_begin_at_their_lower_edge_and_end_before_the_upper(k: int) -> None:
    lower, upper = k / 20, (k + 1) / 20
    assert bin_index([lower, np.nextafter(upper, 0)], PROBABILITY_BINS).tolist() == [k, k]
    assert bin_index([upper], PROBABILITY_BINS).item() == min(k + 1, PROBABILITY_BINS - 1)


@given(probabilities)
def test_probability_bins_hold_every_probability_once(p: float) -> None:
    k = bin_index([p], PROBABILITY_BINS).item()
    assert k / 20 <= p < (k + 1) / 20 or (p == 1 and k == PROBABILITY_BINS - 1)


def test_binned_calibration_error_by_hand() -> None:
    # |0.6 - 1| + |2.8 - 2| over 2 + 3 forecasts
    error = binned_calibration_error([2, 0, 3], [600_000_000, 0, 2_800_000_000], [1, 0, 2])
    assert error == pytest.approx(1.2 / 5, abs=1e-15)


def test_binned_calibration_error_lets_gaps_cancel_within_a_bin_but_not_between_bins() -> None:
    assert binned_calibration_error([2], [1_000_000_000], [1]) == 0
    assert binned_calibration_error([1, 1], [500_000_000, 500_000_000], [1, 0]) == 0.5


@given(forecasts)
def test_binned_calibration_error_is_that_of_the_single_forecasts(given_forecasts: list[tuple[float, int]]) -> None:
    p, y = (np.array([pair[i] for pair in given_forecasts], dtype=np.float64) for i in (0, 1))
    n, p_e9, outcome = np.zeros((3, PROBABILITY_BINS), dtype=np.int64)
    for total, values in ((n, 1), (p_e9, to_fixed_e9(p)), (outcome, y.astype(np.int64))):
        np.add.at(total, bin_index(p, PROBABILITY_BINS), values)
    expected = expected_calibration_error(p, y, bins=PROBABILITY_BINS)
    assert binned_calibration_error(n, p_e9, outcome) == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("bins", [0, 3])
def test_binned_calibration_error_without_forecasts_is_unknown(bins: int) -> None:
    assert np.isnan(binned_calibration_error([0] * bins, [0] * bins, [0] * bins))


@pytest.mark.parametrize(
    ("n", "p_e9", "outcome", "complaint"),
    [
        ([1, -2, -3], [0, 0, 0], [0, 0, 0], r"n\[1\] = -2.0 is no count"),
        ([1, 2], [0], [0, 0], r"differ in shape: \(2,\), \(1,\), \(2,\)"),
        ([[1]], [[0]], [[0]], r"n has shape \(1, 1\); a histogram has one dimension"),
        ([1], [float("nan")], [0], r"p_e9\[0\] = nan is not finite"),
    ],
)
def test_binned_calibration_error_when_sums_make_no_histogram_refuses(
    n: ArrayLike, p_e9: ArrayLike, outcome: ArrayLike, complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        binned_calibration_error(n, p_e9, outcome)


def test_latency_bucket_by_hand() -> None:
    assert latency_bucket([0, 1, 2, 3, 4, 7, 8, 1023, 1024, 10**12]).tolist() == [0, 1, 2, 2, 3, 3, 4, 10, 11, 40]


@given(st.lists(st.integers(0, 10**12) | st.sampled_from([2**k + d for k in range(1, 39) for d in (-1, 0, 1)])))
def test_latency_bucket_is_the_bit_length(latency_ms: list[int]) -> None:
    found = latency_bucket(latency_ms)
    assert found.tolist() == [value.bit_length() for value in latency_ms]
    assert found.dtype == np.int64
    assert (found < LATENCY_BUCKETS).all()


@pytest.mark.parametrize(
    ("latency_ms", "complaint"),
    [
        ([3, -1], r"latency_ms\[1\] = -1 is out of range"),
        ([10**12 + 1], r"latency_ms\[0\] = 1000000000001 is out of range"),
        ([0.5], "latency_ms must be one dimension of integers"),
    ],
)
def test_latency_bucket_when_a_latency_is_out_of_range_names_it(latency_ms: ArrayLike, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        latency_bucket(latency_ms)


@pytest.mark.parametrize(
    ("n", "share", "expected"),
    [
        ([4], 0.95, 0.0),
        ([0, 0, 4], 0.0, 2.0),
        ([0, 0, 4], 0.25, 2.5),
        ([0, 4, 0, 4], 0.5, 2.0),  # the slowest of the fast half: the top of [1, 2)
        ([0, 4, 0, 4], 0.75, 6.0),
        ([1, 0, 0, 0, 1], 1.0, 16.0),
        ([0] * 40 + [1], 1.0, 2.0**40),
    ],
)
def test_latency_quantile_by_hand(n: list[int], share: float, expected: float) -> None:
    assert latency_quantile_ms(n, share) == expected


@given(latencies, probabilities | st.sampled_from([0.0, 0.5, 0.9, 0.95, 1.0]))
def test_latency_quantile_lies_in_the_bucket_of_the_quantile(latency_ms: list[int], share: float) -> None:
    n = np.bincount(latency_bucket(latency_ms), minlength=LATENCY_BUCKETS)
    found = latency_quantile_ms(n, share)
    expected = np.quantile(latency_ms, share, method="inverted_cdf")
    assert expected / 2 <= found <= 2 * expected


@given(latencies, probabilities, probabilities)
def test_latency_quantile_grows_with_the_share(latency_ms: list[int], one: float, other: float) -> None:
    n = np.bincount(latency_bucket(latency_ms))
    low, high = (latency_quantile_ms(n, share) for share in sorted((one, other)))
    assert low <= high


def test_latency_quantile_of_many_calls_is_close_to_that_of_the_calls() -> None:
    latency_ms = make_rows(50_000, seed=1).latency_ms
    n = np.bincount(latency_bucket(latency_ms))
    assert latency_quantile_ms(n, 0.3) == pytest.approx(np.quantile(latency_ms, 0.3), rel=0.01)


@pytest.mark.parametrize("n", [[], [0, 0, 0]])
def test_latency_quantile_without_calls_is_unknown(n: list[int]) -> None:
    assert np.isnan(latency_quantile_ms(n, 0.5))


@pytest.mark.parametrize(
    ("n", "share", "complaint"),
    [
        ([1], 1.5, r"share = 1.5 is out of range"),
        ([], float("nan"), r"share = nan is out of range"),
        ([3, -1], 0.5, r"n\[1\] = -1.0 is no count"),
        ([float("nan")], 0.5, r"n\[0\] = nan is not finite"),
        (3, 0.5, r"n has shape \(\)"),
    ],
)
def test_latency_quantile_when_input_is_out_of_range_refuses(n: ArrayLike, share: float, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        latency_quantile_ms(n, share)
