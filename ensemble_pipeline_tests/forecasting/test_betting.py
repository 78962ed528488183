import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.betting import evidence_of_mean_below

LOSSES = st.lists(st.floats(-1, 1), min_size=1, max_size=60)
BOUNDS = st.floats(-0.9, 0.9)
ENOUGH = 20


def first_enough(x: list[float], bound: float) -> int | None:
    """After how many observations something counts as shown."""
    reached = np.flatnonzero(evidence_of_mean_below(x, bound) >= ENOUGH)
    return int(reached[0]) + 1 if reached.size else None


def test_evidence_worked_by_hand() -> None:
    # before the first: mean 0, variance .01; its stake .1 / (.01 + .01) is more than .9 / .9, the most
    first = 1 + 1.0 * (0.1 - 0.05)
    # after it: mean .05 / 2, variance (.01 + (.05 - .025)²) / 2; the stake is the most again
    gap, variance = 0.1 - 0.025, (0.01 + 0.025**2) / 2
    stake = min(gap / (variance + gap**2), 1.0)
    assert stake == 1.0
    second = first * (1 + stake * (0.1 + 0.2))
    # after both: mean -.15 / 3, and the sum of squares about the means after each
    mean = -0.15 / 3
    gap, variance = 0.1 - mean, (0.01 + 0.025**2 + (-0.2 - mean) ** 2) / 3
    third = second * (1 + min(gap / (variance + gap**2), 1.0) * (0.1 - 0.6))
    assert evidence_of_mean_below([0.05, -0.2, 0.6], 0.1).tolist() == pytest.approx([first, second, third])


@pytest.mark.parametrize(("bound", "n"), [(0.005, 665), (0.01, 332), (0.02, 165)])
def test_what_never_loses_is_shown_after_as_many_as_a_loss_so_rare_would_take_to_come(bound: float, n: int) -> None:
    assert first_enough([0.0] * 1000, bound) == n
    # no bet that may not be lost can do it sooner: each wins at most bound / (1 - bound) of what there is
    assert n >= math.log(ENOUGH) / math.log1p(bound / (1 - bound))


def test_single_large_loss_takes_nearly_everything() -> None:
    calm = evidence_of_mean_below([0.0] * 100, 0.02)[-1]
    struck = evidence_of_mean_below([0.0] * 100 + [1.0], 0.02)[-1]
    assert 0 < struck < 0.12 * calm


def test_nothing_is_staked_once_the_mean_lies_above_the_bound() -> None:
    evidence = evidence_of_mean_below([0.9] * 5 + [0.0] * 5, 0.1)
    assert evidence[1:6].tolist() == [evidence[0]] * 5


@pytest.mark.parametrize(
    ("chance", "loss", "bound"), [(0.01, 1.0, 0.01), (0.02, 0.5, 0.01), (0.5, 0.04, 0.02), (0.2, 0.025, 0.005)]
)
def test_mean_at_the_bound_reaches_enough_at_any_time_in_few_histories(
    chance: float, loss: float, bound: float
) -> None:
    rng = np.random.default_rng(7)
    histories = rng.binomial(1, chance, (400, 1500)) * loss
    assert np.mean([evidence_of_mean_below(x, bound).max() >= ENOUGH for x in histories]) <= 0.05


@given(st.floats(-0.5, 0.5), st.integers(1, 5), st.data())
def test_bet_is_fair_at_best(bound: float, n: int, data: st.DataObject) -> None:
    """Of two outcomes whose mean is the bound, the next one changes the evidence by nothing on average."""
    so_far = data.draw(st.lists(st.floats(-1, 1), min_size=n, max_size=n))
    low, high = data.draw(st.floats(-1, bound)), data.draw(st.floats(bound, 1))
    p = 0.5 if high == low else (bound - low) / (high - low)
    before = evidence_of_mean_below(so_far, bound)[-1]
    after = [evidence_of_mean_below([*so_far, x], bound)[-1] for x in (low, high)]
    assert (1 - p) * after[0] + p * after[1] == pytest.approx(before, rel=1e-6, abs=1e-9)


@given(LOSSES, BOUNDS)
def test_evidence_is_positive_and_what_comes_later_changes_nothing_before(x: list[float], bound: float) -> None:
    evidence = evidence_of_mean_below(x, bound)
    assert evidence.shape == (len(x),)
    assert np.all(evidence > 0)
    assert evidence_of_mean_below(x[:-1], bound).tolist() == evidence[:-1].tolist()


def test_endless_evidence_stays_a_number() -> None:
    assert math.isfinite(evidence_of_mean_below([-1.0] * 5000, 0.9)[-1])


def test_without_observations_there_is_no_evidence() -> None:
    assert evidence_of_mean_below([], 0.1).shape == (0,)


@pytest.mark.parametrize("bound", [-1.0, 1.0, 2.0, math.nan])
def test_bound_that_is_none_is_refused(bound: float) -> None:
    with pytest.raises(InputError, match="bound = "):
        evidence_of_mean_below([0.0], bound)


@pytest.mark.parametrize("x", [[1.5], [0.0, math.nan], [[0.1], [0.2]], [-1.01]])
def test_observation_out_of_range_is_refused(x: list[float]) -> None:
    with pytest.raises(InputError, match="x"):
        evidence_of_mean_below(x, 0.1)
