"""The cost report against sums worked out by hand, where spending is heading, and what is advised."""

import json
import random
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.domain import PromptWording
from ensemble_pipeline.ensemble.advice import advise
from ensemble_pipeline.ensemble.cost_report import cost_report, project
from ensemble_pipeline.ensemble.spend import SpendStatus
from ensemble_pipeline.store import budget, calls, costs, rankings
from ensemble_pipeline.store import efficiency as stored
from ensemble_pipeline.store.budget import DaySpend, Limits
from ensemble_pipeline.store.database import Connection, Database, require_row
from ensemble_pipeline.store.efficiency import CostEfficiency
from ensemble_pipeline_tests.ensemble.history import put_call, table
from ensemble_pipeline_tests.ensemble.parts import instance_of, settings_of
from ensemble_pipeline_tests.store.rows import (
    DAY,
    HOUR,
    NOW,
    call_of,
    hold,
    market_of,
    quote_of,
    save_context_row,
    save_models,
    save_snapshot,
)

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
CATEGORIES = {"RAIN": "Climate", "GAME": "Sports"}
Call = tuple[str, int, bool]


def ask(connection: Connection, ticker: str, at: datetime, *asked: Call) -> int:
    """A snapshot with settled calls: model, cost in micro-dollars, whether it answered; returns the snapshot."""
    save_models(connection, "a", "b")
    calls.save_prompt(connection, PromptWording("hash", "forecaster", 1, "", ""), at)
    event = ticker.partition("-")[0]
    market = market_of(ticker, event=event, category=CATEGORIES[event])
    snapshot = save_snapshot(connection, market, quote_of(at=at))
    for attempt, (model, cost, is_answered) in enumerate(asked, start=1):
        status = "answered" if is_answered else "failed"
        put_call(connection, snapshot, model, status=status, attempt=attempt, at=at, cost=cost)
    return snapshot


def decide(connection: Connection, snapshot: int, at: datetime, action: str = "skip") -> int:
    """A decision on a snapshot; returns it."""
    is_trade = action == "trade"
    row = connection.execute(
        "insert into decisions (snapshot_id, market_id, decided_at, batch_id, run_id, action, side, terminal_reason,"
        " route, strategy, trade_value_micro_usd, limit_price, contracts, stake_micro_usd, fee_micro_usd, reasoning,"
        " gates, inputs, context_id, ranking_id, calibration_id, settings_hash, code_version)"
        " select s.snapshot_id, s.market_id, %(at)s, c.batch_id, c.run_id, %(action)s, %(side)s, %(reason)s, 'full',"
        " 'weighted_voting', 1, %(price)s, %(contracts)s, 0, 0, '', '[]', '{}', c.context_id, c.ranking_id,"
        " c.calibration_id, c.settings_hash, c.code_version from market_snapshots s, decision_contexts c"
        " where s.snapshot_id = %(snapshot)s and c.context_id = %(context)s returning decision_id",
        {
            "at": at,
            "action": action,
            "side": "yes" if is_trade else None,
            "reason": "traded" if is_trade else "no_edge",
            "price": "0.40" if is_trade else None,
            "contracts": 10 if is_trade else None,
            "snapshot": snapshot,
            "context": save_context_row(connection, at),
        },
    ).fetchone()
    return int(require_row(row)["decision_id"])


def trade(
    connection: Connection,
    snapshot: int,
    at: datetime,
    *,
    cost: int = 0,
    fee: int = 0,
    payout: int | None = None,
    closed_at: datetime | None = None,
) -> None:
    """A decision that bought something; open unless it was paid out."""
    connection.execute(
        "insert into positions (decision_id, market_id, side, contracts, entry_price, cost_micro_usd, fee_micro_usd,"
        " opened_at, closed_at, payout_micro_usd) select decision_id, market_id, side, contracts, limit_price,"
        " %s, %s, decided_at, %s, %s from decisions where decision_id = %s",
        [cost, fee, closed_at, payout, decide(connection, snapshot, at, "trade")],
    )


def at_of(month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2026, month, day, hour, minute, second, tzinfo=UTC)


LINES = (
    CostEfficiency("a", "*", 9, 8, 70, 0.01, 0.001, 0.05, 0.01, 5.0, 2.0, 8.0),
    CostEfficiency("a", "Climate", 9, 8, 70, 0.01, 0.001, 0.05, 0.01, 5.0, 2.0, 8.0),
    CostEfficiency("c", "*", 0, 0, 0, None, None, 0.02, 0.01, None, None, None),
)


def put_history(database: Database) -> None:
    """Four weeks of calls, decisions and trades, up to Monday 2 March 2026, 12:30 UTC.

    Cents:    2026-01-31 outside, 900 | 02-01 a 10, b 5 failed | 02-23 b 20 | 02-24 a 3, a 1 failed | 03-01 b 6
              | 03-02 a 4, b 2 failed, a .5 expired; b .7 still held
    """
    with database.connection() as connection:
        ranking = rankings.save_ranking(connection, NOW - HOUR, (), {})
        save_models(connection, "a", "b", "c")
        stored.save_efficiency(connection, NOW - HOUR, ranking.ranking_id, 0.5, LINES)

        outside = ask(connection, "RAIN-1", at_of(1, 31, 23, 59, 59), ("a", 9_000_000, True))
        first = ask(connection, "RAIN-1", at_of(2, 1), ("a", 100_000, True), ("b", 50_000, False))
        eighth = ask(connection, "GAME-1", at_of(2, 23, 23, 59, 59), ("b", 200_000, True))
        ask(connection, "GAME-1", at_of(2, 24), ("a", 30_000, True), ("a", 10_000, False))
        yesterday = ask(connection, "RAIN-1", at_of(3, 1, 22, 30), ("b", 60_000, True))
        today = ask(connection, "RAIN-1", at_of(3, 2, 10, 30), ("a", 40_000, True), ("b", 20_000, False))
        unasked = ask(connection, "RAIN-1", at_of(3, 2, 11))
        left_over = ask(connection, "GAME-1", at_of(3, 2, 12))
        hold(connection, call_of(left_over, 5_000, model="a", market="kalshi:GAME-1", at=at_of(3, 2, 12)))
        assert budget.expire_left_over(connection, [left_over], NOW) == 1
        under_way = ask(connection, "GAME-1", NOW)
        hold(connection, call_of(under_way, 7_000, model="b", market="kalshi:GAME-1", at=NOW))

        end_of_january = at_of(1, 31, 23, 59, 59)
        trade(connection, outside, end_of_january, cost=1_000_000, payout=3_000_000, closed_at=end_of_january)
        decide(connection, first, at_of(2, 1))
        trade(
            connection,
            eighth,
            at_of(2, 23, 23, 59, 59),
            cost=4_000_000,
            fee=100_000,
            payout=10_000_000,
            closed_at=at_of(2, 24),
        )
        trade(connection, yesterday, at_of(3, 2), cost=2_000_000, fee=50_000, payout=0, closed_at=at_of(3, 2, 12))
        trade(connection, today, at_of(3, 2, 10, 31), cost=3_000_000)
        decide(connection, unasked, at_of(3, 2, 11))

        for limits, model, at in (
            (Limits(None, 1, None), "a", NOW),
            (Limits(None, None, 1), "a", NOW),
            (Limits(None, None, 1), "b", NOW),
            (Limits(None, 1, None), "a", NOW - DAY),
        ):
            assert hold(connection, call_of(unasked, 100, model=model, at=at), limits) is None


def report_of(database: Database, now: datetime = NOW, **limits: Any) -> dict[str, Any]:
    return cost_report(instance_of(settings_of("a", "b", budget=limits), database, SteppedClock(now)))


@pytest.fixture
def report(database: Database) -> dict[str, Any]:
    """The report on the history above."""
    put_history(database)
    return report_of(database)


def near(expected: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers up to rounding, all else exactly."""
    return {name: pytest.approx(it) if isinstance(it, float) else it for name, it in expected.items()}


def test_report_says_what_days_it_is_about(report: dict[str, Any]) -> None:
    # 28 days of February and two of March
    said = {name: report[name] for name in ("as_of", "first_day", "last_day")}
    assert said == {"as_of": "2026-03-02T12:30:00+00:00", "first_day": "2026-02-01", "last_day": "2026-03-02"}


def test_periods_by_hand(report: dict[str, Any]) -> None:
    # 4 + 2 + .5 cents; two of three calls failed, the expired one without tokens; the open position counts as a
    # trade alone; -2 - .05 dollars of paper; what nobody was asked about is no decision that cost
    assert report["periods"]["today"] == near(
        {
            "days": 1,
            "calls": 3,
            "failed": 2,
            "input_tokens": 20,
            "output_tokens": 40,
            "cost_usd": 0.065,
            "decisions": 2,
            "trades": 2,
            "usd_per_decision": 0.0325,
            "closed_positions": 1,
            "net_profit_usd": -2.05,
            "roi": (-2.05 - 0.065) / 0.065,
        }
    )
    # and 6 + 3 + 1 cents; 10 - 4 - .10 dollars more
    assert report["periods"]["7 days"] == near(
        {
            "days": 7,
            "calls": 6,
            "failed": 3,
            "input_tokens": 50,
            "output_tokens": 100,
            "cost_usd": 0.165,
            "decisions": 2,
            "trades": 2,
            "usd_per_decision": 0.0825,
            "closed_positions": 2,
            "net_profit_usd": 3.85,
            "roi": (3.85 - 0.165) / 0.165,
        }
    )
    # and 20 + 10 + 5 cents, one decision of each kind more; the 31st of January is outside
    assert report["periods"]["30 days"] == near(
        {
            "days": 30,
            "calls": 9,
            "failed": 4,
            "input_tokens": 80,
            "output_tokens": 160,
            "cost_usd": 0.515,
            "decisions": 4,
            "trades": 3,
            "usd_per_decision": 0.12875,
            "closed_positions": 2,
            "net_profit_usd": 3.85,
            "roi": (3.85 - 0.515) / 0.515,
        }
    )


def test_days_by_hand(report: dict[str, Any]) -> None:
    said = [(it["day"], it["calls"], it["failed"], it["cost_usd"], it["by_model"]) for it in report["by_day"]]
    assert said == [
        ("2026-02-01", 2, 1, pytest.approx(0.15), {"a": 0.1, "b": 0.05}),
        ("2026-02-23", 1, 0, pytest.approx(0.2), {"b": 0.2}),
        ("2026-02-24", 2, 1, pytest.approx(0.04), {"a": 0.04}),
        ("2026-03-01", 1, 0, pytest.approx(0.06), {"b": 0.06}),
        ("2026-03-02", 3, 2, pytest.approx(0.065), {"a": 0.045, "b": 0.02}),
    ]


def test_models_by_hand_dearest_first_with_what_a_dollar_buys(report: dict[str, Any]) -> None:
    b, a = report["by_model"]
    # 5 + 20 + 6 + 2 cents, two answers of four calls; nothing is known of what it buys
    assert b == near(
        {
            "model": "b",
            "provider": "local",
            "calls": 4,
            "failed": 2,
            "input_tokens": 40,
            "output_tokens": 80,
            "cost_usd": 0.33,
            "share_of_cost": 33 / 51.5,
            "usd_per_answer": 0.165,
            "gain": None,
            "gain_per_usd": None,
            "gain_per_usd_low": None,
            "gain_per_usd_high": None,
        }
    )
    # 10 + 3 + 1 + 4 + .5 cents, three answers of five calls, of which the expired one has no tokens
    assert a == near(
        {
            "model": "a",
            "provider": "local",
            "calls": 5,
            "failed": 2,
            "input_tokens": 40,
            "output_tokens": 80,
            "cost_usd": 0.185,
            "share_of_cost": 18.5 / 51.5,
            "usd_per_answer": 0.185 / 3,
            "gain": 0.05,
            "gain_per_usd": 5.0,
            "gain_per_usd_low": 2.0,
            "gain_per_usd_high": 8.0,
        }
    )


def test_categories_by_hand(report: dict[str, Any]) -> None:
    climate, sports = report["by_category"]
    # 10 + 5 + 6 + 4 + 2 cents; decisions of 1 February, 1 March and today
    assert climate == near(
        {
            "category": "Climate",
            "calls": 5,
            "failed": 2,
            "input_tokens": 50,
            "output_tokens": 100,
            "cost_usd": 0.27,
            "decisions": 3,
            "trades": 2,
            "usd_per_decision": 0.09,
            "closed_positions": 1,
            "net_profit_usd": -2.05,
            "roi": (-2.05 - 0.27) / 0.27,
        }
    )
    # 20 + 3 + 1 + .5 cents
    assert sports == near(
        {
            "category": "Sports",
            "calls": 4,
            "failed": 2,
            "input_tokens": 30,
            "output_tokens": 60,
            "cost_usd": 0.245,
            "decisions": 1,
            "trades": 1,
            "usd_per_decision": 0.245,
            "closed_positions": 1,
            "net_profit_usd": 5.9,
            "roi": (5.9 - 0.245) / 0.245,
        }
    )


def test_models_by_category_are_those_of_the_reading_in_force(report: dict[str, Any]) -> None:
    [line] = report["by_model_and_category"]
    assert (line["model_id"], line["category"], line["gain_per_usd"], line["low"]) == ("a", "Climate", 5.0, 2.0)


def test_dearest_markets_by_hand(report: dict[str, Any]) -> None:
    rain, game = report["dearest_markets"]
    # trades are all there ever were: 3 - 1 dollars before February, then -2.05, one open
    assert rain == near(
        {
            "market": "kalshi:RAIN-1",
            "question": "Will RAIN-1 happen?",
            "category": "Climate",
            "analyses": 3,
            "calls": 5,
            "cost_usd": 0.27,
            "trades": 3,
            "net_profit_usd": -0.05,
        }
    )
    assert game == near(
        {
            "market": "kalshi:GAME-1",
            "question": "Will GAME-1 happen?",
            "category": "Sports",
            "analyses": 3,
            "calls": 4,
            "cost_usd": 0.245,
            "trades": 1,
            "net_profit_usd": 5.9,
        }
    )


def test_projection_of_the_report_by_hand(report: dict[str, Any]) -> None:
    # since yesterday 22:30, 14 hours ago: 6 + 6 + .5 cents and .7 held; 11.5 hours are left of today
    rate = 0.132 / 14
    assert report["projection"] == near(
        {
            "spent_usd": 0.065,
            "held_usd": 0.007,
            "rate_usd_per_hour": rate,
            "rate_over_hours": 14.0,
            "expected_at_midnight_usd": 0.072 + 11.5 * rate,
            "demand_by_midnight_usd": 0.072 + 11.5 * rate,
            "soft_limit_usd": 12.0,
            "hard_limit_usd": 20.0,
            "soft_limit_reached_at": None,
            "hard_limit_reached_at": None,
        }
    )


def test_refusals_of_today_and_money_nobody_confirmed_by_hand(report: dict[str, Any]) -> None:
    assert report["refused_calls_today"] == {"day": 1, "decision": 2}
    assert report["unconfirmed_usd"] == pytest.approx(0.005)


def test_questions_that_were_asked_for_real_count_once_however_often_they_were_retried(report: dict[str, Any]) -> None:
    # 2 + 1 + 1 + 1 + 2 of the first five snapshots, one expired, one held
    assert (report["cache"]["hits"], report["cache"]["misses"], report["cache"]["hit_share"]) == (0, 9, 0.0)
    assert report["cache"]["saved_usd"] == 0


def test_history_that_gives_no_cause_for_advice_gets_none(report: dict[str, Any]) -> None:
    assert report["recommendations"] == []


def test_report_advises_on_its_own_numbers(database: Database) -> None:
    put_history(database)
    # 7.2 cents are committed; at 13.2 cents in 14 hours the tenth comes 2.8 · 14/13.2 hours after 12:30, at 15:28:10
    report = report_of(database, day_hard_usd="0.1", day_soft_usd="unlimited")
    assert report["projection"]["hard_limit_reached_at"].startswith("2026-03-02T15:28:10")
    assert report["projection"]["soft_limit_usd"] == "unlimited"
    [advice] = report["recommendations"]
    assert advice["kind"] == "hard_limit"
    assert "2026-03-02T15:28 UTC" in advice["text"]


def ledger_micro_usd(database: Database, first: date) -> int:
    with database.connection() as connection:
        row = connection.execute(
            "select sum(spent_micro_usd)::bigint as n from ledger where budget_day >= %s", [first]
        ).fetchone()
    return int(require_row(row)["n"])


def assert_every_sum_is_the_ledgers(database: Database, report: Mapping[str, Any]) -> None:
    spent = ledger_micro_usd(database, date.fromisoformat(report["first_day"]))
    assert round(report["periods"]["30 days"]["cost_usd"] * 1e6) == spent
    for part in ("by_day", "by_model", "by_category"):
        assert sum(round(it["cost_usd"] * 1e6) for it in report[part]) == spent
        for name in ("calls", "failed", "input_tokens", "output_tokens"):
            assert sum(it[name] for it in report[part]) == report["periods"]["30 days"][name]
    assert sum(round(it * 1e6) for day in report["by_day"] for it in day["by_model"].values()) == spent
    today = ledger_micro_usd(database, date.fromisoformat(report["last_day"]))
    assert round(report["periods"]["today"]["cost_usd"] * 1e6) == today
    # the accounts say the same
    assert round(report["projection"]["spent_usd"] * 1e6) == today


def test_every_sum_is_the_ledgers(database: Database, report: dict[str, Any]) -> None:
    assert_every_sum_is_the_ledgers(database, report)


@pytest.mark.parametrize("seed", range(3))
def test_every_sum_is_the_ledgers_whatever_was_asked_corrected_and_left_over(database: Database, seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - a seeded world
    with database.connection() as connection:
        for number in range(40):
            at = NOW - timedelta(hours=draw.uniform(0, 32 * 24)) if number else NOW
            asked = [(draw.choice("ab"), draw.randrange(90_000), draw.random() < 0.7) for _ in range(draw.randrange(4))]
            ticker = draw.choice(("RAIN-1", "RAIN-2", "GAME-1"))
            snapshot = ask(connection, ticker, at, *asked)
            hold(connection, call_of(snapshot, draw.randrange(9_000), market=f"kalshi:{ticker}", at=at))
            if number % 3:
                budget.expire_left_over(connection, [snapshot], NOW)
        closed = connection.execute("select reservation_id from ledger where state <> 'held'").fetchall()
        for row in closed[::5]:
            budget.correct(connection, row["reservation_id"], draw.randrange(1, 50_000), "the bill", NOW)
    assert_every_sum_is_the_ledgers(database, report_of(database))


def test_correction_that_takes_off_more_than_a_call_cost_is_refused_and_the_report_goes_on(database: Database) -> None:
    with database.connection() as connection:
        ask(connection, "RAIN-1", NOW, ("a", 1_000, True), ("a", 100, False))
        budget.correct(connection, 2, -100, "not billed after all", NOW)
    # the account of the day could pay for it, the call could not
    with pytest.raises(psycopg.DatabaseError), database.connection() as connection:
        budget.correct(connection, 2, -1, "once more", NOW)
    report = report_of(database)
    assert report["periods"]["today"]["cost_usd"] == pytest.approx(0.001)
    assert_every_sum_is_the_ledgers(database, report)


def test_report_of_an_empty_database_says_so(database: Database) -> None:
    report = report_of(database)
    nothing = {
        "calls": 0,
        "failed": 0,
        "input_tokens": 0,
        "output_tokens": 0,
        "cost_usd": 0.0,
        "decisions": 0,
        "trades": 0,
        "usd_per_decision": None,
        "closed_positions": 0,
        "net_profit_usd": 0.0,
        "roi": None,
    }
    days = {"today": 1, "7 days": 7, "30 days": 30}
    assert report["periods"] == {name: {"days": n, **nothing} for name, n in days.items()}
    for part in ("by_day", "by_model", "by_category", "by_model_and_category", "dearest_markets", "recommendations"):
        assert report[part] == []
    assert report["projection"]["expected_at_midnight_usd"] == 0
    assert (report["refused_calls_today"], report["unconfirmed_usd"]) == ({}, 0)
    assert (report["cache"]["misses"], report["cache"]["hit_share"]) == (0, None)


def test_markets_whose_calls_are_free_are_none_of_the_dearest_and_only_ten_are_told(database: Database) -> None:
    with database.connection() as connection:
        for number in range(12):
            # eleven cost 10, 20, 30 … micro-dollars, one nothing
            ask(connection, f"RAIN-{number}", NOW, ("a", 10 * number, True))
    told = [it["market"] for it in report_of(database)["dearest_markets"]]
    assert told == [f"kalshi:RAIN-{number}" for number in range(11, 1, -1)]
    with database.connection() as connection:
        today = NOW.date()
        assert len(costs.dearest_markets(connection, today, today, 20)) == 11


def test_free_calls_have_no_share_of_cost_and_no_roi(database: Database) -> None:
    with database.connection() as connection:
        snapshot = ask(connection, "RAIN-1", NOW, ("a", 0, True))
        trade(connection, snapshot, NOW, cost=1_000_000, payout=2_000_000, closed_at=NOW)
    report = report_of(database)
    [line] = report["by_model"]
    assert (line["share_of_cost"], line["usd_per_answer"]) == (None, 0)
    assert (report["periods"]["today"]["net_profit_usd"], report["periods"]["today"]["roi"]) == (1, None)


def test_rate_looks_back_an_hour_at_least_and_a_day_at_most(database: Database) -> None:
    with database.connection() as connection:
        ask(connection, "RAIN-1", NOW, ("a", 120, True))
    # the first call left ten minutes, three hours, and more than a day before
    for later, hours, rate in ((10 * MINUTE, 1, 120), (3 * HOUR, 3, 40), (25 * HOUR, 24, 0)):
        projection = report_of(database, NOW + later)["projection"]
        assert projection["rate_over_hours"] == hours
        assert projection["rate_usd_per_hour"] == pytest.approx(rate / 1e6)


def test_report_is_json_and_kept_as_it_was_returned(database: Database, report: dict[str, Any]) -> None:
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    [kept] = table(database, "cost_reports", "hour_at")
    assert kept["report"] == report


def test_report_of_unlimited_and_of_forbidden_spending_is_json(database: Database) -> None:
    put_history(database)
    for limit in ("unlimited", 0):
        report = report_of(database, day_hard_usd=limit, day_soft_usd=limit)
        assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_report_is_kept_once_an_hour_and_the_newest_of_an_hour_stays(database: Database) -> None:
    for later in (0 * MINUTE, 20 * MINUTE, 30 * MINUTE):
        report_of(database, NOW + later)
    kept = table(database, "cost_reports", "hour_at")
    assert [row["hour_at"].hour for row in kept] == [12, 13]
    assert [row["as_of"] - NOW for row in kept] == [20 * MINUTE, 30 * MINUTE]
    assert [row["report"]["as_of"] for row in kept] == ["2026-03-02T12:50:00+00:00", "2026-03-02T13:00:00+00:00"]
    with database.connection() as connection:
        costs.save_report(connection, NOW + 10 * MINUTE, {"of": "one that came too late"})
        costs.save_report(connection, NOW + 59 * MINUTE, {"of": "the next hour, of the same instant"})
    first, second = table(database, "cost_reports", "hour_at")
    assert first["report"]["as_of"] == "2026-03-02T12:50:00+00:00"
    assert second["report"] == {"of": "the next hour, of the same instant"}


def test_reports_made_at_once_wait_for_each_other_and_say_the_same(database: Database) -> None:
    put_history(database)
    gate = threading.Barrier(4)

    def make() -> dict[str, Any]:
        gate.wait()
        return report_of(database)

    with ThreadPoolExecutor(4) as pool:
        reports = [it.result() for it in [pool.submit(make) for _ in range(4)]]
    assert reports[0]["periods"]["30 days"]["calls"] == 9
    assert reports == [reports[0]] * 4


def test_table_of_the_report_is_rebuilt_from_the_ledger_whatever_it_held(database: Database) -> None:
    with database.connection() as connection:
        ask(connection, "RAIN-1", NOW, ("a", 120, True))
    report_of(database)
    before = table(database, "cost_report", "day")
    with database.connection() as connection:
        connection.execute("update cost_report set cost_micro_usd = 7, calls = 9")
        connection.execute("insert into cost_report values (%s, 'b', 'Sports', 1, 0, 5, 1, 1)", [NOW.date() - DAY])
    report = report_of(database)
    assert table(database, "cost_report", "day") == before
    assert report["periods"]["30 days"]["calls"] == 1


USD = 1_000_000


def status_of(
    spent: float, held: float = 0, soft: float | None = None, hard: float | None = None, now: datetime = NOW
) -> SpendStatus:
    """The accounts of a day in dollars."""
    day_soft, day_hard = (None if it is None else round(it * USD) for it in (soft, hard))
    limits = Limits(day_soft, day_hard, None)
    return SpendStatus(DaySpend(now.date(), round(spent * USD), round(held * USD)), limits)


def test_projection_by_hand() -> None:
    # $12 in 24 hours are $0.50 an hour; 11.5 hours from 12:30 on: 3 + 1 + 5.75; from 4 to 5 in two hours
    found = project(status_of(3, 1, soft=5, hard=20), NOW, 12 * USD, timedelta(hours=24))
    assert found == {
        "spent_usd": 3,
        "held_usd": 1,
        "rate_usd_per_hour": 0.5,
        "rate_over_hours": 24,
        "expected_at_midnight_usd": 9.75,
        "demand_by_midnight_usd": 9.75,
        "soft_limit_usd": 5,
        "hard_limit_usd": 20,
        "soft_limit_reached_at": "2026-03-02T14:30:00+00:00",
        "hard_limit_reached_at": None,
    }


def test_projection_of_a_short_span_takes_its_rate_per_hour() -> None:
    found = project(status_of(3), NOW, 6 * USD, timedelta(hours=1, minutes=30))
    assert (found["rate_usd_per_hour"], found["rate_over_hours"]) == (4, 1.5)
    assert found["expected_at_midnight_usd"] == 3 + 11.5 * 4


@pytest.mark.parametrize(
    ("hard", "expected"),
    # 3 + 1 spent and held, 9.75 by the rate; what is spent already stays where the limit was lowered below it
    [(None, 9.75), (20, 9.75), (9.75, 9.75), (9.74, 9.74), (4, 4), (3.5, 4), (0, 4)],
)
def test_no_more_is_expected_than_the_hard_limit_lets_pass_whatever_is_demanded(
    hard: float | None, expected: float
) -> None:
    found = project(status_of(3, 1, soft=1, hard=hard), NOW, 12 * USD, timedelta(hours=24))
    assert (found["expected_at_midnight_usd"], found["demand_by_midnight_usd"]) == (expected, 9.75)


@pytest.mark.parametrize(
    ("limit", "reached_at"),
    [
        (None, None),
        # whatever is spent reaches a limit of nothing
        (0.0, "2026-03-02T12:30:00+00:00"),
        (3.5, "2026-03-02T12:30:00+00:00"),
        (4.0, "2026-03-02T12:30:00+00:00"),
        # a micro-dollar takes 7.2 ms at $0.50 an hour
        (4.000001, "2026-03-02T12:30:00.007200+00:00"),
        (4.25, "2026-03-02T13:00:00+00:00"),
        (9.5, "2026-03-02T23:30:00+00:00"),
        (9.750001, None),
        (100.0, None),
    ],
)
def test_limit_is_reached_when_the_rate_takes_spending_there(limit: float | None, reached_at: str | None) -> None:
    found = project(status_of(3, 1, limit, limit), NOW, 12 * USD, timedelta(hours=24))
    for which in ("soft", "hard"):
        assert found[f"{which}_limit_reached_at"] == reached_at
        assert found[f"{which}_limit_usd"] == ("unlimited" if limit is None else limit)


def test_soft_and_hard_limit_are_told_apart() -> None:
    found = project(status_of(3, 1, 4.5, 5.5), NOW, 12 * USD, timedelta(hours=24))
    assert found["soft_limit_reached_at"] == "2026-03-02T13:30:00+00:00"
    assert found["hard_limit_reached_at"] == "2026-03-02T15:30:00+00:00"


def test_at_midnight_the_whole_day_is_ahead_and_just_before_it_nothing_is() -> None:
    midnight = at_of(3, 3)
    found = project(status_of(0, 0, 1, 24, midnight), midnight, 24 * USD, timedelta(hours=24))
    assert found["expected_at_midnight_usd"] == 24
    assert found["soft_limit_reached_at"] == "2026-03-03T01:00:00+00:00"
    before = project(status_of(3, 0, 3.001), midnight - SECOND, 24 * USD, timedelta(hours=24))
    # $1 an hour, one second
    assert before["expected_at_midnight_usd"] == pytest.approx(3 + 1 / 3600)
    assert before["soft_limit_reached_at"] is None


@pytest.mark.parametrize(("limit", "is_reached"), [(0.0, True), (3.0, True), (3.000001, False)])
def test_limit_where_nothing_was_spent_lately_is_reached_now_or_not_at_all(limit: float, *, is_reached: bool) -> None:
    found = project(status_of(3, 0, limit, limit), NOW, 0, timedelta(hours=24))
    assert (found["rate_usd_per_hour"], found["expected_at_midnight_usd"]) == (0, 3)
    assert found["hard_limit_reached_at"] == (NOW.isoformat() if is_reached else None)


amounts = st.integers(0, 50 * USD)


@given(amounts, amounts, amounts, amounts, st.integers(0, 86_399), st.integers(3600, 86_400))
def test_limit_is_reached_if_and_only_if_so_much_is_demanded_by_midnight(
    spent: int, held: int, lately: int, limit: int, second: int, span_s: int
) -> None:
    now = at_of(3, 2) + timedelta(seconds=second)
    status = SpendStatus(DaySpend(now.date(), spent, held), Limits(None, limit, None))
    found = project(status, now, lately, timedelta(seconds=span_s))
    expected = spent + held + lately * (86_400 - second) / span_s
    assert found["demand_by_midnight_usd"] * USD == pytest.approx(expected)
    capped = min(expected, max(limit, spent + held))
    assert found["expected_at_midnight_usd"] * USD == pytest.approx(capped)
    reached = found["hard_limit_reached_at"]
    if expected < limit * (1 - 1e-9):
        assert reached is None
    elif expected > limit * (1 + 1e-9) or limit == 0:
        at = datetime.fromisoformat(reached)
        assert now <= at <= at_of(3, 3)
        there = spent + held + lately * (at - now).total_seconds() / span_s
        # a microsecond is the least that an instant can be off
        assert there == pytest.approx(max(limit, spent + held), rel=1e-9, abs=lately * 1e-6 / span_s + 1e-6)


def advice_on(**changes: Any) -> list[dict[str, Any]]:
    """What is advised on a report that gives no cause for advice, but for these parts."""
    quiet: dict[str, Any] = {
        "projection": heading_of(None, None),
        "by_model": [],
        "dearest_markets": [],
        "periods": {"30 days": {"cost_usd": 1.0}},
        "unconfirmed_usd": 0.0,
    }
    return advise(quiet | changes)


def heading_of(soft: str | None, hard: str | None) -> dict[str, Any]:
    return {
        "soft_limit_reached_at": soft,
        "hard_limit_reached_at": hard,
        "demand_by_midnight_usd": 21.5,
        "soft_limit_usd": 12.0,
        "hard_limit_usd": 20.0,
    }


def model_of(name: str = "a", **changes: Any) -> dict[str, Any]:
    return {
        "model": name,
        "calls": 100,
        "failed": 0,
        "cost_usd": 0.4,
        "share_of_cost": 0.4,
        "gain_per_usd": None,
        "gain_per_usd_high": None,
    } | changes


def test_nothing_is_advised_where_numbers_say_nothing() -> None:
    assert advice_on() == []
    assert advice_on(by_model=[model_of()], periods={"30 days": {"cost_usd": 0.0}}) == []


@pytest.mark.parametrize(
    ("soft", "hard", "kind", "limit", "what"),
    [
        ("2026-03-02T14:30:00+00:00", None, "soft_limit", 12.0, "new analyses stop"),
        (None, "2026-03-02T14:30:00+00:00", "hard_limit", 20.0, "every call stops"),
        # both at once: the one that stops everything
        ("2026-03-02T13:30:00+00:00", "2026-03-02T14:30:00+00:00", "hard_limit", 20.0, "every call stops"),
    ],
)
def test_limit_that_comes_before_midnight_is_told_with_its_time(
    soft: str | None, hard: str | None, kind: str, limit: float, what: str
) -> None:
    [advice] = advice_on(projection=heading_of(soft, hard))
    assert advice["kind"] == kind
    assert advice["evidence"] == {"demand_by_midnight_usd": 21.5, "limit_usd": limit}
    assert f"reached at 2026-03-02T14:30 UTC, and {what}" in advice["text"]
    assert "Raise the limit" in advice["text"]


def test_model_that_fails_a_fifth_of_twenty_calls_is_told() -> None:
    [advice] = advice_on(by_model=[model_of(calls=20, failed=4, cost_usd=0.25)])
    assert advice["kind"] == "failing_model"
    assert advice["evidence"] == {"model": "a", "failed": 4, "calls": 20, "cost_usd": 0.25}
    assert "a gave no usable answer in 20% of 20 calls" in advice["text"]
    assert "disable it" in advice["text"]


@pytest.mark.parametrize(
    "changes",
    [{"calls": 20, "failed": 3}, {"calls": 19, "failed": 19}, {"failed": 19}, {"failed": 100, "cost_usd": 0.0}],
)
def test_model_that_fails_less_or_was_hardly_asked_or_costs_nothing_is_not_told(changes: dict[str, Any]) -> None:
    assert advice_on(by_model=[model_of(**changes)]) == []


DEAR: dict[str, Any] = {"share_of_cost": 0.25, "gain_per_usd": 2.0, "gain_per_usd_high": 4.9}
OTHERS = [
    model_of("b", gain_per_usd=5.0, gain_per_usd_high=9.0, share_of_cost=0.5),
    model_of("c", gain_per_usd=8.0, gain_per_usd_high=9.0, share_of_cost=0.25),
]


def test_model_that_takes_a_quarter_of_the_money_and_surely_buys_less_than_half_of_them_is_told() -> None:
    # 2, 5 and 8 Brier points per dollar: median 5
    [advice] = advice_on(by_model=[model_of(**DEAR), *OTHERS])
    assert advice["kind"] == "dear_model"
    assert advice["evidence"] == {
        "model": "a",
        "gain_per_usd": 2.0,
        "gain_per_usd_high": 4.9,
        "median_gain_per_usd": 5.0,
    }
    assert "a takes 25% of the money and buys 2 Brier points per dollar, at most 4.9" in advice["text"]
    assert "half of the models buy more than 5" in advice["text"]


@pytest.mark.parametrize(
    "changes",
    [
        {"share_of_cost": 0.2499},
        {"share_of_cost": None},
        {"gain_per_usd_high": 5.0},
        {"gain_per_usd_high": None},
    ],
)
def test_model_that_takes_less_or_may_buy_as_much_is_not_told(changes: dict[str, Any]) -> None:
    assert advice_on(by_model=[model_of(**(DEAR | changes)), *OTHERS]) == []


def test_models_are_not_compared_where_fewer_than_three_are_known() -> None:
    # 2 and 5 Brier points per dollar: median 3.5, which 3 stays below
    dear = model_of(**(DEAR | {"gain_per_usd_high": 3.0}))
    unknown = model_of("c", share_of_cost=0.25)
    assert advice_on(by_model=[dear, OTHERS[0], unknown]) == []
    assert [it["kind"] for it in advice_on(by_model=[dear, *OTHERS])] == ["dear_model"]


def market_line(**changes: Any) -> dict[str, Any]:
    return {"market": "kalshi:RAIN-1", "trades": 0, "analyses": 6, "cost_usd": 0.05} | changes


def test_market_that_was_analysed_six_times_for_a_twentieth_of_all_and_never_traded_is_told() -> None:
    [advice] = advice_on(dearest_markets=[market_line()])
    assert advice["kind"] == "idle_market"
    assert advice["evidence"] == {"market": "kalshi:RAIN-1", "cost_usd": 0.05}
    assert "kalshi:RAIN-1 was analysed 6 times for $0.0500, 5% of all, and never traded" in advice["text"]


@pytest.mark.parametrize("changes", [{"trades": 1}, {"analyses": 5}, {"cost_usd": 0.0499}])
def test_market_that_traded_or_was_analysed_less_or_costs_less_is_not_told(changes: dict[str, Any]) -> None:
    assert advice_on(dearest_markets=[market_line(**changes)]) == []


def test_money_nobody_confirmed_is_told_from_a_tenth_of_all_on() -> None:
    [advice] = advice_on(unconfirmed_usd=0.1)
    assert advice["kind"] == "unconfirmed"
    assert advice["evidence"] == {"unconfirmed_usd": 0.1, "cost_usd": 1.0}
    assert "$0.1000 of the last 30 days were held by runs that died" in advice["text"]
    assert advice_on(unconfirmed_usd=0.0999) == []


def test_all_advice_comes_at_once_the_most_pressing_first() -> None:
    found = advice_on(
        projection=heading_of(None, "2026-03-02T14:30:00+00:00"),
        by_model=[model_of(**DEAR, failed=50), *OTHERS],
        dearest_markets=[market_line()],
        unconfirmed_usd=0.5,
    )
    assert [it["kind"] for it in found] == ["hard_limit", "failing_model", "dear_model", "idle_market", "unconfirmed"]
