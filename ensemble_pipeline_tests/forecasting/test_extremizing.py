import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.extremizing import extremized_pool, extremizing_factor
from ensemble_pipeline.forecasting.pooling import log_odds_pool
from ensemble_pipeline_tests.forecasting.strategies import panels

Panel = tuple[list[float], list[float]]


@pytest.mark.parametrize("n", [2, 3, 4, 7, 12, 100])
def test_extremizing_factor_equals_the_published_form(n: int) -> None:
    published = n * (math.sqrt(3 * n**2 - 3 * n + 1) - 2) / (n**2 - n - 1)
    assert extremizing_factor(n) == pytest.approx(published, rel=1e-12)


def test_extremizing_factor_passes_smoothly_where_the_published_form_has_no_value() -> None:
    golden = (1 + math.sqrt(5)) / 2
    below, at, above = (extremizing_factor(golden + step) for step in (-1e-6, 0.0, 1e-6))
    assert below < at < above < below + 1e-5


@given(st.floats(1, 1e6), st.floats(1, 1e6))
def test_extremizing_factor_grows_from_one_towards_the_root_of_three(one: float, two: float) -> None:
    few, many = sorted((one, two))
    assert 1 <= extremizing_factor(few) <= extremizing_factor(many) < math.sqrt(3)


@pytest.mark.parametrize("independent", [0.5, math.inf, math.nan])
def test_extremizing_factor_of_less_than_one_member_is_refused(independent: float) -> None:
    with pytest.raises(InputError, match="independent"):
        extremizing_factor(independent)


def test_pool_of_two_that_say_the_same_worked_by_hand() -> None:
    # K = 2, K_eff = 1.6, d = 4.8 / (sqrt(3.88) + 2); v = (2 · 0.395² + 0) / 3 against the usual 0.395²
    usual = 0.395**2
    stretch = 4.8 / (math.sqrt(3.88) + 2)
    odds = (0.7 / 0.3) ** (stretch * (1 + usual / 4) / (1 + usual * 2 / 3 / 4))
    pooled = extremized_pool([0.7, 0.7], [1, 1])
    assert pooled.p_yes == pytest.approx(odds / (1 + odds), rel=1e-12)
    assert pooled.standard_error == pytest.approx(math.sqrt(usual * 2 / 3 / 1.6), rel=1e-12)


@given(panels)
def test_pool_stays_on_the_side_of_the_plain_pool_and_is_mirrored_with_its_members(panel: Panel) -> None:
    p, weight = (np.array(part) for part in panel)
    pooled, mirrored = extremized_pool(p, weight), extremized_pool(1 - p, weight)
    assert (pooled.p_yes - 0.5) * (log_odds_pool(p, weight) - 0.5) >= 0
    assert mirrored.p_yes == pytest.approx(1 - pooled.p_yes, abs=1e-12)
    assert mirrored.standard_error == pytest.approx(pooled.standard_error, rel=1e-9)


def test_pool_is_drawn_in_the_further_its_members_are_apart() -> None:
    pools = [extremized_pool([0.7 + gap, 0.7 - gap], [1, 1]) for gap in (0.0, 0.05, 0.1, 0.2)]
    plain = [log_odds_pool([0.7 + gap, 0.7 - gap], [1, 1]) for gap in (0.0, 0.05, 0.1, 0.2)]
    stretch = [
        math.log(pool.p_yes / (1 - pool.p_yes)) / math.log(p / (1 - p)) for pool, p in zip(pools, plain, strict=True)
    ]
    assert stretch == sorted(stretch, reverse=True)
    assert [pool.standard_error for pool in pools] == sorted(pool.standard_error for pool in pools)
