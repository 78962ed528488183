import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting import pooling
from ensemble_pipeline_tests.forecasting.strategies import panels, probabilities

Panel = tuple[list[float], list[float]]


@pytest.mark.parametrize("p", [[0.2, 0.0], [0.2, 1.0], [0.2, float("nan")]])
def test_logit_outside_the_open_interval_refuses(p: list[float]) -> None:
    with pytest.raises(InputError, match=r"p\[1\] = .* has no log-odds"):
        pooling.logit(p)


@pytest.mark.parametrize("z", [float("inf"), float("nan")])
def test_expit_when_not_finite_refuses(z: float) -> None:
    with pytest.raises(InputError, match="log_odds"):
        pooling.expit(z)


@pytest.mark.parametrize(
    ("p", "weight", "complaint"),
    [
        ([], [], "a panel needs"),
        ([0.5], [0.0], "a panel needs"),
        ([0.5, 0.5], [1.0, -1.0], r"weight\[1\] = -1.0"),
        ([0.5, float("nan")], [1.0, 1.0], r"p\[1\] = nan"),
        ([0.5, 0.5], [1.0], r"weight has shape"),
    ],
)
def test_pools_when_a_panel_is_malformed_refuse(p: list[float], weight: list[float], complaint: str) -> None:
    for pool in (pooling.log_odds_pool, pooling.linear_pool):
        with pytest.raises(InputError, match=complaint):
            pool(p, weight)


def test_median_pool_of_nobody_refuses() -> None:
    with pytest.raises(InputError, match="a panel needs"):
        pooling.median_pool([])


def test_logit_and_expit_agree_with_scipy() -> None:
    p = np.random.default_rng(1).uniform(1e-12, 1 - 1e-12, 1000)
    np.testing.assert_allclose(pooling.logit(p), special.logit(p), rtol=1e-13, atol=1e-15)
    z = np.linspace(-750, 750, 3001)
    np.testing.assert_allclose(pooling.expit(z), special.expit(z), rtol=1e-14, atol=1e-300)


def test_log_odds_pool_multiplies_odds() -> None:
    # odds 1:1 and 16:1 with equal weights: geometric mean 4:1
    assert pooling.log_odds_pool([0.5, 16 / 17], [3, 3]) == pytest.approx(0.8, rel=1e-14)
    # weights 1 and 3: 16^(3/4) = 8:1
    assert pooling.log_odds_pool([0.5, 16 / 17], [1, 3]) == pytest.approx(8 / 9, rel=1e-14)


def test_log_odds_pool_clips_members() -> None:
    assert pooling.log_odds_pool([0.0, 1.0], [1, 1]) == pytest.approx(0.5, rel=1e-15)
    assert pooling.log_odds_pool([1.0], [1], clip=0.05) == pytest.approx(0.95)


def test_median_pool_ignores_one_broken_member() -> None:
    assert pooling.median_pool([0.6, 0.0, 0.62]) == 0.6
    assert pooling.median_pool([0.25, 0.75]) == 0.5


@given(panels)
def test_pools_of_the_mirrored_panel_are_mirrored(panel: Panel) -> None:
    p, weight = np.array(panel[0]), panel[1]
    assert pooling.log_odds_pool(1 - p, weight) == pytest.approx(1 - pooling.log_odds_pool(p, weight), abs=1e-13)
    assert pooling.linear_pool(1 - p, weight) == pytest.approx(1 - pooling.linear_pool(p, weight), abs=1e-13)
    assert pooling.median_pool(1 - p) == pytest.approx(1 - pooling.median_pool(p), abs=1e-15)


@given(panels, st.integers(0, 2**32 - 1))
def test_pools_do_not_depend_on_the_order_of_members_to_the_bit(panel: Panel, seed: int) -> None:
    p, weight = np.array(panel[0]), np.array(panel[1])
    order = np.random.default_rng(seed).permutation(len(p))
    assert pooling.log_odds_pool(p[order], weight[order]) == pooling.log_odds_pool(p, weight)
    assert pooling.linear_pool(p[order], weight[order]) == pooling.linear_pool(p, weight)
    assert pooling.median_pool(p[order]) == pooling.median_pool(p)


@given(panels)
def test_pools_lie_between_their_members(panel: Panel) -> None:
    p, weight = panel
    clipped = np.clip(p, 0.01, 0.99)
    assert clipped.min() - 1e-12 <= pooling.log_odds_pool(p, weight) <= clipped.max() + 1e-12
    assert min(p) - 1e-12 <= pooling.linear_pool(p, weight) <= max(p) + 1e-12
    assert min(p) <= pooling.median_pool(p) <= max(p)


@given(probabilities, st.floats(0.001, 0.999))
def test_anchor_with_weight_zero_is_the_price_to_the_bit(p: float, price: float) -> None:
    assert pooling.anchor_to_price(p, price, 0.0) == price


@pytest.mark.parametrize(("price", "believed"), [(0.0, 0.001), (1.0, 0.999)])
def test_anchor_when_the_price_is_certain_clips_it(price: float, believed: float) -> None:
    assert pooling.anchor_to_price(0.5, price, 0.0) == believed
    assert 0 < pooling.anchor_to_price(0.5, price, 0.2) < 1


@given(probabilities, probabilities, st.floats(0, 1))
def test_anchor_is_mirror_symmetric_and_between_price_and_pool(p: float, price: float, market_weight: float) -> None:
    anchored = pooling.anchor_to_price(p, price, market_weight)
    assert pooling.anchor_to_price(1 - p, 1 - price, market_weight) == pytest.approx(1 - anchored, abs=1e-12)
    low, high = sorted((min(max(p, 0.01), 0.99), min(max(price, 0.001), 0.999)))
    assert low - 1e-12 <= anchored <= high + 1e-12


@pytest.mark.parametrize(("p", "price", "market_weight"), [(1.1, 0.5, 0.2), (0.5, -0.1, 0.2), (0.5, 0.5, 1.5)])
def test_anchor_when_an_argument_is_out_of_range_refuses(p: float, price: float, market_weight: float) -> None:
    with pytest.raises(InputError):
        pooling.anchor_to_price(p, price, market_weight)


@pytest.mark.parametrize(("gap", "expected"), [(0.0, 0.0), (1.0, 1 / 1.16), (2.5, 1.25), (5.0, 1.0), (-5.0, -1.0)])
def test_bounded_gap_by_hand(gap: float, expected: float) -> None:
    assert float(pooling.bounded_gap(gap)) == pytest.approx(expected)


def test_bounded_gap_is_largest_at_its_scale() -> None:
    gaps = np.linspace(0, 20, 2001)
    assert gaps[int(np.argmax(pooling.bounded_gap(gaps, scale=3.0)))] == pytest.approx(3.0)
    assert float(pooling.bounded_gap(3.0, scale=3.0)) == pytest.approx(1.5)


@pytest.mark.parametrize(("error", "spread", "expected"), [(0.0, 2.0, 0.9), (2.0, 2.0, 0.75), (1e9, 2.0, 0.5)])
def test_shrunk_log_odds_by_hand(error: float, spread: float, expected: float) -> None:
    # odds of 9 are 3 where half of the log-odds is left
    assert pooling.shrink_log_odds(0.9, error, spread) == pytest.approx(expected, abs=1e-9)
