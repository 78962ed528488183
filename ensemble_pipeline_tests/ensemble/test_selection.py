import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.ensemble.selection import WEIGHTS, Conditions, ModelSelector, conditions_of, fit
from ensemble_pipeline.settings import MemberSettings
from ensemble_pipeline.store.efficiency import CostEfficiency, Efficiency
from ensemble_pipeline.store.health import ModelHealth
from ensemble_pipeline.store.rankings import ModelStrength
from ensemble_pipeline_tests.ensemble.parts import USD, member_of, ranking_of, settings_of, snapshot_of
from ensemble_pipeline_tests.store.rows import NOW

HERE = {"category": "Sports", "regime": "calm", "expiry": "0-24h"}
MEMBERS = [(member_of("a"), 1000), (member_of("b"), 4000)]


def health(
    name: str, *, is_available: bool = True, latency_ms: float | None = None, calls: int = 0, failures: int = 0
) -> ModelHealth:
    return ModelHealth(name, is_available, NOW, 0, latency_ms, calls, failures, "closed" if is_available else "open")


def selector(
    skills: dict[str, float] | None = None,
    healths: list[ModelHealth] | None = None,
    strengths: list[ModelStrength] | None = None,
    share: float = 0.05,
    degraded: str = "",
    efficiency: Efficiency | None = None,
    pressure: float = 0.0,
) -> ModelSelector:
    options = settings_of(ensemble={"exploration_share": share}).ensemble
    known = {it.model_name: it for it in healths or []}
    return ModelSelector(options, ranking_of(skills), known, strengths or [], frozenset(degraded), efficiency, pressure)


def strength(name: str, dimension: str, segment: str, skill: float) -> ModelStrength:
    return ModelStrength(name, dimension, segment, None, None, 0, 0, 0.0, skill, "as_elsewhere")


def test_weights_are_those_of_the_mission() -> None:
    assert WEIGHTS == {"performance": 0.4, "cost": 0.2, "context": 0.2, "speed": 0.1, "health": 0.1}


def test_utility_parts_worked_by_hand() -> None:
    healths = [health("a", latency_ms=16_000, calls=10, failures=2)]
    strengths = [
        strength("a", "category", "Sports", -0.05),
        strength("a", "category", "Politics", -0.10),
        strength("a", "regime", "calm", -0.01),
        strength("b", "category", "Sports", 0.3),
    ]
    [a] = [c for c in selector({"a": -0.02}, healths, strengths).order(MEMBERS, HERE, 0) if c.member.name == "a"]
    assert a.parts["performance"] == pytest.approx(0.6)
    # of two that differ by price alone a dollar buys 1 and 0.25 points; the median is 0.625
    assert a.parts["cost"] == pytest.approx(1 / 1.625)
    # overall .02, the category adds .03 and the regime takes .01: .04 of .20
    assert a.parts["context"] == pytest.approx(0.7)
    assert a.parts["speed"] == pytest.approx(0.5)
    assert a.parts["health"] == pytest.approx(0.8)
    # near the close health counts twice
    assert a.utility == pytest.approx((0.4 * 0.6 + 0.2 / 1.625 + 0.2 * 0.7 + 0.1 * 0.5 + 0.2 * 0.8) / 1.1)


def test_context_where_nothing_is_known_is_the_overall_skill() -> None:
    [only] = selector({"a": -0.02}).order(MEMBERS[:1], HERE, 0)
    assert only.parts["context"] == only.parts["performance"]


def test_conditions_of_a_snapshot_are_the_segments_its_forecasts_will_be_scored_in() -> None:
    snapshot = snapshot_of(category="Sports")
    assert conditions_of(snapshot) == {
        "category": "Sports",
        "regime": snapshot.regime,
        "expiry": snapshot.expiry,
    }


@pytest.mark.parametrize(("skill", "part"), [(-0.5, 1.0), (0.5, 0.0), (0.0, 0.5)])
def test_performance_part_stays_within_its_bounds(skill: float, part: float) -> None:
    best = selector({"a": skill}).select_optimal_model(MEMBERS[:1], HERE, 0)
    assert best is not None
    assert best.parts["performance"] == part


def test_order_puts_the_best_first_and_equals_by_name() -> None:
    assert [c.member.name for c in selector({"b": -0.09}).order(MEMBERS, HERE, 0)] == ["b", "a"]
    equal = [(member_of("b"), 5), (member_of("a"), 5)]
    assert [c.member.name for c in selector().order(equal, HERE, 0)] == ["a", "b"]


def test_unavailable_member_is_left_out_and_nobody_is_an_answer() -> None:
    assert [c.member.name for c in selector(healths=[health("a", is_available=False)]).order(MEMBERS, HERE, 0)] == ["b"]
    both = [health("a", is_available=False), health("b", is_available=False)]
    assert selector(healths=both).select_optimal_model(MEMBERS, HERE, 0) is None
    assert selector(healths=both).get_model_health("a") == both[0]
    assert selector().get_model_health("a") is None


def test_free_members_have_the_best_cost() -> None:
    free: list[tuple[MemberSettings, int]] = [(member_of("a"), 0), (member_of("b"), 0)]
    assert {c.parts["cost"] for c in selector().order(free, HERE, 0)} == {1.0}


def line(name: str, category: str = "*", cost: float | None = None, gain: float | None = None) -> CostEfficiency:
    return CostEfficiency(name, category, 0, 0, 0, cost, None, gain, None, None, None, None)


def reading(*lines: CostEfficiency, share: float = 0.5) -> Efficiency:
    return Efficiency(1, NOW, 1, share, lines)


def test_performance_cost_ratio_worked_by_hand() -> None:
    found = selector(
        efficiency=reading(
            line("a", cost=0.01, gain=0.05),
            line("a", "Sports", cost=0.02, gain=0.05),
            line("b", cost=0.01, gain=-0.3),
            line("c", cost=None, gain=0.09),
        )
    )
    ratio = found.calculate_performance_cost_ratio
    assert ratio("a", 10_000, HERE) == pytest.approx(2.5)
    assert ratio("a", 10_000, {}) == pytest.approx(5.0)
    assert ratio("a", 10_000, {"category": "Politics"}) == pytest.approx(5.0)
    assert ratio("a", 0, HERE) == float("inf")
    # what gains nothing still differs by its price
    assert ratio("b", 10_000, HERE) == pytest.approx(0.1)
    # never asked: half of its worst case, as calls usually cost; never scored: the panel's own gain, below 0 here
    assert ratio("c", 40_000, HERE) == pytest.approx(0.09 / 0.02)
    assert ratio("d", 40_000, HERE) == pytest.approx(0.001 / 0.02)
    assert selector().calculate_performance_cost_ratio("a", 10_000, HERE) == pytest.approx(0.001 / 0.01)


def test_the_scarcer_money_is_the_more_a_cheap_model_is_preferred() -> None:
    known = reading(line("a", cost=0.001, gain=0.05), line("b", cost=0.01, gain=0.08))
    skills = {"a": 0.0, "b": -0.03}
    first = [
        selector(skills, efficiency=known, pressure=pressure).order(MEMBERS, QUIET, 50 * USD)[0].member.name
        for pressure in (0.0, 0.1, 1.0)
    ]
    assert first == ["b", "b", "a"]


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 60))
def test_weight_of_cost_never_falls_with_pressure_and_weights_sum_to_one(one: float, other: float, usd: float) -> None:
    low, high = sorted((one, other))
    weights = [selector(pressure=it).order(MEMBERS, QUIET, int(usd * USD))[0].weights for it in (low, high)]
    assert weights[0]["cost"] <= weights[1]["cost"] + 1e-12
    assert [sum(it.values()) for it in weights] == pytest.approx([1, 1])


def test_the_scarcer_money_is_the_less_is_explored() -> None:
    assert [selector(share=0.2, pressure=it).exploration_share for it in (0.0, 0.5, 1.0)] == [0.2, 0.1, 0.0]
    candidates = selector(share=1).order(MEMBERS, HERE, 0)
    assert selector(share=1, pressure=1).explored(candidates, [], "k") == []


def test_exploration_draw_is_stable_and_near_its_share() -> None:
    found = selector(share=0.2)
    candidates = found.order(MEMBERS, HERE, 0)
    drawn = [found.explored(candidates, candidates[:1], f"market|{number}") for number in range(1000)]
    assert drawn == [found.explored(candidates, candidates[:1], f"market|{number}") for number in range(1000)]
    assert all(candidates[0] not in it for it in drawn)
    assert 150 < sum(len(it) for it in drawn) < 250
    assert selector(share=0).explored(candidates, [], "k") == []
    assert selector(share=1).explored(candidates, [], "k") == candidates


QUIET: Conditions = {"category": "Sports", "regime": "calm", "expiry": "1-7d"}


def weights_at(value_usd: int, **conditions: str) -> dict[str, float]:
    [first, *_] = selector().order(MEMBERS, {**QUIET, **conditions}, value_usd * USD)
    return dict(first.weights)


def test_utility_weights_are_those_of_the_mission_where_nothing_is_at_stake_and_always_sum_to_one() -> None:
    assert weights_at(0) == pytest.approx(WEIGHTS)
    for conditions in ({}, {"regime": "volatile"}, {"expiry": "0-24h"}, {"regime": "volatile", "expiry": "0-24h"}):
        for value in (0, 10, 50, 10_000):
            assert sum(weights_at(value, **conditions).values()) == pytest.approx(1, abs=1e-12)


def test_utility_weights_change_with_trade_value_volatility_and_time_to_expiry() -> None:
    small, large = weights_at(1), weights_at(50)
    assert large["performance"] > small["performance"]
    assert large["cost"] < small["cost"]
    # from where the enhanced consensus begins nothing more is to be said
    assert weights_at(5000) == large
    assert weights_at(1, regime="volatile")["speed"] > small["speed"]
    assert weights_at(1, expiry="0-24h")["health"] > small["health"]


def test_order_prefers_the_cheap_model_for_a_small_trade_and_the_skilled_one_for_a_large() -> None:
    # the skilled one is better by .06 of performance and context, and the cheap one by .066 of cost
    skilled = selector({"a": 0.0, "b": -0.02})
    assert [c.member.name for c in skilled.order(MEMBERS, QUIET, 0)] == ["a", "b"]
    assert [c.member.name for c in skilled.order(MEMBERS, QUIET, 50 * USD)] == ["b", "a"]


def test_degraded_model_comes_last_is_not_chosen_and_can_still_be_explored() -> None:
    found = selector({"a": -0.1, "b": 0.1}, share=1, degraded="a")
    candidates = found.order(MEMBERS, HERE, 0)
    assert [(c.member.name, c.is_deselected) for c in candidates] == [("b", False), ("a", True)]
    assert candidates[1].utility > candidates[0].utility
    chosen = fit(candidates)
    assert [c.member.name for c in chosen] == ["b"]
    assert [c.member.name for c in found.explored(candidates, chosen, "key")] == ["a"]
    best = found.select_optimal_model(MEMBERS, HERE, 0)
    assert best is not None
    assert best.member.name == "b"


def test_where_every_model_got_worse_all_may_be_chosen() -> None:
    candidates = selector(degraded="ab").order(MEMBERS, HERE, 0)
    assert fit(candidates) == candidates
