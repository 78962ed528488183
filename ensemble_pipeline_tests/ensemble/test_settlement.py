import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import pytest

from ensemble_pipeline.domain import Settlement
from ensemble_pipeline.ensemble.monitor import EnsembleMonitor
from ensemble_pipeline.ensemble.performance import PerformanceTracker
from ensemble_pipeline.ensemble.settlement import bring_resolutions
from ensemble_pipeline.errors import VenueUnavailableError
from ensemble_pipeline.sandbox.world import WorldAnswer
from ensemble_pipeline.store import worlds
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.venues.base import SettlementBatch, Venue
from ensemble_pipeline_tests.ensemble.venue import Play, playing
from ensemble_pipeline_tests.sandbox.small_world import HOUR, START

EAGER = {"member_policy": "all", "market_weight": 0.5}


def test_settlement_pays_scores_and_repeats_change_nothing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1", "B-1", ensemble=EAGER) as play:
        play.scan()
        play.decide(1)
        assert play.bring().market_ids == ()
        with database.connection() as connection:
            assert worlds.last_looks(connection)["settlements"] == play.clock.now()
        resolve_in_database(play, "A-1", 1, 5)
        [position] = play.rows("select * from positions where market_id = 'kalshi:A-1'")
        assert position["payout_micro_usd"] == position["contracts"] * 1_000_000
        log = play.rows("select kind, cash_micro_usd from trade_log where position_id = 1 order by trade_id")
        assert [row["kind"] for row in log] == ["open", "settle"]
        assert sum(row["cash_micro_usd"] for row in log) == (
            position["payout_micro_usd"] - position["cost_micro_usd"] - position["fee_micro_usd"]
        )
        assert resolve_in_database(play, "A-1", 1, 6) == 0


def resolve_in_database(play: Play, ticker: str, outcome: int | None, hours: int) -> int:
    from ensemble_pipeline.store import decisions, resolutions

    play.clock.advance_to(START + hours * HOUR)
    said = Settlement(f"kalshi:{ticker}", None if outcome is None else bool(outcome), play.clock.now())
    with play.instance.database.connection() as connection:
        resolutions.save_settlements(connection, [said], play.clock.now())
        return decisions.settle_positions(connection)


@pytest.mark.parametrize(("first", "second"), [(1, 0), (0, 1), (1, None), (None, 0), (None, 1)])
def test_correction_pays_the_difference_so_that_the_last_word_counts(
    database: Database, monkeypatch: pytest.MonkeyPatch, first: int | None, second: int | None
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=EAGER) as play:
        play.scan()
        play.decide(1)
        [position] = play.rows("select * from positions")
        due = {1: position["contracts"] * 1_000_000, 0: 0, None: position["cost_micro_usd"]}
        assert resolve_in_database(play, "A-1", first, 5) == 1
        assert resolve_in_database(play, "A-1", second, 6) == 1
        assert play.rows("select payout_micro_usd as n from positions") == [{"n": due[second]}]
        cash = play.rows("select sum(cash_micro_usd)::bigint as n from trade_log")[0]["n"]
        assert cash == due[second] - position["cost_micro_usd"] - position["fee_micro_usd"]
        assert [row["kind"] for row in play.rows("select kind from trade_log order by trade_id")] == [
            "open",
            "settle",
            "correct",
        ]


def test_settlement_of_a_no_position_pays_when_it_does_not_happen(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=EAGER) as play:
        play.world.answers = dict.fromkeys(play.world.answers, WorldAnswer(p_yes=0.1, confidence=0.9))
        play.scan()
        play.decide(1)
        [position] = play.rows("select * from positions")
        assert position["side"] == "no"
        resolve_in_database(play, "A-1", 0, 5)
        assert play.rows("select payout_micro_usd as n from positions") == [{"n": position["contracts"] * 1_000_000}]


def test_settlement_when_venue_is_down_loses_nothing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        play.scan()
        play.fault("kalshi", "overloaded", count=3)
        with pytest.raises(VenueUnavailableError):
            play.bring()
        assert play.bring().market_ids == ()


def test_settlements_of_the_venue_are_asked_for_until_corrections_are_over(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", "B-1", closes=4, settles=5, ensemble=EAGER) as play:
        play.scan()
        play.decide(1)
        play.clock.advance_to(START + 5 * HOUR)
        news = play.bring()
        assert news.market_ids == ("kalshi:A-1", "kalshi:B-1")
        assert news.positions_settled == len(play.rows("select * from positions"))
        assert play.bring().market_ids == ()
        # the sandbox says YES: an older word to the contrary is corrected
        with database.connection() as connection:
            connection.execute("update resolutions set outcome = 0 where market_id = 'kalshi:A-1'")
        assert play.bring().market_ids == ("kalshi:A-1",)
        assert [row["version"] for row in play.rows("select version from resolutions order by 1")] == [1, 1, 2]
        with database.connection() as connection:
            connection.execute("update resolutions set outcome = 0 where market_id = 'kalshi:B-1'")
        play.clock.advance_to(START + (5 + 72) * HOUR)
        assert play.bring().market_ids == ()


def test_settlement_withdrawn_by_the_venue_takes_payout_and_scores_back_until_it_settles_anew(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", closes=4, settles=5, ensemble=EAGER) as play:
        play.scan()
        play.decide(1)
        play.clock.advance_to(START + 5 * HOUR)
        play.bring()
        tracker = PerformanceTracker(play.instance)
        scored = tracker.record_prediction_result().appended
        assert scored > 0
        settled_market = play.world.markets["A-1"]
        play.put(replace(settled_market, resolved_at=None, outcome=None))
        play.clock.advance_to(START + 6 * HOUR)
        assert play.bring().market_ids == ("kalshi:A-1",)
        assert play.bring().market_ids == ()
        [position] = play.rows("select closed_at, payout_micro_usd, cost_micro_usd, fee_micro_usd from positions")
        assert (position["closed_at"], position["payout_micro_usd"]) == (None, None)
        spent = position["cost_micro_usd"] + position["fee_micro_usd"]
        assert play.rows("select sum(cash_micro_usd)::bigint as n from trade_log") == [{"n": -spent}]
        assert tracker.record_prediction_result().appended == scored
        assert play.rows("select sum(sign) as n from scored_forecasts") == [{"n": 0}]
        # long after the days in which settlements are corrected the market is still asked for
        play.put(replace(settled_market, resolved_at=START + 200 * HOUR, outcome=False))
        play.clock.advance_to(START + 200 * HOUR)
        assert play.bring().market_ids == ("kalshi:A-1",)
        assert play.rows("select payout_micro_usd as n from positions") == [{"n": 0}]
        assert tracker.record_prediction_result().appended == scored


def test_settlement_that_makes_no_sense_is_refused_by_name_and_the_others_count(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", "B-1", "C-1", closes=4, settles=5, ensemble=EAGER) as play:
        play.scan()
        play.decide(1)
        play.put(replace(play.world.markets["A-1"], resolved_at=START - HOUR))
        play.clock.advance_to(START + 5 * HOUR)
        assert play.bring().market_ids == ("kalshi:B-1", "kalshi:C-1")
        [refused] = play.rows("select source, row_key, why from rejected_rows")
        assert (refused["source"], refused["row_key"]) == ("settlement", "kalshi:A-1")
        assert refused["why"].startswith(
            "EarlyResolutionError: kalshi:A-1 resolved at 2026-01-04T23:00:00+00:00, before"
        )
        assert PerformanceTracker(play.instance).record_prediction_result().appended > 0


def test_settlement_of_a_market_nobody_listed_is_refused_by_name(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Chatty:
        name = "kalshi"

        async def settlements(self, tickers: Sequence[str]) -> SettlementBatch:
            del tickers
            return SettlementBatch((Settlement("kalshi:NEVER-1", True, START + HOUR),))

    with playing(database, monkeypatch, "A-1") as play:
        news = asyncio.run(bring_resolutions(play.instance, cast("Venue", Chatty())))
        assert (news.market_ids, news.rejected) == ((), 1)
        [refused] = play.rows("select row_key, why from rejected_rows")
        assert refused["row_key"] == "kalshi:NEVER-1"
        assert refused["why"].startswith(
            "UnknownMarketError: kalshi:NEVER-1 was settled by the venue, but never listed"
        )


def test_report_of_a_tiny_world_worked_by_hand(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1", "B-1", ensemble=EAGER) as play:
        play.scan()
        play.fault("openai", "out_of_credit")
        play.decide(1)
        resolve_in_database(play, "A-1", 1, 5)
        tracker = PerformanceTracker(play.instance)
        tracker.record_prediction_result()
        tracker.update_skill_cube(START.date(), START.date())
        tracker.update_rolling_windows(START.date(), START.date())
        tracker.rank()
        report = EnsembleMonitor(play.instance).generate_reports()
        assert report["markets"] == {
            "seen": 2,
            "asked_about": 2,
            "settled": 1,
            "snapshots": 2,
            "undecided": 0,
            "rejected_rows": 0,
        }
        assert report["decisions"] == {"total": 2, "by_terminal_reason": {"traded": 2}}
        assert report["model_calls"] == {"total": 10, "by_status": {"answered": 9, "failed": 1}}
        assert report["forecasts"] == {
            "asked": 10,
            "answered": 9,
            "failed": 1,
            "scored": report["forecasts"]["scored"],
            "failed_by_model": {"openai-model": 1},
        }
        assert report["forecasts"]["scored"] in (4, 5)
        assert report["brier"]["all"]["plain_mean"] == pytest.approx(0.09)
        assert report["brier"]["all"]["market"] == pytest.approx(0.59**2)
        assert report["brier"]["members"]["xai-model"]["brier"] == pytest.approx(0.09)
        assert report["paper"]["trades"] == 2
        assert report["paper"]["open_positions"] == 1
        cost = play.rows("select sum(cost_micro_usd)::bigint as n from llm_queries")[0]["n"]
        assert report["spend"] == {"usd": cost / 1e6, "unconfirmed_after_crash_usd": 0.0}
        assert len(report["ranking"]["rows"]) == 5
        # all said the same: nobody's absence changes the pool
        assert all(it["brier_without_minus_with"] == pytest.approx(0) for it in report["contributions"].values())
        glance = EnsembleMonitor(play.instance).track_performance()
        assert glance["decisions_today"]["total"] == 2
        assert glance["spend_today_usd"] == cost / 1e6
        assert glance["held_usd"] == 0


def test_contributions_when_nothing_settled_are_empty(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        monitor = EnsembleMonitor(play.instance)
        assert monitor.analyze_contributions() == {}
        assert monitor.generate_reports()["markets"]["seen"] == 0
