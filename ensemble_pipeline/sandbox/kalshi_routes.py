"""Kalshi's public read paths over a ``Board``: filters, pages, errors.

Belongs here: what a path accepts and refuses. Does not: what the objects look like (``kalshi_wire``).
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ensemble_pipeline.clock import Clock
from ensemble_pipeline.domain import MarketStatus
from ensemble_pipeline.sandbox.kalshi_wire import FILTERS, Board
from ensemble_pipeline.sandbox.world import World

_MAX_MARKETS, _MAX_EVENTS, _MAX_BOOKS = 1000, 200, 100


class _RefusedError(Exception):
    def __init__(self, status: int, code: str, details: str) -> None:
        super().__init__(details)
        self.status, self.code, self.details = status, code, details


def kalshi_routes(world: World, clock: Clock) -> list[Route]:
    """The routes below ``/trade-api/v2``."""
    venue = _KalshiReads(world, clock)
    handlers: dict[str, Callable[[Request], dict[str, Any]]] = {
        "/exchange/status": venue.exchange_status,
        "/events": venue.list_events,
        "/events/{ticker}": venue.read_event,
        "/markets": venue.list_markets,
        "/markets/orderbooks": venue.list_order_books,
        "/markets/{ticker}": venue.read_market,
        "/markets/{ticker}/orderbook": venue.read_order_book,
        "/series/{ticker}": venue.read_series,
    }
    return [Route(f"/trade-api/v2{path}", venue.endpoint(handle)) for path, handle in handlers.items()]


def kalshi_error(status: int, code: str, details: str) -> Response:
    """An error the way the exchange words it."""
    error = {"code": code, "message": code.replace("_", " "), "details": details, "service": "exchange"}
    return Response(json.dumps({"error": error}), status, media_type="application/json")


class _KalshiReads:
    def __init__(self, world: World, clock: Clock) -> None:
        self._world = world
        self._clock = clock
        self._board = Board(world)

    def endpoint(self, handle: Callable[[Request], dict[str, Any]]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            self._board.turn_to(self._clock.now())
            try:
                body = handle(request)
            except _RefusedError as refused:
                return kalshi_error(refused.status, refused.code, refused.details)
            return Response(json.dumps(body), media_type="application/json")

        return answer

    def exchange_status(self, _: Request) -> dict[str, Any]:
        return {"exchange_active": True, "trading_active": True, "exchange_estimated_resume_time": None}

    def list_events(self, request: Request) -> dict[str, Any]:
        wanted = _status_filter(request)
        is_nested = request.query_params.get("with_nested_markets", "false").lower() == "true"
        series = request.query_params.get("series_ticker")
        matching = (
            (index, ticker)
            for index, ticker in _from_cursor(request, self._board.event_tickers)
            if (wanted is None or self._board.event_status(ticker) is wanted)
            and (not series or self._world.markets[self._board.events[ticker][0]].series_ticker == series)
        )
        page, cursor = _take(matching, _limit(request, _MAX_EVENTS, default=200))
        return {"events": [self._board.event(ticker, is_nested=is_nested) for ticker in page], "cursor": cursor}

    def read_event(self, request: Request) -> dict[str, Any]:
        ticker = _known(request, self._board.events, "event")
        is_nested = request.query_params.get("with_nested_markets", "false").lower() == "true"
        body: dict[str, Any] = {"event": self._board.event(ticker, is_nested=is_nested)}
        if not is_nested:
            body["markets"] = [self._board.market(market) for market in self._board.events[ticker]]
        return body

    def list_markets(self, request: Request) -> dict[str, Any]:
        limit = _limit(request, _MAX_MARKETS, default=100)
        wanted = _status_filter(request)
        is_wanted = self._market_filter(request)
        matching = (
            (index, ticker)
            for index, ticker in _from_cursor(request, self._board.tickers)
            if (wanted is None or self._board.status(ticker) is wanted) and is_wanted(ticker)
        )
        page, cursor = _take(matching, limit)
        return {"markets": [self._board.market(ticker) for ticker in page], "cursor": cursor}

    def read_market(self, request: Request) -> dict[str, Any]:
        return {"market": self._board.market(_known(request, self._world.markets, "market"))}

    def read_order_book(self, request: Request) -> dict[str, Any]:
        return {"orderbook_fp": self._board.order_book(_known(request, self._world.markets, "market"))}

    def list_order_books(self, request: Request) -> dict[str, Any]:
        tickers = _ticker_list(request)
        if not tickers or len(tickers) > _MAX_BOOKS:
            raise _RefusedError(400, "bad_request", f"tickers: between 1 and {_MAX_BOOKS} are needed")
        books = [
            {"ticker": ticker, "orderbook_fp": self._board.order_book(ticker)}
            for ticker in tickers
            if ticker in self._world.markets
        ]
        return {"orderbooks": books}

    def read_series(self, request: Request) -> dict[str, Any]:
        return {"series": self._board.write_series(_known(request, self._board.series, "series"))}

    def _market_filter(self, request: Request) -> Callable[[str], bool]:
        query = request.query_params
        tickers = frozenset(_ticker_list(request))
        event, series = query.get("event_ticker"), query.get("series_ticker")
        since, until = _seconds(request, "min_settled_ts"), _seconds(request, "max_settled_ts")

        def is_wanted(ticker: str) -> bool:
            market = self._world.markets[ticker]
            if (tickers and ticker not in tickers) or (event and market.event_ticker != event):
                return False
            if series and market.series_ticker != series:
                return False
            if since is None and until is None:
                return True
            if market.resolved_at is None or self._board.status(ticker) is not MarketStatus.SETTLED:
                return False
            settled = market.resolved_at.timestamp()
            return (since is None or settled >= since) and (until is None or settled <= until)

        return is_wanted


def _ticker_list(request: Request) -> list[str]:
    given = request.query_params.getlist("tickers")
    return [ticker for part in given for ticker in part.split(",") if ticker]


def _known(request: Request, known: Iterable[str], what: str) -> str:
    ticker: str = request.path_params["ticker"]
    if ticker not in known:
        raise _RefusedError(404, "not_found", f"{what} {ticker} not found")
    return ticker


def _status_filter(request: Request) -> MarketStatus | None:
    given = request.query_params.get("status")
    if not given:
        return None
    if given not in FILTERS:
        raise _RefusedError(400, "bad_request", f"status: one of {', '.join(FILTERS)}")
    return FILTERS[given]


def _limit(request: Request, most: int, default: int) -> int:
    limit = _seconds(request, "limit")
    if limit is None:
        return default
    if not 1 <= limit <= most:
        raise _RefusedError(400, "bad_request", f"limit: between 1 and {most}")
    return limit


def _seconds(request: Request, name: str) -> int | None:
    given = request.query_params.get(name)
    if not given:
        return None
    try:
        return int(given)
    except ValueError:
        raise _RefusedError(400, "bad_request", f"{name}: an integer is needed") from None


def _from_cursor(request: Request, tickers: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    given = request.query_params.get("cursor", "")
    try:
        start = int(urlsafe_b64decode(given.encode())) if given else 0
    except ValueError:
        raise _RefusedError(400, "bad_request", "cursor: not one of ours") from None
    # a cursor is a place in the world's fixed order, so pages neither overlap nor skip while the clock moves
    return ((index, tickers[index]) for index in range(max(start, 0), len(tickers)))


def _take(matching: Iterator[tuple[int, str]], limit: int) -> tuple[list[str], str]:
    page: list[str] = []
    for index, ticker in matching:
        if len(page) == limit:
            return page, urlsafe_b64encode(str(index).encode()).decode()
        page.append(ticker)
    return page, ""
