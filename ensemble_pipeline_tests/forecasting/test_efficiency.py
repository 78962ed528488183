import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.efficiency import cost_per_answer, gain_per_cost

NAN, INF = float("nan"), float("inf")
Z = float(stats.norm.ppf(0.975))

gains = st.floats(-1, 1)
errors = st.floats(0.001, 1)
costs = st.floats(1e-4, 10)
# a cost known to less than half of itself is shown to differ from zero at every level used here
relative_errors = st.floats(0, 0.45)
levels = st.floats(0.5, 0.97)


def test_gain_per_cost_by_hand() -> None:
    # g = 4 ± 1, c = 2 ± 0.5, z = 1.959964: a = 4 - .960365 = 3.039635, d = 16 - 3.841459 = 12.158541;
    # root = sqrt(64 - a d) = sqrt(27.042474) = 5.200238; ends (8 ± 5.200238) / 3.039635
    found = gain_per_cost(4, 1, 2, 0.5)
    assert found.ratio == 2
    assert (found.low, found.high) == pytest.approx((0.921085, 4.342705), abs=1e-6)


@given(gains, errors, costs, relative_errors, levels)
def test_both_ends_are_where_the_difference_is_z_standard_errors(
    gain: float, gain_error: float, cost: float, relative: float, level: float
) -> None:
    cost_error = relative * cost
    found = gain_per_cost(gain, gain_error, cost, cost_error, level)
    z = float(stats.norm.ppf((1 + level) / 2))
    for end in (found.low, found.high):
        distance = z * math.hypot(gain_error, end * cost_error)
        assert abs(gain - end * cost) == pytest.approx(distance, rel=1e-6, abs=1e-9)


@given(gains, errors, costs, relative_errors, levels)
def test_interval_contains_the_ratio_and_widens_with_the_level(
    gain: float, gain_error: float, cost: float, relative: float, level: float
) -> None:
    found = gain_per_cost(gain, gain_error, cost, relative * cost, level)
    assert found.ratio == gain / cost
    assert found.low < found.ratio < found.high
    wider = gain_per_cost(gain, gain_error, cost, relative * cost, level + 0.005)
    assert wider.low < found.low
    assert found.high < wider.high


@given(gains, errors, costs)
def test_interval_where_the_cost_is_exact_is_that_of_the_gain_over_the_cost(
    gain: float, gain_error: float, cost: float
) -> None:
    found = gain_per_cost(gain, gain_error, cost, 0.0)
    plain = stats.norm.interval(0.95, loc=gain / cost, scale=gain_error / cost)
    assert (found.low, found.high) == pytest.approx(plain, rel=1e-9, abs=1e-9 * gain_error / cost)


@pytest.mark.parametrize("gain_error", [1e-6, 1e-9, 1e-12])
def test_interval_of_a_gain_that_is_known_almost_exactly_is_as_narrow_as_its_error(gain_error: float) -> None:
    found = gain_per_cost(0.08, gain_error, 0.002, 0.0)
    half = Z * gain_error / 0.002
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=1e-2)


@given(gains, errors, costs, relative_errors, st.sampled_from([1e-3, 100.0, 1e6]))
def test_interval_scales_with_the_unit_of_cost(
    gain: float, gain_error: float, cost: float, relative: float, per_unit: float
) -> None:
    one = gain_per_cost(gain, gain_error, cost, relative * cost)
    other = gain_per_cost(gain, gain_error, cost * per_unit, relative * cost * per_unit)
    # nothing is known to more digits than the interval is wide
    tolerance = 1e-9 * (one.high - one.low) / per_unit
    expected = (one.ratio / per_unit, one.low / per_unit, one.high / per_unit)
    assert (other.ratio, other.low, other.high) == pytest.approx(expected, rel=1e-9, abs=tolerance)


@given(gains, errors, costs, relative_errors)
def test_interval_of_a_loss_is_that_of_the_gain_turned_round(
    gain: float, gain_error: float, cost: float, relative: float
) -> None:
    won, lost = (gain_per_cost(it, gain_error, cost, relative * cost) for it in (gain, -gain))
    assert (lost.low, lost.ratio, lost.high) == pytest.approx((-won.high, -won.ratio, -won.low), rel=1e-12)


@pytest.mark.parametrize(("cost_error", "is_bounded"), [(1.0, True), (1.02, True), (1.0205, False), (5.0, False)])
def test_ends_are_infinite_where_the_cost_is_not_shown_to_differ_from_zero(
    cost_error: float, *, is_bounded: bool
) -> None:
    # 2 / 1.959964 = 1.020427
    found = gain_per_cost(0.1, 0.01, 2.0, cost_error)
    assert found.ratio == 0.05
    assert (math.isfinite(found.low), math.isfinite(found.high)) == (is_bounded, is_bounded)
    if not is_bounded:
        assert (found.low, found.high) == (-INF, INF)


@pytest.mark.parametrize(("gain_error", "cost_error"), [(0.02, 0.0), (0.02, 0.0003), (0.08, 0.0004), (0.001, 0.0003)])
def test_interval_covers_the_true_ratio_as_often_as_it_says(gain_error: float, cost_error: float) -> None:
    rng = np.random.default_rng(11)
    gain, cost = 0.08, 0.002
    hits, n = 0, 4000
    for _ in range(n):
        seen = max(rng.normal(cost, cost_error), 1e-9)
        found = gain_per_cost(rng.normal(gain, gain_error), gain_error, seen, cost_error)
        hits += found.low <= gain / cost <= found.high
    assert 0.93 <= hits / n <= 0.97


@pytest.mark.parametrize(
    ("gain", "gain_error", "cost", "cost_error"),
    [
        (NAN, 0.1, 1.0, 0.1),
        (INF, 0.1, 1.0, 0.1),
        (-INF, 0.1, 1.0, 0.1),
        (0.1, -0.1, 1.0, 0.1),
        (0.1, NAN, 1.0, 0.1),
        (0.1, INF, 1.0, 0.1),
        (0.1, 0.1, 0.0, 0.1),
        (0.1, 0.1, -1.0, 0.1),
        (0.1, 0.1, NAN, 0.1),
        (0.1, 0.1, INF, 0.1),
        (0.1, 0.1, 1.0, -0.1),
        (0.1, 0.1, 1.0, NAN),
        (0.1, 0.1, 1.0, INF),
    ],
)
def test_gain_per_cost_when_out_of_range_refuses(
    gain: float, gain_error: float, cost: float, cost_error: float
) -> None:
    with pytest.raises(InputError, match=f"gain = {gain} ± {gain_error}, cost = {cost} ± {cost_error}"):
        gain_per_cost(gain, gain_error, cost, cost_error)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.5, 1.5, NAN])
def test_gain_per_cost_when_level_is_no_share_refuses(level: float) -> None:
    with pytest.raises(InputError, match=r"(level|q) = "):
        gain_per_cost(0.1, 0.1, 1.0, 0.1, level)


def sums_of(cost: list[float], is_answered: list[bool]) -> tuple[int, float, float, float]:
    """Calls as the sums that `cost_per_answer` takes."""
    x, a = np.array(cost, dtype=np.float64), np.array(is_answered, dtype=bool)
    return int(a.sum()), float(x.sum()), float(np.square(x).sum()), float(x[a].sum())


def test_cost_per_answer_by_hand() -> None:
    # answers of 10, 20 and 30: mean 20, sqrt(100 + 0 + 100) / 3 = 4.714045
    found = cost_per_answer(3, 60.0, 1400.0, 60.0)
    assert (found.mean, found.standard_error) == pytest.approx((20.0, 4.714045), abs=1e-6)


def test_cost_per_answer_with_prior_by_hand() -> None:
    # answers of 10, 20 and 30 and a prior of 40 that weighs 7: (60 + 280) / 10 = 34, sqrt(200) / (3 + 7) = 1.414214
    found = cost_per_answer(3, 60.0, 1400.0, 60.0, prior=40.0, weight=7)
    assert (found.mean, found.standard_error) == pytest.approx((34.0, 1.414214), abs=1e-6)


def test_failures_raise_the_cost_of_an_answer() -> None:
    answered = sums_of([10, 20, 30], [True, True, True])
    with_failures = sums_of([10, 20, 30, 6, 0], [True, True, True, False, False])
    without, found = cost_per_answer(*answered), cost_per_answer(*with_failures)
    # (60 + 6) / 3 = 22; residuals 12, 2, 8 of answers and 6, 0 of failures: sqrt(144 + 4 + 64 + 36) / 3 = 5.249339
    assert (without.mean, found.mean) == (20.0, 22.0)
    assert found.standard_error == pytest.approx(5.249339, abs=1e-6)


def test_failures_that_cost_nothing_leave_the_mean_as_it_is() -> None:
    found = cost_per_answer(*sums_of([10, 20, 0], [True, True, False]))
    # (30 + 0) / 2 = 15; a free failure brings no answer and no cost: sqrt(25 + 25) / 2
    assert (found.mean, found.standard_error) == pytest.approx((15.0, math.sqrt(50) / 2))


def test_calls_that_all_cost_the_same_and_all_answer_have_no_error() -> None:
    found = cost_per_answer(*sums_of([0.1] * 7, [True] * 7))
    # spread is a difference of sums near 0.07: what is left of it is rounding
    assert found.mean == pytest.approx(0.1)
    assert found.standard_error == pytest.approx(0.0, abs=1e-8)


calls = st.lists(st.tuples(st.integers(0, 80_000), st.booleans()), min_size=1, max_size=40).filter(
    lambda rows: any(answered for _, answered in rows)
)


@given(calls, st.floats(0, 80_000), st.floats(0.01, 1000))
def test_mean_with_prior_lies_between_own_mean_and_prior(
    rows: list[tuple[int, bool]], prior: float, weight: float
) -> None:
    sums = sums_of([cost for cost, _ in rows], [answered for _, answered in rows])
    own, drawn = cost_per_answer(*sums), cost_per_answer(*sums, prior=prior, weight=weight)
    low, high = sorted((own.mean, prior))
    assert low * (1 - 1e-12) <= drawn.mean <= high * (1 + 1e-12)
    answers = sums[0]
    share = answers / (answers + weight)
    assert drawn.mean == pytest.approx(share * own.mean + (1 - share) * prior, rel=1e-9, abs=1e-9)
    assert drawn.standard_error == pytest.approx(share * own.standard_error, rel=1e-9, abs=1e-9)


@given(calls)
def test_standard_error_is_that_of_the_residuals_of_each_call(rows: list[tuple[int, bool]]) -> None:
    cost, answered = np.array([it for it, _ in rows], dtype=np.float64), np.array([it for _, it in rows])
    found = cost_per_answer(*sums_of(cost.tolist(), answered.tolist()))
    ratio = cost.sum() / answered.sum()
    expected = np.linalg.norm(cost - ratio * answered) / answered.sum()
    assert found.mean == pytest.approx(ratio)
    assert found.standard_error == pytest.approx(expected, rel=1e-6, abs=1e-3)


@given(calls, st.floats(0, 100), st.floats(0, 100))
def test_micro_dollars_and_dollars_say_the_same(rows: list[tuple[int, bool]], prior: float, weight: float) -> None:
    cost, answered = [it for it, _ in rows], [it for _, it in rows]
    micro = cost_per_answer(*sums_of([float(it) for it in cost], answered), prior=prior, weight=weight)
    usd = cost_per_answer(*sums_of([it / 1e6 for it in cost], answered), prior=prior / 1e6, weight=weight)
    assert usd.mean * 1e6 == pytest.approx(micro.mean, rel=1e-9, abs=1e-9)
    assert usd.standard_error * 1e6 == pytest.approx(micro.standard_error, rel=1e-6, abs=1e-2)


def test_standard_error_is_the_spread_of_the_ratio_over_many_samples() -> None:
    rng = np.random.default_rng(12)
    samples, n = 4000, 200
    # dear calls fail more often, so that cost and success go together
    cost = rng.gamma(2.0, 1000.0, (samples, n))
    answered = rng.uniform(size=(samples, n)) < np.where(cost > 2000, 0.6, 0.9)
    found = [
        cost_per_answer(int(a.sum()), float(x.sum()), float(np.square(x).sum()), float(x[a].sum()))
        for x, a in zip(cost, answered, strict=True)
    ]
    spread = float(np.std([it.mean for it in found]))
    assert float(np.mean([it.standard_error for it in found])) == pytest.approx(spread, rel=0.05)
    # what naive errors of a mean over answers would say is far off here, so the comparison can tell
    naive = float(np.mean([x[a].std() / math.sqrt(a.sum()) for x, a in zip(cost, answered, strict=True)]))
    assert abs(naive / spread - 1) > 0.15


def test_cost_without_answers_is_the_prior_and_what_failures_cost_on_top() -> None:
    nothing = cost_per_answer(0, 0.0, 0.0, 0.0, prior=12.0, weight=20)
    assert (nothing.mean, nothing.standard_error) == (12.0, 0.0)
    # 30 spent on nothing, spread over the 20 answers that the prior stands for: (30 + 240) / 20
    assert cost_per_answer(0, 30.0, 500.0, 0.0, prior=12.0, weight=20).mean == 13.5


def test_cost_with_neither_answers_nor_prior_refuses() -> None:
    for prior in (0.0, 12.0):
        with pytest.raises(InputError, match="neither an answer nor a prior"):
            cost_per_answer(0, 30.0, 500.0, 0.0, prior=prior)


@pytest.mark.parametrize(
    "changed",
    [
        {"answers": -1},
        {"total": -1.0},
        {"total": NAN},
        {"total": INF},
        {"total": 29.0},
        {"total_squared": -1.0},
        {"total_squared": NAN},
        {"total_squared": INF},
        {"total_of_answered": -1.0},
        {"total_of_answered": 30.5},
        {"total_of_answered": NAN},
        {"prior": -0.1},
        {"prior": NAN},
        {"prior": INF},
        {"weight": -0.1},
        {"weight": NAN},
        {"weight": INF},
    ],
    ids=str,
)
def test_cost_per_answer_when_out_of_range_refuses(changed: dict[str, float]) -> None:
    given_in_full = {
        "answers": 2,
        "total": 30.0,
        "total_squared": 500.0,
        "total_of_answered": 30.0,
        "prior": 12.0,
        "weight": 20.0,
    }
    assert cost_per_answer(**given_in_full).mean > 0  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"{next(iter(changed))} = "):
        cost_per_answer(**(given_in_full | changed))  # type: ignore[arg-type]
