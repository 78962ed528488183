import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting import intervals

NAN, INF = float("nan"), float("inf")
DEGREES_OF_FREEDOM = [1, 1.5, 2, 3, 7, 19, 99, 1000, 1e5, 1e7]


@pytest.mark.parametrize("q", [1e-12, 0.001, 0.3, 0.5, 0.9, 0.975])
def test_normal_quantile_agrees_with_scipy(q: float) -> None:
    assert intervals.normal_quantile(q) == pytest.approx(stats.norm.ppf(q), rel=1e-12)


@pytest.mark.parametrize("df", [*DEGREES_OF_FREEDOM, 1e9])
def test_student_t_quantile_agrees_with_scipy(df: float) -> None:
    levels = [1e-12, 1e-6, 0.001, 0.025, 0.3, 0.4999, 0.6, 0.9, 0.975, 0.9995]
    found = [intervals.student_t_quantile(q, df) for q in levels]
    np.testing.assert_allclose(found, stats.t.ppf(levels, df), rtol=1e-6)


@pytest.mark.parametrize("q", [1e-6, 0.2, 0.7, 0.995])
def test_student_t_quantile_of_one_and_two_degrees_of_freedom_is_the_closed_form(q: float) -> None:
    assert intervals.student_t_quantile(q, 1) == pytest.approx(np.tan(np.pi * (q - 0.5)), rel=1e-9)
    assert intervals.student_t_quantile(q, 2) == pytest.approx((2 * q - 1) / np.sqrt(2 * q * (1 - q)), rel=1e-12)


def test_student_t_quantile_far_beyond_any_table_stays_finite() -> None:
    assert intervals.student_t_quantile(1e-300, 1) == pytest.approx(-1e300 / np.pi, rel=1e-9)


@given(st.floats(0.001, 0.499), st.floats(1, 500))
def test_student_t_quantile_is_odd_and_undone_by_the_p_value(q: float, df: float) -> None:
    t = intervals.student_t_quantile(q, df)
    assert intervals.student_t_quantile(1 - q, df) == pytest.approx(-t, rel=1e-9)
    assert float(intervals.student_t_two_sided_p(t, df)) == pytest.approx(2 * q, rel=1e-9)


@pytest.mark.parametrize("df", DEGREES_OF_FREEDOM)
def test_student_t_two_sided_p_agrees_with_scipy_into_the_tails(df: float) -> None:
    t = np.array([0.0, 1e-6, 0.1, 0.5, 1.0, 1.7, 1.74, 2.0, -3.0, 5.0, -12.0, 30.0])
    np.testing.assert_allclose(intervals.student_t_two_sided_p(t, df), 2 * stats.t.sf(np.abs(t), df), rtol=1e-6)


def test_student_t_two_sided_p_takes_degrees_of_freedom_one_by_one() -> None:
    p = intervals.student_t_two_sided_p([[1.0, 2.0], [NAN, -INF]], [[1, 2], [3, 4]])
    # t = 2 on two degrees of freedom: 1 - 2/sqrt(6)
    np.testing.assert_allclose(p, [[0.5, 1 - 2 / np.sqrt(6)], [NAN, 0.0]])


def test_student_t_two_sided_p_of_nothing_is_nothing() -> None:
    assert intervals.student_t_two_sided_p([], []).shape == (0,)


@given(st.floats(1, 200), st.lists(st.floats(0, 50), min_size=2, max_size=10))
def test_student_t_two_sided_p_falls_with_distance(df: float, t: list[float]) -> None:
    p = intervals.student_t_two_sided_p(np.sort(t), df)
    assert ((p >= 0) & (p <= 1)).all()
    assert (np.diff(p) <= 1e-12).all()


def test_clustered_interval_by_table() -> None:
    # t at 97.5%: 12.706 on 1, 4.303 on 2, 2.228 on 10 degrees of freedom
    low, high = intervals.clustered_interval([0.5, 0.5, 0.5], [0.1, 0.1, 0.1], [2, 3, 11])
    np.testing.assert_allclose(low, [0.5 - 1.2706, 0.5 - 0.4303, 0.5 - 0.2228], atol=1e-4)
    np.testing.assert_allclose(high, [0.5 + 1.2706, 0.5 + 0.4303, 0.5 + 0.2228], atol=1e-4)


@pytest.mark.parametrize(("estimate", "se", "clusters"), [(0.1, 0.1, 1), (0.1, NAN, 30), (NAN, 0.1, 30), (NAN, NAN, 0)])
def test_clustered_interval_where_nothing_is_known_is_the_whole_line(estimate: float, se: float, clusters: int) -> None:
    low, high = intervals.clustered_interval([estimate, 0.1], [se, 0.0], [clusters, 30])
    assert (low.tolist(), high.tolist()) == ([-INF, 0.1], [INF, 0.1])


def test_clustered_interval_of_a_table_agrees_with_scipy() -> None:
    rng = np.random.default_rng(4)
    estimate, se, clusters = rng.normal(size=(3, 5)), rng.uniform(size=(3, 5)), rng.integers(2, 60, (3, 5))
    low, high = intervals.clustered_interval(estimate, se, clusters, level=0.8)
    expected = stats.t.interval(0.8, clusters - 1, loc=estimate, scale=se)
    np.testing.assert_allclose(low, expected[0], rtol=1e-9)
    np.testing.assert_allclose(high, expected[1], rtol=1e-9)


def test_clustered_interval_covers_the_mean_of_few_events_as_often_as_it_says() -> None:
    x = np.random.default_rng(7).normal(loc=0.3, size=(20_000, 5))
    low, high = intervals.clustered_interval(x.mean(axis=1), x.std(axis=1, ddof=1) / np.sqrt(5), np.full(20_000, 5))
    assert np.mean((low <= 0.3) & (high >= 0.3)) == pytest.approx(0.95, abs=0.005)


@pytest.mark.parametrize("q", [0.0, 1.0, NAN])
def test_quantiles_outside_zero_to_one_refuse(q: float) -> None:
    with pytest.raises(InputError, match="q = "):
        intervals.normal_quantile(q)
    with pytest.raises(InputError, match="q = "):
        intervals.student_t_quantile(q, 5)


@pytest.mark.parametrize("df", [0.5, 0.0, -1.0, NAN, INF])
def test_degrees_of_freedom_below_one_or_not_finite_refuse(df: float) -> None:
    with pytest.raises(InputError, match="df = "):
        intervals.student_t_quantile(0.9, df)
    with pytest.raises(InputError, match=r"df\[1\] = "):
        intervals.student_t_two_sided_p([1.0, 1.0], [1.0, df])


def test_student_t_two_sided_p_of_two_shapes_refuses() -> None:
    with pytest.raises(InputError, match=r"df has shape \(3,\)"):
        intervals.student_t_two_sided_p([1.0, 1.0], [1, 2, 3])


@pytest.mark.parametrize(
    ("estimate", "se", "clusters", "level", "complaint"),
    [
        ([INF], [0.1], [30], 0.95, r"estimate\[0\] = inf"),
        ([0.1], [-0.1], [30], 0.95, r"standard_error\[0\] = -0.1"),
        ([0.1], [INF], [30], 0.95, r"standard_error\[0\] = inf"),
        ([0.1], [0.1], [-1], 0.95, r"clusters\[0\] = -1"),
        ([0.1], [0.1], [30], 1.0, "level = 1.0"),
        ([0.1], [0.1, 0.1], [30], 0.95, r"standard_error has shape \(2,\)"),
        ([0.1], [0.1], [30, 30], 0.95, r"clusters has shape \(2,\)"),
    ],
)
def test_clustered_interval_when_out_of_range_refuses(
    estimate: list[float], se: list[float], clusters: list[int], level: float, complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        intervals.clustered_interval(estimate, se, clusters, level)


def test_bootstrap_interval_of_independent_rows_agrees_with_scipy() -> None:
    rng = np.random.default_rng(5)
    difference = rng.normal(0.01, 0.05, 200)
    ours = intervals.bootstrap_interval(difference, np.arange(200), draws=20_000)
    theirs = stats.bootstrap(
        (difference,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(6)
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=3e-4)


def test_bootstrap_interval_is_wider_where_rows_err_together() -> None:
    rng = np.random.default_rng(5)
    difference = np.repeat(rng.normal(0, 0.05, 40), 10)
    apart = intervals.bootstrap_interval(difference, np.arange(400))
    together = intervals.bootstrap_interval(difference, np.repeat(np.arange(40), 10))
    assert apart is not None
    assert together is not None
    assert together[1] - together[0] > 2.5 * (apart[1] - apart[0])


def test_bootstrap_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(8)
    hits = 0
    for _ in range(300):
        found = intervals.bootstrap_interval(np.repeat(rng.normal(0, 1, 60), 3), np.repeat(np.arange(60), 3), draws=400)
        assert found is not None
        hits += found[0] <= 0 <= found[1]
    assert 0.90 <= hits / 300 <= 0.98


@pytest.mark.parametrize(
    ("difference", "cluster", "says"),
    [([0.1, np.nan], [0, 1], "difference"), ([0.1], [0, 1], "shape"), ([[0.1]], [[0]], "shape")],
)
def test_bootstrap_interval_of_what_is_no_column_of_numbers_is_refused(
    difference: list[float], cluster: list[int], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        intervals.bootstrap_interval(difference, cluster)
