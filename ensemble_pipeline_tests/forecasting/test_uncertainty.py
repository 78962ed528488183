import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting import uncertainty
from ensemble_pipeline.forecasting.pooling import logit
from ensemble_pipeline_tests.forecasting.strategies import panels, probabilities

Panel = tuple[list[float], list[float]]


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
    for measure in (uncertainty.disagreement, uncertainty.pooled_standard_error):
        assert measure(1 - p, weight) == pytest.approx(measure(p, weight), abs=1e-12)
        assert measure(p[order], weight[order]) == pytest.approx(measure(p, weight), rel=1e-14, abs=1e-16)


def test_disagreement_splits_the_brier_score_of_the_mean() -> None:
    rng = np.random.default_rng(5)
    p, y = rng.uniform(size=6), 1.0
    mean = p.mean()
    spread = uncertainty.disagreement(p, np.ones(6)) ** 2 / 4
    assert mean * (1 - mean) == pytest.approx(np.mean(p * (1 - p)) + spread, abs=1e-15)
    assert (mean - y) ** 2 == pytest.approx(np.mean((p - y) ** 2) - spread, abs=1e-15)


@pytest.mark.parametrize(("rho", "k_eff"), [(0.0, 4.0), (0.25, 16 / 7), (1.0, 1.0)])
def test_standard_error_of_equal_weights_is_sd_over_root_k_eff(rho: float, k_eff: float) -> None:
    p = [0.3, 0.4, 0.6, 0.8]
    expected = logit(p).std(ddof=1) / np.sqrt(k_eff)
    assert uncertainty.pooled_standard_error(p, [2, 2, 2, 2], rho=rho) == pytest.approx(expected)


def test_standard_error_of_a_unanimous_panel_is_zero() -> None:
    assert uncertainty.pooled_standard_error([0.7] * 3, [1, 2, 3]) == 0.0


@pytest.mark.parametrize(("p", "weight"), [([0.7], [1]), ([0.7, 0.1], [1, 0])])
def test_standard_error_of_a_single_voice_is_the_usual_spread(p: list[float], weight: list[float]) -> None:
    assert uncertainty.pooled_standard_error(p, weight) == uncertainty.SINGLE_MODEL_SD


@given(st.floats(0.01, 0.99), st.floats(0, 1), st.floats(0, 1))
def test_standard_error_grows_with_correlation(p: float, first: float, second: float) -> None:
    low, high = sorted((first, second))
    panel = [p, 0.5, 0.2]
    at_low, at_high = (uncertainty.pooled_standard_error(panel, [1, 1, 2], rho=rho) for rho in (low, high))
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
        uncertainty.pooled_standard_error([0.5, 0.6], [1, 1], rho=1.5)
