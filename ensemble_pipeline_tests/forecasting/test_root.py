import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from ensemble_pipeline.forecasting.root import root_of_increasing


@given(st.floats(-50, 50), st.floats(0.01, 100), st.floats(-60, 0), st.floats(0, 1))
def test_root_of_a_line_is_found_from_any_start(root: float, slope: float, low: float, at: float) -> None:
    high = root + 7.0
    found = root_of_increasing(
        lambda x: (slope * (x - root), slope), min(low, root), high, start=min(low, root) + at * (high - min(low, root))
    )
    assert found == pytest.approx(root, abs=1e-9)


def test_root_of_the_exponential_is_its_logarithm() -> None:
    found = root_of_increasing(lambda x: (math.exp(x) - 10, math.exp(x)), -5.0, 20.0, start=-5.0)
    assert found == pytest.approx(math.log(10), abs=1e-12)


@pytest.mark.parametrize("start", [-30.0, -1.0, 0.0, 3.0, 30.0])
def test_root_is_found_where_newton_alone_would_run_away(start: float) -> None:
    # steep at the root and flat beyond: from 3 on Newton's first step would leave the bracket
    def function(x: float) -> tuple[float, float]:
        return math.atan(x - 0.5), 1 / (1 + (x - 0.5) ** 2)

    assert root_of_increasing(function, -40.0, 40.0, start=start) == pytest.approx(0.5, abs=1e-9)


@given(st.floats(-3, 3), st.floats(0.1, 20))
def test_root_agrees_with_scipy(shift: float, ridge: float) -> None:
    def function(x: float) -> tuple[float, float]:
        v = 1 / (1 + math.exp(-x))
        return v - 0.3 + ridge * (x - shift), v * (1 - v) + ridge

    found = root_of_increasing(function, -50.0, 50.0, start=0.0)
    assert found == pytest.approx(optimize.brentq(lambda x: function(x)[0], -50, 50, xtol=1e-13), abs=1e-9)


def test_function_that_is_positive_throughout_has_its_least_argument() -> None:
    assert root_of_increasing(lambda x: (x + 1, 1.0), 0.0, 5.0, start=2.0) == 0.0
    assert root_of_increasing(lambda x: (x, 1.0), 0.0, 5.0, start=2.0) == 0.0


def test_exact_root_at_the_start_is_returned_to_the_bit() -> None:
    assert root_of_increasing(lambda x: (x - 0.2, 1.0), 0.0, 1.0, start=0.2) == 0.2
