"""When the cascade stops asking."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ensemble_pipeline.domain import Forecast, Strategy
from ensemble_pipeline.ensemble.cascade import Bounds, answers_to_hear, value_of_next_micro_usd
from ensemble_pipeline.ensemble.engine import EnsembleEngine, Question
from ensemble_pipeline_tests.ensemble.parts import (
    USD,
    answer,
    calibration_of,
    engine_with,
    question_about,
    ranking_of,
)

NAMES = ("a", "b", "c", "d", "e")
SAID = st.lists(st.integers(0, 100).map(lambda cents: cents / 100), min_size=1, max_size=5)
COSTS = st.lists(st.sampled_from([0, 500, 5_000, 50_000, 10**9]), min_size=5, max_size=5)


def equal(names: object) -> NDArray[np.float64]:
    """Everybody the same weight."""
    assert isinstance(names, list | tuple)
    return np.full(len(names), 1 / len(names))


def bounds_of(*, cost: int = 2_000, stake_usd: float = 50, **changes: float) -> Bounds:
    return Bounds(
        order=NAMES,
        worst_case_micro_usd=dict.fromkeys(NAMES, cost),
        stake_micro_usd=int(stake_usd * USD),
        market_weight=changes.get("market_weight", 0.2),
        demanded_edge=changes.get("demanded_edge", 0.06),
    )


def heard(said: dict[str, float], bounds: Bounds, price: float | None = 0.41) -> tuple[str, ...]:
    names = tuple(sorted(said))
    return answers_to_hear(names, np.array([said[name] for name in names]), equal, price, bounds)


def weights_of(engine: EnsembleEngine, question: Question, said: dict[str, float]) -> dict[str, float]:
    answers = [answer(name, p) for name, p in said.items()]
    consensus = engine.weighted_consensus(question, answers, Strategy.CASCADING)
    return {o.model_id: o.weight for o in consensus.members}


def test_cascade_stops_once_an_answer_is_worth_less_than_it_costs() -> None:
    said = dict.fromkeys(NAMES, 0.6)
    counts = [len(heard(said, bounds_of(cost=cost))) for cost in (0, 1, 1_000, 10_000, 100_000, 10**9)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == 5
    assert counts[-1] == 1
    assert len(set(counts)) > 2


def test_cascade_goes_on_where_more_is_at_stake() -> None:
    said = dict.fromkeys(NAMES, 0.6)
    counts = [len(heard(said, bounds_of(stake_usd=usd))) for usd in (0, 1, 10, 100, 1000, 1e6)]
    assert counts == sorted(counts)
    assert counts[0] == 1
    assert counts[-1] > 1


def test_next_answer_is_worth_most_where_the_decision_hangs_in_the_balance() -> None:
    def value(p: float) -> float:
        return value_of_next_micro_usd(np.array([p]), np.array([1.0]), 0.41, bounds_of(market_weight=0.5))

    values = {p: value(p) for p in (0.41, 0.55, 0.6, 0.95, 0.99)}
    assert max(values, key=lambda p: values[p]) in (0.55, 0.6)
    assert values[0.99] < values[0.6]
    assert values[0.41] < values[0.55]


@given(SAID, st.floats(0.01, 0.99), st.floats(0, 1), st.floats(0, 0.2))
def test_next_answer_is_never_worth_less_than_nothing_and_nothing_where_nothing_is_at_stake(
    said: list[float], price: float, market_weight: float, demanded_edge: float
) -> None:
    p, weight = np.array(said), equal(said)
    bounds = bounds_of(market_weight=market_weight, demanded_edge=demanded_edge)
    assert value_of_next_micro_usd(p, weight, price, bounds) >= 0
    assert value_of_next_micro_usd(p, weight, None, bounds) >= 0
    nothing = bounds_of(stake_usd=0, market_weight=market_weight, demanded_edge=demanded_edge)
    assert value_of_next_micro_usd(p, weight, price, nothing) == 0


@given(SAID, st.one_of(st.none(), st.floats(0.01, 0.99)), st.sampled_from([0.0, 50.0]), st.sampled_from([0.0, 0.5]))
def test_free_answers_are_always_heard(
    said: list[float], price: float | None, stake_usd: float, market_weight: float
) -> None:
    given_ = dict(zip(NAMES, said, strict=False))
    bounds = bounds_of(cost=0, stake_usd=stake_usd, market_weight=market_weight)
    assert heard(given_, bounds, price) == NAMES[: len(said)]


def test_cascade_hears_members_in_the_order_of_their_utility() -> None:
    dear = dict.fromkeys(NAMES, 10**9)
    engine = engine_with()
    for order in ("cab", "bca", "abc"):
        question = question_about(0.41, order, worst_case_micro_usd=dear, stake_micro_usd=50 * USD)
        weights = weights_of(engine, question, {"a": 0.5, "b": 0.6, "c": 0.7})
        assert {name for name, weight in weights.items() if weight} == {order[0]}


def test_cascade_passes_over_who_did_not_answer_and_hears_outsiders_last() -> None:
    free = bounds_of(cost=0)
    assert heard({"e": 0.5, "c": 0.6, "stand-in": 0.7, "former": 0.4}, free) == ("c", "e", "former", "stand-in")
    costs = dict.fromkeys([*NAMES, "former"], 10**9)
    dear = Bounds(NAMES, costs, 50 * USD, 0.2, 0.06)
    assert heard({"c": 0.6, "former": 0.4}, dear) == ("c",)


@given(said=SAID, costs=COSTS, price=st.one_of(st.none(), st.integers(1, 99).map(lambda cents: cents / 100)))
def test_answers_heard_of_all_are_those_that_asking_step_by_step_would_have_got(
    said: list[float], costs: list[int], price: float | None
) -> None:
    asked = NAMES[: len(said)]
    question = question_about(
        price,
        asked,
        worst_case_micro_usd=dict(zip(asked, costs, strict=False)),
        stake_micro_usd=50 * USD,
    )
    ranking = ranking_of(dict(zip(NAMES, (-0.02, 0.0, 0.01, 0.03, -0.01), strict=True)), 150.0)
    engine = engine_with(ranking, calibration_of(), 0.06)
    answers = [answer(name, p) for name, p in zip(asked, said, strict=True)]
    stepwise: list[Forecast] = []
    for it in answers:
        if not engine.is_worth_asking(it.model_id, question, stepwise):
            break
        stepwise.append(it)
    of_all = engine.weighted_consensus(question, answers, Strategy.CASCADING)
    assert [o.model_id for o in of_all.members if o.weight > 0] == sorted(it.model_id for it in stepwise)
    # and what follows from them is the same to the bit
    of_heard = engine.weighted_consensus(question, stepwise, Strategy.CASCADING)
    for name in ("p_pooled", "p_calibrated", "p_final"):
        assert getattr(of_all, name) == getattr(of_heard, name)


def test_first_member_is_asked_whatever_it_costs() -> None:
    question = question_about(0.41, NAMES, worst_case_micro_usd={"a": 10**12})
    assert engine_with().is_worth_asking("a", question, [])


def test_members_that_a_cascade_did_not_come_to_were_not_asked() -> None:
    consensus = engine_with().weighted_consensus(question_about(0.41, NAMES), [answer("a", 0.5)], Strategy.CASCADING)
    assert [o.model_id for o in consensus.members] == ["a"]


@pytest.mark.parametrize("price", [None, 0.41])
def test_members_heard_share_the_whole_weight(price: float | None) -> None:
    question = question_about(price, "abc", worst_case_micro_usd={"a": 0, "b": 0, "c": 10**9}, stake_micro_usd=50 * USD)
    weights = weights_of(engine_with(), question, {"a": 0.5, "b": 0.6, "c": 0.7})
    assert weights == pytest.approx({"a": 0.5, "b": 0.5, "c": 0.0})
