import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from sklearn.linear_model import LogisticRegression

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import FloatArray
from ensemble_pipeline.forecasting.calibration import apply_temperature, fit_ridge_temperature

seeds = st.integers(0, 2**32 - 1)


def world(seed: int, n: int, true_slope: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    z = rng.normal(scale=1.5, size=n)
    y = (rng.uniform(size=n) < 1 / (1 + np.exp(-true_slope * z))).astype(np.float64)
    return z, y, rng.uniform(0.1, 1, size=n)


def objective(a: float, z: FloatArray, y: FloatArray, w: FloatArray, ridge: float) -> float:
    return float(np.sum(w * (np.logaddexp(0, a * z) - y * a * z)) + ridge / 2 * (a - 1) ** 2)


@settings(max_examples=50)
@given(seeds, st.sampled_from([1, 5, 50, 400]), st.sampled_from([0.5, 1.0, 1.6]), st.sampled_from([0.1, 10.0]))
def test_fit_is_the_minimum_that_scipy_finds(seed: int, n: int, true_slope: float, ridge: float) -> None:
    z, y, w = world(seed, n, true_slope)
    found = optimize.minimize_scalar(
        objective, bounds=(0, 30), args=(z, y, w, ridge), method="bounded", options={"xatol": 1e-10}
    )
    assert fit_ridge_temperature(z, y, w, ridge).slope == pytest.approx(found.x, abs=2e-5)


def test_fit_with_a_faint_ridge_agrees_with_sklearn() -> None:
    z, y, w = world(11, 2000, 1.4)
    oracle = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-12, max_iter=1000).fit(z[:, None], y, w)
    assert fit_ridge_temperature(z, y, w, ridge=1e-9).slope == pytest.approx(float(oracle.coef_[0, 0]), rel=1e-6)


@pytest.mark.parametrize("ridge", [1e-6, 10.0])
def test_fit_of_separable_data_converges(ridge: float) -> None:
    z = np.array([-3.0, -0.1, 0.1, 4.0] * 100)
    slope = fit_ridge_temperature(z, z > 0, ridge=ridge).slope
    p = 1 / (1 + np.exp(-slope * z))
    gradient = np.sum(z * (p - (z > 0))) + ridge * (slope - 1)
    assert slope > 1
    assert gradient == pytest.approx(0, abs=1e-7)


def test_fit_of_saturated_forecasts_converges_where_newton_alone_would_fly_off() -> None:
    # six of ten come true: sigma(40 a) = 0.6
    slope = fit_ridge_temperature([40.0] * 10, [1] * 6 + [0] * 4, ridge=1e-9).slope
    assert slope == pytest.approx(np.log(1.5) / 40, rel=1e-6)


def test_fit_of_a_model_that_is_always_wrong_stops_at_zero() -> None:
    z = np.array([3.0, -3.0] * 200)
    assert fit_ridge_temperature(z, z < 0).slope == 0.0


@pytest.mark.parametrize("weight", [None, [0.0, 0.0]])
def test_fit_without_evidence_is_one(weight: list[float] | None) -> None:
    n = 0 if weight is None else len(weight)
    fit = fit_ridge_temperature([1.5] * n, [1] * n, weight)
    assert (fit.slope, fit.n, fit.effective_n) == (1.0, n, 0.0)


def test_fit_counts_its_evidence() -> None:
    fit = fit_ridge_temperature([1.0, 1.0, 1.0], [1, 0, 1], [1.0, 1.0, 0.0])
    assert (fit.n, fit.effective_n) == (3, 2.0)


@given(seeds)
def test_fit_of_the_mirrored_markets_is_the_same(seed: int) -> None:
    z, y, w = world(seed, 60, 1.3)
    assert fit_ridge_temperature(-z, 1 - y, w).slope == pytest.approx(fit_ridge_temperature(z, y, w).slope, abs=1e-10)


def test_fit_moves_away_from_one_as_evidence_grows() -> None:
    z, y, _ = world(5, 3000, 1.8)
    slopes = [fit_ridge_temperature(z[:n], y[:n]).slope for n in (30, 300, 3000)]
    assert abs(slopes[2] - 1.8) < abs(slopes[0] - 1.8)
    assert slopes[2] == pytest.approx(1.8, abs=0.15)


@pytest.mark.parametrize(
    ("logit_p", "outcome", "ridge", "complaint"),
    [
        ([float("inf")], [1], 10.0, r"logit_p\[0\] = inf"),
        ([0.0], [0.5], 10.0, r"outcome\[0\] = 0.5"),
        ([0.0], [1], 0.0, "ridge = 0.0"),
    ],
)
def test_fit_when_input_is_out_of_range_refuses(
    logit_p: list[float], outcome: list[float], ridge: float, complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        fit_ridge_temperature(logit_p, outcome, ridge=ridge)


def test_apply_with_slope_one_changes_nothing_and_with_zero_everything() -> None:
    p = np.linspace(0.01, 0.99, 21)
    np.testing.assert_allclose(apply_temperature(p, 1.0), p, rtol=1e-13)
    assert apply_temperature(p, 0.0).tolist() == [0.5] * 21


def test_apply_when_slope_is_not_finite_refuses() -> None:
    with pytest.raises(InputError, match="slope = nan"):
        apply_temperature(0.5, float("nan"))
