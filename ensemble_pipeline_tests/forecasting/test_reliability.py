import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting import reliability
from ensemble_pipeline.forecasting.arrays import FloatArray
from ensemble_pipeline_tests.forecasting.strategies import probabilities

RNG = np.random.default_rng(7)
P = RNG.uniform(size=500)
Y = (RNG.uniform(size=500) < P).astype(np.int64)
PERFECT_ERROR = [(30, 0.178), (100, 0.099), (500, 0.045)]
"""Mean calibration error of a perfect forecaster over n forecasts, as the docstring states it."""


def perfect_outcomes(p: FloatArray, rng: np.random.Generator) -> FloatArray:
    return (rng.uniform(size=len(p)) < p).astype(np.float64)


def test_reliability_bins_put_an_edge_into_the_upper_bin_and_one_into_the_last() -> None:
    table = reliability.reliability_bins([0.29, 0.3, 0.7, 1.0], [0, 1, 0, 1], bins=100)
    assert np.flatnonzero(table.n).tolist() == [29, 30, 70, 99]
    assert table.lower[29] == 0.29
    assert np.isnan(table.mean_p[0])


def test_reliability_bins_keep_every_forecast() -> None:
    table = reliability.reliability_bins(P, Y, bins=7)
    assert table.n.sum() == len(P)
    assert np.nansum(table.n * table.mean_p) == pytest.approx(P.sum())
    assert np.nansum(table.n * table.mean_outcome) == pytest.approx(Y.sum())


@given(st.lists(probabilities, max_size=50), st.integers(1, 120))
def test_bin_index_puts_every_forecast_between_the_edges_of_its_bin(p: list[float], bins: int) -> None:
    index = reliability.bin_index(p, bins)
    table = reliability.reliability_bins(p, [0] * len(p), bins)
    assert (table.lower[index] <= p).all()
    assert ((p < table.upper[index]) | (np.array(p) == 1)).all()


@pytest.mark.parametrize(
    ("p", "bins", "complaint"),
    [
        ([0.5], 0, "bins = 0"),
        ([0.5, 1.5], 10, r"p\[1\] = 1.5"),
        ([float("nan")], 10, r"p\[0\] = nan"),
        ([[0.5, 0.5]], 10, r"p has shape \(1, 2\)"),
    ],
)
def test_tables_over_bins_when_input_is_out_of_range_refuse(p: ArrayLike, bins: int, complaint: str) -> None:
    for refused in (reliability.bin_index, reliability.null_band):
        with pytest.raises(InputError, match=complaint):
            refused(p, bins)
    with pytest.raises(InputError, match=complaint):
        reliability.reliability_bins(p, np.zeros_like(p), bins)


def test_calibration_error_of_an_honest_coin_is_zero_and_of_a_liar_one() -> None:
    assert reliability.expected_calibration_error([0.5] * 4, [0, 1, 0, 1]) == 0
    assert reliability.expected_calibration_error([0.0, 1.0], [1, 0]) == 1


def test_calibration_error_without_forecasts_is_unknown() -> None:
    assert np.isnan(reliability.expected_calibration_error([], []))


@pytest.mark.parametrize(("n", "mean"), PERFECT_ERROR)
def test_calibration_error_of_a_perfect_forecaster_is_biased_upwards_as_documented(n: int, mean: float) -> None:
    rng = np.random.default_rng(3)
    said = rng.uniform(size=(600, n))
    errors = [reliability.expected_calibration_error(p, perfect_outcomes(p, rng)) for p in said]
    assert np.mean(errors) == pytest.approx(mean, rel=0.04)


@pytest.mark.parametrize(("n", "mean"), PERFECT_ERROR)
def test_null_band_has_the_median_error_of_a_perfect_forecaster(n: int, mean: float) -> None:
    said = np.random.default_rng(4).uniform(size=(20, n))
    medians = [reliability.null_band(p, level=0.5, draws=200).calibration_error for p in said]
    assert np.mean(medians) == pytest.approx(mean, rel=0.08)


def test_null_band_of_forecasts_that_are_certain_has_no_width() -> None:
    band = reliability.null_band([0.0, 0.0, 1.0], bins=2)
    assert (band.low.tolist(), band.high.tolist(), band.calibration_error) == ([0, 1], [0, 1], 0)


def test_null_band_of_one_bin_is_the_binomial_interval() -> None:
    # 20 fair coins: P(5 or fewer) = .0207, P(6 or fewer) = .0577, so that 5% lies at 6 and, mirrored, 95% at 14
    band = reliability.null_band([0.5] * 20, bins=1, draws=20_000)
    assert (band.low.tolist(), band.high.tolist()) == ([0.3], [0.7])
    # |heads - 10|: P(3 or less) = .8847, P(4 or less) = .9586
    assert band.calibration_error == pytest.approx(0.2)


def test_null_band_holds_a_perfect_forecaster_as_often_as_its_level_says() -> None:
    rng = np.random.default_rng(5)
    p = rng.uniform(size=400)
    band = reliability.null_band(p, level=0.80, draws=2000, seed=1)
    is_inside, is_below = [], []
    for _ in range(600):
        y = perfect_outcomes(p, rng)
        came = reliability.reliability_bins(p, y).mean_outcome
        is_inside.append((came >= band.low) & (came <= band.high))
        is_below.append(reliability.expected_calibration_error(p, y) <= band.calibration_error)
    # limits are outcomes that occur: some 40 forecasts in a bin overshoot the level by a few percent
    assert 0.79 <= np.mean(is_inside) <= 0.89
    assert np.mean(is_below) == pytest.approx(0.80, abs=0.05)


def test_null_band_excludes_a_forecaster_who_is_too_bold() -> None:
    rng = np.random.default_rng(6)
    truth = rng.uniform(0.3, 0.7, size=1000)
    p = 0.5 + 2.4 * (truth - 0.5)
    y = perfect_outcomes(truth, rng)
    band = reliability.null_band(p)
    came = reliability.reliability_bins(p, y).mean_outcome
    assert reliability.expected_calibration_error(p, y) > 2 * band.calibration_error
    assert came[1] > band.high[1]
    assert came[8] < band.low[8]


def test_null_band_of_forecasts_of_one_market_is_as_wide_as_that_of_one_forecast() -> None:
    p = P[:60]
    alone = reliability.null_band(p)
    repeated = reliability.null_band(np.repeat(p, 5), cluster=np.repeat(np.arange(60), 5))
    np.testing.assert_allclose(repeated.low, alone.low)
    np.testing.assert_allclose(repeated.high, alone.high)
    assert repeated.calibration_error == pytest.approx(alone.calibration_error)


def test_null_band_where_markets_are_taken_for_many_is_too_narrow() -> None:
    p = np.repeat(P[:60], 5)
    independent = reliability.null_band(p)
    clustered = reliability.null_band(p, cluster=[f"market {i // 5}" for i in range(300)])
    width, clustered_width = independent.high - independent.low, clustered.high - clustered.low
    assert (clustered_width > 1.5 * width).all()
    assert clustered.calibration_error > 1.5 * independent.calibration_error


def test_null_band_where_two_forecasts_of_a_market_agree_lets_them_win_and_lose_together() -> None:
    band = reliability.null_band([0.5, 0.5], bins=1, level=0.4, cluster=["a", "a"])
    assert (band.low.tolist(), band.high.tolist(), band.calibration_error) == ([0], [1], 0.5)


def test_null_band_by_seed_is_the_same_again_and_another_for_another() -> None:
    first, again, other = (reliability.null_band(P, draws=50, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(again.low, first.low)
    assert again.calibration_error == first.calibration_error
    assert other.calibration_error != first.calibration_error


def test_null_band_grows_with_its_level() -> None:
    narrow, wide = (reliability.null_band(P, level=level) for level in (0.5, 0.99))
    assert (wide.low < narrow.low).all()
    assert (wide.high > narrow.high).all()
    assert wide.calibration_error > narrow.calibration_error


def test_null_band_of_empty_bins_is_unknown() -> None:
    band = reliability.null_band([0.05, 0.95], bins=3)
    assert np.isnan(band.low).tolist() == np.isnan(band.high).tolist() == [False, True, False]
    nothing = reliability.null_band([], bins=2)
    assert np.isnan([*nothing.low, *nothing.high, nothing.calibration_error]).all()


def test_null_band_when_arguments_are_out_of_range_refuses() -> None:
    with pytest.raises(InputError, match="level = 1"):
        reliability.null_band(P, level=1.0)
    with pytest.raises(InputError, match="draws = 0"):
        reliability.null_band(P, draws=0)
    with pytest.raises(InputError, match=r"cluster has shape \(2,\); it must be \(500,\)"):
        reliability.null_band(P, cluster=["a", "b"])
