import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from sklearn.linear_model import LogisticRegression

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import FloatArray, IntArray
from ensemble_pipeline.forecasting.calibration import (
    CalibrationFit,
    apply_calibration,
    fit_ridge_calibration,
    fit_ridge_temperature,
)

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
    assert (fit.slope, fit.n) == (1.0, n)


def test_fit_counts_its_rows() -> None:
    assert fit_ridge_temperature([1.0, 1.0, 1.0], [1, 0, 1], [1.0, 1.0, 0.0]).n == 3


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


def categories(seed: int, n: int, shift: list[float]) -> tuple[FloatArray, FloatArray, IntArray, FloatArray]:
    rng = np.random.default_rng(seed)
    z, index = rng.normal(scale=1.5, size=n), rng.integers(0, len(shift), n)
    y = (rng.uniform(size=n) < 1 / (1 + np.exp(-1.3 * z - np.array(shift)[index]))).astype(np.float64)
    return z, y, index, rng.uniform(0.1, 1, size=n)


def joint_gradient(
    fit: CalibrationFit, z: FloatArray, y: FloatArray, index: IntArray, w: FloatArray, ridges: tuple[float, float]
) -> FloatArray:
    p = 1 / (1 + np.exp(-fit.slope * z - fit.intercepts[index]))
    by_category = np.bincount(index, weights=w * (p - y)) + ridges[1] * fit.intercepts
    return np.array([np.sum(w * z * (p - y)) + ridges[0] * (fit.slope - 1), *by_category])


@settings(max_examples=30)
@given(seeds, st.sampled_from([20, 300]), st.integers(1, 4), st.sampled_from([0.1, 10.0]))
def test_fit_with_intercepts_is_the_minimum_that_scipy_finds(seed: int, n: int, k: int, ridge: float) -> None:
    z, y, index, w = categories(seed, n, [0.0, 1.0, -0.5, 0.3][:k])
    index[:k] = np.arange(k)

    def joint_objective(theta: FloatArray) -> float:
        u = theta[0] * z + theta[1:][index]
        prior = 10.0 / 2 * (theta[0] - 1) ** 2 + ridge / 2 * np.sum(theta[1:] ** 2)
        return float(np.sum(w * (np.logaddexp(0, u) - y * u)) + prior)

    start = np.array([1.0, *np.zeros(k)])
    found = optimize.minimize(joint_objective, start, method="L-BFGS-B", bounds=[(0, None), *[(None, None)] * k])
    fit = fit_ridge_calibration(z, y, index, w, intercept_ridge=ridge, intercept_from=1e-9)
    np.testing.assert_allclose([fit.slope, *fit.intercepts], found.x, atol=1e-3)
    assert joint_objective(np.array([fit.slope, *fit.intercepts])) <= found.fun + 1e-9


@settings(max_examples=50)
@given(seeds, st.sampled_from([1, 30, 800]), st.sampled_from([1e-6, 10.0]), st.sampled_from([1e-6, 10.0]))
def test_fit_with_intercepts_has_no_gradient_left(seed: int, n: int, slope_ridge: float, ridge: float) -> None:
    z, y, index, w = categories(seed, n, [2.0, 0.0, -1.0])
    fit = fit_ridge_calibration(z, y, index, w, slope_ridge, ridge, intercept_from=1e-9)
    slope_gradient, *rest = joint_gradient(fit, z, y, index, w, (slope_ridge, ridge))
    np.testing.assert_allclose(rest, 0, atol=1e-8)
    if fit.slope > 0:
        assert slope_gradient == pytest.approx(0, abs=1e-8)
    else:
        assert slope_gradient >= 0


def test_fit_with_intercepts_and_a_faint_slope_ridge_agrees_with_sklearn() -> None:
    z, y, index, w = categories(3, 2000, [0.8, -0.4])
    # a slope column ten thousand times as large makes the ridge on its coefficient negligible
    design = np.column_stack([1e4 * z, index == 0, index == 1])
    oracle = LogisticRegression(C=1 / 10.0, fit_intercept=False, solver="newton-cholesky", tol=1e-12).fit(design, y, w)
    fit = fit_ridge_calibration(z, y, index, w, slope_ridge=1e-9, intercept_ridge=10.0)
    np.testing.assert_allclose([fit.slope, *fit.intercepts], oracle.coef_[0] * [1e4, 1, 1], rtol=1e-6)


@given(seeds, st.sampled_from([0, 1, 50, 199]))
def test_fit_without_a_category_of_enough_events_is_the_temperature_to_the_bit(seed: int, n: int) -> None:
    z, y, index, w = categories(seed, n, [1.0, -1.0])
    fit = fit_ridge_calibration(z, y, index, w)
    assert fit.slope == fit_ridge_temperature(z, y, w).slope
    assert fit.intercepts.tolist() == [0.0] * (int(index.max()) + 1 if n else 0)


def test_fit_counts_events_not_rows_towards_an_intercept() -> None:
    # 200 events of category 1 in 400 rows of weight 1/2; 199 events of category 2; none of category 0
    index = np.array([1] * 400 + [2] * 199)
    weight = np.array([0.5] * 400 + [1.0] * 199)
    fit = fit_ridge_calibration(np.zeros(599), np.ones(599), index, weight)
    # 200 (1 - σ(b)) = 10 b
    assert 200 / (1 + np.exp(fit.intercepts[1])) == pytest.approx(10 * fit.intercepts[1])
    assert fit.intercepts[[0, 2]].tolist() == [0.0, 0.0]


def test_fit_with_intercepts_recovers_a_world_in_which_categories_lean() -> None:
    z, y, index, _ = categories(9, 30_000, [0.7, 0.0, -0.5])
    fit = fit_ridge_calibration(z, y, index)
    np.testing.assert_allclose([fit.slope, *fit.intercepts], [1.3, 0.7, 0.0, -0.5], atol=0.08)


@pytest.mark.parametrize("ridge", [1e-6, 10.0])
def test_fit_with_intercepts_of_separable_data_converges(ridge: float) -> None:
    z, index = np.array([-3.0, -0.1, 0.1, 4.0] * 200), np.repeat([0, 1], 400)
    y = ((z > 0) | (index == 1)).astype(np.float64)
    fit = fit_ridge_calibration(z, y, index, None, ridge, ridge)
    gradient = joint_gradient(fit, z, y, index, np.ones(800), (ridge, ridge))
    np.testing.assert_allclose(gradient, 0, atol=1e-7)
    assert fit.intercepts[1] > 1


def test_fit_with_intercepts_of_a_model_that_is_always_wrong_keeps_the_intercepts_only() -> None:
    z = np.array([3.0, -3.0, 1.0, -1.0] * 100)
    y = np.array([0, 1, 1, 1] * 100)
    fit = fit_ridge_calibration(z, y, np.zeros(400, dtype=np.int64))
    assert fit.slope == 0.0
    assert 400 * (0.75 - 1 / (1 + np.exp(-fit.intercepts[0]))) == pytest.approx(10 * fit.intercepts[0])


@given(seeds)
def test_fit_with_intercepts_of_the_mirrored_markets_is_mirrored(seed: int) -> None:
    z, y, index, w = categories(seed, 300, [0.5, -0.2])
    fit = fit_ridge_calibration(z, y, index, w, intercept_from=10)
    mirrored = fit_ridge_calibration(-z, 1 - y, index, w, intercept_from=10)
    assert mirrored.slope == pytest.approx(fit.slope, abs=1e-9)
    np.testing.assert_allclose(mirrored.intercepts, -fit.intercepts, atol=1e-9)


@pytest.mark.parametrize(
    ("category", "options", "complaint"),
    [
        ([-1], {}, r"category\[0\] = -1"),
        ([0.0], {}, "category must be one dimension of integers"),
        ([0, 1], {}, r"category has shape \(2,\)"),
        ([0], {"slope_ridge": 0.0}, "slope_ridge = 0.0"),
        ([0], {"intercept_ridge": -1.0}, "intercept_ridge = -1.0"),
        ([0], {"intercept_from": 0.0}, "intercept_from = 0.0"),
    ],
)
def test_fit_with_intercepts_when_input_is_out_of_range_refuses(
    category: list[float], options: dict[str, float], complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        fit_ridge_calibration([0.0], [1], category, **options)


def test_apply_with_slope_one_changes_nothing_and_with_zero_everything() -> None:
    p = np.linspace(0.01, 0.99, 21)
    np.testing.assert_allclose(apply_calibration(p, 1.0), p, rtol=1e-13)
    assert apply_calibration(p, 0.0).tolist() == [0.5] * 21


def test_apply_with_an_intercept_multiplies_the_odds() -> None:
    # odds 1/4, 1, 4 times 2
    np.testing.assert_allclose(apply_calibration([0.2, 0.5, 0.8], 1.0, np.log(2)), [1 / 3, 2 / 3, 8 / 9])


@pytest.mark.parametrize(
    ("slope", "intercept", "complaint"), [(float("nan"), 0.0, "slope = nan"), (1.0, float("inf"), "intercept = inf")]
)
def test_apply_when_a_parameter_is_not_finite_refuses(slope: float, intercept: float, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        apply_calibration(0.5, slope, intercept)
