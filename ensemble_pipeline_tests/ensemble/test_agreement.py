"""Two models that must agree: on the action, on the side, each confident enough."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.domain import Action, Reason, Route, Side
from ensemble_pipeline.ensemble.conclude import conclude
from ensemble_pipeline.ensemble.context import Method
from ensemble_pipeline.ensemble.opinions import engine_of, opinion_on
from ensemble_pipeline.ensemble.plan import Planner
from ensemble_pipeline.store.decisions import EnsembleDecision
from ensemble_pipeline_tests.ensemble.parts import (
    answer,
    calibration_of,
    context_of,
    filling_of,
    policy_of,
    snapshot_of,
    standing_of,
)

Stance = tuple[float, float]


def decide(*said: Stance, market_weight: float = 0.5) -> EnsembleDecision:
    """Two models on a book of 0.40 to 0.42, each with its probability and its confidence."""
    policy = policy_of(ensemble={"exploration_share": 0})
    context = context_of(method=Method.AGREEMENT, calibration=calibration_of(market_weight=market_weight))
    plan = Planner(policy, context).plan(snapshot_of(), standing_of())
    assert (plan.route, [member.name for member in plan.members]) == (Route.PAIR, ["a", "b"])
    answers = [answer(name, p, confidence) for name, (p, confidence) in zip("ab", said, strict=False)]
    return conclude(policy, context, plan, opinion_on(engine_of(policy, context), plan, answers), filling_of())


@pytest.mark.parametrize(
    ("said", "side"),
    [
        (((0.8, 0.9), (0.9, 0.9)), Side.YES),
        # at the very least confidence, and so alike that nothing is taken off it
        (((0.89, 0.6), (0.9, 0.6)), Side.YES),
        (((0.05, 0.9), (0.1, 0.7)), Side.NO),
    ],
)
def test_two_that_would_make_the_same_trade_make_it_with_their_mean_confidence(
    said: tuple[Stance, Stance], side: Side
) -> None:
    made = decide(*said)
    assert (made.action, made.side, made.terminal_reason) == (Action.TRADE, side, Reason.TRADED)
    assert made.confidence == pytest.approx((said[0][1] + said[1][1]) / 2)
    assert made.reasoning.startswith("[MULTI-AGENT ENSEMBLE] pair")


@pytest.mark.parametrize(
    "said",
    [
        ((0.8, 0.59), (0.9, 0.9)),
        ((0.8, 0.9), (0.9, 0.59)),
        ((0.8, 0.9), (0.1, 0.9)),
        # 0.45 is above the price, but not by the edge that would pay for a trade
        ((0.8, 0.9), (0.45, 0.9)),
        ((0.41, 0.9), (0.41, 0.9)),
    ],
    ids=["first unsure", "second unsure", "different sides", "one would skip", "both would skip"],
)
def test_two_that_do_not_agree_on_a_trade_make_none(said: tuple[Stance, Stance]) -> None:
    made = decide(*said)
    assert (made.action, made.terminal_reason) in (
        (Action.SKIP, Reason.NO_CONSENSUS),
        # so far apart that they were stopped before
        (Action.SKIP, Reason.DISAGREEMENT),
    )
    if abs(said[0][0] - said[1][0]) < 0.6:
        [verdict] = [verdict for verdict in made.gates if verdict.gate is Reason.NO_CONSENSUS]
        assert verdict.numbers["demanded_confidence"] == 0.6
        assert {"a", "b"} <= set(verdict.numbers)


def test_two_on_different_sides_but_near_each_other_make_no_trade() -> None:
    made = decide((0.55, 0.9), (0.30, 0.9))
    [verdict] = [verdict for verdict in made.gates if verdict.gate is Reason.NO_CONSENSUS]
    assert made.terminal_reason is Reason.NO_CONSENSUS
    assert str(verdict.numbers["a"]).startswith("trade yes")
    assert str(verdict.numbers["b"]).startswith("trade no")


def test_one_answer_of_two_is_too_few() -> None:
    assert decide((0.8, 0.9)).terminal_reason is Reason.TOO_FEW_ANSWERS
    assert decide().terminal_reason is Reason.NO_ANSWER


@given(st.tuples(st.floats(0, 1), st.floats(0, 1)), st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_two_trade_only_where_each_would_and_the_order_of_the_two_does_not_matter(one: Stance, two: Stance) -> None:
    made, turned = decide(one, two), decide(two, one)
    assert (made.action, made.side, made.contracts) == (turned.action, turned.side, turned.contracts)
    if made.action is Action.TRADE:
        assert min(one[1], two[1]) >= 0.6
        above = [p > 0.41 for p, _ in (one, two)]
        assert above == [made.side is Side.YES] * 2


def test_two_that_agree_are_not_overruled_by_a_third_that_a_draw_let_in() -> None:
    policy = policy_of(ensemble={"exploration_share": 0.999})
    context = context_of(method=Method.AGREEMENT, calibration=calibration_of(market_weight=0.5))
    plan = Planner(policy, context).plan(snapshot_of(), standing_of())
    assert [member.name for member in plan.members] == ["a", "b", "c"]
    answers = [answer("a", 0.8, 0.9), answer("b", 0.85, 0.9), answer("c", 0.45, 0.1)]
    opinion = opinion_on(engine_of(policy, context), plan, answers)
    made = conclude(policy, context, plan, opinion, filling_of())
    assert next(it for it in made.gates if it.gate is Reason.NO_CONSENSUS).is_passed


def test_two_sure_enough_to_agree_are_asked_for_no_other_confidence() -> None:
    made = decide((0.8, 0.6), (0.9, 0.6))
    assert made.action is Action.TRADE
    assert Reason.CONFIDENCE not in {verdict.gate for verdict in made.gates}
