"""Which markets are put before the models: new ones, those whose price moved, those not looked at for long."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from ensemble_pipeline.domain import Listing, MarketStatus, Quote, RejectedRow, RequestReason, VolatilityRegime
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.errors import SettledMarketError, VenueError
from ensemble_pipeline.forecasting.pooling import clip_probability, logit
from ensemble_pipeline.forecasting.volatility import daily_logit_volatility, regime
from ensemble_pipeline.store import markets as store
from ensemble_pipeline.store.resolutions import settled_among
from ensemble_pipeline.store.worlds import note_look
from ensemble_pipeline.venues.base import Venue

_HISTORY = 30


@dataclass(frozen=True, slots=True)
class Scan:
    """What one look at the venue brought; `next_cursor` is where the next look goes on."""

    seen: int
    batches: tuple[int, ...]
    due: int
    rejected: int
    next_cursor: str | None


async def scan_markets(instance: Instance, venue: Venue, cursor: str | None) -> Scan:
    """Read open markets and request a decision on each one that is due, in batches, in one transaction.

    Markets and requests are saved together before the cursor moves on: whoever dies in between reads them again and
    finds them requested. A market that settled and is listed as open counts as settled, until the venue takes its
    settlement back; the row is kept under `rejected_rows`.
    """
    now = instance.clock.now()
    listings, rejected, next_cursor = await _read_pages(instance, venue, cursor)
    with instance.database.connection() as connection:
        settled = settled_among(connection, list(listings))
        rejected += [_settled_already(market_id) for market_id in sorted(settled)]
        current = [
            replace(listing, quote=replace(listing.quote, observed_at=now))
            for market_id, listing in listings.items()
            if market_id not in settled
        ]
        eligible = [listing for listing in current if _is_eligible(listing, now, instance)]
        store.save_listings(connection, current, now)
        refused = store.save_rejected(connection, rejected, now)
        looks = store.last_looks(connection, [listing.market.market_id for listing in eligible])
        due = [
            (listing, reason)
            for listing in eligible
            if (reason := _reason(listing, looks.get(listing.market.market_id), now, instance)) is not None
        ]
        histories = store.price_history(connection, [listing.market.market_id for listing, _ in due], _HISTORY)
        saved = [
            store.save_snapshot(
                connection, listing, reason, regime_of(histories.get(listing.market.market_id, []), listing.quote)
            )
            for listing, reason in due
        ]
        size = instance.settings.scan.batch_size
        fresh = [snapshot_id for snapshot_id in saved if snapshot_id is not None]
        batches = tuple(
            store.open_batch(connection, fresh[start : start + size], now) for start in range(0, len(fresh), size)
        )
        if next_cursor is None:
            note_look(connection, "markets", now)
    return Scan(len(current), batches, len(fresh), refused, next_cursor)


async def _read_pages(
    instance: Instance, venue: Venue, cursor: str | None
) -> tuple[dict[str, Listing], list[RejectedRow], str | None]:
    # by market: pages that repeat a row repeat nothing here, and what was said last counts
    listings: dict[str, Listing] = {}
    rejected: list[RejectedRow] = []
    passed: set[str | None] = set()
    while len(listings) < instance.settings.scan.max_open_markets:
        if cursor in passed:
            raise VenueError(f"{venue.name} goes round in its list of open markets: cursor {cursor!r} came back")
        passed.add(cursor)
        page = await venue.open_markets(cursor)
        listings.update((listing.market.market_id, listing) for listing in page.listings)
        rejected.extend(page.rejected)
        cursor = page.next_cursor
        if cursor is None:
            break
    return listings, rejected, cursor


def _settled_already(market_id: str) -> RejectedRow:
    error = SettledMarketError(f"{market_id} is listed as open, though it settled: it counts as settled")
    return RejectedRow.of("listing", market_id, error)


def _is_eligible(listing: Listing, now: datetime, instance: Instance) -> bool:
    horizon = timedelta(days=instance.settings.scan.max_horizon_days)
    market = listing.market
    return market.status is MarketStatus.ACTIVE and now < market.closes_at <= now + horizon


def _reason(listing: Listing, last: store.LastLook | None, now: datetime, instance: Instance) -> RequestReason | None:
    if last is None:
        return RequestReason.NEW
    age = now - last.observed_at
    if age > timedelta(0) and age >= timedelta(hours=instance.settings.scan.reassess_hours):
        return RequestReason.AGED
    rested = age >= timedelta(hours=instance.settings.gates.cooldown_hours)
    if rested and _has_moved(last.mid, listing.quote.mid, instance):
        return RequestReason.MOVED
    return None


def _has_moved(before: float | None, after: float | None, instance: Instance) -> bool:
    if before is None or after is None:
        return before is not after
    clip = instance.settings.ensemble.clip
    ends = logit(clip_probability([before, after], clip))
    return abs(float(ends[1] - ends[0])) >= instance.settings.scan.material_move_logit


def regime_of(history: Sequence[Quote], current: Quote) -> VolatilityRegime:
    """How much the price moved per day, up to and with `current`."""
    observed = [quote for quote in (*history, current) if quote.mid is not None]
    times = np.array([quote.observed_at.timestamp() for quote in observed])
    mids = np.array([quote.mid for quote in observed], dtype=np.float64)
    return VolatilityRegime(regime(daily_logit_volatility(times, mids)))
