import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_diagnostics.scoring import SquaredError, decompose  # type: ignore[import-untyped]
from numpy.typing import ArrayLike
from sklearn.isotonic import IsotonicRegression

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting import decomposition
from ensemble_pipeline.forecasting.arrays import FloatArray
from ensemble_pipeline.forecasting.reliability import reliability_bins
from ensemble_pipeline.forecasting.scoring import brier_score
from ensemble_pipeline_tests.forecasting.strategies import probabilities

levels = probabilities | st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0])
scored = st.lists(st.tuples(levels, st.integers(0, 1)), min_size=1, max_size=60).map(
    lambda rows: (np.array([p for p, _ in rows]), np.array([float(y) for _, y in rows]))
)


def perfect(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    p = rng.uniform(size=n)
    return p, (rng.uniform(size=n) < p).astype(np.float64)


def test_isotonic_fit_pools_neighbours_out_of_order_by_hand() -> None:
    # 1, 0 pool to 1/2; the next 0 pulls them to 1/3; 1 stands alone
    assert decomposition.isotonic_fit([0.2, 0.4, 0.5, 0.9], [1, 0, 0, 1]).tolist() == pytest.approx(
        [1 / 3, 1 / 3, 1 / 3, 1]
    )


def test_isotonic_fit_pools_equal_forecasts_before_it_orders_them() -> None:
    assert decomposition.isotonic_fit([0.4, 0.4, 0.2], [1, 0, 0]).tolist() == [0.5, 0.5, 0]


def test_isotonic_fit_weighs_outcomes() -> None:
    assert decomposition.isotonic_fit([0.2, 0.4], [1, 0], [3, 1]).tolist() == [0.75, 0.75]


@given(scored, st.integers(0, 2**32 - 1), st.booleans())
def test_isotonic_fit_agrees_with_sklearn(data: tuple[FloatArray, FloatArray], seed: int, is_weighted: bool) -> None:
    # sklearn takes forecasts less than 1e-15 or so apart for ties
    p, y = data[0].round(9), data[1]
    weight = np.random.default_rng(seed).uniform(0.1, 3, len(p)) if is_weighted else None
    oracle = IsotonicRegression().fit(p, y, weight).predict(p)
    np.testing.assert_allclose(decomposition.isotonic_fit(p, y, weight), oracle, atol=1e-12)


@given(scored)
def test_isotonic_fit_is_ordered_keeps_the_mean_and_is_its_own_fit(data: tuple[FloatArray, FloatArray]) -> None:
    p, y = data
    fitted = decomposition.isotonic_fit(p, y)
    assert (np.diff(fitted[np.argsort(p)]) >= 0).all()
    assert ((fitted >= 0) & (fitted <= 1)).all()
    assert fitted.mean() == pytest.approx(y.mean())
    np.testing.assert_allclose(decomposition.isotonic_fit(fitted, y), fitted, atol=1e-12)


def test_isotonic_fit_of_many_forecasts_in_reverse_order_pools_them_all() -> None:
    n = 20_000
    fitted = decomposition.isotonic_fit(np.arange(n) / n, np.arange(n) < n // 4)
    np.testing.assert_allclose(fitted, 0.25)


@pytest.mark.parametrize(
    ("weight", "complaint"),
    [([1.0, 0.0], r"weight\[1\] = 0.0"), ([1.0, -1.0], r"weight\[1\] = -1.0"), ([1.0], r"weight has shape \(1,\)")],
)
def test_isotonic_fit_when_a_weight_is_out_of_range_refuses(weight: list[float], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        decomposition.isotonic_fit([0.2, 0.4], [0, 1], weight)


@pytest.mark.parametrize(
    ("p", "y", "complaint"),
    [
        ([], [], "p is empty"),
        ([1.5], [1], r"p\[0\] = 1.5"),
        ([float("nan")], [1], r"p\[0\] = nan"),
        ([0.5], [0.5], r"y\[0\] = 0.5"),
        ([0.5, 0.5], [1], r"y has shape \(1,\)"),
        ([[0.5, 0.5]], [[1, 0]], r"p has shape \(1, 2\)"),
    ],
)
def test_decompositions_when_input_is_out_of_range_refuse(p: ArrayLike, y: ArrayLike, complaint: str) -> None:
    for refused in (
        decomposition.isotonic_fit,
        decomposition.corp_decomposition,
        decomposition.murphy_decomposition,
    ):
        with pytest.raises(InputError, match=complaint):
            refused(p, y)


@pytest.mark.parametrize(("n", "seed", "power"), [(5, 0, 1.0), (60, 1, 0.5), (791, 2, 2.0)])
def test_corp_decomposition_agrees_with_model_diagnostics(n: int, seed: int, power: float) -> None:
    p, y = perfect(n, np.random.default_rng(seed))
    p = p.round(2) ** power
    parts = decomposition.corp_decomposition(p, y)
    oracle = decompose(y_obs=y, y_pred=p, scoring_function=SquaredError()).row(0, named=True)
    assert parts.miscalibration == pytest.approx(oracle["miscalibration"], abs=1e-12)
    assert parts.discrimination == pytest.approx(oracle["discrimination"], abs=1e-12)
    assert parts.uncertainty == pytest.approx(oracle["uncertainty"], abs=1e-12)
    assert parts.brier == pytest.approx(oracle["score"], abs=1e-12)


@given(scored)
def test_corp_decomposition_adds_up_and_no_part_is_negative(data: tuple[FloatArray, FloatArray]) -> None:
    parts = decomposition.corp_decomposition(*data)
    assert parts.brier == pytest.approx(brier_score(*data).mean(), abs=1e-15)
    assert parts.miscalibration - parts.discrimination + parts.uncertainty == pytest.approx(parts.brier, abs=1e-12)
    assert min(parts.miscalibration, parts.discrimination, parts.uncertainty) >= 0


@given(scored)
def test_corp_discrimination_and_uncertainty_depend_on_the_order_alone(data: tuple[FloatArray, FloatArray]) -> None:
    p, y = data[0].round(6), data[1]
    parts, stretched = decomposition.corp_decomposition(p, y), decomposition.corp_decomposition(p / 2, y)
    assert stretched.discrimination == pytest.approx(parts.discrimination, abs=1e-15)
    assert stretched.uncertainty == parts.uncertainty


def test_corp_decomposition_of_a_seer_is_all_discrimination_and_of_climatology_all_uncertainty() -> None:
    seer = decomposition.corp_decomposition([0.0, 1.0, 1.0, 1.0], [0, 1, 1, 1])
    assert seer == decomposition.CorpDecomposition(0, 0, 0.1875, 0.1875)
    climatology = decomposition.corp_decomposition([0.75] * 4, [0, 1, 1, 1])
    assert climatology == decomposition.CorpDecomposition(0.1875, 0, 0, 0.1875)


@pytest.mark.parametrize(("n", "mean"), [(30, 0.0462), (100, 0.0231), (500, 0.0086)])
def test_corp_miscalibration_of_a_perfect_forecaster_is_biased_upwards_as_documented(n: int, mean: float) -> None:
    rng = np.random.default_rng(4)
    found = [decomposition.corp_decomposition(*perfect(n, rng)).miscalibration for _ in range(400)]
    assert np.mean(found) == pytest.approx(mean, rel=0.08)


@given(scored, st.integers(1, 30))
def test_murphy_decomposition_adds_up(data: tuple[FloatArray, FloatArray], bins: int) -> None:
    parts = decomposition.murphy_decomposition(*data, bins)
    total = parts.reliability - parts.resolution + parts.uncertainty + parts.within_bin
    assert total == pytest.approx(brier_score(*data).mean(), abs=1e-12)
    assert 0 <= parts.reliability <= 1
    assert 0 <= parts.resolution <= parts.uncertainty + 1e-15


@given(scored)
def test_murphy_decomposition_of_one_forecast_per_bin_leaves_nothing_within(
    data: tuple[FloatArray, FloatArray],
) -> None:
    p, y = (np.floor(data[0] * 10).clip(0, 9) + 0.5) / 10, data[1]
    parts = decomposition.murphy_decomposition(p, y)
    assert parts.within_bin == pytest.approx(0, abs=1e-15)


def test_murphy_decomposition_uses_the_bins_of_the_diagram() -> None:
    p, y = perfect(300, np.random.default_rng(5))
    table = reliability_bins(p, y, bins=7)
    parts = decomposition.murphy_decomposition(p, y, bins=7)
    share = table.n / len(p)
    assert parts.reliability == pytest.approx(np.sum(share * np.square(table.mean_p - table.mean_outcome)))
    assert parts.resolution == pytest.approx(np.sum(share * np.square(table.mean_outcome - y.mean())))


def test_murphy_decomposition_in_one_bin_counts_all_skill_as_hidden_by_it() -> None:
    parts = decomposition.murphy_decomposition([0.0, 1.0], [0, 1], bins=1)
    assert parts == decomposition.MurphyDecomposition(0, 0, 0.25, -0.25)


def test_murphy_decomposition_without_a_bin_refuses() -> None:
    with pytest.raises(InputError, match="bins = 0"):
        decomposition.murphy_decomposition([0.5], [1], bins=0)
