from datetime import timedelta
from typing import Any

import pytest

from ensemble_pipeline.domain import Reason, Route
from ensemble_pipeline.ensemble.fallback import FallbackManager
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.parts import mode_of
from ensemble_pipeline_tests.ensemble.venue import UNLIMITED, playing
from ensemble_pipeline_tests.sandbox.small_world import HOUR, START

ORDER = list(Reason)


@pytest.mark.parametrize(
    ("reason", "sections"),
    [
        (Reason.DAILY_BUDGET, {"budget": UNLIMITED | {"day_soft_usd": 0}}),
        (Reason.VOLUME, {"gates": {"min_volume": "100001"}}),
        (Reason.CATEGORY, {"gates": {"excluded_categories": ["Politics"]}}),
        (Reason.DECISION_BUDGET, {"budget": UNLIMITED | {"decision_usd": "0.000001"}}),
        (Reason.DECISION_BUDGET, {"budget": UNLIMITED | {"decision_usd": 0}}),
        (Reason.DECISION_BUDGET, {"budget": UNLIMITED | {"day_hard_usd": "0.000001"}}),
    ],
)
def test_plan_when_a_gate_fails_asks_nobody_and_names_it(
    database: Database, monkeypatch: pytest.MonkeyPatch, reason: Reason, sections: dict[str, Any]
) -> None:
    with playing(database, monkeypatch, "A-1", **sections) as play:
        play.scan()
        _, [plan] = play.plan()
        assert plan.refusal is reason
        assert plan.members == plan.standby == ()
        places = [ORDER.index(verdict.gate) for verdict in plan.verdicts]
        assert places == sorted(places)
        assert play.decide(1).reasons == {reason.value: 1}
        assert play.rows("select action from decisions") == [{"action": "skip"}]


def test_plan_when_several_gates_fail_names_the_first(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    gates = {"min_volume": "1000000", "excluded_categories": ["Politics"]}
    with playing(database, monkeypatch, "A-1", gates=gates, budget=UNLIMITED | {"day_soft_usd": 0}) as play:
        play.scan()
        for expected, change in (
            (Reason.DAILY_BUDGET, {}),
            (Reason.VOLUME, {"budget": UNLIMITED}),
            (Reason.CATEGORY, {"gates": gates | {"min_volume": "0"}}),
        ):
            play.change(**change)
            assert play.plan()[1][0].refusal is expected


def test_plan_when_market_closed_since_it_was_seen_is_not_open(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", closes=50) as play:
        play.scan()
        play.clock.advance_to(START + 50 * HOUR)
        assert play.plan()[1][0].refusal is Reason.NOT_OPEN


def test_plan_when_suspended_takes_no_new_risk_and_normal_ends_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble={"member_policy": "all"}) as play:
        play.scan()
        manager = FallbackManager(play.instance)
        assert mode_of(play.instance) == "normal"
        manager.enable_emergency_mode("suspended", "drill")
        [plan] = play.plan()[1]
        assert (plan.refusal, plan.members) == (Reason.EMERGENCY_MODE, ())
        manager.enable_emergency_mode("normal", "over")
        assert play.plan()[1][0].refusal is None


def test_plan_when_market_was_analysed_lately_or_often_rests(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        for number in range(4):
            play.clock.advance_to(START + (1 + 3 * number) * HOUR)
            play.price("A-1", f"0.{20 + 15 * number}", f"0.{22 + 15 * number}")
            assert play.scan().due == 1
            if number < 3:
                play.decide()
        assert play.plan()[1][0].refusal is Reason.MARKET_DAY_COUNT
        play.change(gates={"cooldown_hours": 4})
        assert play.plan()[1][0].refusal is Reason.COOLDOWN
        play.clock.advance_to(START + 25 * HOUR)
        assert play.plan()[1][0].refusal is None


def test_plan_under_policy_all_asks_everyone_but_beyond_hard_gates(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections: dict[str, Any] = {"ensemble": {"member_policy": "all"}, "gates": {"min_volume": "1000000"}}
    with playing(database, monkeypatch, "A-1", **sections) as play:
        play.scan()
        [plan] = play.plan()[1]
        assert plan.refusal is Reason.VOLUME
        assert len(plan.members) == 5
        assert plan.standby == ()
        assert play.decide(1).reasons == {"volume": 1}
        assert len(play.rows("select * from forecasts")) == 5


@pytest.mark.parametrize(
    ("volume", "closes", "route", "members"),
    [
        # dearer side 0.59, a hundredth of the volume: $9.44, $11.80; near its close whatever it is worth
        ("1600", 300, Route.SINGLE, 1),
        ("2000", 300, Route.FULL, 5),
        ("100000", 300, Route.FULL, 5),
        ("100000", 20, Route.SINGLE, 1),
        (None, 300, Route.FULL, 5),
    ],
)
def test_route_follows_trade_value_and_time_left(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    volume: str | None,
    closes: int,
    route: Route,
    members: int,
) -> None:
    with playing(database, monkeypatch, "A-1", closes=closes, ensemble={"exploration_share": 0}) as play:
        play.price("A-1", "0.40", "0.42", volume=volume)
        play.scan()
        [plan] = play.plan()[1]
        assert (plan.route, len(plan.members)) == (route, members)
        if volume == "1600":
            assert plan.trade_value_micro_usd == 9_440_000


def test_route_of_largest_values_is_enhanced(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1", sizing={"max_market_share": 0.2}) as play:
        play.scan()
        assert play.plan()[1][0].route is Route.ENHANCED


@pytest.mark.parametrize(("bid", "ask"), [("0.01", "0.03"), ("0.37", "0.44"), (None, None)])
def test_trade_value_of_a_mirrored_market_is_the_same(
    database: Database, monkeypatch: pytest.MonkeyPatch, bid: str | None, ask: str | None
) -> None:
    with playing(database, monkeypatch, "A-1", "A-2") as play:
        play.price("A-1", bid, ask, volume="1777")
        other = (None, None) if bid is None or ask is None else (f"{1 - float(ask):.2f}", f"{1 - float(bid):.2f}")
        play.price("A-2", *other, volume="1777")
        play.scan()
        one, two = (plan.trade_value_micro_usd for plan in play.plan()[1])
        assert one == two


def test_plan_reads_what_it_rests_on_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        play.scan()
        context, _ = play.plan()
        assert context.settings_hash == play.instance.settings.digest()
        assert play.rows("select settings_hash from settings_snapshots") == [{"settings_hash": context.settings_hash}]
        assert context.ranking.as_of <= context.now
        assert context.now - context.ranking.as_of < timedelta(hours=1)
