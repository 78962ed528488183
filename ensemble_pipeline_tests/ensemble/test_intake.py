from typing import Any

import pytest

from ensemble_pipeline.errors import VenueError, VenueUnavailableError
from ensemble_pipeline.store import markets, worlds
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.venue import Play, playing
from ensemble_pipeline_tests.sandbox.small_world import HOUR, START


def reasons(play: Play) -> list[str]:
    return [row["reason"] for row in play.rows("select reason from market_snapshots order by snapshot_id")]


def test_scan_when_markets_are_new_requests_each_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1", "A-2", "B-1", scan={"batch_size": 2}) as play:
        scan = play.scan()
        assert (scan.seen, scan.due, len(scan.batches), scan.next_cursor) == (3, 3, 2, None)
        again = play.scan()
        assert (again.seen, again.due, again.batches) == (3, 0, ())
        play.clock.advance_to(START + 1.5 * HOUR)
        assert play.scan().due == 0
        assert reasons(play) == ["new"] * 3
        with database.connection() as connection:
            assert markets.undecided_batches(connection) == {1: (1, 2), 2: (3,)}
            assert worlds.last_looks(connection) == {"markets": START + 1.5 * HOUR}


def test_scan_when_price_moved_waits_for_the_cooldown(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1", "A-2") as play:
        play.scan()
        play.clock.advance_to(START + 2 * HOUR)
        # logit 0.47 - logit 0.41 = 0.244; logit 0.48 - logit 0.41 = 0.284
        play.price("A-1", "0.46", "0.48")
        play.price("A-2", "0.47", "0.49")
        assert play.scan().due == 0
        play.clock.advance_to(START + 3 * HOUR)
        assert play.scan().due == 1
        assert play.rows("select market_id, reason from market_snapshots where snapshot_id > 2") == [
            {"market_id": "kalshi:A-2", "reason": "moved"}
        ]


def test_scan_when_a_price_appears_or_vanishes_counts_as_moved(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        play.scan()
        play.clock.advance_to(START + 4 * HOUR)
        play.price("A-1", None, "0.42")
        assert play.scan().due == 1
        play.clock.advance_to(START + 8 * HOUR)
        assert play.scan().due == 0


def test_scan_when_last_look_is_old_asks_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        play.scan()
        play.clock.advance_to(START + 24.9 * HOUR)
        assert play.scan().due == 0
        play.clock.advance_to(START + 25 * HOUR)
        assert play.scan().due == 1
        assert reasons(play) == ["new", "aged"]


def test_scan_when_market_is_not_open_or_closes_too_late_only_keeps_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", "A-PAUSED", closes=50) as play:
        assert play.scan().due == 1
        play.clock.advance_to(START + 50 * HOUR)
        assert play.scan().due == 0
    with playing(database, monkeypatch, "C-1", closes=24 * 92) as play:
        assert play.scan().due == 0
        assert {row["ticker"] for row in play.rows("select ticker from markets")} == {"A-1", "C-1"}


def test_scan_when_pages_are_many_carries_the_cursor_on_and_loses_none(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tickers = [f"E{number}-1" for number in range(450)]
    with playing(database, monkeypatch, *tickers, scan={"max_open_markets": 150}) as play:
        first = play.scan()
        # whoever dies here, before the cursor is kept, reads the page again and finds it requested
        assert play.scan().due == 0
        second = play.scan(first.next_cursor)
        third = play.scan(second.next_cursor)
        assert [first.due, second.due, third.due, third.next_cursor] == [200, 200, 50, None]
        assert play.rows("select count(*) as n, count(distinct market_id) as m from market_snapshots") == [
            {"n": 450, "m": 450}
        ]
        assert play.rows(
            "select max(n) as n from (select count(*) as n from decision_requests group by batch_id) b"
        ) == [{"n": 60}]


def test_scan_when_venue_is_down_changes_nothing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        play.fault("kalshi", "html")
        with pytest.raises(VenueError, match="web page"):
            play.scan()
        play.fault("kalshi", "overloaded", count=3)
        with pytest.raises(VenueUnavailableError):
            play.scan()
        assert play.rows("select * from markets") == []
        assert play.scan().due == 1


def test_scan_when_a_row_makes_no_sense_keeps_it_as_rejected_once_and_the_others(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", "B-1") as play:
        play.price("B-1", "0.40", "1.30")
        scan = play.scan()
        assert (scan.due, scan.rejected) == (1, 1)
        assert play.scan().rejected == 0
        [row] = play.rows("select source, row_key, why from rejected_rows")
        assert row["row_key"] == "B-1"
        assert "1.3" in row["why"]


@pytest.mark.parametrize(
    ("prices", "regime"),
    [(["0.40", "0.40", "0.40"], "calm"), (["0.40", "0.60", "0.40"], "volatile"), (["0.40", "0.40"], "unknown")],
)
def test_snapshot_carries_the_regime_of_the_prices_seen_so_far(
    database: Database, monkeypatch: pytest.MonkeyPatch, prices: list[str], regime: str
) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        for day, bid in enumerate(prices):
            play.clock.advance_to(START + (1 + 24 * day) * HOUR)
            play.price("A-1", bid, f"{float(bid) + 0.02:.2f}")
            play.scan()
        found: list[dict[str, Any]] = play.rows(
            "select volatility_regime as v from market_snapshots order by snapshot_id"
        )
        assert [row["v"] for row in found] == [*["unknown"] * min(2, len(prices) - 1), regime]
