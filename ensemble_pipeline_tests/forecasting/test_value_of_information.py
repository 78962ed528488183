import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.value_of_information import logit_shift, value_for_scoring, value_for_trading

edges = st.floats(-1, 1)
spreads = st.floats(0, 1)
probabilities = st.floats(0, 1)


@pytest.mark.parametrize(("now", "then", "shift"), [(0.5, 0.3, 0.4), (1.3, 0.5, 1.2), (0.7, 0.7, 0.0), (0.7, 0.0, 0.7)])
def test_shift_worked_by_hand(now: float, then: float, shift: float) -> None:
    assert logit_shift(now, then) == pytest.approx(shift)


def test_shift_of_a_normal_mean_is_what_one_more_observation_moves_it_by() -> None:
    # the mean of n is sd/√n off, and moves by the difference of the variances when one more is heard
    rng = np.random.default_rng(8)
    draws = rng.normal(size=(200_000, 4))
    moved = draws.mean(axis=1) - draws[:, :3].mean(axis=1)
    assert moved.std() == pytest.approx(logit_shift(1 / math.sqrt(3), 1 / math.sqrt(4)), rel=0.01)


@pytest.mark.parametrize("arguments", [(0.3, 0.5), (-0.1, 0.0), (0.3, -0.1), (math.inf, 0.1), (math.nan, 0.1)])
def test_shift_when_the_error_would_grow_refuses(arguments: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="standard_error"):
        logit_shift(*arguments)


def test_value_for_trading_worked_by_hand() -> None:
    # in the balance: σ/√(2π); a spread of 0 cannot change a decision
    assert value_for_trading(0.0, 0.1) == pytest.approx(0.1 / math.sqrt(2 * math.pi))
    assert value_for_trading(0.2, 0.0) == value_for_trading(-0.2, 0.0) == 0.0
    # d = 1: σ (φ(1) - (1 - Φ(1))) = 0.1 (0.2419707 - 0.1586553)
    assert value_for_trading(0.1, 0.1) == pytest.approx(0.00833155, abs=1e-8)


@pytest.mark.parametrize(("edge", "spread"), [(0.05, 0.1), (-0.05, 0.1), (0.02, 0.3), (-0.2, 0.15), (0.3, 0.1)])
def test_value_for_trading_is_what_waiting_gains_on_average(edge: float, spread: float) -> None:
    later = stats.norm(edge, spread).expect(lambda e: max(0.0, e), lb=0.0, ub=edge + 12 * spread)
    assert value_for_trading(edge, spread) == pytest.approx(later - max(0.0, edge), abs=1e-7)


@given(edges, spreads)
def test_value_for_trading_is_never_negative_and_largest_in_the_balance(edge: float, spread: float) -> None:
    value = value_for_trading(edge, spread)
    assert 0 <= value <= value_for_trading(0.0, spread) <= 0.4 * spread
    # what speaks for the trade and what speaks as much against it is worth the same
    assert value == value_for_trading(-edge, spread)


@given(edges, spreads, spreads)
def test_value_for_trading_grows_with_what_the_answer_may_move(edge: float, one: float, two: float) -> None:
    small, large = sorted((one, two))
    assert value_for_trading(edge, small) <= value_for_trading(edge, large) + 1e-12


@given(edges, edges, spreads)
def test_value_for_trading_falls_as_the_decision_becomes_clear(one: float, two: float, spread: float) -> None:
    near, far = sorted((abs(one), abs(two)))
    assert value_for_trading(far, spread) <= value_for_trading(near, spread) + 1e-12


@pytest.mark.parametrize("arguments", [(math.nan, 0.1), (math.inf, 0.1), (0.1, -0.1), (0.1, math.inf), (0.1, math.nan)])
def test_value_for_trading_when_out_of_range_refuses(arguments: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="edge"):
        value_for_trading(*arguments)


def test_value_for_scoring_worked_by_hand() -> None:
    # an even pool moves by a quarter of a small step in log-odds
    assert value_for_scoring(0.5, 0.4) == pytest.approx(0.1**2)
    assert value_for_scoring(0.2, 0.5) == pytest.approx(0.08**2)
    assert value_for_scoring(0.0, 0.5) == value_for_scoring(1.0, 0.5) == value_for_scoring(0.3, 0.0) == 0.0


def test_value_for_scoring_is_the_brier_score_that_hearing_saves() -> None:
    # truth near the pool: the score of the later pool is less by the variance of the step
    rng = np.random.default_rng(3)
    z = 0.4 + rng.normal(scale=0.05, size=400_000)
    later = 1 / (1 + np.exp(-z))
    now = later.mean()
    saved = float(np.mean((now - later) ** 2))
    assert value_for_scoring(float(now), 0.05) == pytest.approx(saved, rel=0.02)


@given(probabilities, spreads, spreads)
def test_value_for_scoring_is_mirror_symmetric_and_grows_with_the_shift(p: float, one: float, two: float) -> None:
    assert value_for_scoring(1 - p, one) == pytest.approx(value_for_scoring(p, one), abs=1e-15)
    small, large = sorted((one, two))
    assert 0 <= value_for_scoring(p, small) <= value_for_scoring(p, large)


@pytest.mark.parametrize(
    ("p", "shift", "complaint"),
    [(1.1, 0.1, "p = 1.1"), (0.5, -0.1, "shift = -0.1"), (0.5, math.inf, "shift"), (0.5, math.nan, "shift")],
)
def test_value_for_scoring_when_out_of_range_refuses(p: float, shift: float, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        value_for_scoring(p, shift)
