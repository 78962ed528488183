"""``KalshiVenue``: the reads of ``venues.base.Venue`` against Kalshi's public REST API."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NoReturn

import httpx
import stamina

from ensemble_pipeline.clock import Clock, RealClock
from ensemble_pipeline.domain import Listing, Quote, RejectedRow, Settlement
from ensemble_pipeline.errors import SettingsError, VenueError, VenueUnavailableError
from ensemble_pipeline.network import is_loopback, ssl_context
from ensemble_pipeline.venues.base import ListingPage, SettlementBatch
from ensemble_pipeline.venues.kalshi.wire import VENUE, read_event, read_order_book, read_quote, read_settlement

EVENTS_PER_PAGE = 200
TICKERS_PER_CALL = 100
ATTEMPTS = 3

_LOG = logging.getLogger(__name__)


class KeyWantedError(VenueError):
    """Kalshi answered 401: this read is not public (any more)."""


class KalshiVenue:
    """Kalshi, read without a key. Lives within one event loop; close it after use.

    Each GET is tried up to three times within a few seconds where Kalshi does not answer or asks to slow down.
    """

    name = VENUE

    def __init__(self, base_url: str, timeout_s: float, clock: Clock | None = None) -> None:
        """Prepare for `base_url`; `timeout_s` bounds one attempt, `clock` dates the quotes (default: the machine's).

        Raises:
            SettingsError: `base_url` is no URL.
        """
        self._base_url = base_url
        self._timeout_s = timeout_s
        self._clock = clock or RealClock()
        self._retry = stamina.AsyncRetryingCaller(
            attempts=ATTEMPTS, timeout=None, wait_initial=0.2, wait_jitter=0.2, wait_max=2
        ).on(VenueUnavailableError)
        try:
            self._client = httpx.AsyncClient(
                base_url=base_url,
                headers={"accept": "application/json"},
                timeout=httpx.Timeout(timeout_s),
                verify=ssl_context(),
                trust_env=not is_loopback(base_url),
            )
        except httpx.InvalidURL as error:
            raise SettingsError(f"ENSEMBLE_KALSHI_BASE_URL is not a URL: {error}. Correct it.") from error

    async def open_markets(self, cursor: str | None = None) -> ListingPage:
        """One page of active binary markets (no combos), with their top of book.

        Raises:
            VenueUnavailableError: no answer, or asked to slow down, three times.
            VenueError: the answer is not Kalshi's wire format, or the cursor does not move on.
        """
        params = {"status": "open", "with_nested_markets": "true", "limit": str(EVENTS_PER_PAGE)}
        page = await self._get("/events", params | ({"cursor": cursor} if cursor else {}))
        observed_at = self._clock.now()
        listings: list[Listing] = []
        rejected: list[RejectedRow] = []
        for raw in self._rows(page, "events"):
            found, refused = read_event(raw, observed_at)
            listings += found
            rejected += refused
        next_cursor = self._next_cursor(page)
        if next_cursor is not None and next_cursor == cursor:
            raise self._stuck(next_cursor)
        return ListingPage(tuple(listings), next_cursor, tuple(rejected))

    async def quotes(self, tickers: Sequence[str]) -> dict[str, Quote]:
        """Fresh tops of book; unknown tickers are absent, and so are rows that make no sense, which are logged.

        Raises as `open_markets` does.
        """
        return await self._read_in_chunks("/markets", "markets", read_quote, tickers)

    async def order_books(self, tickers: Sequence[str]) -> dict[str, Quote]:
        """The best level of each side with its size; where Kalshi wants a key for books, the markets' top of book.

        Raises as `open_markets` does.
        """
        try:
            return await self._read_in_chunks("/markets/orderbooks", "orderbooks", read_order_book, tickers)
        except KeyWantedError:
            return await self.quotes(tickers)

    async def _read_in_chunks(
        self,
        path: str,
        key: str,
        read: Callable[[object, datetime], tuple[str, Quote] | RejectedRow],
        tickers: Sequence[str],
    ) -> dict[str, Quote]:
        quotes: dict[str, Quote] = {}
        asked = list(dict.fromkeys(tickers))
        for start in range(0, len(asked), TICKERS_PER_CALL):
            chunk = asked[start : start + TICKERS_PER_CALL]
            page = await self._get(path, {"tickers": ",".join(chunk), "limit": str(TICKERS_PER_CALL)})
            observed_at = self._clock.now()
            for raw in self._rows(page, key):
                row = read(raw, observed_at)
                if isinstance(row, RejectedRow):
                    _LOG.warning("%s row %s refused: %s", row.source, row.key, row.why)
                else:
                    quotes[row[0]] = row[1]
        return {ticker: quotes[ticker] for ticker in asked if ticker in quotes}

    async def settlements(self, tickers: Sequence[str]) -> SettlementBatch:
        """Which of `tickers` settled, finally: until then a result can be disputed and amended.

        All or nothing: a page that fails fails the call. Of a market whose rows contradict each other nothing is taken.
        Kalshi lists a settled market for about three months. Raises as `open_markets` does.
        """
        said: dict[str, Settlement | str] = {}
        rejected: list[RejectedRow] = []
        contradicted: set[str] = set()
        async for raw in self._market_rows(tickers):
            row = read_settlement(raw)
            if isinstance(row, RejectedRow):
                rejected.append(row)
                continue
            market_id = row if isinstance(row, str) else row.market_id
            if said.setdefault(market_id, row) != row:
                contradicted.add(market_id)
        rejected += [_contradiction(market_id) for market_id in sorted(contradicted)]
        taken = [row for market_id, row in said.items() if market_id not in contradicted]
        return SettlementBatch(
            tuple(row for row in taken if isinstance(row, Settlement)),
            tuple(row for row in taken if isinstance(row, str)),
            tuple(rejected),
        )

    async def aclose(self) -> None:
        """Release the connections."""
        await self._client.aclose()

    async def _market_rows(self, tickers: Sequence[str]) -> AsyncIterator[object]:
        asked = list(dict.fromkeys(tickers))
        for start in range(0, len(asked), TICKERS_PER_CALL):
            chunk = asked[start : start + TICKERS_PER_CALL]
            async for page in self._pages("/markets", {"tickers": ",".join(chunk), "limit": str(TICKERS_PER_CALL)}):
                for row in self._rows(page, "markets"):
                    yield row

    async def _pages(self, path: str, params: Mapping[str, str]) -> AsyncIterator[Mapping[str, Any]]:
        seen: set[str] = set()
        cursor: str | None = None
        while True:
            page = await self._get(path, dict(params) | ({"cursor": cursor} if cursor else {}))
            yield page
            cursor = self._next_cursor(page)
            if cursor is None:
                return
            if cursor in seen:
                raise self._stuck(cursor)
            seen.add(cursor)

    async def _get(self, path: str, params: Mapping[str, str]) -> Mapping[str, Any]:
        return await self._retry(self._get_once, path, params)

    async def _get_once(self, path: str, params: Mapping[str, str]) -> Mapping[str, Any]:
        try:
            # httpx bounds each read by itself, so a reply that trickles in could take forever
            async with asyncio.timeout(self._timeout_s):
                response = await self._client.get(path, params=params)
        except httpx.DecodingError as error:
            raise VenueError(f"Kalshi sent a reply to GET {path} that cannot be decompressed") from error
        except (httpx.HTTPError, TimeoutError) as error:
            raise VenueUnavailableError(
                f"Kalshi gave no reply to GET {path} within {self._timeout_s:g} s ({type(error).__name__}). Check the "
                "network and ENSEMBLE_KALSHI_BASE_URL; the next tick asks again."
            ) from error
        return _decode(response, path)

    def _rows(self, page: Mapping[str, Any], key: str) -> list[object]:
        rows = page.get(key)
        if not isinstance(rows, list):
            raise VenueError(f"Kalshi's page holds no list of {key}; its wire format may have changed")
        return rows

    def _next_cursor(self, page: Mapping[str, Any]) -> str | None:
        cursor = page.get("cursor")
        if cursor is not None and not isinstance(cursor, str):
            raise VenueError("Kalshi's page holds a cursor that is no text; its wire format may have changed")
        return cursor or None

    def _stuck(self, cursor: str) -> VenueError:
        return VenueError(f"Kalshi's pages run in a circle: cursor {cursor[:80]!a} came back. Nothing was taken.")


def _contradiction(market_id: str) -> RejectedRow:
    return RejectedRow("settlement", market_id, "was told twice in one look, and differently: nothing of it was taken")


def _decode(response: httpx.Response, path: str) -> Mapping[str, Any]:
    status = response.status_code
    if status in (408, 429) or status >= 500:
        raise VenueUnavailableError(f"Kalshi answered {status} to GET {path}; the next tick asks again")
    if status == httpx.codes.UNAUTHORIZED:
        raise KeyWantedError(f"Kalshi wants a key for GET {path}, and none is sent")
    if not response.is_success:
        raise VenueError(f"Kalshi refused GET {path} with {status}; check ENSEMBLE_KALSHI_BASE_URL")
    try:
        page = json.loads(response.content, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, ArithmeticError, RecursionError):
        kind = "a web page" if response.content.lstrip()[:1] == b"<" else "no JSON"
        raise VenueError(f"Kalshi answered GET {path} with {kind}; check ENSEMBLE_KALSHI_BASE_URL") from None
    if not isinstance(page, Mapping):
        raise VenueError(f"Kalshi answered GET {path} with JSON that is no object; its wire format may have changed")
    return page


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
