"""A market seen from the other side: bid, ask, last price and sizes swapped, every probability turned into 1 - p.

All that may change is the side. Prices and answers lie on a grid of cents, as venues quote and models answer.
"""

from dataclasses import dataclass, replace
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ensemble_pipeline.domain import Action, Quote, Reason, Side, Strategy
from ensemble_pipeline.ensemble.conclude import conclude
from ensemble_pipeline.ensemble.context import Method
from ensemble_pipeline.ensemble.opinions import engine_of, opinion_on
from ensemble_pipeline.ensemble.plan import Plan, Planner
from ensemble_pipeline.store.decisions import EnsembleDecision
from ensemble_pipeline_tests.ensemble.parts import (
    answer,
    book,
    calibration_of,
    context_of,
    empty_portfolio,
    filling_of,
    mirrored_quote,
    policy_of,
    ranking_of,
    snapshot_of,
    standing_of,
)
from ensemble_pipeline_tests.store.rows import DAY, HOUR, NOW

NAMES = "abcde"
SAME = (
    "action",
    "terminal_reason",
    "route",
    "strategy",
    "trade_value_micro_usd",
    "limit_price",
    "contracts",
    "stake_micro_usd",
    "fee_micro_usd",
    "market_weight",
    "selected_model",
)
ALIKE = ("disagreement_level", "uncertainty", "confidence", "edge")
TURNED = ("p_plain_mean", "p_pooled", "p_calibrated", "p_final", "p_market")


@dataclass(frozen=True)
class Case:
    """A market and what its members say of it, in cents; what the system knows is the same for either side."""

    quote: Quote
    said: tuple[tuple[int, float], ...]
    skills: tuple[float, ...]
    strategy: Strategy = Strategy.WEIGHTED_VOTING
    method: Method = Method.ADVANCED
    bankroll_usd: int = 1000
    market_weight: float = 0.5
    slope: float = 1.0
    hours_left: int = 100
    worst_case_micro_usd: int = 0
    silent: str = ""

    @property
    def mirrored(self) -> "Case":
        """The same market seen from the other side."""
        said = tuple((100 - cents, confidence) for cents, confidence in self.said)
        return replace(self, quote=mirrored_quote(self.quote), said=said)


def books() -> st.SearchStrategy[Quote]:
    """Tight, wide, crossed, one-sided and empty books on the grid."""

    def price(cents: int | None) -> str | None:
        return None if cents is None else str(Decimal(cents) / 100)

    side = st.one_of(st.integers(0, 100), st.integers(30, 70), st.none())
    sizes = st.one_of(st.none(), st.integers(0, 400).map(str))
    two_sided = st.tuples(st.integers(1, 97), st.integers(1, 10)).map(lambda it: (it[0], min(99, sum(it))))
    sides = st.one_of(two_sided, two_sided, two_sided, st.tuples(side, side))
    return st.builds(
        lambda pair, last, bid_size, ask_size, volume: book(
            price(pair[0]), price(pair[1]), last=price(last), sizes=(bid_size, ask_size), volume=volume
        ),
        sides,
        side,
        sizes,
        sizes,
        st.sampled_from([None, "900", "1700", "100000", "100000", "100000"]),
    )


CONFIDENCES = st.one_of(st.floats(0, 1), st.floats(0.8, 1), st.floats(0.8, 1))
CASES = st.builds(
    Case,
    quote=books(),
    said=st.lists(st.tuples(st.integers(0, 100), CONFIDENCES), min_size=5, max_size=5).map(tuple),
    silent=st.one_of(st.just(""), st.just(""), st.sampled_from(["a", "cd", "bcde", "abcde"])),
    skills=st.lists(st.floats(-0.1, 0.1), min_size=5, max_size=5).map(tuple),
    strategy=st.sampled_from(list(Strategy)),
    method=st.sampled_from([Method.ADVANCED, Method.ADVANCED, Method.ADVANCED, Method.AGREEMENT, Method.SINGLE]),
    bankroll_usd=st.sampled_from([1000, 1000, 5000, 100]),
    market_weight=st.sampled_from([0.0, 0.1, 0.37, 0.5, 1.0]),
    slope=st.sampled_from([0.6, 1.0, 1.3]),
    hours_left=st.sampled_from([100, 100, 100, 10]),
    worst_case_micro_usd=st.sampled_from([0, 3000, 10_000, 60_000]),
)


def decided(case: Case) -> tuple[Plan, EnsembleDecision]:
    """The case through plan, consensus and conclusion."""
    policy = policy_of(
        *NAMES,
        ensemble={"strategy": case.strategy, "exploration_share": 0, "min_answers_enhanced": 2},
        gates={"min_edge_high": 0.02, "min_edge_middle": 0.03, "min_edge_low": 0.04, "min_confidence": 0.3},
        sizing={"bankroll_usd": case.bankroll_usd},
        budget={"decision_usd": "unlimited"},
    )
    context = context_of(
        ranking=ranking_of(dict(zip(NAMES, case.skills, strict=True)), 200.0),
        calibration=calibration_of(case.slope, case.market_weight),
        method=case.method,
    )
    snapshot = snapshot_of(case.quote, closes_at=NOW + case.hours_left * HOUR)
    standing = standing_of(cash_usd=case.bankroll_usd, **dict.fromkeys(NAMES, case.worst_case_micro_usd))
    plan = Planner(policy, context).plan(snapshot, standing)
    asked = {member.name for member in plan.members}
    answers = [
        answer(name, float(Decimal(cents) / 100), confidence)
        for name, (cents, confidence) in zip(NAMES, case.said, strict=False)
        if name in asked and name not in case.silent
    ]
    consensus = opinion_on(engine_of(policy, context), plan, answers)
    return plan, conclude(policy, context, plan, consensus, filling_of(case.quote, empty_portfolio(case.bankroll_usd)))


def assert_mirrored(case: Case) -> None:
    """The decision on the case and that on its mirror image differ in the side alone."""
    (plan, one), (other_plan, other) = decided(case), decided(case.mirrored)
    assert plan.members == other_plan.members
    assert [(v.gate, v.is_passed) for v in one.gates] == [(v.gate, v.is_passed) for v in other.gates]
    assert {name: getattr(one, name) for name in SAME} == {name: getattr(other, name) for name in SAME}
    assert {one.side, other.side} in ({None}, {Side.YES, Side.NO})
    for name in ALIKE:
        assert getattr(other, name) == pytest.approx(getattr(one, name), abs=1e-9)
    for name in TURNED:
        there = getattr(other, name)
        assert getattr(one, name) == pytest.approx(None if there is None else 1 - there, abs=1e-9)
    for here, there in zip(one.members, other.members, strict=True):
        assert (here.model_id, here.propensity) == (there.model_id, there.propensity)
        assert here.weight == pytest.approx(there.weight, abs=1e-12)
        assert here.p_yes == pytest.approx(None if there.p_yes is None else 1 - there.p_yes)


LEVEL = (0.0,) * 5
LEVEL_WITH_THE_PRICE = ((30, 0.9), (60, 0.9), (60, 0.9))


@given(CASES)
# as far apart as the limit allows, which floats see differently from either side
@example(Case(book("0.54", "0.56"), ((30, 0.9), (90, 0.9)), LEVEL))
# who says what the price says takes no side, whatever an answer costs
@example(Case(book("0.29", "0.31"), LEVEL_WITH_THE_PRICE, LEVEL, Strategy.CASCADING, worst_case_micro_usd=300_000))
@example(Case(book("0.29", "0.31"), LEVEL_WITH_THE_PRICE, LEVEL, Strategy.CONSENSUS))
def test_mirrored_market_is_decided_alike_on_the_other_side(case: Case) -> None:
    assert_mirrored(case)


@pytest.mark.parametrize("strategy", list(Strategy))
@pytest.mark.parametrize("bankroll_usd", [1000, 5000])
def test_three_members_that_say_no_buy_no_and_their_mirror_images_buy_yes(
    strategy: Strategy, bankroll_usd: int
) -> None:
    said = ((12, 0.9), (15, 0.9), (20, 0.9))
    case = Case(book("0.48", "0.50"), said, LEVEL, strategy, bankroll_usd=bankroll_usd)
    made = decided(case)[1]
    assert (made.action, made.side, made.terminal_reason) == (Action.TRADE, Side.NO, Reason.TRADED)
    # who buys NO pays what the bidders for YES leave of a dollar
    assert made.limit_price == Decimal("0.52")
    assert len(made.models_consulted) >= 3
    mirrored = decided(case.mirrored)[1]
    assert (mirrored.side, mirrored.limit_price, mirrored.contracts) == (Side.YES, Decimal("0.52"), made.contracts)


def test_depth_that_bounds_an_order_is_that_of_the_mirrored_side() -> None:
    said = ((90, 0.9), (92, 0.9), (88, 0.9))
    case = Case(book("0.48", "0.50", sizes=("300", "7")), said, LEVEL)
    assert [decided(it)[1].contracts for it in (case, case.mirrored)] == [7, 7]


def test_agreement_of_two_is_the_same_on_either_side() -> None:
    case = Case(book("0.48", "0.50"), ((80, 0.9), (90, 0.7)), LEVEL, method=Method.AGREEMENT)
    assert_mirrored(case)
    assert decided(case)[1].side is Side.YES


def test_market_that_closes_soon_is_mirrored_too() -> None:
    case = Case(book("0.48", "0.50"), ((80, 0.9),), LEVEL, hours_left=2)
    assert_mirrored(case)
    plan, made = decided(case)
    assert snapshot_of(case.quote).market.closes_at > NOW + DAY
    assert (plan.route, made.side) == ("single", Side.YES)
