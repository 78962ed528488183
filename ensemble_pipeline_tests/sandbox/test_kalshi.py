import asyncio
from collections.abc import Iterator
from decimal import Decimal

import httpx
import pytest

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.domain import MarketStatus, Quote
from ensemble_pipeline.sandbox.synthetic import SyntheticWorld
from ensemble_pipeline.venues.kalshi import KalshiVenue
from ensemble_pipeline_tests.sandbox.running import running_sandbox
from ensemble_pipeline_tests.sandbox.small_world import HOUR, START, SmallWorld, make_market

ROOT = "/trade-api/v2"
NOW = START + 10 * HOUR

MARKETS = [
    make_market("A-1-LATER", "A-1", opens=11, closes=30, settles=31),
    make_market("A-1-OPEN", "A-1", opens=0, closes=30, settles=31),
    make_market("A-1-PAUSED", "A-1", opens=0, closes=30, settles=31),
    make_market("B-1-CLOSED", "B-1", opens=0, closes=9, settles=11),
    make_market("B-2-SETTLED", "B-2", opens=0, closes=8, settles=9),
    make_market("B-3-SETTLED", "B-3", opens=0, closes=8, settles=10),
    make_market("B-4-NEVER", "B-4", opens=0, closes=8, settles=None),
]
QUOTE = Quote(START, Decimal("0.41"), Decimal("0.43"), Decimal("0.42"), Decimal(1500))
ONE_SIDED = Quote(START, None, Decimal("0.0630"), None, None)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    world = SmallWorld({market.ticker: market for market in MARKETS})
    world.quotes = {"A-1-OPEN": QUOTE, "A-1-PAUSED": ONE_SIDED}
    with running_sandbox(world, SteppedClock(NOW)) as client:
        yield client


def tickers_of(client: httpx.Client, **params: str | int) -> list[str]:
    page = client.get(f"{ROOT}/markets", params=params).raise_for_status().json()
    return [market["ticker"] for market in page["markets"]]


def test_exchange_status_is_open(client: httpx.Client) -> None:
    assert client.get(f"{ROOT}/exchange/status").json()["trading_active"] is True


def test_market_object_with_quote_shows_four_decimals_and_both_sides(client: httpx.Client) -> None:
    market = client.get(f"{ROOT}/markets/A-1-OPEN").json()["market"]
    assert market["status"] == "active"
    assert market["yes_bid_dollars"] == "0.4100"
    assert market["yes_ask_dollars"] == "0.4300"
    assert market["no_bid_dollars"] == "0.5700"
    assert market["no_ask_dollars"] == "0.5900"
    assert market["last_price_dollars"] == "0.4200"
    assert market["volume_fp"] == "1500.00"
    assert market["result"] == ""
    assert market["settlement_ts"] is None


def test_market_object_with_empty_side_shows_the_worst_price(client: httpx.Client) -> None:
    market = client.get(f"{ROOT}/markets/A-1-PAUSED").json()["market"]
    assert (market["status"], market["yes_bid_dollars"], market["yes_ask_dollars"]) == ("inactive", "0.0000", "0.0630")
    assert (market["no_bid_dollars"], market["no_ask_dollars"]) == ("0.9370", "1.0000")
    assert market["volume_fp"] is None


def test_market_object_before_its_settlement_says_nothing_of_the_result(client: httpx.Client) -> None:
    market = client.get(f"{ROOT}/markets/B-1-CLOSED").json()["market"]
    assert (market["status"], market["result"], market["settlement_value_dollars"]) == ("closed", "", None)
    assert market["settlement_ts"] is None


def test_market_object_after_its_settlement_shows_the_result(client: httpx.Client) -> None:
    market = client.get(f"{ROOT}/markets/B-2-SETTLED").json()["market"]
    assert (market["status"], market["result"], market["settlement_value_dollars"]) == ("finalized", "yes", "1.0000")
    assert market["settlement_ts"] == "2026-01-05T09:00:00Z"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("unopened", ["A-1-LATER"]),
        ("open", ["A-1-OPEN"]),
        ("closed", ["B-1-CLOSED", "B-4-NEVER"]),
        ("settled", ["B-2-SETTLED", "B-3-SETTLED"]),
    ],
)
def test_list_markets_by_status_lists_exactly_these(client: httpx.Client, status: str, expected: list[str]) -> None:
    assert tickers_of(client, status=status, mve_filter="exclude") == expected


def test_list_markets_settled_since_is_inclusive(client: httpx.Client) -> None:
    tenth = int((START + 10 * HOUR).timestamp())
    assert tickers_of(client, status="settled", min_settled_ts=tenth) == ["B-3-SETTLED"]
    assert tickers_of(client, status="settled", max_settled_ts=tenth - 1) == ["B-2-SETTLED"]


def test_list_markets_by_ticker_event_and_series(client: httpx.Client) -> None:
    assert tickers_of(client, tickers="B-2-SETTLED,A-1-OPEN,NONE") == ["A-1-OPEN", "B-2-SETTLED"]
    assert tickers_of(client, event_ticker="B-2") == ["B-2-SETTLED"]
    assert len(tickers_of(client, series_ticker="A")) == 3


def test_pages_cover_everything_once_and_end_with_an_empty_cursor(client: httpx.Client) -> None:
    seen, cursor, pages = [], "", 0
    while True:
        page = client.get(f"{ROOT}/markets", params={"limit": 3, "cursor": cursor}).json()
        seen += [market["ticker"] for market in page["markets"]]
        cursor, pages = page["cursor"], pages + 1
        if not cursor:
            break
    assert seen == [market.ticker for market in MARKETS]
    assert pages == 3


def test_events_open_carry_their_markets_where_asked(client: httpx.Client) -> None:
    page = client.get(f"{ROOT}/events", params={"status": "open", "with_nested_markets": "true"}).json()
    (event,) = page["events"]
    assert (event["event_ticker"], event["series_ticker"], event["category"]) == ("A-1", "A", "Politics")
    assert [market["ticker"] for market in event["markets"]] == ["A-1-LATER", "A-1-OPEN", "A-1-PAUSED"]
    assert client.get(f"{ROOT}/events/A-1").json()["event"]["mutually_exclusive"] is False


def test_order_books_hold_bids_only(client: httpx.Client) -> None:
    book = client.get(f"{ROOT}/markets/A-1-OPEN/orderbook").json()["orderbook_fp"]
    assert book == {"yes_dollars": [["0.4100", "1000.00"]], "no_dollars": [["0.5700", "1000.00"]]}
    books = client.get(f"{ROOT}/markets/orderbooks", params={"tickers": "A-1-PAUSED,NONE"}).json()["orderbooks"]
    assert books == [
        {"ticker": "A-1-PAUSED", "orderbook_fp": {"yes_dollars": [], "no_dollars": [["0.9370", "1000.00"]]}}
    ]


def test_series_tells_its_fees(client: httpx.Client) -> None:
    series = client.get(f"{ROOT}/series/A").json()["series"]
    assert (series["fee_type"], series["fee_multiplier"]) == ("quadratic", 1)


@pytest.mark.parametrize("path", ["/markets/NONE", "/markets/NONE/orderbook", "/events/NONE", "/series/NONE", "/no"])
def test_unknown_is_404_in_kalshis_shape(client: httpx.Client, path: str) -> None:
    response = client.get(f"{ROOT}{path}")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "status=active", "cursor=%C3%A4", "min_settled_ts=soon"]
)
def test_impossible_parameter_is_400(client: httpx.Client, query: str) -> None:
    response = client.get(f"{ROOT}/markets?{query}")
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "bad_request"


async def _read_everything(
    base_url: str, clock: SteppedClock, tickers: list[str]
) -> tuple[dict[str, Quote], dict[str, bool | None]]:
    venue = KalshiVenue(base_url, 20, clock)
    try:
        listed: dict[str, Quote] = {}
        cursor: str | None = None
        while True:
            page = await venue.open_markets(cursor)
            assert page.rejected == ()
            listed.update({listing.market.ticker: listing.quote for listing in page.listings})
            cursor = page.next_cursor
            if cursor is None:
                break
        settled = await venue.settlements(tickers)
        assert settled.rejected == ()
        return listed, {row.market_id.removeprefix("kalshi:"): row.outcome for row in settled.settlements}
    finally:
        await venue.aclose()


def test_the_packages_own_client_reads_a_synthetic_world_exactly() -> None:
    world = SyntheticWorld(days=6, markets_per_day=5)
    clock = SteppedClock(world.starts_at + 72 * HOUR)
    with running_sandbox(world, clock) as client:
        listed, settled = asyncio.run(_read_everything(f"{client.base_url}{ROOT}", clock, list(world.markets)))
    at = clock.now()
    active = {ticker for ticker in world.markets if world.status(ticker, at) is MarketStatus.ACTIVE}
    assert set(listed) == active
    for ticker, quote in listed.items():
        truth = world.quote(ticker, at)
        assert truth is not None
        assert (quote.yes_bid, quote.yes_ask, quote.volume) == (truth.yes_bid, truth.yes_ask, truth.volume)
    assert settled == {
        ticker: market.outcome
        for ticker, market in world.markets.items()
        if world.status(ticker, at) is MarketStatus.SETTLED
    }
    assert settled
