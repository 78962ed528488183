import numpy as np
import pytest
import scoringrules  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting import scoring
from ensemble_pipeline_tests.forecasting.strategies import probabilities

RNG = np.random.default_rng(7)
P = RNG.uniform(size=500)
Y = (RNG.uniform(size=500) < P).astype(np.int64)


@pytest.mark.parametrize(
    ("p", "y", "complaint"),
    [
        ([0.5, 1.2], [1, 1], r"p_yes\[1\] = 1.2 is no probability"),
        ([0.5, float("nan")], [1, 1], r"p_yes\[1\] = nan is no probability"),
        ([0.5, 0.5], [1, 2], r"outcome\[1\] = 2.0 is no outcome"),
        ([0.5, 0.5], [1], r"outcome has shape \(1,\); it must match \(2,\)"),
    ],
)
def test_scores_when_input_is_out_of_range_name_element_and_value(p: list[float], y: list[int], complaint: str) -> None:
    for score in (scoring.brier_score, scoring.log_loss, scoring.is_correct):
        with pytest.raises(InputError, match=complaint):
            score(p, y)


@pytest.mark.parametrize("clip", [0.0, 0.5, float("nan")])
def test_log_loss_when_clip_is_out_of_range_refuses(clip: float) -> None:
    with pytest.raises(InputError, match="clip"):
        scoring.log_loss(0.5, 1, clip)


def test_brier_score_agrees_with_sklearn() -> None:
    assert scoring.brier_score(P, Y).mean() == pytest.approx(metrics.brier_score_loss(Y, P), rel=1e-14)


def test_brier_score_of_each_forecast_agrees_with_scoringrules() -> None:
    np.testing.assert_allclose(scoring.brier_score(P, Y), scoringrules.brier_score(Y, P), rtol=1e-14)


def test_log_loss_agrees_with_sklearn_inside_the_clip() -> None:
    inside = np.clip(P, scoring.LOG_LOSS_CLIP, 1 - scoring.LOG_LOSS_CLIP)
    assert scoring.log_loss(P, Y).mean() == pytest.approx(metrics.log_loss(Y, inside), rel=1e-12)


def test_log_loss_of_each_forecast_agrees_with_the_log_score_of_one_trial_in_scoringrules() -> None:
    inside = np.clip(P, scoring.LOG_LOSS_CLIP, 1 - scoring.LOG_LOSS_CLIP)
    np.testing.assert_allclose(scoring.log_loss(P, Y), scoringrules.logs_binomial(Y, 1, inside), rtol=1e-12)


def test_log_loss_at_certainty_is_finite() -> None:
    assert scoring.log_loss([0.0, 1.0], [1, 0]).tolist() == pytest.approx([-np.log(1e-3)] * 2)
    assert scoring.log_loss([0.0, 1.0], [0, 1]).tolist() == pytest.approx([-np.log(0.999)] * 2)


@given(probabilities, st.integers(0, 1))
def test_scores_of_the_mirrored_market_are_the_same(p: float, y: int) -> None:
    mirrored = 1 - p
    assert scoring.brier_score(mirrored, 1 - y) == pytest.approx(float(scoring.brier_score(p, y)), abs=1e-15)
    assert scoring.log_loss(mirrored, 1 - y) == pytest.approx(float(scoring.log_loss(p, y)), abs=1e-12)
    assert scoring.is_correct(mirrored, 1 - y) == scoring.is_correct(1 - mirrored, y)


def test_is_correct_at_one_half_is_wrong_for_both_outcomes() -> None:
    assert scoring.is_correct([0.5, 0.5], [0, 1]).tolist() == [False, False]


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=50), st.integers(0, 2**32 - 1))
def test_fixed_point_sums_do_not_depend_on_order(values: list[float], seed: int) -> None:
    fixed = scoring.to_fixed_e9(values)
    shuffled = np.random.default_rng(seed).permutation(values)
    assert scoring.to_fixed_e9(shuffled).sum() == fixed.sum()
    assert np.abs(fixed - np.asarray(values) * 1e9).max() <= 0.5


@pytest.mark.parametrize("x", [float("inf"), float("nan"), 9.1e6])
def test_fixed_point_when_it_cannot_be_exact_refuses(x: float) -> None:
    with pytest.raises(InputError, match=r"x\[1\]"):
        scoring.to_fixed_e9([0.0, x])
