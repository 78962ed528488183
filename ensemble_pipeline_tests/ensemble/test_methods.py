"""Who decides: the master switch, the switch of each method, and the route that follows from them."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from ensemble_pipeline.domain import Reason, Route, Strategy
from ensemble_pipeline.ensemble.context import Method
from ensemble_pipeline.ensemble.plan import Plan, Planner
from ensemble_pipeline.settings import Policy
from ensemble_pipeline_tests.ensemble.parts import context_of, policy_of, snapshot_of, standing_of
from ensemble_pipeline_tests.store.rows import NOW, quote_of

# a hundredth of the volume at 0.59: what one trade may take
SMALL, MIDDLE, LARGE = "1500", "5000", "100000"


def plan(volume: str = LARGE, hours_left: float = 240, wanted: Method | None = None, **sections: Any) -> Plan:
    """The plan for a market of this volume, with a bankroll of which one trade may take $250."""
    options = {"exploration_share": 0} | sections.pop("ensemble", {})
    policy = policy_of(*"abcdef", sizing={"bankroll_usd": 5000}, ensemble=options, **sections)
    context = context_of(method=Method.allowed(policy, wanted))
    snapshot = snapshot_of(quote_of(volume=volume), closes_at=NOW + timedelta(hours=hours_left))
    return Planner(policy, context).plan(snapshot, standing_of(*"abcdef", cash_usd=5000))


def route(*args: Any, **kwargs: Any) -> tuple[Route, int]:
    made = plan(*args, **kwargs)
    assert made.refusal is None
    return made.route, len(made.members)


def test_trade_value_decides_between_one_model_the_ensemble_and_the_enhanced_one() -> None:
    assert [route(volume) for volume in (SMALL, MIDDLE, LARGE)] == [
        (Route.SINGLE, 1),
        (Route.FULL, 5),
        (Route.ENHANCED, 5),
    ]


@pytest.mark.parametrize(
    ("bankroll", "expected"),
    [("199.98", Route.SINGLE), ("200", Route.FULL), ("1000", Route.FULL), ("1000.02", Route.ENHANCED)],
)
def test_route_at_the_very_limits_of_the_cascade(bankroll: str, expected: Route) -> None:
    # a twentieth of it goes into one market: $9.999, $10, $50 and $50.001
    made = Planner(policy_of(sizing={"bankroll_usd": bankroll}), context_of()).plan(snapshot_of(), standing_of())
    assert made.trade_value_micro_usd == Decimal(bankroll) * 50_000
    assert made.route is expected


def test_master_switch_off_sends_every_market_to_a_single_model() -> None:
    for volume in (SMALL, MIDDLE, LARGE):
        for wanted in (None, *Method):
            assert route(volume, wanted=wanted, multi_model_ensemble=False) == (Route.SINGLE, 1)


@pytest.mark.parametrize(
    ("switches", "wanted", "method"),
    [
        ({}, None, Method.ADVANCED),
        ({}, Method.ADVANCED, Method.ADVANCED),
        ({}, Method.AGREEMENT, Method.AGREEMENT),
        ({}, Method.SINGLE, Method.SINGLE),
        ({"advanced": False}, None, Method.AGREEMENT),
        ({"advanced": False}, Method.ADVANCED, Method.AGREEMENT),
        ({"agreement": False}, None, Method.ADVANCED),
        ({"agreement": False}, Method.AGREEMENT, Method.SINGLE),
        ({"advanced": False, "agreement": False}, None, Method.SINGLE),
        ({"advanced": False, "agreement": False}, Method.ADVANCED, Method.SINGLE),
    ],
)
def test_method_is_the_one_wanted_or_the_next_simpler_whose_switch_is_on(
    switches: dict[str, bool], wanted: Method | None, method: Method
) -> None:
    policy = policy_of(methods=switches)
    assert Method.allowed(policy, wanted) is method
    assert Method.allowed(policy_of(multi_model_ensemble=False, methods=switches), wanted) is Method.SINGLE


def test_each_method_takes_its_route() -> None:
    for volume in (SMALL, MIDDLE, LARGE):
        assert route(volume, wanted=Method.AGREEMENT) == (Route.PAIR, 2)
        assert route(volume, methods={"advanced": False}) == (Route.PAIR, 2)
        assert route(volume, methods={"advanced": False, "agreement": False}) == (Route.SINGLE, 1)


def test_cascading_off_asks_the_full_ensemble_whatever_the_trade_value() -> None:
    for volume in (SMALL, MIDDLE, LARGE):
        assert route(volume, methods={"cascading": False}) == (Route.FULL, 5)


def test_market_near_its_close_takes_one_model_whatever_the_method() -> None:
    for method in Method:
        made = plan(LARGE, 24, method)
        assert (made.route, len(made.members)) == (Route.SINGLE, 1)
    assert plan(LARGE, 24, methods={"cascading": False}).route is Route.SINGLE
    assert plan(LARGE, 24.1).route is Route.ENHANCED


def test_plan_notes_the_shortcut_and_the_route_with_their_numbers() -> None:
    for hours, is_shortcut in ((5.0, 1), (100.0, 0)):
        verdicts = {verdict.gate: verdict for verdict in plan(LARGE, hours).verdicts}
        near, taken = verdicts[Reason.NEAR_EXPIRY], verdicts[Reason.ROUTE]
        assert near.is_passed
        assert near.numbers == {"hours_left": hours, "near_expiry_hours": 24, "is_shortcut": is_shortcut}
        assert taken.is_passed
        assert taken.numbers["route"] == (Route.SINGLE if is_shortcut else Route.ENHANCED)
        assert (taken.numbers["method"], taken.numbers["trade_value_micro_usd"]) == ("advanced", 250_000_000)
        places = [list(Reason).index(verdict.gate) for verdict in plan(LARGE, hours).verdicts]
        assert places == sorted(places)


def test_uncertainty_aware_is_for_the_largest_trade_values_unless_it_is_switched_off() -> None:
    assert [plan(volume).strategy for volume in (SMALL, MIDDLE, LARGE)] == [
        Strategy.WEIGHTED_VOTING,
        Strategy.WEIGHTED_VOTING,
        Strategy.UNCERTAINTY_AWARE,
    ]
    off = plan(LARGE, methods={"uncertainty_aware": False})
    assert (off.route, off.strategy) == (Route.ENHANCED, Strategy.WEIGHTED_VOTING)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_strategy_of_the_settings_is_that_of_the_full_ensemble_and_not_of_one_or_two_models(
    strategy: Strategy,
) -> None:
    options = {"strategy": strategy}
    assert plan(MIDDLE, ensemble=options).strategy is strategy
    assert plan(LARGE, ensemble=options, methods={"uncertainty_aware": strategy == "uncertainty_aware"}).strategy in (
        strategy,
        Strategy.UNCERTAINTY_AWARE,
    )
    assert plan(SMALL, ensemble=options).strategy is Strategy.WEIGHTED_VOTING
    assert plan(MIDDLE, wanted=Method.AGREEMENT, ensemble=options).strategy is Strategy.WEIGHTED_VOTING


@pytest.mark.parametrize("strategy", list(Strategy))
def test_strategy_whose_switch_is_off_is_refused_with_the_name_of_the_switch(strategy: Strategy) -> None:
    sections: dict[str, Any] = {"ensemble": {"strategy": strategy}, "methods": {strategy: False}}
    says = f"ENSEMBLE_ENSEMBLE__STRATEGY names {strategy}, which ENSEMBLE_METHODS__{strategy.upper()} switches off"
    with pytest.raises(ValidationError, match=says):
        policy_of(**sections)
    # a policy that is read back from a snapshot is held to the same
    with pytest.raises(ValidationError, match=says):
        Policy.model_validate(sections)
    sections["ensemble"] = {"strategy": next(other for other in Strategy if other is not strategy)}
    assert policy_of(**sections).ensemble.strategy is not strategy


def test_only_one_or_two_models_are_asked_in_the_order_of_their_use() -> None:
    policy = policy_of(*"abcdef", ensemble={"exploration_share": 0})
    costs = {"a": 900, "b": 800, "c": 700, "d": 600, "e": 500, "f": 0}
    for method, names in ((Method.SINGLE, ["f"]), (Method.AGREEMENT, ["f", "e"])):
        made = Planner(policy, context_of(method=method)).plan(snapshot_of(), standing_of(**costs))
        assert [member.name for member in made.members] == names
        assert [member.name for member in made.standby] == sorted(set("abcdef") - {*names}, reverse=True)
        assert dict(made.propensity) == dict.fromkeys(names, 1.0)


def test_exploration_lets_everybody_in_with_its_share_as_propensity() -> None:
    made = plan(SMALL, ensemble={"exploration_share": 1.0})
    assert len(made.members) == 6
    made = plan(MIDDLE, ensemble={"exploration_share": 0.999999, "max_members": 2})
    assert {name: chance for name, chance in made.propensity.items() if chance < 1} == dict.fromkeys("cdef", 0.999999)
    assert [member.name for member in made.chosen] == ["a", "b"]


def test_degraded_model_is_left_out_until_an_exploration_draw_asks_it() -> None:
    for share, names in ((0, "bc"), (0.999999, "abc")):
        policy = policy_of(ensemble={"exploration_share": share})
        made = Planner(policy, context_of(degraded=frozenset("a"))).plan(snapshot_of(), standing_of())
        assert sorted(member.name for member in made.members) == list(names)
        assert [member.name for member in made.chosen] == ["b", "c"]


def test_model_whose_price_nobody_knows_is_not_asked() -> None:
    made = Planner(policy_of(), context_of()).plan(snapshot_of(), standing_of("a", "b"))
    assert [member.name for member in made.members] == ["a", "b"]
