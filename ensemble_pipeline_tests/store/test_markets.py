from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from ensemble_pipeline.domain import Listing, MarketStatus, Quote, RejectedRow, RequestReason, VolatilityRegime
from ensemble_pipeline.store import markets
from ensemble_pipeline.store.database import Connection, Database
from ensemble_pipeline_tests.store.rows import HOUR, NOW, market_of, quote_of, save_context_row, save_snapshot


def decide(connection: Connection, snapshot_id: int) -> None:
    connection.execute(
        "insert into decisions (snapshot_id, market_id, decided_at, batch_id, run_id, action, terminal_reason, route,"
        " strategy, trade_value_micro_usd, stake_micro_usd, fee_micro_usd, reasoning, gates, inputs, context_id,"
        " ranking_id, calibration_id, settings_hash, code_version) select snapshot_id, market_id, now(), c.batch_id,"
        " '', 'skip', 'edge', 'full', 'weighted_voting', 0, 0, 0, '', '[]', '{}', c.context_id, c.ranking_id,"
        " c.calibration_id, c.settings_hash, c.code_version from market_snapshots, decision_contexts c"
        " where snapshot_id = %s and context_id = %s",
        [snapshot_id, save_context_row(connection)],
    )


def test_listing_when_seen_again_is_brought_up_to_date_and_keeps_its_first_sight(database: Database) -> None:
    market = market_of()
    with database.connection() as connection:
        markets.save_listings(connection, [Listing(market, quote_of())], NOW)
        changed = replace(market, question="Reworded?", status=MarketStatus.PAUSED, closes_at=NOW + HOUR)
        markets.save_listings(connection, [Listing(changed, quote_of())] * 2, NOW + HOUR)
        [row] = connection.execute("select question, status, closes_at, first_seen_at from markets").fetchall()
    assert tuple(row.values()) == ("Reworded?", "paused", NOW + HOUR, NOW)


def test_snapshot_comes_back_as_it_was_saved_and_only_once(database: Database) -> None:
    quote = Quote(NOW, Decimal("0.4012"), None, Decimal("0.4"), Decimal("12.5"))
    market = market_of()
    with database.connection() as connection:
        snapshot_id = save_snapshot(connection, market, quote, VolatilityRegime.CALM)
        again = markets.save_snapshot(connection, Listing(market, quote), RequestReason.AGED, VolatilityRegime.CALM)
        assert again is None
        batch = markets.open_batch(connection, [snapshot_id], NOW)
        [found] = markets.undecided_snapshots(connection, batch)
    assert (found.market, found.quote, found.reason) == (market, quote, RequestReason.NEW)
    assert (found.snapshot_id, found.regime) == (snapshot_id, VolatilityRegime.CALM)


def test_undecided_batches_name_each_snapshot_in_its_newest_batch_until_it_is_decided(database: Database) -> None:
    with database.connection() as connection:
        one, two, three = (save_snapshot(connection, market_of(f"M-{n}"), quote_of()) for n in range(3))
        first = markets.open_batch(connection, [one, two], NOW)
        second = markets.open_batch(connection, [three], NOW)
        assert markets.undecided_batches(connection) == {first: (one, two), second: (three,)}
        decide(connection, one)
        assert markets.undecided_batches(connection) == {first: (two,), second: (three,)}
        renewed = markets.open_batch(connection, [two], NOW, retry_of=first)
        assert markets.undecided_batches(connection) == {second: (three,), renewed: (two,)}
        assert [it.snapshot_id for it in markets.undecided_snapshots(connection, first)] == [two]
        assert [it.snapshot_id for it in markets.undecided_snapshots(connection, None)] == [two, three]
        decide(connection, two)
        decide(connection, three)
        assert markets.undecided_batches(connection) == {}
        assert markets.undecided_snapshots(connection, None) == []


def test_retries_are_counted_along_the_chain(database: Database) -> None:
    with database.connection() as connection:
        batch = markets.open_batch(connection, [], NOW)
        assert markets.retries_of(connection, batch) == 0
        for count in (1, 2, 3):
            batch = markets.open_batch(connection, [], NOW, retry_of=batch)
            assert markets.retries_of(connection, batch) == count
        assert markets.retries_of(connection, 999) == 0


def test_looks_and_history_of_each_market_are_its_own(database: Database) -> None:
    with database.connection() as connection:
        for number in range(4):
            save_snapshot(connection, market_of("M-1"), quote_of(f"0.{10 + number}", "0.50", at=NOW + number * HOUR))
        save_snapshot(connection, market_of("M-2"), quote_of(None, None, at=NOW))
        looks = markets.last_looks(connection, ["kalshi:M-1", "kalshi:M-2", "kalshi:M-3"])
        assert {key: (it.observed_at, it.mid) for key, it in looks.items()} == {
            "kalshi:M-1": (NOW + 3 * HOUR, 0.315),
            "kalshi:M-2": (NOW, None),
        }
        history = markets.price_history(connection, ["kalshi:M-1", "kalshi:M-2"], 2)
        assert [quote.observed_at for quote in history["kalshi:M-1"]] == [NOW + 2 * HOUR, NOW + 3 * HOUR]
        assert len(history["kalshi:M-2"]) == 1


def test_rejected_rows_are_kept_once_for_each_reason(database: Database) -> None:
    row = RejectedRow("kalshi market", "M-1", "price 1.3")
    with database.connection() as connection:
        assert markets.save_rejected(connection, [row, row], NOW) == 1
        assert markets.save_rejected(connection, [row, replace(row, why="no title")], NOW + timedelta(1)) == 1
        assert connection.execute("select min(first_seen_at) as at from rejected_rows").fetchall() == [{"at": NOW}]
