import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting import uncertainty
from ensemble_pipeline.forecasting.extremizing import extremized_pool
from ensemble_pipeline.forecasting.pooling import logit
from ensemble_pipeline_tests.forecasting.strategies import panels, probabilities

Panel = tuple[list[float], list[float]]


def standard_error(p: ArrayLike, weight: ArrayLike, rho: float = uncertainty.MEMBER_CORRELATION) -> float:
    return extremized_pool(p, weight, rho=rho).standard_error


@given(probabilities, st.lists(st.floats(0.01, 10), min_size=1, max_size=8))
def test_disagreement_of_a_unanimous_panel_is_exactly_zero(p: float, weight: list[float]) -> None:
    assert uncertainty.disagreement([p] * len(weight), weight) == 0.0


@pytest.mark.parametrize("weight", [[1.0, 1.0, 2.0], [0.25, 0.25, 0.5]])
def test_disagreement_when_the_weight_is_evenly_split_is_one(weight: list[float]) -> None:
    assert uncertainty.disagreement([0.0, 0.0, 1.0], weight) == pytest.approx(1.0, abs=1e-15)


@given(panels)
def test_disagreement_is_twice_the_weighted_deviation_and_within_its_range(panel: Panel) -> None:
    p, weight = (np.array(part) for part in panel)
    mean = np.average(p, weights=weight)
    expected = 2 * np.sqrt(np.average(np.square(p - mean), weights=weight))
    measured = uncertainty.disagreement(p, weight)
    assert measured == pytest.approx(expected, abs=1e-8)
    assert 0 <= measured <= 1


@given(panels, st.integers(0, 2**32 - 1))
def test_spread_is_mirror_symmetric_and_independent_of_order(panel: Panel, seed: int) -> None:
    p, weight = (np.array(part) for part in panel)
    order = np.random.default_rng(seed).permutation(len(p))
    for measure in (uncertainty.disagreement, standard_error):
        assert measure(1 - p, weight) == pytest.approx(measure(p, weight), abs=1e-12)
        assert measure(p[order], weight[order]) == pytest.approx(measure(p, weight), rel=1e-14, abs=1e-16)


def test_disagreement_splits_the_brier_score_of_the_mean() -> None:
    rng = np.random.default_rng(5)
    p, y = rng.uniform(size=6), 1.0
    mean = p.mean()
    spread = uncertainty.disagreement(p, np.ones(6)) ** 2 / 4
    assert mean * (1 - mean) == pytest.approx(np.mean(p * (1 - p)) + spread, abs=1e-15)
    assert (mean - y) ** 2 == pytest.approx(np.mean((p - y) ** 2) - spread, abs=1e-15)


def test_spread_between_members_worked_by_hand() -> None:
    # even odds and 4:1 lie ln 4 apart, variance (ln 4)²/2; the usual one counts as two more degrees of freedom
    expected = math.sqrt((2 * uncertainty.USUAL_SD**2 + math.log(4) ** 2 / 2) / 3)
    assert uncertainty.between_member_sd([0.5, 0.8], [1, 1]) == pytest.approx(expected)
    # three alike: 2 of 4 degrees of freedom say that there is none
    assert uncertainty.between_member_sd([0.7] * 3, [1, 1, 1]) == pytest.approx(uncertainty.USUAL_SD / math.sqrt(2))


@pytest.mark.parametrize(("rho", "k_eff"), [(0.0, 4.0), (0.25, 16 / 7), (1.0, 1.0)])
def test_standard_error_of_equal_weights_is_sd_over_root_k_eff(rho: float, k_eff: float) -> None:
    p = [0.3, 0.4, 0.6, 0.8]
    spread = math.sqrt((2 * uncertainty.USUAL_SD**2 + 3 * logit(p).var(ddof=1)) / 5)
    assert uncertainty.between_member_sd(p, [2, 2, 2, 2]) == pytest.approx(spread)
    expected = spread / math.sqrt(k_eff)
    assert standard_error(p, [2, 2, 2, 2], rho=rho) == pytest.approx(expected)


@given(probabilities, st.integers(1, 8))
def test_standard_error_of_a_unanimous_panel_is_above_zero_and_falls_with_its_number(p: float, n: int) -> None:
    errors = [standard_error([p] * k, [1] * k) for k in (n, n + 1)]
    assert errors[0] > errors[1] > 0


@pytest.mark.parametrize(("p", "weight"), [([0.7], [1]), ([0.7, 0.1], [1, 0])])
def test_standard_error_of_a_single_voice_is_the_usual_spread(p: list[float], weight: list[float]) -> None:
    assert standard_error(p, weight) == uncertainty.USUAL_SD


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=8))
def test_effective_count_lies_between_one_and_all_and_is_all_where_weights_are_equal(weight: list[float]) -> None:
    n = len(weight)
    assert 1 - 1e-12 <= uncertainty.effective_count(weight) <= n + 1e-12
    assert uncertainty.effective_count([weight[0]] * n) == pytest.approx(n)
    assert uncertainty.effective_count([*weight, 0.0]) == uncertainty.effective_count(weight)


@given(st.floats(1, 50), st.floats(1, 50), st.floats(0.01, 1))
def test_independent_members_grow_with_their_number_up_to_a_bound(one: float, two: float, rho: float) -> None:
    few, many = sorted((one, two))
    found = [uncertainty.independent_members(count, rho) for count in (few, many)]
    assert 1 - 1e-12 <= found[0] <= found[1] * (1 + 1e-12)
    assert found[1] <= min(many, 1 / rho) * (1 + 1e-12)


def test_independent_members_of_less_than_one_refuses() -> None:
    with pytest.raises(InputError, match=r"count = 0\.5"):
        uncertainty.independent_members(0.5)


@given(st.floats(0.01, 0.99), st.floats(0, 1), st.floats(0, 1))
def test_standard_error_grows_with_correlation(p: float, first: float, second: float) -> None:
    low, high = sorted((first, second))
    panel = [p, 0.5, 0.2]
    at_low, at_high = (standard_error(panel, [1, 1, 2], rho=rho) for rho in (low, high))
    assert at_low <= at_high * (1 + 1e-12)


@given(st.floats(0, 100), st.floats(0, 100))
def test_uncertainty_is_monotone_and_within_its_range(first: float, second: float) -> None:
    low, high = sorted((first, second))
    assert 0 <= uncertainty.uncertainty(low) <= uncertainty.uncertainty(high) <= 1


@pytest.mark.parametrize("standard_error", [-0.1, float("inf"), float("nan")])
def test_uncertainty_when_out_of_range_refuses(standard_error: float) -> None:
    with pytest.raises(InputError, match="standard_error"):
        uncertainty.uncertainty(standard_error)


def test_standard_error_when_correlation_is_out_of_range_refuses() -> None:
    with pytest.raises(InputError, match=r"rho = 1.5"):
        standard_error([0.5, 0.6], [1, 1], rho=1.5)
