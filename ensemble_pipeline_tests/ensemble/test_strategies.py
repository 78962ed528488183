"""What makes each of the five strategies what it is."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.domain import Action, Forecast, Reason, Route, Side, Strategy
from ensemble_pipeline.ensemble.conclude import conclude
from ensemble_pipeline.store.decisions import EnsembleDecision
from ensemble_pipeline_tests.ensemble.parts import (
    USD,
    answer,
    book,
    calibration_of,
    consensus_of,
    context_of,
    engine_with,
    filling_of,
    opinions_of,
    plan_of,
    policy_of,
    pool,
    question_about,
    ranking_of,
    snapshot_of,
)

PROBABILITIES = st.floats(0, 1)
ALL_BUT_DRAWN = [strategy for strategy in Strategy if strategy is not Strategy.UNCERTAINTY_AWARE]


def answers_of(*said: float, confidence: float = 0.9) -> list[Forecast]:
    return [answer(name, p, confidence) for name, p in zip("abcdefghij", said, strict=False)]


def decide(strategy: Strategy, *said: float, threshold: float = 0.7) -> EnsembleDecision:
    """A decision on members of equal weight that say so of a market at 0.40 to 0.42."""
    names = "abcdefghij"[: len(said)]
    engine = engine_with(ranking_of(dict.fromkeys(names, 0.0)), calibration_of(market_weight=0.5))
    consensus = engine.weighted_consensus(question_about(0.41, names), answers_of(*said), strategy)
    policy = policy_of(ensemble={"consensus_threshold": threshold})
    return conclude(policy, context_of(), plan_of(strategy=strategy), consensus, filling_of())


@pytest.mark.parametrize("strategy", list(Strategy))
def test_single_member_is_its_own_pool_but_for_the_one_that_doubts_it(strategy: Strategy) -> None:
    pooled = pool(answers_of(0.8), strategy=strategy).p_pooled
    if strategy is Strategy.UNCERTAINTY_AWARE:
        assert 0.5 < pooled < 0.8
    else:
        assert pooled == pytest.approx(0.8)


@pytest.mark.parametrize("strategy", ALL_BUT_DRAWN)
def test_members_of_one_weight_and_one_confidence_are_pooled_alike(strategy: Strategy) -> None:
    plain = pool(answers_of(0.6, 0.7, 0.9), 0.5)
    found = pool(answers_of(0.6, 0.7, 0.9), 0.5, strategy=strategy)
    assert found.p_pooled == pytest.approx(plain.p_pooled, abs=1e-12)


# consensus: enough weight on one side of the price


@pytest.mark.parametrize(
    ("said", "agreement", "reason"),
    [
        ((0.9, 0.9, 0.9), 1.0, Reason.TRADED),
        ((0.9, 0.9, 0.9, 0.35), 0.75, Reason.TRADED),
        ((0.9,) * 7 + (0.38,) * 3, 0.7, Reason.TRADED),
        ((0.9, 0.9, 0.38), 2 / 3, Reason.NO_CONSENSUS),
        ((0.9, 0.38), 0.5, Reason.NO_CONSENSUS),
        # who says what the market says counts half to either side
        ((0.9, 0.9, 0.9, 0.41), 7 / 8, Reason.TRADED),
        ((0.9, 0.41), 0.75, Reason.TRADED),
    ],
)
def test_consensus_counts_only_where_seven_tenths_of_the_weight_stand_on_one_side_of_the_price(
    said: tuple[float, ...], agreement: float, reason: Reason
) -> None:
    made = decide(Strategy.CONSENSUS, *said)
    [verdict] = [verdict for verdict in made.gates if verdict.gate is Reason.NO_CONSENSUS]
    assert verdict.numbers["agreement"] == pytest.approx(agreement)
    assert verdict.numbers["threshold"] == 0.7
    assert verdict.is_passed is (reason is not Reason.NO_CONSENSUS)
    if reason is Reason.NO_CONSENSUS:
        assert made.terminal_reason is reason
        # the other strategies go on with the same answers
        others = [decide(strategy, *said) for strategy in Strategy if strategy is not Strategy.CONSENSUS]
        assert all(verdict.gate is not Reason.NO_CONSENSUS for it in others for verdict in it.gates)


@given(st.lists(PROBABILITIES, min_size=1, max_size=6), PROBABILITIES)
def test_agreement_is_at_least_half_and_whole_where_all_stand_on_one_side(said: list[float], price: float) -> None:
    consensus = pool(answers_of(*said), price, strategy=Strategy.CONSENSUS)
    assert 0.5 <= consensus.agreement <= 1
    if all(p > price for p in said) or all(p < price for p in said):
        assert consensus.agreement == pytest.approx(1, abs=1e-12)


def test_consensus_where_no_price_is_known_is_about_even_odds() -> None:
    assert pool(answers_of(0.6, 0.7, 0.4), strategy=Strategy.CONSENSUS).agreement == pytest.approx(2 / 3)


# confidence-based: weight times calibrated confidence


def test_confidence_moves_the_pool_towards_who_is_sure_and_leaves_the_other_strategies_alone() -> None:
    sure, unsure = [answer("a", 0.3, 0.9), answer("b", 0.8, 0.3)], [answer("a", 0.3, 0.3), answer("b", 0.8, 0.9)]
    low, high = (pool(said, strategy=Strategy.CONFIDENCE_BASED) for said in (sure, unsure))
    plain = pool(sure)
    assert low.p_pooled < plain.p_pooled < high.p_pooled
    assert plain.p_pooled == pool(unsure).p_pooled
    assert [o.weight for o in low.answered] == pytest.approx([0.75, 0.25])


def test_confidence_is_less_what_a_member_is_usually_too_sure_by() -> None:
    # a is too sure of itself by .4: of its .9 there remain .5; b is too modest by .1
    engine = engine_with(ranking_of(None, 0.0, a=0.4, b=-0.1))
    said = [answer("a", 0.3, 0.9), answer("b", 0.8, 0.4)]
    by_confidence = engine.weighted_consensus(question_about(), said, Strategy.CONFIDENCE_BASED)
    assert [o.weight for o in by_confidence.answered] == pytest.approx([0.5, 0.5])
    assert by_confidence.confidence == pytest.approx(0.5)
    # what was said stays on record
    assert [o.confidence for o in by_confidence.answered] == [0.9, 0.4]
    voted = engine.weighted_consensus(question_about(), said, Strategy.WEIGHTED_VOTING)
    assert voted.confidence == pytest.approx(0.5)


@pytest.mark.parametrize(("gap", "confidence"), [(0.95, 0.0), (-0.5, 1.0)])
def test_calibrated_confidence_stays_within_its_bounds(gap: float, confidence: float) -> None:
    engine = engine_with(ranking_of(None, 0.0, a=gap))
    assert engine.weighted_consensus(question_about(), [answer("a", 0.3, 0.9)]).confidence == confidence


def test_where_nobody_is_confident_the_plain_weights_hold() -> None:
    said = [answer("a", 0.3, 0.0), answer("b", 0.8, 0.0)]
    assert pool(said, strategy=Strategy.CONFIDENCE_BASED).p_pooled == pool(said).p_pooled


# uncertainty-aware: drawn towards even odds by its own error


@given(st.lists(PROBABILITIES, min_size=1, max_size=6))
def test_uncertain_pool_is_drawn_towards_even_odds_and_never_across(said: list[float]) -> None:
    plain = pool(answers_of(*said)).p_pooled
    drawn = pool(answers_of(*said), strategy=Strategy.UNCERTAINTY_AWARE).p_pooled
    low, high = sorted((0.5, plain))
    assert low - 1e-12 <= drawn <= high + 1e-12
    if abs(plain - 0.5) > 1e-6:
        assert abs(drawn - 0.5) < abs(plain - 0.5)


def test_pool_is_drawn_further_where_its_members_are_fewer_or_truth_is_taken_to_scatter_less() -> None:
    def kept(*said: float, spread: float = 1.5) -> float:
        """Share of the plain pool's log-odds that is left."""
        plain = pool(answers_of(*said)).p_pooled
        drawn = pool(answers_of(*said), strategy=Strategy.UNCERTAINTY_AWARE, spread_of_truth=spread).p_pooled
        return math.log(drawn / (1 - drawn)) / math.log(plain / (1 - plain))

    assert kept(0.8) < kept(0.8, 0.8) < kept(0.8, 0.8, 0.8, 0.8) < 1
    assert kept(0.9, 0.3) < kept(0.7, 0.6)
    assert kept(0.8, spread=0.5) < kept(0.8, spread=1.5) < kept(0.8, spread=5.0)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ((0.8, 0.8), Reason.TOO_FEW_ANSWERS),
        ((0.8, 0.8, 0.8), Reason.TRADED),
    ],
)
def test_enhanced_route_demands_three_answers(said: tuple[float, ...], reason: Reason) -> None:
    heard = consensus_of(0.8, members=opinions_of(*said), strategy=Strategy.UNCERTAINTY_AWARE)
    plan = plan_of(route=Route.ENHANCED, strategy=Strategy.UNCERTAINTY_AWARE)
    assert conclude(policy_of(), context_of(), plan, heard, filling_of()).terminal_reason is reason


@pytest.mark.parametrize(
    ("route", "confidence", "reason"),
    [
        (Route.FULL, 0.55, Reason.TRADED),
        (Route.ENHANCED, 0.55, Reason.CONFIDENCE),
        (Route.ENHANCED, 0.6, Reason.TRADED),
    ],
)
def test_enhanced_route_demands_more_confidence(route: Route, confidence: float, reason: Reason) -> None:
    heard = consensus_of(0.9, members=opinions_of(0.9, 0.9, 0.9), confidence=confidence)
    made = conclude(policy_of(), context_of(), plan_of(route=route), heard, filling_of())
    assert made.terminal_reason is reason


# all of them


@pytest.mark.parametrize("strategy", list(Strategy))
def test_three_members_that_see_no_edge_for_yes_buy_no(strategy: Strategy) -> None:
    names = "abc"
    engine = engine_with(ranking_of(dict.fromkeys(names, 0.0)), calibration_of(market_weight=0.5))
    quote = book("0.58", "0.60")
    question = question_about(0.59, names, stake_micro_usd=50 * USD)
    consensus = engine.weighted_consensus(question, answers_of(0.1, 0.15, 0.2), strategy)
    plan = plan_of(snapshot_of(quote), names, strategy=strategy)
    made = conclude(policy_of(), context_of(), plan, consensus, filling_of(quote))
    assert (made.action, made.side, str(made.limit_price)) == (Action.TRADE, Side.NO, "0.42")
