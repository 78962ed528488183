"""Markets, their snapshots, and the requests to decide them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ensemble_pipeline.domain import (
    Listing,
    Market,
    MarketStatus,
    Quote,
    RejectedRow,
    RequestReason,
    Snapshot,
    VolatilityRegime,
)
from ensemble_pipeline.store.database import Connection, Row, require_row

MARKET_COLUMNS = (
    "m.market_id, m.venue, m.ticker, m.event_id, e.series, e.category, m.question, m.rules, m.opened_at, m.closes_at"
)
"""Of `markets m` joined with its `market_events e`."""


@dataclass(frozen=True, slots=True)
class LastLook:
    """When a market was last put before the ensemble, and at which mid."""

    observed_at: datetime
    mid: float | None


def save_listings(connection: Connection, listings: Sequence[Listing], now: datetime) -> None:
    """Insert new markets and bring known ones up to date."""
    events = sorted({(o.market.event_id, o.market.venue, o.market.series, o.market.category) for o in listings})
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into market_events (event_id, venue, series, category) values (%s, %s, %s, %s)"
            " on conflict (event_id) do nothing",
            events,
        )
        cursor.executemany(
            "insert into markets (market_id, event_id, venue, ticker, question, rules, opened_at, closes_at, status,"
            " first_seen_at) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
            " on conflict (market_id) do update set question = excluded.question, rules = excluded.rules,"
            " closes_at = excluded.closes_at, status = excluded.status"
            " where (markets.question, markets.rules, markets.closes_at, markets.status)"
            " is distinct from (excluded.question, excluded.rules, excluded.closes_at, excluded.status)",
            [_market_values(listing.market, now) for listing in listings],
        )


def _market_values(market: Market, now: datetime) -> tuple[Any, ...]:
    return (
        market.market_id,
        market.event_id,
        market.venue,
        market.ticker,
        market.question,
        market.rules,
        market.opened_at,
        market.closes_at,
        market.status,
        now,
    )


def opening_times(connection: Connection, market_ids: Sequence[str]) -> dict[str, datetime]:
    """When each of the markets that are known opened."""
    rows = connection.execute("select market_id, opened_at from markets where market_id = any(%s)", [list(market_ids)])
    return {row["market_id"]: row["opened_at"] for row in rows}


def market_by_id(connection: Connection, market_id: str) -> Market | None:
    """A market as it was last listed; ``None`` where it never was."""
    row = connection.execute(
        f"select {MARKET_COLUMNS}, m.status from markets m join market_events e using (event_id)"
        " where m.market_id = %s",
        [market_id],
    ).fetchone()
    return None if row is None else market_of_row(row)


def snapshot_at(connection: Connection, market_id: str, at: datetime) -> int | None:
    """The snapshot of a market recorded for an instant."""
    row = connection.execute(
        "select snapshot_id from market_snapshots where market_id = %s and observed_at = %s", [market_id, at]
    ).fetchone()
    return None if row is None else int(row["snapshot_id"])


def last_looks(connection: Connection, market_ids: Sequence[str]) -> dict[str, LastLook]:
    """The latest snapshot of each market; markets never put before the ensemble are absent."""
    rows = connection.execute(
        "select distinct on (market_id) market_id, observed_at, yes_bid, yes_ask, last_price, volume"
        " from market_snapshots where market_id = any(%s) order by market_id, observed_at desc",
        [list(market_ids)],
    )
    return {row["market_id"]: LastLook(row["observed_at"], _quote(row).mid) for row in rows}


def price_history(connection: Connection, market_ids: Sequence[str], most: int) -> dict[str, list[Quote]]:
    """Up to `most` latest snapshot quotes of each market, oldest first."""
    rows = connection.execute(
        "select s.* from unnest(%s::text[]) wanted(id) cross join lateral (select market_id, observed_at, yes_bid,"
        " yes_ask, last_price, volume from market_snapshots where market_id = wanted.id"
        " order by observed_at desc limit %s) s order by s.market_id, s.observed_at",
        [list(market_ids), most],
    )
    found: dict[str, list[Quote]] = {}
    for row in rows:
        found.setdefault(row["market_id"], []).append(_quote(row))
    return found


def save_snapshot(
    connection: Connection, listing: Listing, reason: RequestReason, regime: VolatilityRegime
) -> int | None:
    """Record a market as it is put before the ensemble; ``None`` where this instant is recorded already."""
    quote = listing.quote
    row = connection.execute(
        "insert into market_snapshots (market_id, observed_at, yes_bid, yes_ask, last_price, volume, status, reason,"
        " volatility_regime) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
        " on conflict (market_id, observed_at) do nothing returning snapshot_id",
        [
            listing.market.market_id,
            quote.observed_at,
            quote.yes_bid,
            quote.yes_ask,
            quote.last_price,
            quote.volume,
            listing.market.status,
            reason,
            regime,
        ],
    ).fetchone()
    return None if row is None else int(row["snapshot_id"])


def open_batch(connection: Connection, snapshot_ids: Iterable[int], now: datetime, retry_of: int | None = None) -> int:
    """Request decisions on snapshots; the returned batch id names the run and is never used twice."""
    row = connection.execute(
        "insert into decision_batches (requested_at, retry_of) values (%s, %s) returning batch_id", [now, retry_of]
    ).fetchone()
    row = require_row(row)
    batch_id = int(row["batch_id"])
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into decision_requests (batch_id, snapshot_id) values (%s, %s)",
            [(batch_id, snapshot_id) for snapshot_id in snapshot_ids],
        )
    return batch_id


def undecided_batches(connection: Connection) -> dict[int, tuple[int, ...]]:
    """The newest batch of every snapshot that has no decision yet: batch id to its undecided snapshots."""
    rows = connection.execute(
        "select max(r.batch_id) as batch_id, r.snapshot_id from decision_requests r"
        " left join decisions d using (snapshot_id) where d.snapshot_id is null"
        " group by r.snapshot_id order by 1, 2"
    )
    found: dict[int, tuple[int, ...]] = {}
    for row in rows:
        found[row["batch_id"]] = (*found.get(row["batch_id"], ()), row["snapshot_id"])
    return found


def retries_of(connection: Connection, batch_id: int) -> int:
    """How many batches went before this one for the same snapshots."""
    row = connection.execute(
        "with recursive chain as (select retry_of from decision_batches where batch_id = %s union all"
        " select b.retry_of from decision_batches b join chain c on b.batch_id = c.retry_of)"
        " select count(retry_of) as n from chain",
        [batch_id],
    ).fetchone()
    return 0 if row is None else int(row["n"])


def undecided_snapshots(connection: Connection, batch_id: int | None) -> list[Snapshot]:
    """Snapshots of a batch (or of all, for ``None``) that wait for a decision, in the order of their markets."""
    rows = connection.execute(
        f"select distinct s.snapshot_id, {MARKET_COLUMNS}, s.status, s.observed_at, s.yes_bid, s.yes_ask,"
        " s.last_price, s.volume, s.reason, s.volatility_regime"
        " from decision_requests r join market_snapshots s using (snapshot_id) join markets m using (market_id)"
        " join market_events e using (event_id) left join decisions d using (snapshot_id)"
        " where d.snapshot_id is null and (%(batch)s::bigint is null or r.batch_id = %(batch)s)"
        " order by s.observed_at, m.market_id",
        {"batch": batch_id},
    )
    return [_snapshot(row) for row in rows]


def snapshot_by_id(connection: Connection, snapshot_id: int) -> Snapshot:
    """A snapshot, with its market as it was listed last."""
    row = connection.execute(
        f"select s.snapshot_id, {MARKET_COLUMNS}, s.status, s.observed_at, s.yes_bid, s.yes_ask, s.last_price,"
        " s.volume, s.reason, s.volatility_regime from market_snapshots s join markets m using (market_id)"
        " join market_events e using (event_id) where s.snapshot_id = %s",
        [snapshot_id],
    ).fetchone()
    return _snapshot(require_row(row))


def save_rejected(connection: Connection, rows: Sequence[RejectedRow], now: datetime) -> int:
    """Keep refused rows with the reason; returns how many are new."""
    return sum(
        connection.execute(
            "insert into rejected_rows (source, row_key, why, first_seen_at) values (%s, %s, %s, %s)"
            " on conflict do nothing",
            [row.source, row.key, row.why, now],
        ).rowcount
        for row in rows
    )


def rejected_rows(connection: Connection, most: int) -> list[Row]:
    """The newest refused rows, with their number in all as `total`."""
    return connection.execute(
        "select source, row_key, why, first_seen_at, count(*) over () as total from rejected_rows"
        " order by first_seen_at desc, source, row_key limit %s",
        [most],
    ).fetchall()


def _quote(row: Row) -> Quote:
    return Quote(row["observed_at"], row["yes_bid"], row["yes_ask"], row["last_price"], row["volume"])


def market_of_row(row: Row) -> Market:
    """The market in a row with `MARKET_COLUMNS` and `status`."""
    return Market(
        market_id=row["market_id"],
        venue=row["venue"],
        ticker=row["ticker"],
        event_id=row["event_id"],
        series=row["series"],
        category=row["category"],
        question=row["question"],
        rules=row["rules"],
        opened_at=row["opened_at"],
        closes_at=row["closes_at"],
        status=MarketStatus(row["status"]),
    )


def _snapshot(row: Row) -> Snapshot:
    reason, regime = RequestReason(row["reason"]), VolatilityRegime(row["volatility_regime"])
    return Snapshot(row["snapshot_id"], market_of_row(row), _quote(row), reason, regime)
