"""Which old answers an emergency lets be given again, whom a plan takes them from, and that they never open a trade."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.domain import Action, CacheKind, EarlierAnswer, Quote, Reason, Route, Strategy, VolatilityRegime
from ensemble_pipeline.ensemble.cache import Memory
from ensemble_pipeline.ensemble.conclude import EMERGENCY_TAG, conclude
from ensemble_pipeline.ensemble.modes import row_of
from ensemble_pipeline.ensemble.opinions import engine_of, opinion_on
from ensemble_pipeline.ensemble.plan import Plan, Planner
from ensemble_pipeline.ensemble.reuse import Reuse, choose_reuse, late_answers
from ensemble_pipeline.settings import ModeSettings
from ensemble_pipeline.store.budget import DaySpend
from ensemble_pipeline.store.decisions import EnsembleDecision
from ensemble_pipeline.store.health import ModelHealth
from ensemble_pipeline_tests.ensemble.parts import (
    answer,
    book,
    calibration_of,
    context_of,
    filling_of,
    member_of,
    plan_of,
    policy_of,
    ranking_of,
    snapshot_of,
    standing_of,
)
from ensemble_pipeline_tests.ensemble.test_cache import (
    ANSWERING,
    MINUTE,
    NEWS,
    PROVEN,
    answered,
    asked_of,
    elsewhere,
    entry_of,
    fed_snapshot,
    refusal_with,
)
from ensemble_pipeline_tests.store.rows import DAY, NOW, quote_of

HOUR = timedelta(hours=1)
CONSERVATIVE, MINIMAL = (row_of(mode, ModeSettings()) for mode in ("conservative", "minimal"))


def late(
    refusal: str = "", age_h: float = 5, forecast_id: int = 1, price_distance: float | None = 0.0
) -> EarlierAnswer:
    return EarlierAnswer(forecast_id, CacheKind.SAME, refusal, age_h * 3600, price_distance, 1.0)


@pytest.mark.parametrize(
    ("age", "cause"), [(timedelta(0), ""), (31 * MINUTE, ""), (DAY, ""), (DAY + timedelta(microseconds=1), "too_old")]
)
def test_answer_of_a_day_is_not_too_old_in_an_emergency(age: timedelta, cause: str) -> None:
    assert refusal_with(DAY, entry_of(answered_at=NOW - age)) == cause


@pytest.mark.parametrize(
    ("cause", "changes"),
    [
        ("price_unknown", {"mid": None}),
        ("price_moved", {"mid": 0.6}),
        ("rules_changed", {"rules_digest": "other"}),
        ("news_changed", {"news_digest": "other"}),
        ("prompt_changed", {"prompt_hash": "other"}),
        ("prompt_changed", {"shows_price": True}),
        ("model_changed", {"response_model": "a-2"}),
        # applied after the answers are pooled, and then that of today
        ("", {"calibration_epoch": "other"}),
    ],
)
def test_what_changed_refuses_in_an_emergency_as_ever_but_for_the_calibration(
    cause: str, changes: dict[str, Any]
) -> None:
    assert refusal_with(DAY, entry_of(answered_at=NOW - 5 * HOUR), **changes) == cause


def test_answer_that_its_model_has_taken_back_since_refuses_in_an_emergency() -> None:
    assert refusal_with(DAY, entry_of(is_superseded=True)) == "superseded"


def memory_of(*same: str, twins: bool = False, allowed: dict[CacheKind, str] | None = None) -> Memory:
    """Answers of these members, five hours ago."""
    then: dict[str, Any] = {"answered_at": NOW - 5 * HOUR}
    return Memory(
        asked_of(),
        [answered(fed_snapshot(), name, **then) for name in same],
        [answered(elsewhere(), "b", **then)] if twins else [],
        ANSWERING,
        allowed or PROVEN,
    )


def test_only_answers_about_the_very_market_are_looked_at() -> None:
    found = memory_of("a", twins=True).in_emergency(fed_snapshot(), [member_of("a"), member_of("b")], NEWS, DAY)
    assert {name: (it.kind, it.refusal) for name, it in found.items()} == {"a": (CacheKind.SAME, "")}
    assert memory_of("a").in_emergency(elsewhere(), [member_of("a")], NEWS, DAY) == {}


def test_mode_that_takes_none_looks_at_none() -> None:
    assert memory_of("a").in_emergency(fed_snapshot(), [member_of("a")], NEWS, timedelta(0)) == {}


def test_volatile_market_a_stale_price_and_shown_harm_refuse_in_an_emergency_too() -> None:
    members = [member_of("a")]
    volatile = fed_snapshot(VolatilityRegime.VOLATILE)
    assert memory_of("a").in_emergency(volatile, members, NEWS, DAY)["a"].refusal == "volatile"
    old = replace(fed_snapshot(), quote=quote_of(at=NOW - 6 * MINUTE))
    assert memory_of("a").in_emergency(old, members, NEWS, DAY)["a"].refusal == "price_old"
    harmful = memory_of("a", allowed={CacheKind.SAME: "shown_harmful", CacheKind.SIMILAR: ""})
    assert harmful.in_emergency(fed_snapshot(), members, NEWS, DAY)["a"].refusal == "shown_harmful"


def test_only_members_that_cannot_be_asked_give_old_answers() -> None:
    standing = replace(standing_of(), emergency={name: late() for name in "ab"})
    plain = Strategy.WEIGHTED_VOTING
    for row in (CONSERVATIVE, MINIMAL):
        assert set(late_answers(row, plain, standing, {"a", "c"}, is_paid=True)) == {"a"}
        assert late_answers(row, Strategy.CONFIDENCE_BASED, standing, {"a"}, is_paid=True) == {}
    for mode in ("normal", "degraded", "suspended"):
        assert late_answers(row_of(mode, ModeSettings()), plain, standing, {"a"}, is_paid=True) == {}


def test_without_money_all_old_answers_count_where_one_model_decides_but_those_that_are_as_usual() -> None:
    standing = replace(standing_of(), earlier={"a": late(age_h=0.1)}, emergency={name: late() for name in "ab"})
    assert set(late_answers(MINIMAL, Strategy.WEIGHTED_VOTING, standing, set(), is_paid=False)) == {"b"}
    assert late_answers(CONSERVATIVE, Strategy.WEIGHTED_VOTING, standing, set(), is_paid=False) == {}


def test_old_answers_are_given_beside_usual_ones_and_never_compared() -> None:
    policy = policy_of("a", "b", "c", cache={"shadow_share": 1.0})
    usual, old = {"a": late(age_h=0.1), "b": late(age_h=0.1)}, {"b": late(), "c": late("price_moved")}
    found = choose_reuse(policy, usual, "key", 2, emergency=old)
    assert found == Reuse({"b": old["b"]}, {"a": usual["a"]}, emergency=frozenset("b"))
    alone = choose_reuse(policy, {}, "key", 1, may_ask=False, emergency=old)
    assert alone == Reuse({"b": old["b"]}, {}, is_only=True, emergency=frozenset("b"))
    assert choose_reuse(policy, {}, "key", 2, may_ask=False, emergency=old) == Reuse()


def planned(mode: str, out: str, emergency: dict[str, EarlierAnswer], *, spent: int = 0, **options: Any) -> Plan:
    """A plan about members a, b and c, of whom those in `out` are not available."""
    health = {name: ModelHealth(name, name not in out, NOW, 0, None, 0, 0, "open") for name in "abc"}
    context = context_of(mode, health=health, spend=DaySpend(NOW.date(), spent, 0))
    policy = policy_of(ensemble={"exploration_share": 0} | options)
    return Planner(policy, context).plan(snapshot_of(), replace(standing_of(), emergency=emergency))


def names(plan: Plan) -> list[str]:
    return [member.name for member in plan.members]


def test_plan_asks_who_can_be_asked_first_and_then_takes_old_answers_the_youngest_first() -> None:
    emergency = {"a": late(age_h=9), "b": late(age_h=2), "c": late(age_h=1)}
    assert names(planned("conservative", "ab", emergency)) == ["c", "b", "a"]
    assert names(planned("conservative", "ab", emergency, max_members=2)) == ["c", "b"]
    assert names(planned("normal", "ab", emergency)) == ["c"]
    assert names(planned("degraded", "ab", emergency)) == ["c"]


def test_plan_of_the_mode_minimal_takes_one_that_can_be_asked_else_the_youngest_old_answer() -> None:
    emergency = {"a": late(age_h=9), "b": late(age_h=2), "c": late("price_moved", age_h=1)}
    plan = planned("minimal", "ab", emergency)
    assert (names(plan), plan.route) == (["c"], Route.SINGLE)
    assert names(planned("minimal", "abc", emergency)) == ["b"]
    assert planned("minimal", "abc", {}).refusal is Reason.NO_MEMBER


def test_old_answer_stands_in_for_nobody_else_and_costs_nothing() -> None:
    plan = planned("conservative", "ab", {"a": late(age_h=9), "b": late(age_h=2)}, max_members=2)
    assert plan.standby == ()
    assert plan.reuse.emergency == {"a", "b"}


@given(
    said=st.lists(st.tuples(st.floats(0.02, 0.98), st.floats(0, 1)), min_size=1, max_size=4),
    old=st.sets(st.integers(0, 3)),
    share=st.floats(0, 1),
    mode=st.sampled_from(["conservative", "minimal"]),
    route=st.sampled_from(list(Route)),
    strategy=st.sampled_from([it for it in Strategy if it is not Strategy.CONFIDENCE_BASED]),
    gaps=st.lists(st.floats(-0.5, 0.5), min_size=4, max_size=4),
)
def test_old_answer_with_less_confidence_never_opens_or_enlarges_a_trade(
    said: list[tuple[float, float]],
    old: set[int],
    share: float,
    mode: str,
    route: Route,
    strategy: Strategy,
    gaps: list[float],
) -> None:
    fresh = [answer(name, p, sure, number) for number, (name, (p, sure)) in enumerate(zip("abcd", said, strict=False))]
    worn = [replace(it, confidence=it.confidence * share) if n in old else it for n, it in enumerate(fresh)]
    policy = policy_of("a", "b", "c", "d", gates={"min_confidence": 0.2, "max_disagreement": 1})
    ranking = ranking_of(dict.fromkeys("abcd", 0.0), 50, **dict(zip("abcd", gaps, strict=True)))
    context = context_of(mode, ranking=ranking, calibration=calibration_of(market_weight=0.5))
    plan = plan_of(members=tuple("abcd"[: len(said)]), route=route, strategy=strategy)

    def decide(answers: list[Any]) -> EnsembleDecision:
        return conclude(policy, context, plan, opinion_on(engine_of(policy, context), plan, answers), filling_of())

    before, after = decide(fresh), decide(worn)
    assert after.p_final == before.p_final
    assert (after.confidence or 0) <= (before.confidence or 0)
    assert after.stake_micro_usd <= before.stake_micro_usd
    if after.action is Action.TRADE:
        assert (after.side, after.contracts) == (before.side, before.contracts)


def test_tag_says_that_an_old_answer_was_heard_and_only_then() -> None:
    policy, context = policy_of(), context_of("conservative")
    plan = plan_of(reuse=Reuse({"b": late()}, emergency=frozenset("b")))
    for heard, is_tagged in (("ab", True), ("a", False)):
        answers = [answer(name, 0.7) for name in heard]
        made = conclude(policy, context, plan, opinion_on(engine_of(policy, context), plan, answers), filling_of())
        assert made.reasoning.startswith(EMERGENCY_TAG) is is_tagged
    nobody = conclude(policy, context, plan, None, filling_of())
    assert not nobody.reasoning.startswith(EMERGENCY_TAG)


def filled(quote: Quote, plan: Plan, heard: str = "ab") -> EnsembleDecision:
    """A decision from the answers of those in `heard`, filled on `quote`."""
    policy, context = policy_of(), context_of("conservative", calibration=calibration_of(market_weight=0.5))
    answers = [answer(name, 0.7) for name in heard]
    return conclude(policy, context, plan, opinion_on(engine_of(policy, context), plan, answers), filling_of(quote))


@pytest.mark.parametrize(
    ("bid", "ask", "moved_before", "reason"),
    [
        # log-odds of the mids: -0.3640 when planned, at 0.41; -0.4476 at 0.39, -0.4684 at 0.385, -0.8473 at 0.30
        ("0.40", "0.42", 0.0, Reason.TRADED),
        ("0.38", "0.40", 0.0, Reason.TRADED),
        ("0.38", "0.40", 0.02, Reason.PRICE_MOVED),
        ("0.38", "0.39", 0.0, Reason.PRICE_MOVED),
        ("0.29", "0.31", 0.0, Reason.PRICE_MOVED),
        ("0.44", "0.46", 0.0, Reason.PRICE_MOVED),
        ("0.40", "0.42", None, Reason.TRADED),
    ],
)
def test_old_answer_does_not_trade_on_a_price_that_moved_since_it_was_given(
    bid: str, ask: str, moved_before: float | None, reason: Reason
) -> None:
    reuse = Reuse({"b": late(price_distance=moved_before)}, emergency=frozenset("b"))
    assert filled(book(bid, ask), plan_of(reuse=reuse)).terminal_reason is reason


def test_gate_of_the_price_tells_its_numbers_and_is_passed_only_by_those_who_heard_old_answers() -> None:
    reuse = Reuse({"b": late(price_distance=0.02)}, emergency=frozenset("b"))
    moved = book("0.29", "0.31")
    made = filled(moved, plan_of(reuse=reuse))
    assert made.gates[-1].numbers == {
        "earlier_answers": 1,
        "moved_before_logit": 0.02,
        # from a mid of 0.41, at log-odds -0.363965, to 0.30, at -0.847298
        "moved_since_logit": pytest.approx(0.483333, abs=1e-6),
        "max_price_move_logit": 0.1,
    }
    usual = Reuse({"b": late(age_h=0.1)})
    for plan, heard in ((plan_of(reuse=reuse), "ac"), (plan_of(reuse=usual), "ab"), (plan_of(), "ab")):
        assert Reason.PRICE_MOVED not in {it.gate for it in filled(moved, plan, heard).gates}


def test_old_answer_heard_by_a_run_that_died_does_not_trade_on_a_price_that_moved() -> None:
    standing = replace(standing_of("a", "b"), heard=("b",), heard_in_emergency=("b",))
    assert filled(book("0.29", "0.31"), plan_of(standing=standing)).terminal_reason is Reason.PRICE_MOVED


def test_old_answer_to_a_market_without_a_price_does_not_trade_once_it_has_one() -> None:
    plan = plan_of(
        snapshot_of(book(None, None)), reuse=Reuse({"b": late(price_distance=None)}, emergency=frozenset("b"))
    )
    made = filled(book(), plan)
    assert (made.terminal_reason, made.gates[-1].numbers["moved_since_logit"]) == (Reason.PRICE_MOVED, None)
