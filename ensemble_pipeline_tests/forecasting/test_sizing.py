import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting import sizing
from ensemble_pipeline_tests.forecasting.strategies import probabilities

costs = st.floats(0.01, 0.99)


@pytest.mark.parametrize(("p", "cost"), [(0.6, 0.5), (0.95, 0.3), (0.2, 0.1)])
def test_kelly_fraction_is_where_expected_log_growth_peaks(p: float, cost: float) -> None:
    def loss(stake: float) -> float:
        return -(p * math.log(1 + stake * (1 / cost - 1)) + (1 - p) * math.log(1 - stake))

    best = optimize.minimize_scalar(loss, bounds=(0, 0.999), method="bounded", options={"xatol": 1e-10})
    assert sizing.kelly_fraction(p, cost) == pytest.approx(best.x, abs=1e-6)


def test_kelly_fraction_of_certainty_is_everything() -> None:
    assert sizing.kelly_fraction(1.0, 0.97) == 1.0


@given(probabilities, costs)
def test_kelly_fraction_is_zero_exactly_without_an_edge(p: float, cost: float) -> None:
    assert (sizing.kelly_fraction(p, cost) > 0) == (sizing.edge(p, cost) > 0)


@given(probabilities, costs, probabilities, probabilities, probabilities)
def test_stake_never_grows_with_uncertainty_and_stays_below_kelly(
    p: float, cost: float, kelly_share: float, first: float, second: float
) -> None:
    low, high = sorted((first, second))
    certain, uncertain = (sizing.stake_fraction(p, cost, kelly_share, u) for u in (low, high))
    assert 0 <= uncertain <= certain <= sizing.kelly_fraction(p, cost) <= 1
    assert sizing.stake_fraction(p, cost, kelly_share, 1.0) == 0


@pytest.mark.parametrize(
    ("p", "cost", "kelly_share", "u", "complaint"),
    [
        (1.1, 0.5, 0.5, 0.5, "p_win = 1.1"),
        (0.5, 0.0, 0.5, 0.5, "cost = 0.0"),
        (0.5, 1.0, 0.5, 0.5, "cost = 1.0"),
        (0.5, 0.5, 1.5, 0.5, "kelly_share = 1.5"),
        (0.5, 0.5, 0.5, float("nan"), "uncertainty = nan"),
    ],
)
def test_stake_when_out_of_range_names_the_argument(
    p: float, cost: float, kelly_share: float, u: float, complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint):
        sizing.stake_fraction(p, cost, kelly_share, u)
