import numpy as np
import pytest

from ensemble_pipeline.domain import VolatilityRegime
from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.pooling import expit
from ensemble_pipeline.forecasting.volatility import daily_logit_volatility, regime

DAY = 86_400


@pytest.mark.parametrize(
    ("times_s", "p"), [([], []), ([0], [0.5]), ([0, DAY], [0.4, 0.6]), ([DAY] * 3, [0.4, 0.5, 0.6])]
)
def test_volatility_of_too_little_is_unknown(times_s: list[int], p: list[float]) -> None:
    assert daily_logit_volatility(times_s, p) is None


def test_volatility_scales_with_the_root_of_time() -> None:
    p = [0.5, 0.6, 0.55, 0.7]
    slow = daily_logit_volatility(np.arange(4) * 4 * DAY, p)
    assert daily_logit_volatility(np.arange(4) * DAY, p) == pytest.approx(2 * (slow or 0.0))


def test_volatility_of_a_random_walk_is_its_own() -> None:
    rng = np.random.default_rng(9)
    gaps = rng.uniform(600, 7200, 5000)
    walk = np.cumsum(rng.normal(size=5000) * 0.3 * np.sqrt(gaps / DAY))
    measured = daily_logit_volatility(np.cumsum(gaps), expit(walk - walk.mean()), clip=1e-6)
    assert measured == pytest.approx(0.3, rel=0.03)


def test_volatility_of_the_mirrored_market_is_the_same() -> None:
    p = np.array([0.2, 0.3, 0.25, 0.9])
    times_s = [0, 10, 4000, 90_000]
    assert daily_logit_volatility(times_s, 1 - p) == pytest.approx(daily_logit_volatility(times_s, p))


def test_volatility_of_a_price_at_rest_is_zero_even_at_the_end_of_the_scale() -> None:
    assert daily_logit_volatility([0, DAY, 2 * DAY], [0.0, 0.0, 0.0]) == 0.0


@pytest.mark.parametrize(
    ("times_s", "p", "complaint"),
    [
        ([0, 2, 1], [0.5, 0.5, 0.5], "runs backwards"),
        ([0, 1, 2], [0.5, 0.5], "must be"),
        ([0, 1, 2], [0.5, 1.5, 0.5], r"p\[1\] = 1.5"),
    ],
)
def test_volatility_when_malformed_refuses(times_s: list[int], p: list[float], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        daily_logit_volatility(times_s, p)


@pytest.mark.parametrize(
    ("volatility", "expected"),
    [
        (None, VolatilityRegime.UNKNOWN),
        (0.0, VolatilityRegime.CALM),
        (0.149, VolatilityRegime.CALM),
        (0.15, VolatilityRegime.NORMAL),
        (0.499, VolatilityRegime.NORMAL),
        (0.5, VolatilityRegime.VOLATILE),
        (40.0, VolatilityRegime.VOLATILE),
    ],
)
def test_regime_names_are_those_of_the_records(volatility: float | None, expected: VolatilityRegime) -> None:
    assert regime(volatility) == expected.value


@pytest.mark.parametrize("volatility", [-0.1, float("nan")])
def test_regime_when_out_of_range_refuses(volatility: float) -> None:
    with pytest.raises(InputError, match="volatility"):
        regime(volatility)
