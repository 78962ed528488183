"""Rows that store tests put in front of what they test."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from ensemble_pipeline.domain import Listing, Market, MarketStatus, Quote, RequestReason, VolatilityRegime
from ensemble_pipeline.store import budget, calls, markets
from ensemble_pipeline.store.budget import BudgetCall, Closing, Limits
from ensemble_pipeline.store.database import Connection, require_row

NOW = datetime(2026, 3, 2, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def market_of(
    ticker: str = "RAIN-1", *, event: str = "RAIN", category: str = "Climate", closes_at: datetime = NOW + 10 * DAY
) -> Market:
    """An active market that opened yesterday."""
    return Market(
        market_id=f"kalshi:{ticker}",
        venue="kalshi",
        ticker=ticker,
        event_id=f"kalshi:{event}",
        series=event,
        category=category,
        question=f"Will {ticker} happen?",
        rules="Resolves YES if it happens.",
        opened_at=NOW - 30 * DAY,
        closes_at=closes_at,
        status=MarketStatus.ACTIVE,
    )


def quote_of(
    bid: str | None = "0.40", ask: str | None = "0.42", *, volume: str | None = "100000", at: datetime = NOW
) -> Quote:
    """A book; None for a side that nobody quotes."""
    return Quote(
        at,
        None if bid is None else Decimal(bid),
        None if ask is None else Decimal(ask),
        None,
        None if volume is None else Decimal(volume),
    )


def save_snapshot(
    connection: Connection, market: Market, quote: Quote, regime: VolatilityRegime = VolatilityRegime.UNKNOWN
) -> int:
    """A saved market with a snapshot; returns the snapshot."""
    listing = Listing(market, quote)
    markets.save_listings(connection, [listing], quote.observed_at)
    saved = markets.save_snapshot(connection, listing, RequestReason.NEW, regime)
    assert saved is not None
    return saved


def save_context_row(connection: Connection, at: datetime = NOW) -> int:
    """A batch with a ranking, a calibration and a context, for decisions to point at; returns the context."""
    connection.execute("insert into settings_snapshots values ('hash', '{}', %s) on conflict do nothing", [at])
    row = connection.execute(
        "with batch as (insert into decision_batches (requested_at) values (%(at)s) returning batch_id),"
        " ranking as (insert into model_rankings (as_of, partition_day, known_forecasts) values (%(at)s, %(at)s, 0)"
        " returning ranking_id),"
        " calibration as (insert into calibration_tables (as_of, slope, n, effective_n) values (%(at)s, 1, 0, 0)"
        " returning calibration_id)"
        " insert into decision_contexts (batch_id, run_id, planned_at, method, ranking_id, calibration_id,"
        " settings_hash, code_version, operating_mode, budget_day, spent_micro_usd, held_micro_usd, health)"
        " select batch_id, 'run', %(at)s, 'advanced', ranking_id, calibration_id, 'hash', '1', 'normal', %(at)s, 0, 0,"
        " '{}' from batch, ranking, calibration returning context_id",
        {"at": at},
    ).fetchone()
    return int(require_row(row)["context_id"])


def save_models(connection: Connection, *names: str) -> None:
    """Models that calls and scores may point at."""
    calls.save_models(connection, [(name, "local", name) for name in names], NOW)


UNLIMITED = Limits(None, None, None)


def call_of(
    snapshot_id: int = 1, amount: int = 10, *, model: str = "a", market: str = "kalshi:RAIN-1", at: datetime = NOW
) -> BudgetCall:
    """A call of a local model that is about to leave."""
    return BudgetCall(snapshot_id, market, "local", model, amount, at)


def hold(connection: Connection, call: BudgetCall, limits: Limits = UNLIMITED) -> int | None:
    """What the ledger says to one call: the reservation, or nothing."""
    row = require_row(connection.execute(budget.RESERVE, budget.reserve_arguments([call], limits)).fetchone())
    return None if row["reservation_id"] is None else int(row["reservation_id"])


def close(connection: Connection, reservation: int, booked: int, *, at: datetime = NOW) -> None:
    """Settle a reservation that was made at `at`."""
    closing = Closing(reservation, at.date(), "settled", booked)
    connection.execute(budget.CLOSE, budget.close_arguments([closing], at))
