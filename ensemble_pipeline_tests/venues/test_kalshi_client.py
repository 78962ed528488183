import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

import pytest
import stamina
from starlette.requests import Request
from starlette.responses import Response

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.domain import MarketStatus, Settlement
from ensemble_pipeline.errors import SettingsError, VenueError, VenueUnavailableError
from ensemble_pipeline.venues.base import Venue
from ensemble_pipeline.venues.kalshi import KalshiVenue
from ensemble_pipeline_tests.providers.loopback import Handler, always, json_response, serve

T = TypeVar("T")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_waiting_between_attempts() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3):
        yield


def at(url: str, ask: Callable[[Venue], Awaitable[T]], timeout_s: float = 20) -> T:
    async def run() -> T:
        venue = KalshiVenue(url, timeout_s, SteppedClock(NOW))
        try:
            return await ask(venue)
        finally:
            await venue.aclose()

    return asyncio.run(run())


def market(ticker: str = "KXRAIN-1", **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "ticker": ticker,
        "event_ticker": "KXRAIN",
        "market_type": "binary",
        "status": "active",
        "yes_sub_title": "Over 1 inch",
        "no_sub_title": "Not over 1 inch",
        "open_time": "2026-11-20T00:00:00Z",
        "close_time": "2026-12-01T00:00:00.5Z",
        "yes_bid_dollars": "0.4100",
        "yes_ask_dollars": "0.4400",
        "last_price_dollars": "0.4200",
        "volume_fp": "1234.00",
        "rules_primary": "Any rain counts.",
        "rules_secondary": "NWS data.",
        "result": "",
    }
    return {key: value for key, value in (row | changes).items() if value is not ...}


def event(*markets: Any, **changes: Any) -> dict[str, Any]:
    return {
        "event_ticker": "KXRAIN",
        "series_ticker": "KXRAINS",
        "title": "Rain in NYC?",
        "category": "Climate",
        "markets": list(markets),
    } | changes


def events(*rows: Any, cursor: str = "") -> Handler:
    return always({"events": list(rows), "cursor": cursor})


def settled(ticker: str = "KXRAIN-1", result: str = "yes", **changes: Any) -> dict[str, Any]:
    return market(ticker, status="finalized", result=result, settlement_ts="2026-11-22T10:00:00Z", **changes)


def test_open_market_is_read_whole() -> None:
    with serve(events(event(market()), cursor="next")) as server:
        page = at(server.url + "/trade-api/v2", lambda venue: venue.open_markets("here"))
    (listing,) = page.listings
    found, quote = listing.market, listing.quote
    assert (found.market_id, found.event_id, found.series) == ("kalshi:KXRAIN-1", "kalshi:KXRAIN", "KXRAINS")
    assert found.question == "Rain in NYC? — Over 1 inch"
    assert found.rules == "Any rain counts.\n\nNWS data."
    assert (found.category, found.status) == ("Climate", MarketStatus.ACTIVE)
    assert found.closes_at == datetime(2026, 12, 1, 0, 0, 0, 500_000, tzinfo=UTC)
    assert (quote.yes_bid, quote.yes_ask, quote.last_price) == (Decimal("0.41"), Decimal("0.44"), Decimal("0.42"))
    assert (quote.volume, quote.observed_at) == (Decimal(1234), NOW)
    assert (page.next_cursor, page.rejected) == ("next", ())
    (seen,) = server.seen
    assert seen.path == "/trade-api/v2/events"
    assert seen.query == {"status": "open", "with_nested_markets": "true", "limit": "200", "cursor": "here"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"yes_bid_dollars": "0.0000", "yes_ask_dollars": "1.0000"}, (None, None, Decimal("0.42"))),
        ({"yes_bid_dollars": "0.0000"}, (None, Decimal("0.44"), Decimal("0.42"))),
        ({"yes_ask_dollars": "1.0000"}, (Decimal("0.41"), None, Decimal("0.42"))),
        (
            {
                "yes_bid_dollars": "0.0000",
                "yes_ask_dollars": "1.0000",
                "last_price_dollars": "0.0000",
                "volume_fp": "0.00",
            },
            (None, None, None),
        ),
        (
            {"yes_bid_dollars": "0.0000", "last_price_dollars": "0.0000", "volume_fp": "0.00"},
            (None, Decimal("0.44"), None),
        ),
        ({"last_price_dollars": None}, (Decimal("0.41"), Decimal("0.44"), None)),
    ],
)
def test_empty_sides_and_untraded_prices_are_no_quotes(changes: dict[str, Any], expected: Any) -> None:
    with serve(events(event(market(**changes)))) as server:
        quote = at(server.url, lambda venue: venue.open_markets()).listings[0].quote
    assert (quote.yes_bid, quote.yes_ask, quote.last_price) == expected


@pytest.mark.parametrize(
    ("title", "outcome", "question"),
    [
        ("Rain in NYC?", "", "Rain in NYC?"),
        ("Rain in NYC?", "Yes", "Rain in NYC?"),
        ("Rain in NYC?", "rain in NYC", "Rain in NYC?"),
        ("Trump or Biden?", "Trump", "Trump or Biden? — Trump"),
        ("Two\n lines\x00", "\u202eout", "Two lines — out"),
    ],
)
def test_question_joins_title_and_outcome(title: str, outcome: str, question: str) -> None:
    with serve(events(event(market(yes_sub_title=outcome), title=title))) as server:
        assert at(server.url, lambda venue: venue.open_markets()).listings[0].market.question == question


def test_markets_that_are_not_active_or_not_binary_are_passed_over() -> None:
    others = [market(f"KX-{status}", status=status) for status in ("initialized", "closed", "determined", "finalized")]
    rows = [*others, market("KX-S", market_type="scalar"), market("KX-A")]
    with serve(events(event(*rows), event(event_ticker="KXEMPTY"), event() | {"markets": None})) as server:
        page = at(server.url, lambda venue: venue.open_markets())
    assert [listing.market.ticker for listing in page.listings] == ["KX-A"]
    assert page.rejected == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"yes_ask_dollars": "1.3"}, ["yes_ask_dollars=1.3"]),
        ({"yes_bid_dollars": "-0.1"}, ["yes_bid_dollars=-0.1"]),
        ({"yes_bid_dollars": "NaN"}, ["yes_bid_dollars=NaN"]),
        ({"yes_bid_dollars": "cheap"}, ["yes_bid_dollars=cheap"]),
        ({"yes_bid_dollars": ...}, ["yes_bid_dollars", "missing"]),
        ({"volume_fp": "-1"}, ["volume_fp=-1"]),
        ({"volume_fp": "Infinity"}, ["volume_fp=Infinity"]),
        ({"close_time": ...}, ["close_time", "missing"]),
        ({"close_time": "soon"}, ["close_time=soon"]),
        ({"close_time": "2026-12-01T00:00:00"}, ["close_time", "timezone"]),
        ({"close_time": "2026-11-19T00:00:00Z"}, ["close_time", "open_time"]),
        ({"status": "wild"}, ["status=wild"]),
        ({"status": ...}, ["status", "missing"]),
        ({"rules_primary": 5}, ["rules_primary=5"]),
    ],
)
def test_bad_row_is_rejected_with_field_value_and_reason_and_the_others_survive(
    changes: dict[str, Any], words: list[str]
) -> None:
    with serve(events(event(market("KX-BAD", **changes), market("KX-GOOD")))) as server:
        page = at(server.url, lambda venue: venue.open_markets())
    assert [listing.market.ticker for listing in page.listings] == ["KX-GOOD"]
    (rejected,) = page.rejected
    assert rejected.key == "KX-BAD"
    assert all(word in rejected.why for word in words)


def test_rows_of_any_shape_are_rejected_one_by_one() -> None:
    odd: list[Any] = [None, 5, "text", [], {}, {"ticker": None}, {"ticker": "a b"}, {"ticker": "x" * 10_000}]
    bad_events: list[Any] = [
        None,
        "text",
        event(market(), title=""),
        event(market(), event_ticker=...) | {"markets": 5},
    ]
    body = [event(*odd, market("KX-GOOD")), *[row for row in bad_events if not isinstance(row, dict)], bad_events[2]]
    with serve(events(*body)) as server:
        page = at(server.url, lambda venue: venue.open_markets())
    assert [listing.market.ticker for listing in page.listings] == ["KX-GOOD"]
    assert len(page.rejected) == len(odd) + 3
    assert all(len(row.key) < 100 and row.why.isprintable() for row in page.rejected)


def test_cursor_that_does_not_move_on_is_an_error() -> None:
    with serve(events(event(market()), cursor="again")) as server, pytest.raises(VenueError, match="again"):
        at(server.url, lambda venue: venue.open_markets("again"))


def test_quotes_are_asked_in_chunks_and_unknown_or_bad_ones_are_absent(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: Request) -> Response:
        asked = request.query_params["tickers"].split(",")
        rows = [market(ticker) for ticker in asked if ticker != "KX-7"]
        bad = [market("KX-8", yes_ask_dollars="7")] if "KX-8" in asked else []
        return json_response({"markets": [row for row in rows if row["ticker"] != "KX-8"] + bad, "cursor": ""})

    tickers = [f"KX-{number}" for number in range(250)]
    with serve(handler) as server:
        quotes = at(server.url, lambda venue: venue.quotes([*tickers, "KX-0"]))
    assert list(quotes) == [ticker for ticker in tickers if ticker not in ("KX-7", "KX-8")]
    assert [len(seen.query["tickers"].split(",")) for seen in server.seen] == [100, 100, 50]
    assert "KX-8" in caplog.text
    assert "yes_ask_dollars=7" in caplog.text


def test_no_tickers_ask_nothing() -> None:
    with serve(always({})) as server:
        assert at(server.url, lambda venue: venue.quotes([])) == {}
    assert server.seen == []


def test_settlements_of_all_chunks_and_pages_are_read_once_they_are_final() -> None:
    pages = {
        "": {"markets": [settled("KX-Y"), settled("KX-N", "no"), settled("KX-OTHER")], "cursor": "two"},
        "two": {"markets": [settled("KX-S", "scalar"), settled("KX-V", "")], "cursor": "three"},
        "three": {"markets": [market("KX-D", status="determined", result="yes"), market("KX-A")], "cursor": None},
    }

    async def handler(request: Request) -> Response:
        if "KX-Y" not in request.query_params["tickers"]:
            return json_response({"markets": [], "cursor": ""})
        return json_response(pages[request.query_params.get("cursor", "")])

    tickers = ["KX-Y", "KX-N", "KX-S", "KX-V", "KX-D", "KX-A", *(f"KX-{number}" for number in range(120))]
    with serve(handler) as server:
        batch = at(server.url, lambda venue: venue.settlements(tickers))
    resolved_at = datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert batch.settlements == tuple(
        Settlement(f"kalshi:{ticker}", outcome, resolved_at)
        for ticker, outcome in (("KX-Y", True), ("KX-N", False), ("KX-OTHER", True), ("KX-S", None), ("KX-V", None))
    )
    assert batch.unsettled == ("kalshi:KX-D", "kalshi:KX-A")
    assert batch.rejected == ()
    assert server.seen[0].query == {"tickers": ",".join(tickers[:100]), "limit": "100"}
    assert server.seen[-1].query == {"tickers": ",".join(tickers[100:]), "limit": "100"}


@pytest.mark.parametrize("changes", [{"settlement_ts": None}, {"settlement_ts": "x"}, {"result": "maybe"}])
def test_bad_settlement_is_rejected_and_the_others_survive(changes: dict[str, Any]) -> None:
    rows = [settled("KX-BAD") | changes, settled("KX-GOOD")]
    with serve(always({"markets": rows, "cursor": ""})) as server:
        batch = at(server.url, lambda venue: venue.settlements(["KX-BAD", "KX-GOOD"]))
    assert [row.market_id for row in batch.settlements] == ["kalshi:KX-GOOD"]
    assert [row.key for row in batch.rejected] == ["KX-BAD"]


def test_pages_that_run_in_a_circle_are_an_error_that_takes_nothing() -> None:
    async def handler(request: Request) -> Response:
        cursor = {"": "a", "a": "b", "b": "a"}[request.query_params.get("cursor", "")]
        return json_response({"markets": [settled()], "cursor": cursor})

    with serve(handler) as server, pytest.raises(VenueError, match="'a'"):
        at(server.url, lambda venue: venue.settlements(["KXRAIN-1"]))
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    ("body", "status", "kind", "attempts"),
    [
        ("slow down", 429, VenueUnavailableError, 3),
        ("<html>down</html>", 503, VenueUnavailableError, 3),
        ("<html>maintenance</html>", 200, VenueError, 1),
        ('{"events": [', 200, VenueError, 1),
        ("[" * 100_000, 200, VenueError, 1),
        ([], 200, VenueError, 1),
        ({"events": None}, 200, VenueError, 1),
        ({"events": [], "cursor": 5}, 200, VenueError, 1),
        ({"error": {"code": "bad_request"}}, 400, VenueError, 1),
        ("", 302, VenueError, 1),
    ],
)
def test_unusable_answer_is_an_error_and_only_silence_is_asked_again(
    body: Any, status: int, kind: type[VenueError], attempts: int
) -> None:
    with serve(always(body, status)) as server, pytest.raises(VenueError) as caught:
        at(server.url, lambda venue: venue.open_markets())
    assert type(caught.value) is kind
    assert len(server.seen) == attempts


def test_hiccup_is_ridden_out() -> None:
    replies = iter([("", 502), ("", 429), ({"events": [event(market())], "cursor": ""}, 200)])

    async def handler(request: Request) -> Response:
        body, status = next(replies)
        return await always(body, status)(request)

    with serve(handler) as server:
        assert len(at(server.url, lambda venue: venue.open_markets()).listings) == 1


def test_silence_ends_at_the_time_limit() -> None:
    async def silent(_: Request) -> Response:
        await asyncio.Event().wait()
        return Response()

    with serve(silent) as server, pytest.raises(VenueUnavailableError, match=r"0\.2 s"):
        at(server.url, lambda venue: venue.open_markets(), timeout_s=0.2)


def test_nobody_listening_is_unavailable_and_names_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(VenueUnavailableError, match="ENSEMBLE_KALSHI_BASE_URL"):
        at(f"http://127.0.0.1:{port}", lambda venue: venue.open_markets())


def test_url_that_is_none_names_its_setting() -> None:
    with pytest.raises(SettingsError, match="ENSEMBLE_KALSHI_BASE_URL"):
        KalshiVenue("http://host:port", 1)


def book(ticker: str, yes: list[list[str]], no: list[list[str]]) -> dict[str, Any]:
    return {"ticker": ticker, "orderbook_fp": {"yes_dollars": yes, "no_dollars": no}}


def test_order_books_give_the_best_level_whatever_the_order_of_levels() -> None:
    books = [
        book("A", [["0.3000", "5.00"], ["0.4100", "7.00"]], [["0.5600", "9.00"], ["0.2000", "1.00"]]),
        book("B", [], [["0.9000", "0.00"], ["0.1000", "3.00"]]),
        book("C", [["1.3000", "1.00"]], []),
    ]
    with serve(always({"orderbooks": books})) as server:
        found = at(server.url, lambda venue: venue.order_books(["A", "B", "C"]))
    assert (found["A"].yes_bid, found["A"].yes_bid_size) == (Decimal("0.4100"), Decimal(7))
    assert (found["A"].yes_ask, found["A"].yes_ask_size) == (Decimal("0.4400"), Decimal(9))
    assert (found["B"].yes_bid, found["B"].yes_ask, found["B"].yes_ask_size) == (None, Decimal("0.9000"), Decimal(3))
    assert "C" not in found


def test_order_books_that_want_a_key_fall_back_to_the_top_of_book() -> None:
    async def answer(request: Request) -> Response:
        if request.url.path.endswith("/orderbooks"):
            return json_response({"error": {"code": "unauthorized"}}, status=401)
        return json_response({"markets": [market("A")], "cursor": ""})

    with serve(answer) as server:
        found = at(server.url, lambda venue: venue.order_books(["A"]))
    assert (found["A"].yes_bid, found["A"].yes_ask, found["A"].yes_ask_size) == (
        Decimal("0.4100"),
        Decimal("0.4400"),
        None,
    )
