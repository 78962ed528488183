import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import FloatArray
from ensemble_pipeline.forecasting.degradation import cusum_threshold, detect_degradation

NAN, INF = float("nan"), float("inf")
seeds = st.integers(0, 2**32 - 1)
PAST = [0.05, -0.05] * 50  # mean 0, standard deviation .05 · sqrt(100/99)
STEP = 1 / np.sqrt(100 / 99)


def delays(shift: float, n_runs: int, n_watched: int, sd: float = 0.075) -> FloatArray:
    """Events up to the first alarm after a shift right behind the reference; infinite where there is none."""
    rng = np.random.default_rng(21)
    found = np.full(n_runs, INF)
    for run in range(n_runs):
        difference = rng.normal(scale=sd, size=100 + n_watched)
        difference[100:] += shift
        result = detect_degradation(difference)
        alarms = np.flatnonzero(result.statistic > result.threshold)
        if len(alarms):
            found[run] = alarms[0] + 1
    return found


@given(st.floats(0.05, 1.0), st.floats(50, 1e6))
def test_cusum_threshold_solves_siegmunds_equation(k: float, run_length: float) -> None:
    u = 2 * k * (cusum_threshold(k, run_length) + 1.166)
    assert (np.exp(u) - u - 1) / (2 * k**2) == pytest.approx(run_length, rel=1e-9)


def test_cusum_threshold_gives_the_run_length_that_a_simulated_cusum_has() -> None:
    rng = np.random.default_rng(3)
    threshold, total, first = cusum_threshold(0.25, 200), np.zeros(4000), np.zeros(4000)
    for t in range(1, 3000):
        total = np.maximum(0, total + rng.normal(size=4000) - 0.25)
        first = np.where((first == 0) & (total > threshold), t, first)
    assert (first > 0).all()
    assert first.mean() == pytest.approx(200, rel=0.05)


def test_cusum_threshold_of_so_short_a_run_length_is_zero() -> None:
    assert cusum_threshold(0.25, 1.0) == 0.0


@pytest.mark.parametrize(("k", "run_length"), [(0.0, 2000.0), (0.25, 0.0), (NAN, 2000.0), (0.25, INF)])
def test_cusum_threshold_when_out_of_range_refuses(k: float, run_length: float) -> None:
    with pytest.raises(InputError):
        cusum_threshold(k, run_length)


def test_detect_degradation_by_hand() -> None:
    result = detect_degradation([*PAST, 0.05, 0.05, -0.10, 0.10, 0.0])
    # steps in standard deviations, less .25 each: up, up, down to 0, up two, none
    expected = [STEP - 0.25, 2 * STEP - 0.5, 0.0, 2 * STEP - 0.25, 2 * STEP - 0.5]
    np.testing.assert_allclose(result.statistic, expected, atol=1e-12)
    assert (result.is_degraded, result.since, result.n) == (False, 103, 105)
    assert result.threshold == cusum_threshold(0.15, 2000.0)


@given(seeds)
def test_detect_degradation_is_the_recursion(seed: int) -> None:
    difference = np.random.default_rng(seed).normal(scale=0.075, size=300)
    past = difference[:100]
    expected = [0.0]
    for d in difference[100:]:
        expected.append(max(0.0, expected[-1] + (d - past.mean()) / past.std(ddof=1) - 0.25))
    np.testing.assert_allclose(detect_degradation(difference).statistic, expected[1:], atol=1e-10)


def test_detect_degradation_holds_its_alarm_until_the_excursion_is_over() -> None:
    up, down = [0.10] * 12, [-0.05]
    n_down = 17  # 12 (2 · .995 - .25) = 20.9 comes down by 1.245 a step
    risen = detect_degradation([*PAST, *up])
    sinking = detect_degradation([*PAST, *up, *down * (n_down - 1)])
    over = detect_degradation([*PAST, *up, *down * n_down])
    assert (risen.is_degraded, risen.since) == (True, 100)
    assert 0 < sinking.statistic[-1] < sinking.threshold
    assert (sinking.is_degraded, sinking.since) == (True, 100)
    assert (over.statistic[-1], over.is_degraded, over.since) == (0.0, False, None)


def test_detect_degradation_after_a_recovery_dates_the_new_excursion() -> None:
    result = detect_degradation([*PAST, *[0.10] * 12, *[-0.05] * 30, *[0.05] * 2])
    assert (result.is_degraded, result.since) == (False, 142)


@pytest.mark.parametrize("n", [0, 1, 99, 100])
def test_detect_degradation_without_an_event_after_the_reference_has_no_evidence(n: int) -> None:
    result = detect_degradation(PAST[:n])
    assert (result.is_degraded, result.statistic.tolist(), result.since, result.n) == (False, [], None, n)


@pytest.mark.parametrize("level", [0.0, 0.1, -0.3])
def test_detect_degradation_of_a_past_without_spread_takes_the_smallest_scale(level: float) -> None:
    result = detect_degradation([*[level] * 100, *[level] * 50, level + 0.05])
    assert result.statistic[:50].tolist() == [0.0] * 50
    # .05 / .02 - .25
    assert result.statistic[-1] == pytest.approx(2.25)
    assert not result.is_degraded


@given(seeds, st.floats(-0.5, 0.5))
def test_detect_degradation_of_a_model_that_was_bad_from_the_start_is_that_of_a_good_one(
    seed: int, level: float
) -> None:
    difference = np.random.default_rng(seed).normal(scale=0.075, size=250)
    moved = detect_degradation(difference + level)
    np.testing.assert_allclose(moved.statistic, detect_degradation(difference).statistic, atol=1e-9)


def test_detect_degradation_does_not_mind_a_model_that_improves() -> None:
    rng = np.random.default_rng(2)
    difference = np.append(rng.normal(scale=0.075, size=100), rng.normal(loc=-0.05, scale=0.075, size=400))
    result = detect_degradation(difference)
    assert not result.is_degraded
    assert result.statistic.max() < result.threshold / 2


def test_detect_degradation_with_an_estimated_reference_rarely_gives_a_false_alarm() -> None:
    share = np.mean(delays(shift=0.0, n_runs=2000, n_watched=400) < INF)
    assert share == pytest.approx(0.10, abs=0.03)


def test_detect_degradation_finds_a_real_shift_after_the_documented_delay() -> None:
    delay = delays(shift=0.03, n_runs=2000, n_watched=400)
    assert np.median(delay) == pytest.approx(67, abs=5)
    assert np.mean(delay < INF) == pytest.approx(0.96, abs=0.02)


def test_detect_degradation_dates_a_large_shift_to_where_it_began() -> None:
    rng = np.random.default_rng(8)
    difference = rng.normal(scale=0.075, size=260)
    difference[200:] += 0.15
    result = detect_degradation(difference)
    assert result.is_degraded
    assert result.since is not None
    assert abs(result.since - 200) <= 15


@pytest.mark.parametrize(
    ("difference", "options", "complaint"),
    [
        ([NAN], {}, r"difference\[0\] = nan"),
        ([[0.1]], {}, r"difference has shape \(1, 1\)"),
        ([0.1], {"reference_n": 16}, "reference_n = 16 .* more than 16"),
        ([0.1], {"reference_n": 1, "k": 2}, "reference_n = 1 "),
        ([0.1], {"reference_n": 0}, "reference_n = 0 "),
        ([0.1], {"k": 0}, "k = 0"),
        ([0.1], {"run_length": -1}, "run_length = -1"),
    ],
)
def test_detect_degradation_when_out_of_range_refuses(
    difference: list[float], options: dict[str, int], complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        detect_degradation(difference, **options)
