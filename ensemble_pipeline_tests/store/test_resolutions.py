from datetime import timedelta

import pytest

from ensemble_pipeline.domain import Settlement
from ensemble_pipeline.store import markets, resolutions
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.store.rows import DAY, HOUR, NOW, market_of, quote_of, save_snapshot


def said(outcome: bool | None, ticker: str = "RAIN-1") -> Settlement:
    return Settlement(f"kalshi:{ticker}", outcome, NOW)


@pytest.fixture
def filled(database: Database) -> Database:
    with database.connection() as connection:
        save_snapshot(connection, market_of(), quote_of(at=NOW - HOUR))
    return database


def test_first_word_repeats_and_corrections_become_versions(filled: Database) -> None:
    with filled.connection() as connection:
        for step, (outcome, is_new) in enumerate(
            [(True, True), (True, False), (False, True), (None, True), (None, False), (True, True)]
        ):
            found = resolutions.save_settlements(connection, [said(outcome)], NOW + step * HOUR)
            assert found == (["kalshi:RAIN-1"] if is_new else [])
        rows = connection.execute("select version, outcome, known_at from resolutions order by version").fetchall()
        assert [tuple(row.values()) for row in rows] == [
            (1, 1, NOW),
            (2, 0, NOW + 2 * HOUR),
            (3, None, NOW + 3 * HOUR),
            (4, 1, NOW + 5 * HOUR),
        ]
        assert connection.execute("select status from markets").fetchall() == [{"status": "settled"}]


def test_word_on_a_market_nobody_knows_is_left_out(filled: Database) -> None:
    with filled.connection() as connection:
        assert resolutions.save_settlements(connection, [said(True, "GONE-1")], NOW) == []


def test_settlement_dated_ahead_of_our_clock_is_known_when_the_world_knew(filled: Database) -> None:
    with filled.connection() as connection:
        resolutions.save_settlements(connection, [said(True)], NOW - HOUR)
        assert connection.execute("select known_at from resolutions").fetchall() == [{"known_at": NOW}]


def test_markets_are_awaited_until_they_settle_and_while_they_can_be_corrected(filled: Database) -> None:
    with filled.connection() as connection:
        from ensemble_pipeline.domain import Listing

        markets.save_listings(connection, [Listing(market_of("NEVER-ASKED"), quote_of())], NOW)
        assert resolutions.awaited_tickers(connection, NOW) == ["RAIN-1"]
        resolutions.save_settlements(connection, [said(True)], NOW)
        assert resolutions.awaited_tickers(connection, NOW - timedelta(microseconds=1)) == ["RAIN-1"]
        assert resolutions.awaited_tickers(connection, NOW + 3 * DAY) == []
