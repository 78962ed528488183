import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.ensemble.engine import EnsembleEngine
from ensemble_pipeline_tests.ensemble.parts import answer, calibration_of, pool, ranking_of, settings_of

PROBABILITIES = st.floats(0, 1)


def test_consensus_of_two_equal_members_worked_by_hand() -> None:
    consensus = pool([answer("a", 0.5, 0.6), answer("b", 0.8, 0.8)], price=0.5, market_weight=0.5)
    assert consensus.p_pooled == pytest.approx(2 / 3)
    assert consensus.p_calibrated == pytest.approx(2 / 3)
    # half way in log-odds between 1:1 and 2:1
    assert consensus.p_final == pytest.approx(math.sqrt(2) / (1 + math.sqrt(2)))
    assert consensus.p_plain_mean == pytest.approx(0.65)
    assert consensus.confidence == pytest.approx(0.7)
    assert consensus.disagreement_level == pytest.approx(0.3)
    assert [(o.model_id, o.weight) for o in consensus.members] == [("a", 0.5), ("b", 0.5), ("c", 0.0)]


def test_consensus_when_no_price_is_known_is_not_anchored() -> None:
    consensus = pool([answer("a", 0.9)])
    assert consensus.p_final == consensus.p_calibrated


def test_consensus_applies_slope_and_the_intercept_of_its_category_to_log_odds() -> None:
    engine = EnsembleEngine(settings_of().ensemble, ranking_of(), calibration_of(0.5, Sports=-math.log(2)))
    said = [answer("a", 0.8)]
    assert engine.weighted_consensus(["a"], said, None, "Climate").p_calibrated == pytest.approx(2 / 3)
    assert engine.weighted_consensus(["a"], said, None, "Sports").p_calibrated == pytest.approx(1 / 2)


def test_weights_when_a_member_is_missing_are_rebased_to_those_who_answered() -> None:
    ranking = ranking_of(weights={"a": 0.5, "b": 0.3, "c": 0.2})
    engine = EnsembleEngine(settings_of().ensemble, ranking, calibration_of())
    consensus = engine.weighted_consensus(["a", "b", "c"], [answer("a", 0.5), answer("c", 0.5)], None, "x")
    assert [o.weight for o in consensus.members] == pytest.approx([5 / 7, 0, 2 / 7])


def test_weights_when_a_member_is_unknown_to_the_ranking_gets_the_equal_share() -> None:
    ranking = ranking_of(weights={"a": 0.6, "b": 0.4})
    engine = EnsembleEngine(settings_of().ensemble, ranking, calibration_of())
    consensus = engine.weighted_consensus([], [answer("a", 0.5), answer("new", 0.5)], None, "x")
    assert [o.weight for o in consensus.members] == pytest.approx([0.6 / 1.1, 0.5 / 1.1])


@given(st.lists(st.tuples(PROBABILITIES, PROBABILITIES), min_size=1, max_size=3), PROBABILITIES)
def test_consensus_of_a_mirrored_market_is_the_mirrored_consensus(
    said: list[tuple[float, float]], price: float
) -> None:
    straight = [answer(name, p, c) for name, (p, c) in zip("abc", said, strict=False)]
    mirrored = [answer(name, 1 - p, c) for name, (p, c) in zip("abc", said, strict=False)]
    one, other = pool(straight, price), pool(mirrored, 1 - price)
    for name in ("p_plain_mean", "p_pooled", "p_calibrated", "p_final"):
        assert getattr(other, name) == pytest.approx(1 - getattr(one, name), abs=1e-9)
    for name in ("disagreement_level", "uncertainty", "confidence"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), abs=1e-9)


@given(st.lists(st.tuples(PROBABILITIES, PROBABILITIES), min_size=3, max_size=3))
def test_consensus_when_answers_come_in_another_order_is_the_same_to_the_bit(said: list[tuple[float, float]]) -> None:
    answers = [answer(name, p, c) for name, (p, c) in zip("abc", said, strict=True)]
    assert len({pool(order, 0.4) for order in permutations(answers)}) == 1


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=12))
def test_weights_sum_to_one_and_keep_confidence_within_its_bounds(weights: list[float]) -> None:
    names = [f"m{number}" for number in range(len(weights))]
    ranking = ranking_of(weights=dict(zip(names, weights, strict=True)))
    engine = EnsembleEngine(settings_of().ensemble, ranking, calibration_of())
    consensus = engine.weighted_consensus(names, [answer(name, 1.0, 1.0) for name in names], 1.0, "x")
    assert math.fsum(o.weight for o in consensus.members) == pytest.approx(1, abs=1e-12)
    assert consensus.confidence <= 1
    assert max(consensus.p_plain_mean, consensus.p_final, consensus.uncertainty) <= 1


def test_disagreement_and_uncertainty_at_their_ends() -> None:
    engine = EnsembleEngine(settings_of().ensemble, ranking_of(), calibration_of())
    half = np.array([0.5, 0.5])
    assert engine.detect_disagreement(np.array([0.0, 1.0]), half) == 1
    assert engine.detect_disagreement(np.array([0.3, 0.3]), half) == 0
    assert engine.quantify_uncertainty(np.array([0.3, 0.3]), half) == 0
    assert engine.quantify_uncertainty(np.array([0.3]), np.array([1.0])) > 0
