from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import BoolArray, FloatArray
from ensemble_pipeline.forecasting.sequences import (
    MIN_OBSERVATIONS,
    ConfidenceSequence,
    confidence_sequence,
)

NAN, INF = float("nan"), float("inf")
SD = 0.0888
LOOKS = np.arange(20, 801, 10) - 1
observations = st.lists(st.floats(-1, 1), min_size=MIN_OBSERVATIONS, max_size=60)


def half_width(n: int, tuned_at: float = 100, level: float = 0.95) -> float:
    """Half-width after n observations of mean 0 and standard deviation `SD`."""
    x = np.arange(n) - (n - 1) / 2
    sequence = confidence_sequence(x * SD / x.std(ddof=1), level, tuned_at)
    return float(sequence.high[-1] - sequence.mean[-1])


def normal_differences(rng: np.random.Generator) -> FloatArray:
    return rng.normal(scale=SD, size=800)


def brier_differences(rng: np.random.Generator) -> FloatArray:
    """Of two forecasters equally far from the truth in log-odds, sd about .096."""
    truth = rng.uniform(0.02, 0.98, size=800)
    y = rng.uniform(size=800) < truth
    z = np.log(truth / (1 - truth)) + rng.normal(scale=0.4, size=(2, 800))
    first, second = np.square(1 / (1 + np.exp(-z)) - y)
    return np.asarray(first - second)


def longshot_differences(rng: np.random.Generator) -> FloatArray:
    """Of .05 and .15, where one in ten comes true: equally good, decided by rare outcomes."""
    y = rng.uniform(size=800) < 0.1
    return np.asarray(np.square(0.05 - y) - np.square(0.15 - y))


def excludes_zero(sequence: ConfidenceSequence) -> BoolArray:
    return (sequence.low > 0) | (sequence.high < 0)


def fixed_interval_excludes_zero(x: FloatArray) -> BoolArray:
    return np.array([abs(x[: i + 1].mean()) > 1.96 * x[: i + 1].std(ddof=1) / np.sqrt(i + 1) for i in LOOKS])


@pytest.mark.parametrize(("n", "expected"), [(100, 0.0275), (200, 0.0194), (400, 0.0138), (800, 0.0101)])
def test_half_widths_are_those_of_the_reference(n: int, expected: float) -> None:
    assert half_width(n) == pytest.approx(expected, rel=0.03)


def test_half_width_by_hand() -> None:
    # level 1 - 1/e: -ln(alpha) = 1, so that rho² = (2 + ln 3) / 100; at t = 100 with u = 2 + ln 3 = 3.0986
    # sqrt(2 · 4.0986 / (100 · 3.0986) · (ln(4.0986) / 2 + 1)) = sqrt(.0264545 · 1.705325) = .212399
    assert half_width(100, level=1 - np.exp(-1)) == pytest.approx(0.212399 * SD, rel=1e-5)


@pytest.mark.parametrize("n", [20, 100, 1000])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_half_width_is_as_tight_as_it_can_be_at_the_n_it_is_tuned_for(n: int, level: float) -> None:
    best = min(half_width(n, n * factor, level) for factor in np.geomspace(0.1, 10, 101))
    assert half_width(n, n, level) == pytest.approx(best, rel=3e-3)


@given(observations)
def test_sequence_holds_the_running_mean_and_standard_deviation(x: list[float]) -> None:
    sequence = confidence_sequence(x)
    for n in range(MIN_OBSERVATIONS, len(x) + 1):
        assert sequence.mean[n - 1] == pytest.approx(np.mean(x[:n]), abs=1e-14)
        expected = np.std(x[:n], ddof=1) / SD * half_width(n)
        assert sequence.high[n - 1] - sequence.low[n - 1] == pytest.approx(2 * expected, abs=1e-12)


@given(observations, st.integers(1, 60))
def test_sequence_is_not_changed_by_what_comes_later(x: list[float], n: int) -> None:
    sequence, earlier = confidence_sequence(x), confidence_sequence(x[:n])
    assert earlier.low.tolist() == sequence.low[:n].tolist()
    assert earlier.high.tolist() == sequence.high[:n].tolist()


@given(observations)
def test_sequence_of_the_mirrored_differences_is_mirrored(x: list[float]) -> None:
    sequence, mirrored = confidence_sequence(x), confidence_sequence(np.negative(x))
    assert mirrored.low.tolist() == np.negative(sequence.high).tolist()


@pytest.mark.parametrize("draw", [normal_differences, brier_differences])
def test_sequence_under_peeking_rarely_excludes_a_true_zero_where_a_fixed_interval_often_does(
    draw: Callable[[np.random.Generator], FloatArray],
) -> None:
    rng = np.random.default_rng(11)
    runs = [draw(rng) for _ in range(1000)]
    assert np.mean([excludes_zero(confidence_sequence(x))[LOOKS].any() for x in runs]) < 0.04
    assert np.mean([fixed_interval_excludes_zero(x).any() for x in runs]) > 0.25


def test_sequence_of_longshots_can_be_trusted_from_a_hundred_events_on_and_not_before() -> None:
    rng = np.random.default_rng(12)
    wrong = np.array([excludes_zero(confidence_sequence(longshot_differences(rng))) for _ in range(1000)])
    assert wrong[:, 99:].any(axis=1).mean() < 0.07
    assert wrong.any(axis=1).mean() > 0.25


@pytest.mark.parametrize(("gap", "within", "expected"), [(0.03, 100, 0.74), (0.01, 800, 0.65)])
def test_sequence_finds_a_true_gap_as_often_as_documented(gap: float, within: int, expected: float) -> None:
    rng = np.random.default_rng(13)
    runs = [confidence_sequence(rng.normal(-gap, SD, size=within)) for _ in range(1000)]
    assert np.mean([excludes_zero(sequence).any() for sequence in runs]) == pytest.approx(expected, abs=0.05)
    assert np.mean([(sequence.low > 0).any() for sequence in runs]) < 0.01


def test_sequence_of_few_observations_that_agree_gives_no_certainty() -> None:
    sequence = confidence_sequence([-0.1] * MIN_OBSERVATIONS)
    assert sequence.low[:-1].tolist() == [-INF] * (MIN_OBSERVATIONS - 1)
    assert sequence.high[:-1].tolist() == [INF] * (MIN_OBSERVATIONS - 1)
    assert np.isfinite([sequence.low[-1], sequence.high[-1]]).all()


@pytest.mark.parametrize("x", [[], [0.1]])
def test_sequence_of_hardly_any_observations_is_all_mean(x: list[float]) -> None:
    sequence = confidence_sequence(x)
    assert sequence.mean.tolist() == x
    assert sequence.high.tolist() == [INF] * len(x)


@pytest.mark.parametrize("level", [1e-18, 1 - 1e-16])
def test_sequence_at_an_extreme_level_is_a_number(level: float) -> None:
    assert np.isfinite(half_width(50, level=level))


@pytest.mark.parametrize(
    ("x", "level", "tuned_at", "complaint"),
    [
        ([0.0, NAN], 0.95, 100, r"x\[1\] = nan"),
        ([INF], 0.95, 100, r"x\[0\] = inf"),
        ([[0.0, 0.1]], 0.95, 100, r"x has shape \(1, 2\)"),
        ([0.0], 1.0, 100, "level = 1.0"),
        ([0.0], 0.95, 0, "tuned_at = 0"),
    ],
)
def test_sequence_when_input_is_out_of_range_refuses(
    x: ArrayLike, level: float, tuned_at: float, complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        confidence_sequence(x, level, tuned_at)
