from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.domain import Action, GateVerdict, Mode, Quote, Reason, Route, Side, Strategy
from ensemble_pipeline.ensemble.conclude import TAGS, adjusted_confidence, conclude
from ensemble_pipeline.ensemble.offers import best_offer, demanded_edge
from ensemble_pipeline.forecasting.sizing import kelly_fraction
from ensemble_pipeline.store.decisions import EnsembleDecision
from ensemble_pipeline.store.portfolio import Portfolio
from ensemble_pipeline_tests.ensemble.parts import (
    USD,
    consensus_of,
    context_of,
    empty_portfolio,
    filling_of,
    opinions_of,
    plan_of,
    policy_of,
    settings_of,
)
from ensemble_pipeline_tests.store.rows import DAY, HOUR, NOW, market_of, quote_of

ORDER = list(Reason)
CENTS = st.integers(1, 98)


def decide(
    quote: Quote | None = None,
    held: Portfolio | None = None,
    mode: str = "normal",
    modes: dict[str, Any] | None = None,
    **changes: Any,
) -> EnsembleDecision:
    """A decision of members that agree on 0.7 against a book of 0.40 to 0.42, with `changes` to the consensus."""
    policy = policy_of(modes=modes or {})
    return conclude(policy, context_of(mode), plan_of(), consensus_of(**changes), filling_of(quote, held))


def test_decision_when_every_gate_is_passed_trades_with_exact_money() -> None:
    made = decide()
    assert (made.action, made.side, made.terminal_reason) == (Action.TRADE, Side.YES, Reason.TRADED)
    assert made.limit_price == Decimal("0.42")
    # all-in 0.42 + 0.07·0.42·0.58 = 0.437052; Kelly (0.7 - 0.437052) / 0.562948 = 0.467091, a quarter of it is above
    # the market's cap of $50: 50 / 0.437052 = 114 contracts
    assert made.contracts == 114
    assert made.stake_micro_usd == 47_880_000
    assert made.fee_micro_usd == 1_944_000
    assert made.edge == pytest.approx(0.262948)
    assert made.final_decision == "BUY 114 YES at 0.42"
    assert [verdict.gate for verdict in made.gates] == [
        Reason.NO_ANSWER,
        Reason.TOO_FEW_ANSWERS,
        Reason.CERTAINTY,
        Reason.DISAGREEMENT,
        Reason.CONFIDENCE,
        Reason.CLOSED_MEANWHILE,
        Reason.NO_QUOTE,
        Reason.ONE_SIDED_BOOK,
        Reason.CROSSED_BOOK,
        Reason.EDGE,
        Reason.SIZE,
        Reason.POSITION_LIMIT,
        Reason.CASH_RESERVE,
    ]


@pytest.mark.parametrize(
    ("reason", "given_"),
    [
        (Reason.TOO_FEW_ANSWERS, {"members": opinions_of(0.7)}),
        (Reason.CERTAINTY, {"members": opinions_of(1.0, 1.0)}),
        (Reason.CERTAINTY, {"members": opinions_of(0.0, 1.0)}),
        (Reason.DISAGREEMENT, {"disagreement_level": 0.61}),
        (Reason.CONFIDENCE, {"confidence": 0.49}),
        (Reason.CONFIDENCE, {"confidence": 0.6, "uncertainty": 0.4}),
        (Reason.CONFIDENCE, {"confidence": 0.59, "disagreement_level": 0.5}),
        (Reason.NO_QUOTE, {"quote": quote_of(None, None)}),
        (Reason.NO_QUOTE, {"quote": quote_of("0", "1")}),
        (Reason.NO_QUOTE, {"quote": quote_of(None, "0")}),
        (Reason.NO_QUOTE, {"quote": quote_of("1", None)}),
        (Reason.ONE_SIDED_BOOK, {"quote": quote_of(None, "0.42")}),
        (Reason.ONE_SIDED_BOOK, {"quote": quote_of("0.40", None)}),
        (Reason.ONE_SIDED_BOOK, {"quote": quote_of("0", "0.42")}),
        (Reason.ONE_SIDED_BOOK, {"quote": quote_of("0.40", "1")}),
        (Reason.CROSSED_BOOK, {"quote": quote_of("0.42", "0.42")}),
        (Reason.CROSSED_BOOK, {"quote": quote_of("0.45", "0.42")}),
        (Reason.EDGE, {"p_final": 0.45}),
        (Reason.EDGE, {"p_final": 0.54, "confidence": 0.55}),
        (Reason.SIZE, {"mode": "suspended"}),
        (Reason.SIZE, {"uncertainty": 1.0}),
        (Reason.POSITION_LIMIT, {"held": Portfolio(1000 * USD, 1, 0, {}, {"kalshi:RAIN": 100 * USD})}),
        (Reason.POSITION_LIMIT, {"held": Portfolio(1000 * USD, 1, 250 * USD)}),
        (Reason.POSITION_LIMIT, {"held": Portfolio(1000 * USD, 50, 0)}),
        (Reason.POSITION_LIMIT, {"held": Portfolio(1000 * USD, 1, USD, {"kalshi:RAIN-1": USD}, {"kalshi:RAIN": USD})}),
        (Reason.CASH_RESERVE, {"held": empty_portfolio(200)}),
    ],
)
def test_decision_when_one_gate_fails_ends_there_and_stakes_nothing(reason: Reason, given_: dict[str, Any]) -> None:
    made = decide(**given_)
    assert made.terminal_reason is reason
    assert (made.action, made.side, made.contracts, made.limit_price) == (Action.SKIP, None, None, None)
    assert made.stake_micro_usd == made.fee_micro_usd == 0
    assert made.final_decision == f"SKIP ({reason})"


def test_decision_when_several_gates_fail_names_the_first_in_order() -> None:
    crossed = quote_of("0.45", "0.42")
    assert decide(crossed, disagreement_level=1.0, confidence=0.1).terminal_reason is Reason.DISAGREEMENT
    assert decide(crossed, confidence=0.1).terminal_reason is Reason.CONFIDENCE
    assert decide(crossed, p_final=0.44).terminal_reason is Reason.CROSSED_BOOK
    assert decide(p_final=0.44, held=empty_portfolio(0)).terminal_reason is Reason.EDGE
    assert decide(held=Portfolio(0, 50, 0), uncertainty=1.0).terminal_reason is Reason.SIZE
    assert decide(held=Portfolio(0, 50, 0)).terminal_reason is Reason.POSITION_LIMIT
    assert decide(members=opinions_of(1.0), disagreement_level=1.0).terminal_reason is Reason.TOO_FEW_ANSWERS
    assert decide(members=opinions_of(0.0, 1.0), disagreement_level=1.0).terminal_reason is Reason.CERTAINTY
    late = conclude(policy_of(), context_of(), plan_of(), consensus_of(), filling_of(crossed, at=NOW + 99 * DAY))
    assert late.terminal_reason is Reason.CLOSED_MEANWHILE


def test_decision_when_plan_was_refused_keeps_that_reason_whatever_the_members_say() -> None:
    refused = plan_of(verdicts=(GateVerdict(Reason.VOLUME, is_passed=False),))
    made = conclude(policy_of(), context_of(), refused, consensus_of(), filling_of())
    assert made.terminal_reason is Reason.VOLUME
    assert made.p_final == 0.7


def test_decision_when_nobody_answered_names_everyone_asked() -> None:
    made = conclude(policy_of(), context_of(), plan_of(), None, filling_of())
    assert made.terminal_reason is Reason.NO_ANSWER
    assert made.models_consulted == ("a", "b")
    assert made.selected_model is None
    assert made.p_final is None


def test_gates_come_in_the_order_of_their_reasons() -> None:
    for made in (decide(), decide(disagreement_level=1.0), decide(held=empty_portfolio(0))):
        places = [ORDER.index(verdict.gate) for verdict in made.gates]
        assert places == sorted(places)
        failed = [verdict.gate for verdict in made.gates if not verdict.is_passed]
        assert made.terminal_reason is (failed[0] if failed else Reason.TRADED)


def test_confidence_is_adjusted_down_to_its_floor_and_bands_demand_their_edge() -> None:
    gates = settings_of().gates
    assert adjusted_confidence(consensus_of(confidence=0.9, uncertainty=0.5), gates) == pytest.approx(0.75)
    assert adjusted_confidence(consensus_of(confidence=0.2, uncertainty=1.0), gates) == 0.1
    bands = [demanded_edge(c, gates) for c in (0.9, 0.8, 0.79, 0.6, 0.59)]
    assert bands == [0.06, 0.06, 0.08, 0.08, 0.12]


@pytest.mark.parametrize(("route", "demanded"), [(Route.SINGLE, 0.5), (Route.FULL, 0.5), (Route.ENHANCED, 0.6)])
def test_enhanced_route_demands_more_confidence(route: Route, demanded: float) -> None:
    three = consensus_of(members=opinions_of(0.7, 0.7, 0.7))
    made = conclude(policy_of(), context_of(), plan_of(route=route), three, filling_of())
    verdict = next(verdict for verdict in made.gates if verdict.gate is Reason.CONFIDENCE)
    assert verdict.numbers["demanded"] == pytest.approx(demanded)


@pytest.mark.parametrize(
    ("mode", "contracts"), [("normal", 114), ("degraded", 85), ("conservative", 57), ("minimal", 28)]
)
def test_operating_mode_lowers_the_stake(mode: str, contracts: int) -> None:
    # a quarter of Kelly is $116.77, above the market's cap of $50; at 0.437052 a contract, three quarters, half and
    # a quarter of the cap buy 85.8, 57.2 and 28.6
    assert decide(mode=mode).contracts == contracts


@given(planned=st.sampled_from(list(Mode)), later=st.sampled_from(list(Mode)), confidence=st.floats(0, 1))
def test_mode_put_in_force_before_filling_never_buys_more_than_either(
    planned: Mode, later: Mode, confidence: float
) -> None:
    stricter = later if later.severity > planned.severity else None
    consensus = consensus_of(confidence=confidence)
    made = conclude(policy_of(), context_of(planned), plan_of(), consensus, filling_of(mode=stricter))
    alone = [decide(mode=mode, confidence=confidence) for mode in (planned, later)]
    assert made.stake_micro_usd == min(it.stake_micro_usd for it in alone)
    if stricter is Mode.SUSPENDED:
        assert made.terminal_reason is Reason.MODE_MEANWHILE


@pytest.mark.parametrize(("mode", "contracts"), [("normal", 114), ("conservative", 114), ("minimal", 66)])
def test_share_of_kelly_is_taken_before_the_trade_value_caps_it(mode: str, contracts: int) -> None:
    # a half of Kelly's $116.77 is above the cap of $50, a quarter of it is $29.19
    assert decide(mode=mode, modes={"stake_share_of": "kelly"}).contracts == contracts


def test_best_offer_when_a_side_is_missing_takes_the_other() -> None:
    yes, no = best_offer(quote_of(None, "0.42"), 0.1), best_offer(quote_of("0.40", None), 0.9)
    assert yes is not None
    assert no is not None
    assert (yes.side, no.side, no.price) == (Side.YES, Side.NO, Decimal("0.60"))
    assert best_offer(quote_of(None, None), 0.5) is None


@given(st.floats(0.5, 0.99), st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_stake_never_grows_with_uncertainty(p_final: float, uncertainties: list[float]) -> None:
    sure, unsure = (decide(p_final=p_final, uncertainty=u, confidence=1.0) for u in sorted(uncertainties))
    assert sure.stake_micro_usd >= unsure.stake_micro_usd


@given(st.floats(0, 1), CENTS, st.integers(1, 30), st.floats(0, 0.99))
def test_position_is_never_above_full_kelly_after_fees_nor_above_its_caps(
    p_final: float, bid: int, width: int, kelly: float
) -> None:
    book = quote_of(f"{bid / 100:.2f}", f"{min(99, bid + width) / 100:.2f}")
    limits = {"max_market_share": 1, "max_event_share": 1, "max_day_share": 1}
    policy = policy_of(sizing={"kelly_fraction": kelly, **limits})
    plan = plan_of(trade_value_micro_usd=10_000 * USD)
    made = conclude(policy, context_of(), plan, consensus_of(p_final, confidence=1.0), filling_of(book))
    if made.action is Action.SKIP:
        return
    assert made.side is not None
    assert made.contracts is not None
    spent = made.stake_micro_usd + made.fee_micro_usd
    p_win = p_final if made.side is Side.YES else 1 - p_final
    assert spent <= 1000 * USD * kelly_fraction(p_win, spent / made.contracts / USD)


@pytest.mark.parametrize(
    ("held", "share", "contracts"),
    [
        (Portfolio(1000 * USD, 1, 0, {}, {"kalshi:RAIN": 52 * USD}), 1.0, 114),
        (Portfolio(1000 * USD, 1, 0, {}, {"kalshi:RAIN": 61 * USD}), 0.8, 91),
        (Portfolio(1000 * USD, 1, 0, {}, {"kalshi:RAIN": 62 * USD}), 0.6, 68),
        (Portfolio(1000 * USD, 1, 0, {}, {"kalshi:RAIN": 80 * USD}), 0.4, 45),
        (Portfolio(1000 * USD, 1, 0, {}, {"kalshi:RAIN": 90 * USD}), 0.2, 22),
        (Portfolio(1000 * USD, 1, 245 * USD), 0.1, 11),
        (Portfolio(1000 * USD, 1, 0, {}, {"kalshi:RAIN": 96 * USD}), 0.1, None),
    ],
)
def test_order_that_breaks_a_limit_is_tried_at_lower_shares_until_one_fits(
    held: Portfolio, share: float, contracts: int | None
) -> None:
    # shares of 114 contracts at 0.437052 all in, $49.824 in all
    made = decide(held=held)
    assert made.contracts == contracts
    [limit] = [verdict for verdict in made.gates if verdict.gate is Reason.POSITION_LIMIT]
    assert limit.numbers["share_tried"] == share
    assert made.terminal_reason is (Reason.TRADED if contracts else Reason.POSITION_LIMIT)


def test_cash_reserve_holds_to_the_micro_dollar() -> None:
    needed = 200 * USD + 47_880_000 + 1_944_000
    assert decide(held=Portfolio(needed, 0, 0)).terminal_reason is Reason.TRADED
    assert decide(held=Portfolio(needed - 1, 0, 0)).terminal_reason is Reason.CASH_RESERVE


def test_portfolio_after_an_order_holds_it_and_without_it_is_what_it_was() -> None:
    held = Portfolio(1000 * USD, 1, 9, {"x": 5}, {"kalshi:RAIN": 7})
    made = decide()
    taken = held.after(market_of(), made.stake_micro_usd, made.fee_micro_usd)
    assert taken == Portfolio(
        1000 * USD - 47_880_000 - 1_944_000,
        2,
        47_880_009,
        {"x": 5, "kalshi:RAIN-1": 47_880_000},
        {"kalshi:RAIN": 47_880_007},
        opened_in_mode=1,
    )
    seen = taken.seen_from(market_of())
    assert (seen.in_market, seen.in_event, seen.staked_today) == (47_880_000, 47_880_007, 47_880_009)
    back = taken.without(market_of(), made.stake_micro_usd, 50 * USD)
    assert (back.cash, back.open_positions) == (taken.cash + 50 * USD, 1)
    assert (back.staked_by_market, back.staked_by_event) == ({"x": 5, "kalshi:RAIN-1": 0}, {"kalshi:RAIN": 7})


@pytest.mark.parametrize(
    ("route", "answers", "is_enough"),
    [
        (Route.SINGLE, 1, True),
        (Route.PAIR, 1, False),
        (Route.PAIR, 2, True),
        (Route.FULL, 1, False),
        (Route.FULL, 2, True),
        (Route.ENHANCED, 2, False),
        (Route.ENHANCED, 3, True),
    ],
)
def test_each_route_demands_its_number_of_answers(route: Route, answers: int, *, is_enough: bool) -> None:
    heard = consensus_of(members=opinions_of(*[0.7] * answers))
    made = conclude(policy_of(), context_of(), plan_of(route=route), heard, filling_of())
    assert made.terminal_reason is (Reason.TRADED if is_enough else Reason.TOO_FEW_ANSWERS)


def test_certainty_of_some_members_is_no_bar_where_another_gives_odds() -> None:
    assert decide(members=opinions_of(1.0, 0.9)).terminal_reason is Reason.TRADED


@pytest.mark.parametrize(
    ("at", "reason"), [(NOW + 10 * DAY - HOUR, Reason.TRADED), (NOW + 10 * DAY, Reason.CLOSED_MEANWHILE)]
)
def test_order_that_would_be_filled_when_the_market_has_closed_is_not_placed(at: datetime, reason: Reason) -> None:
    made = conclude(policy_of(), context_of(), plan_of(), consensus_of(), filling_of(at=at))
    assert made.terminal_reason is reason


def test_decision_tells_its_route_in_its_reasoning_and_names_the_heaviest_member() -> None:
    heavy = tuple(replace(it, weight=w) for it, w in zip(opinions_of(0.7, 0.7, 0.7), (0.2, 0.5, 0.3), strict=True))
    for route in Route:
        made = conclude(policy_of(), context_of(), plan_of(route=route), consensus_of(members=heavy), filling_of())
        assert made.selected_model == "b"
        assert made.reasoning.startswith(f"{TAGS.get(route, '')}{route}, weighted_voting: 3 of 3 members")
    assert set(TAGS) == set(Route) - {Route.SINGLE}


def test_decision_keeps_the_strategy_that_pooled_and_the_plans_where_nobody_was_heard() -> None:
    plan = plan_of(strategy=Strategy.CONSENSUS)
    assert conclude(policy_of(), context_of(), plan, None, filling_of()).strategy is Strategy.CONSENSUS
    assert conclude(policy_of(), context_of(), plan, consensus_of(), filling_of()).strategy is Strategy.WEIGHTED_VOTING
