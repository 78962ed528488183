"""Kalshi's objects, written from a world at one instant.

Belongs here: markets, events, series, order books as JSON values. Does not: paths, filters, pages (``kalshi_routes``).
Sizes are no part of a world: each quoted side shows the same nominal 100 contracts.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any

from ensemble_pipeline.domain import MarketStatus, Quote
from ensemble_pipeline.sandbox.world import World, WorldMarket

_STATUS = {
    MarketStatus.UNOPENED: "initialized",
    MarketStatus.ACTIVE: "active",
    MarketStatus.PAUSED: "inactive",
    MarketStatus.CLOSED: "closed",
    MarketStatus.SETTLED: "finalized",
}
# what the `status` filters list; a paused market is in none of them
FILTERS = {
    "unopened": MarketStatus.UNOPENED,
    "open": MarketStatus.ACTIVE,
    "closed": MarketStatus.CLOSED,
    "settled": MarketStatus.SETTLED,
}
_ZERO, _ONE = Decimal(0), Decimal(1)
_SIZE = "1000.00"  # contracts at the best level; no world knows depth


def write_time(at: datetime) -> str:
    """RFC 3339 in UTC, to the second.

    >>> from datetime import UTC
    >>> write_time(datetime(2026, 1, 5, tzinfo=UTC))
    '2026-01-05T00:00:00Z'
    """
    return f"{at:%Y-%m-%dT%H:%M:%SZ}" if at.year >= 1000 else at.isoformat()


class Board:
    """The markets of a world as Kalshi shows them, remembered for as long as the clock stands still."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._at: datetime | None = None
        self._statuses: dict[str, MarketStatus] = {}
        self._written: dict[str, dict[str, Any]] = {}
        has_fine_prices = world.kind == "archive"
        self._fixed = {
            ticker: _write_fixed(market, has_fine_prices=has_fine_prices) for ticker, market in world.markets.items()
        }
        self.tickers = tuple(world.markets)
        self.events: dict[str, tuple[str, ...]] = {}
        self.series: dict[str, str] = {}
        for ticker, market in world.markets.items():
            self.events[market.event_ticker] = (*self.events.get(market.event_ticker, ()), ticker)
            self.series.setdefault(market.series_ticker, market.category)
        self.event_tickers = tuple(self.events)

    def turn_to(self, at: datetime) -> None:
        """Show the world as of `at` from now on."""
        if at != self._at:
            self._at = at
            self._statuses = {}
            self._written = {}

    def status(self, ticker: str) -> MarketStatus:
        """The market's status at the instant turned to."""
        found = self._statuses.get(ticker)
        if found is None:
            found = self._statuses[ticker] = self._world.status(ticker, self._now)
        return found

    def market(self, ticker: str) -> dict[str, Any]:
        """The market object at the instant turned to."""
        found = self._written.get(ticker)
        if found is None:
            found = self._written[ticker] = self._write_market(ticker)
        return found

    def order_book(self, ticker: str) -> dict[str, list[list[str]]]:
        """Both sides' bids, one level each."""
        market = self.market(ticker)
        sides = (market["yes_bid_dollars"], market["no_bid_dollars"])
        yes, no = ([[price, _SIZE]] if price != "0.0000" else [] for price in sides)
        return {"yes_dollars": yes, "no_dollars": no}

    def event(self, event_ticker: str, *, is_nested: bool) -> dict[str, Any]:
        """The event object, with its market objects if `is_nested`."""
        tickers = self.events[event_ticker]
        first = self._world.markets[tickers[0]]
        questions = {self._world.markets[ticker].question for ticker in tickers}
        event: dict[str, Any] = {
            "event_ticker": event_ticker,
            "series_ticker": first.series_ticker,
            # clients put the title before each outcome's label, so it must not be one question of several
            "title": first.event_title or (first.question if len(questions) == 1 else event_ticker),
            "sub_title": "",
            "category": first.category,
            "mutually_exclusive": False,
            "collateral_return_type": "",
            "strike_date": None,
            "strike_period": "",
            "available_on_brokers": False,
        }
        if is_nested:
            event["markets"] = [self.market(ticker) for ticker in tickers]
        return event

    def event_status(self, event_ticker: str) -> MarketStatus | None:
        """Open if one of its markets is, settled if all are; ``None`` where neither that nor closed fits."""
        statuses = {self.status(ticker) for ticker in self.events[event_ticker]}
        if MarketStatus.ACTIVE in statuses:
            return MarketStatus.ACTIVE
        if statuses == {MarketStatus.SETTLED}:
            return MarketStatus.SETTLED
        if statuses <= {MarketStatus.CLOSED, MarketStatus.SETTLED}:
            return MarketStatus.CLOSED
        return MarketStatus.UNOPENED if statuses == {MarketStatus.UNOPENED} else None

    def write_series(self, series_ticker: str) -> dict[str, Any]:
        """The series object."""
        return {
            "ticker": series_ticker,
            "title": series_ticker,
            "category": self.series[series_ticker],
            "frequency": "custom",
            "tags": [],
            "settlement_sources": [],
            "contract_url": "",
            "contract_terms_url": "",
            "additional_prohibitions": [],
            "fee_type": "quadratic",
            "fee_multiplier": 1,
        }

    @property
    def _now(self) -> datetime:
        if self._at is None:
            raise RuntimeError("turn_to comes first")
        return self._at

    def _write_market(self, ticker: str) -> dict[str, Any]:
        status = self.status(ticker)
        quote = None if status is MarketStatus.UNOPENED else self._world.quote(ticker, self._now)
        market = self._world.markets[ticker]
        return {
            **self._fixed[ticker],
            **_write_quote(quote),
            "status": _STATUS[status],
            **_write_result(market if status is MarketStatus.SETTLED else None),
        }


def _write_fixed(market: WorldMarket, *, has_fine_prices: bool) -> dict[str, Any]:
    opened, closes = write_time(market.opened_at), write_time(market.closes_at)
    return {
        "ticker": market.ticker,
        "event_ticker": market.event_ticker,
        "market_type": "binary",
        "title": market.question,
        "subtitle": "",
        "yes_sub_title": market.outcome_label or market.question,
        "no_sub_title": market.outcome_label or market.question,
        "created_time": opened,
        "open_time": opened,
        "close_time": closes,
        "expected_expiration_time": closes,
        "latest_expiration_time": closes,
        "rules_primary": market.rules,
        "rules_secondary": "",
        "can_close_early": True,
        "notional_value_dollars": "1.0000",
        "price_level_structure": "deci_cent" if has_fine_prices else "linear_cent",
        "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0001" if has_fine_prices else "0.0100"}],
        "is_provisional": False,
        "exchange_index": 0,
    }


def _write_quote(quote: Quote | None) -> dict[str, Any]:
    bid = quote.yes_bid if quote else None
    ask = quote.yes_ask if quote else None
    last = quote.last_price if quote else None
    volume = quote.volume if quote else None
    bid_price, ask_price = bid or _ZERO, _ONE if ask is None else ask
    return {
        "yes_bid_dollars": f"{bid_price:.4f}",
        "yes_ask_dollars": f"{ask_price:.4f}",
        "no_bid_dollars": f"{_ONE - ask_price:.4f}",
        "no_ask_dollars": f"{_ONE - bid_price:.4f}",
        "yes_bid_size_fp": _SIZE if bid_price > _ZERO else "0.00",
        "yes_ask_size_fp": _SIZE if ask_price < _ONE else "0.00",
        "last_price_dollars": f"{last or _ZERO:.4f}",
        # null says unknown, which the real exchange never has to say and an archive does
        "volume_fp": None if volume is None else f"{volume:.2f}",
        "volume_24h_fp": None if volume is None else "0.00",
        "open_interest_fp": None if volume is None else "0.00",
    }


def _write_result(market: WorldMarket | None) -> dict[str, Any]:
    if market is None or market.resolved_at is None or market.outcome is None:
        return {"result": "", "settlement_value_dollars": None, "settlement_ts": None, "expiration_value": ""}
    result = "yes" if market.outcome else "no"
    return {
        "result": result,
        "settlement_value_dollars": "1.0000" if market.outcome else "0.0000",
        "settlement_ts": write_time(market.resolved_at),
        "expiration_value": result,
    }
