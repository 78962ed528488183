import math
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.domain import Strategy
from ensemble_pipeline.ensemble.trust import trust
from ensemble_pipeline_tests.ensemble.parts import (
    USD,
    answer,
    calibration_of,
    engine_with,
    pool,
    question_about,
    ranking_of,
    settings_of,
)

PROBABILITIES = st.floats(0, 1)
SAID = st.lists(st.tuples(PROBABILITIES, PROBABILITIES), min_size=1, max_size=5)
EVERY_STRATEGY = st.sampled_from(list(Strategy))
NAMES = "abcde"


def test_consensus_of_one_member_worked_by_hand() -> None:
    consensus = pool([answer("a", 0.8, 0.6)], price=0.5, market_weight=0.5)
    assert consensus.p_pooled == pytest.approx(0.8)
    assert consensus.p_calibrated == pytest.approx(0.8)
    # never more than half way in log-odds between 1:1 and 4:1
    assert 0.5 < consensus.p_final <= 2 / 3
    assert (consensus.market_weight, consensus.confidence, consensus.agreement) == (0.5, 0.6, 1.0)


def test_consensus_of_two_equal_members_worked_by_hand() -> None:
    consensus = pool([answer("a", 0.2, 0.6), answer("b", 0.8, 0.8)], price=0.5, market_weight=0.5)
    assert (consensus.p_pooled, consensus.p_calibrated, consensus.p_final) == pytest.approx((0.5, 0.5, 0.5))
    assert consensus.p_plain_mean == pytest.approx(0.5)
    assert consensus.confidence == pytest.approx(0.7)
    assert consensus.disagreement_level == pytest.approx(0.6)
    assert consensus.agreement == pytest.approx(0.5)
    assert [(o.model_id, o.weight) for o in consensus.members] == [("a", 0.5), ("b", 0.5), ("c", 0.0)]


@given(SAID, EVERY_STRATEGY)
def test_pool_lies_on_the_side_of_even_odds_that_its_members_take(
    said: list[tuple[float, float]], strategy: Strategy
) -> None:
    high = [answer(name, max(p, 1 - p), c) for name, (p, c) in zip(NAMES, said, strict=False)]
    low = [answer(name, min(p, 1 - p), c) for name, (p, c) in zip(NAMES, said, strict=False)]
    assert pool(low, strategy=strategy).p_pooled <= 0.5 <= pool(high, strategy=strategy).p_pooled


def test_consensus_when_no_price_is_known_is_not_anchored() -> None:
    consensus = pool([answer("a", 0.9)])
    assert consensus.p_final == consensus.p_calibrated
    assert consensus.market_weight is None


@given(SAID, st.integers(1, 99), EVERY_STRATEGY)
def test_consensus_of_no_weight_against_the_market_is_its_price(
    said: list[tuple[float, float]], cents: int, strategy: Strategy
) -> None:
    answers = [answer(name, p, c) for name, (p, c) in zip(NAMES, said, strict=False)]
    assert pool(answers, cents / 100, market_weight=0.0, strategy=strategy).p_final == cents / 100


@given(SAID, st.integers(1, 99), st.floats(0, 1), EVERY_STRATEGY)
def test_final_probability_lies_between_the_price_and_the_ensemble(
    said: list[tuple[float, float]], cents: int, share: float, strategy: Strategy
) -> None:
    answers = [answer(name, p, c) for name, (p, c) in zip(NAMES, said, strict=False)]
    consensus = pool(answers, cents / 100, market_weight=share, strategy=strategy)
    low, high = sorted((cents / 100, consensus.p_calibrated))
    assert low - 1e-12 <= consensus.p_final <= high + 1e-12


def test_consensus_applies_slope_and_the_intercept_of_its_category_to_log_odds() -> None:
    engine = engine_with(calibration=calibration_of(0.5, Sports=-math.log(2)))
    said = [answer("a", 0.8)]
    climate, sports = (question_about(asked=["a"], category=name) for name in ("Climate", "Sports"))
    assert engine.weighted_consensus(climate, said).p_calibrated == pytest.approx(2 / 3)
    assert engine.weighted_consensus(sports, said).p_calibrated == pytest.approx(1 / 2)


def test_strategy_is_the_settings_own_unless_another_is_named() -> None:
    engine = engine_with(strategy=Strategy.CONSENSUS)
    assert engine.weighted_consensus(question_about(), [answer("a", 0.5)]).strategy is Strategy.CONSENSUS
    named = engine.weighted_consensus(question_about(), [answer("a", 0.5)], Strategy.CONFIDENCE_BASED)
    assert named.strategy is Strategy.CONFIDENCE_BASED


def test_weights_when_a_member_is_missing_are_rebased_to_those_who_answered() -> None:
    engine = engine_with(ranking_of({"a": -0.03, "b": 0.0, "c": 0.02}, events=500))
    whole = engine.weighted_consensus(question_about(), [answer(name, 0.5) for name in "abc"])
    part = engine.weighted_consensus(question_about(), [answer(name, 0.5) for name in "ac"])
    a, b, c = (o.weight for o in whole.members)
    assert a > b > c > 0
    left, none, right = (o.weight for o in part.members)
    assert left > a > right > c
    assert none == 0
    assert left + right == pytest.approx(1, abs=1e-12)


def test_weights_are_equal_where_nothing_is_known_and_grow_with_skill_where_much_is() -> None:
    options = settings_of().ensemble
    for events in (0.0, 1e6):
        assert trust("ab", ranking_of({"a": 0.0, "b": 0.0}, events), options).tolist() == [0.5, 0.5]
    shares = [trust("ab", ranking_of({"a": -skill, "b": 0.0}, 1e6), options)[0] for skill in (0.0, 0.01, 0.02, 0.04)]
    assert shares == sorted(shares)
    assert len(set(shares)) == 4
    for events in (0.0, 10.0, 99.0):
        a, b = trust("ab", ranking_of({"a": -0.5, "b": 0.5}, events), options)
        # a model that has not proven itself is neither alone nor silent
        assert 1 > a > b > 0


def test_models_that_say_the_same_share_what_one_of_them_would_have() -> None:
    options = settings_of().ensemble
    alike = replace(ranking_of(), correlations={("a", "b"): 1.0, ("a", "c"): 0.0, ("b", "c"): 0.0})
    a, b, c = trust("abc", alike, options)
    assert a == b < c
    assert a + b + c == pytest.approx(1, abs=1e-12)
    # named in another order the same
    assert trust("cba", alike, options).tolist() == [c, b, a]


@pytest.mark.parametrize("is_former", [True, False])
def test_model_the_ranking_does_not_know_counts_as_good_as_the_panel(*, is_former: bool) -> None:
    engine = engine_with(ranking_of({"a": -0.02, "b": 0.02, "z": 0.0}, events=500))
    # asked for or not any more: an answer that was recorded is heard
    asked = ("a", "b") if is_former else ("a", "b", "new")
    said = [answer(name, 0.5) for name in ("a", "b", "new")]
    consensus = engine.weighted_consensus(question_about(asked=asked), said)
    weight = {o.model_id: o.weight for o in consensus.members}
    assert weight["a"] > weight["new"] > weight["b"] > 0
    assert math.fsum(weight.values()) == pytest.approx(1, abs=1e-12)


@given(SAID, PROBABILITIES, EVERY_STRATEGY)
def test_consensus_of_a_mirrored_market_is_the_mirrored_consensus(
    said: list[tuple[float, float]], price: float, strategy: Strategy
) -> None:
    if strategy is Strategy.CASCADING and any(abs(p - price) < 1e-9 for p, _ in said):
        return
    straight = [answer(name, p, c) for name, (p, c) in zip(NAMES, said, strict=False)]
    mirrored = [answer(name, 1 - p, c) for name, (p, c) in zip(NAMES, said, strict=False)]
    one, other = pool(straight, price, strategy=strategy), pool(mirrored, 1 - price, strategy=strategy)
    for name in ("p_plain_mean", "p_pooled", "p_calibrated", "p_final"):
        assert getattr(other, name) == pytest.approx(1 - getattr(one, name), abs=1e-9)
    for name in ("disagreement_level", "uncertainty", "confidence"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), abs=1e-9)


@given(
    st.lists(st.tuples(PROBABILITIES, PROBABILITIES, st.floats(-0.2, 0.2)), min_size=4, max_size=4),
    st.one_of(st.none(), PROBABILITIES),
    EVERY_STRATEGY,
    st.floats(0, 2000),
)
def test_consensus_when_answers_come_in_another_order_is_the_same_to_the_bit(
    said: list[tuple[float, float, float]], price: float | None, strategy: Strategy, events: float
) -> None:
    skills = {name: skill for name, (_, _, skill) in zip(NAMES, said, strict=False)}
    answers = [answer(name, p, c) for name, (p, c, _) in zip(NAMES, said, strict=False)]
    engine = engine_with(ranking_of(skills, events))
    question = question_about(price, "abcd", stake_micro_usd=30 * USD, worst_case_micro_usd=dict.fromkeys("abcd", 900))
    heard = {engine.weighted_consensus(question, order, strategy) for order in permutations(answers)}
    assert len(heard) == 1
    if strategy is not Strategy.CASCADING:
        # the order of asking is the cascade's business alone
        turned = question_about(price, "dcba")
        assert engine.weighted_consensus(turned, answers, strategy) in heard


@given(
    st.lists(st.tuples(PROBABILITIES, PROBABILITIES, st.floats(-1, 1)), min_size=1, max_size=12),
    st.integers(0, 4),
    st.floats(0, 1000),
    EVERY_STRATEGY,
)
def test_weights_sum_to_one_over_those_who_answered_and_are_zero_for_the_others(
    said: list[tuple[float, float, float]], silent: int, events: float, strategy: Strategy
) -> None:
    names = [f"m{number:02}" for number in range(len(said))]
    absent = [f"silent-{number}" for number in range(silent)]
    skills = {name: skill for name, (_, _, skill) in zip(names, said, strict=True)} | dict.fromkeys(absent, 0.0)
    answers = [answer(name, p, c) for name, (p, c, _) in zip(names, said, strict=True)]
    engine = engine_with(ranking_of(skills, events))
    consensus = engine.weighted_consensus(question_about(0.4, [*names, *absent]), answers, strategy)
    assert math.fsum(o.weight for o in consensus.members) == pytest.approx(1, abs=1e-12)
    assert all(o.weight == 0 for o in consensus.members if o.p_yes is None)
    assert len(consensus.answered) == len(names)
    assert all(0 <= o.weight <= 1 for o in consensus.members)
    for name in ("p_plain_mean", "p_pooled", "p_final", "uncertainty", "confidence", "disagreement_level"):
        assert 0 <= getattr(consensus, name) <= 1
    assert 0.5 <= consensus.agreement <= 1


def test_members_are_named_with_their_answers_and_the_chance_of_being_asked() -> None:
    question = question_about(asked=["b", "a", "c"], propensity={"a": 1.0, "b": 1.0, "c": 0.05})
    said = [answer("b", 0.4, 0.7, forecast_id=7), answer("stand-in", 0.5, 0.6, forecast_id=8)]
    members = engine_with().weighted_consensus(question, said).members
    found = [(o.model_id, o.forecast_id, o.p_yes, o.confidence, o.propensity) for o in members]
    assert found == [
        ("a", None, None, None, 1.0),
        ("b", 7, 0.4, 0.7, 1.0),
        ("c", None, None, None, 0.05),
        ("stand-in", 8, 0.5, 0.6, None),
    ]


@given(st.integers(1, 8), PROBABILITIES, EVERY_STRATEGY)
def test_unanimous_panel_disagrees_about_nothing_but_may_err_together(n: int, p: float, strategy: Strategy) -> None:
    answers = [answer(f"m{number}", p) for number in range(n)]
    consensus = engine_with().weighted_consensus(question_about(asked=()), answers, strategy)
    assert consensus.disagreement_level == 0
    assert 0 < consensus.uncertainty < 1


def test_uncertainty_of_more_members_that_agree_is_less_and_of_those_that_differ_more() -> None:
    agreeing = [pool([answer(f"m{i}", 0.6) for i in range(n)]).uncertainty for n in (1, 2, 3, 5, 8)]
    assert agreeing == sorted(agreeing, reverse=True)
    assert len(set(agreeing)) == 5
    apart = [pool([answer("a", 0.5 - d), answer("b", 0.5 + d)]).uncertainty for d in (0.0, 0.1, 0.2, 0.3, 0.4)]
    assert apart == sorted(apart)
    assert len(set(apart)) == 5


@pytest.mark.parametrize("n", [2, 4, 6])
def test_evenly_split_panel_disagrees_as_far_as_it_can(n: int) -> None:
    answers = [answer(f"m{number}", float(number % 2)) for number in range(n)]
    assert pool(answers).disagreement_level == pytest.approx(1, abs=1e-12)


def test_disagreement_and_uncertainty_at_their_ends() -> None:
    engine = engine_with()
    half = np.array([0.5, 0.5])
    assert engine.detect_disagreement(np.array([0.0, 1.0]), half) == 1
    assert engine.detect_disagreement(np.array([0.3, 0.3]), half) == 0
