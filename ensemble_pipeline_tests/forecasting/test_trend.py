import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import FloatArray, IntArray
from ensemble_pipeline.forecasting.trend import Direction, trend

NAN, INF = float("nan"), float("inf")
seeds = st.integers(0, 2**32 - 1)


def events(seed: int, n_events: int, slope: float = 0.0) -> tuple[FloatArray, FloatArray, IntArray]:
    """One to four questions an event, on neighbouring days, with an error in common."""
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(n_events), rng.integers(1, 5, n_events))
    days = rng.uniform(0, 60, n_events)[cluster] + rng.uniform(0, 2, len(cluster))
    shared = rng.normal(scale=0.06, size=n_events)[cluster]
    return days, slope * days + shared + rng.normal(scale=0.05, size=len(cluster)), cluster


def error_by_the_sandwich(days: FloatArray, difference: FloatArray, cluster: IntArray) -> float:
    """The textbook's full matrices, event by event."""
    x = np.column_stack([np.ones_like(days), days])
    residual = difference - x @ np.linalg.lstsq(x, difference)[0]
    bread, meat = np.linalg.inv(x.T @ x), np.zeros((2, 2))
    labels = set(cluster.tolist())
    for label in labels:
        score = np.zeros(2)
        for i in np.flatnonzero(cluster == label):
            score += x[i] * residual[i]
        meat += np.outer(score, score)
    n, g = len(days), len(labels)
    return float(np.sqrt((bread @ meat @ bread)[1, 1] * g / (g - 1) * (n - 1) / (n - 2)))


@given(seeds, st.integers(3, 60), st.sampled_from([0.5, 0.95]))
def test_trend_agrees_with_least_squares_and_the_sandwich(seed: int, n_events: int, level: float) -> None:
    days, difference, cluster = events(seed, n_events, 0.001)
    line = trend(days, difference, cluster, level)
    x = np.column_stack([np.ones_like(days), days])
    assert line.slope_per_day == pytest.approx(np.linalg.lstsq(x, difference)[0][1], rel=1e-7, abs=1e-12)
    half = stats.t.ppf((1 + level) / 2, n_events - 1) * error_by_the_sandwich(days, difference, cluster)
    assert line.high - line.low == pytest.approx(2 * half, rel=1e-6)
    assert line.high + line.low == pytest.approx(2 * line.slope_per_day, rel=1e-6, abs=1e-12)


def test_trend_by_hand() -> None:
    # x = -1, 0, 1; slope 1/2; residuals -1/6, 1/3, -1/6; scores 1/6, 0, -1/6; s² = 3/2 · 2/1 · 1/18 / 4 = 1/24
    line = trend([0, 1, 2], [0, 1, 1], ["a", "b", "c"])
    assert line.slope_per_day == pytest.approx(0.5)
    assert line.high == pytest.approx(0.5 + 4.302653 / np.sqrt(24), rel=1e-6)
    assert line.direction == Direction.NOT_ENOUGH_EVIDENCE


@pytest.mark.parametrize(
    ("slope", "direction"), [(-0.003, Direction.IMPROVING), (0.003, Direction.DECLINING), (0.0, Direction.STABLE)]
)
def test_trend_names_where_it_goes(slope: float, direction: Direction) -> None:
    line = trend(*events(1, 150, slope))
    assert line.direction == direction
    assert line.low < slope < line.high


def test_trend_below_the_least_number_of_events_has_a_slope_but_no_direction() -> None:
    days, difference, cluster = np.arange(57.0), 0.01 * np.arange(57.0), np.repeat(np.arange(19), 3)
    line = trend(days, difference, cluster)
    assert line.slope_per_day == pytest.approx(0.01)
    assert line.direction == Direction.NOT_ENOUGH_EVIDENCE
    assert trend(days, difference, cluster, min_clusters=19).direction == Direction.DECLINING


@pytest.mark.parametrize(
    ("days", "cluster"),
    [
        ([], []),
        ([0.0, 1.0], [0, 1]),
        ([0.0, 1.0, 2.0], [0, 0, 0]),
        ([0.1] * 30, list(range(30))),
    ],
)
def test_trend_where_no_line_can_be_drawn_says_so(days: list[float], cluster: list[int]) -> None:
    line = trend(days, np.arange(len(days)) * 0.1, cluster, min_clusters=0)
    assert np.isnan(line.slope_per_day)
    assert (line.low, line.high, line.direction) == (-INF, INF, Direction.NOT_ENOUGH_EVIDENCE)


@pytest.mark.parametrize("level", [-0.01, 0.0, 0.1])
def test_trend_of_a_constant_is_exactly_flat_and_stable(level: float) -> None:
    days = 20_400 + np.arange(40) * 0.1
    line = trend(days, np.full(40, level), np.arange(40))
    assert (line.slope_per_day, line.low, line.high, line.direction) == (0.0, 0.0, 0.0, Direction.STABLE)


@given(seeds, st.floats(-1e4, 1e4), st.sampled_from([0.5, 2.0]))
def test_trend_depends_on_neither_origin_nor_unit_nor_order(seed: int, origin: float, unit: float) -> None:
    days, difference, cluster = events(seed, 25, -0.001)
    line = trend(days, difference, cluster)
    order = np.random.default_rng(seed).permutation(len(days))
    moved = trend((days * unit + origin)[order], difference[order] + 0.3, 1000 - cluster[order])
    assert moved.slope_per_day * unit == pytest.approx(line.slope_per_day, rel=1e-5, abs=1e-10)
    assert moved.low * unit == pytest.approx(line.low, rel=1e-5, abs=1e-10)


def test_trend_interval_covers_the_truth_as_often_as_it_says_although_questions_err_together() -> None:
    lines = [trend(*events(seed, 60, 0.001)) for seed in range(1500)]
    assert np.mean([line.low <= 0.001 <= line.high for line in lines]) == pytest.approx(0.945, abs=0.02)


def test_trend_of_copies_is_no_surer_than_the_event() -> None:
    days, difference, cluster = events(3, 40)
    once = trend(days, difference, cluster)
    tenfold = trend(np.repeat(days, 10), np.repeat(difference, 10), np.repeat(cluster, 10))
    assert tenfold.slope_per_day == pytest.approx(once.slope_per_day)
    # but for (n - 1)/(n - 2)
    assert tenfold.high - tenfold.low == pytest.approx(once.high - once.low, rel=0.01)


@pytest.mark.parametrize(
    ("days", "difference", "cluster", "level", "complaint"),
    [
        ([NAN], [0.1], [0], 0.95, r"days\[0\] = nan"),
        ([0.0], [INF], [0], 0.95, r"difference\[0\] = inf"),
        ([0.0, 1.0], [0.1], [0], 0.95, r"have shapes \(2,\), \(1,\), \(1,\)"),
        ([[0.0]], [[0.1]], [[0]], 0.95, r"have shapes \(1, 1\)"),
        ([0.0], [0.1], [0], 1.0, "level = 1.0"),
    ],
)
def test_trend_when_malformed_refuses(
    days: list[float], difference: list[float], cluster: list[int], level: float, complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        trend(days, difference, cluster, level)
