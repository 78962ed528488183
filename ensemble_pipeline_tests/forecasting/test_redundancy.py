import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.redundancy import discounted, residual_correlation
from ensemble_pipeline.forecasting.uncertainty import MEMBER_CORRELATION


def simulated(n: int, n_models: int, seed: int = 4) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """A question's own log-odds and what each model adds of its own."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 1)) * 2 + rng.normal(size=(n, n_models)) * 0.5


def test_correlation_of_three_models_worked_by_hand() -> None:
    # deviations from the panel's mean, their own mean being 0: (1, 1, -2) and (-1, -1, 2)
    z = np.array([[1.0, 1.0, -2.0], [-1.0, -1.0, 2.0]] * 15)
    rho = residual_correlation(z, np.arange(30), np.ones(30))
    # seen: 1 and -1; with the panel's own -1/2 taken out 1 and -1/3; 30 events beside as many at the usual 0.25
    assert rho[0, 1] == pytest.approx((1 + MEMBER_CORRELATION) / 2)
    assert rho[0, 2] == pytest.approx((-1 / 3 + MEMBER_CORRELATION) / 2)


def test_models_that_think_apart_are_not_correlated_whatever_the_question_says() -> None:
    rho = residual_correlation(simulated(3000, 6), np.arange(3000), np.ones(3000))
    apart = rho[~np.eye(6, dtype=bool)]
    assert np.abs(apart).max() < 0.1
    np.testing.assert_array_equal(rho, rho.T)


def test_twins_are_found_among_models_that_think_apart() -> None:
    z = simulated(3000, 5)
    z[:, 1] = z[:, 0]
    rho = residual_correlation(z, np.arange(3000), np.ones(3000))
    assert rho[0, 1] > 0.95
    assert np.abs(rho[0, 2:]).max() < 0.3


def test_correlation_without_evidence_is_the_usual_one() -> None:
    for z in (np.empty((0, 3)), np.array([[0.5, np.nan, np.nan]])):
        rho = residual_correlation(z, np.arange(len(z)), np.ones(len(z)))
        assert rho.tolist() == [[1, 0.25, 0.25], [0.25, 1, 0.25], [0.25, 0.25, 1]]


def test_questions_of_one_event_count_once() -> None:
    z = simulated(40, 4)
    repeated = residual_correlation(np.repeat(z, 5, axis=0), np.repeat(np.arange(40), 5), np.ones(200))
    np.testing.assert_allclose(repeated, residual_correlation(z, np.arange(40), np.ones(40)), atol=1e-12)


def test_mirrored_forecasts_are_as_alike() -> None:
    z = simulated(60, 4)
    z[::7, 2] = np.nan
    one, other = (residual_correlation(sign * z, np.arange(60), np.ones(60)) for sign in (1, -1))
    np.testing.assert_allclose(one, other, atol=1e-15)


def test_correlation_when_log_odds_are_infinite_refuses() -> None:
    with pytest.raises(InputError, match="log_odds"):
        residual_correlation([[np.inf, 0.0]], [0], [1.0])


@given(st.lists(st.floats(0.01, 10), min_size=2, max_size=6))
def test_a_model_entered_twice_weighs_no_more_than_once(weight: list[float]) -> None:
    n = len(weight)
    alone = discounted(weight, np.eye(n))
    twice = np.eye(n + 1)
    twice[0, n] = twice[n, 0] = 1.0
    entered = discounted([*weight, weight[0]], twice)
    assert entered[0] + entered[n] == pytest.approx(alone[0])
    np.testing.assert_array_equal(entered[1:n], alone[1:])


def test_models_that_contradict_each_other_keep_their_weight() -> None:
    assert discounted([1, 2], [[1, -0.9], [-0.9, 1]]).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("rho", [[[1.0, 2.0], [2.0, 1.0]], [[1.0]], [[1.0, np.nan], [np.nan, 1.0]]])
def test_discount_when_the_correlation_is_none_refuses(rho: list[list[float]]) -> None:
    with pytest.raises(InputError, match="correlation"):
        discounted([1.0, 1.0], rho)
