"""Between asking and filling: a price that moved, and answers that were drawn in only to be scored."""

import pytest

from ensemble_pipeline.domain import Action, Reason, Route, Side, Strategy
from ensemble_pipeline.ensemble.conclude import conclude
from ensemble_pipeline.ensemble.context import Method
from ensemble_pipeline.ensemble.opinions import engine_of, opinion_on
from ensemble_pipeline.ensemble.plan import Planner
from ensemble_pipeline.ensemble.strategies import Panel, agreement
from ensemble_pipeline.forecasting.pooling import anchor_to_price
from ensemble_pipeline.providers.texts import printable
from ensemble_pipeline.store.decisions import EnsembleDecision
from ensemble_pipeline_tests.ensemble.parts import (
    answer,
    book,
    calibration_of,
    context_of,
    engine_with,
    filling_of,
    policy_of,
    question_about,
    snapshot_of,
    standing_of,
)


def decide(seen: tuple[str, str], filled: tuple[str, str], p_yes: float) -> EnsembleDecision:
    policy = policy_of(ensemble={"exploration_share": 0})
    context = context_of(calibration=calibration_of(market_weight=0.5))
    plan = Planner(policy, context).plan(snapshot_of(book(*seen)), standing_of())
    answers = [answer(name, p_yes, 0.9) for name in "abc"]
    opinion = opinion_on(engine_of(policy, context), plan, answers)
    return conclude(policy, context, plan, opinion, filling_of(book(*filled)))


@pytest.mark.parametrize("filled", [("0.40", "0.41"), ("0.30", "0.31"), ("0.60", "0.61"), ("0.80", "0.81")])
def test_price_that_ran_away_from_members_who_agree_with_it_is_not_bought_after(filled: tuple[str, str]) -> None:
    made = decide(("0.50", "0.51"), filled, 0.505)
    [edge] = [it for it in made.gates if it.gate is Reason.EDGE]
    belief = edge.numbers["p_win"] if edge.numbers["side"] == Side.YES else 1 - float(str(edge.numbers["p_win"]))
    mid = (float(filled[0]) + float(filled[1])) / 2
    assert made.p_calibrated is not None
    assert belief == pytest.approx(anchor_to_price(made.p_calibrated, mid, 0.5))


def test_price_that_stands_is_traded_on_as_it_was_anchored() -> None:
    made = decide(("0.40", "0.42"), ("0.40", "0.42"), 0.8)
    [edge] = [it for it in made.gates if it.gate is Reason.EDGE]
    assert (made.action, edge.numbers["p_win"]) == (Action.TRADE, made.p_final)


@pytest.mark.parametrize("method", [Method.AGREEMENT, Method.ADVANCED])
def test_answers_of_those_a_draw_let_in_are_kept_and_not_pooled_where_one_or_two_decide(method: Method) -> None:
    policy = policy_of(
        ensemble={"exploration_share": 1.0, "cascade_single_below_usd": 100, "cascade_enhanced_above_usd": 200}
    )
    context = context_of(method=method)
    plan = Planner(policy, context).plan(snapshot_of(), standing_of())
    assert plan.route is (Route.PAIR if method is Method.AGREEMENT else Route.SINGLE)
    answers = [answer(it.name, 0.3 if it in plan.chosen else 0.95) for it in plan.members]
    consensus = opinion_on(engine_of(policy, context), plan, answers)
    assert consensus is not None
    assert consensus.p_pooled < 0.5
    assert {it.model_id for it in consensus.members if it.weight == 0} == plan.drawn
    assert len(consensus.answered) == len(plan.chosen) < len(consensus.members)
    drawn_only = [it for it in answers if it.model_id in plan.drawn]
    assert opinion_on(engine_of(policy, context), plan, drawn_only) is None


def test_single_model_of_a_switched_off_ensemble_is_asked_alone() -> None:
    policy = policy_of(multi_model_ensemble=False, ensemble={"exploration_share": 1.0})
    plan = Planner(policy, context_of(method=Method.SINGLE)).plan(snapshot_of(), standing_of())
    assert (len(plan.members), plan.drawn) == (1, frozenset())


@pytest.mark.parametrize(("yes", "no"), [(6, 0), (5, 1), (4, 2), (5, 2), (7, 5)])
def test_agreement_is_the_same_to_the_bit_on_a_mirrored_market(yes: int, no: int) -> None:
    def of(high: float, low: float, price: float) -> float:
        answers = [answer(f"m{i}", high if i < yes else low) for i in range(yes + no)]
        question = question_about(price, [it.model_id for it in answers])
        panel: Panel = engine_with().panel(question, answers)
        return agreement(panel, panel.weight)

    assert of(0.8, 0.2, 0.45) == of(0.2, 0.8, 0.55)
    assert of(0.8, 0.2, 0.45) == pytest.approx(max(yes, no) / (yes + no), abs=0.02)


def test_members_are_kept_by_name_also_where_nobody_answered() -> None:
    policy = policy_of(ensemble={"exploration_share": 0})
    context = context_of()
    plan = Planner(policy, context).plan(snapshot_of(), standing_of(c=5, b=3, a=9))
    made = conclude(policy, context, plan, None, filling_of())
    assert [it.name for it in plan.members] != sorted(it.name for it in plan.members)
    assert list(made.models_consulted) == sorted(made.models_consulted)


def test_answers_that_are_whole_numbers_pool_under_every_strategy() -> None:
    answers = [answer("a", 1), answer("b", 0), answer("c", 1)]
    for strategy in Strategy:
        question = question_about(0.5, ["a", "b", "c"])
        assert 0 < engine_with().weighted_consensus(question, answers, strategy).p_pooled < 1


def test_text_of_others_cannot_command_a_terminal() -> None:
    assert printable("  \x1b]0;owned\x07 a\u202eb") == "  ]0;owned ab"
