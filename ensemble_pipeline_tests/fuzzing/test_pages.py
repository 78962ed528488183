"""Made-up pages of the venue over real HTTP, and on into the database: no crash, and no price that no page states."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal

import pytest
import stamina
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.domain import Quote
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.intake import scan_markets
from ensemble_pipeline.ensemble.settlement import bring_resolutions
from ensemble_pipeline.errors import VenueError
from ensemble_pipeline.settings import Settings
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.venues.kalshi import KalshiVenue
from ensemble_pipeline.venues.kalshi.wire import CATEGORY_LENGTH, QUESTION_LENGTH, RULES_LENGTH
from ensemble_pipeline_tests.fuzzing.pages import Page, numbers_in, pages
from ensemble_pipeline_tests.providers.helpers import NOW
from ensemble_pipeline_tests.providers.loopback import serve

FULL_READ, FULL_KEPT = 1600, 400
TICKERS = ("KXA-1", "KXA-2", "KXB-1")

any_page = st.one_of(pages("events"), pages("markets"), pages("orderbooks"))


@dataclass
class Looker:
    """A venue that says what it is told to, and a client that looks at it."""

    url: str
    runner: asyncio.Runner
    says: list[Page]


@pytest.fixture(scope="module")
def looker() -> Iterator[Looker]:
    says: list[Page] = []

    async def answer(request: Request) -> Response:
        page = says[0]
        # the other pages of a look are empty
        is_asked_for = request.url.path.endswith(f"/{page.kind}") and "cursor" not in request.query_params
        if is_asked_for:
            return Response(page.body, page.status, media_type="application/json")
        return Response(b'{"events": [], "markets": [], "orderbooks": []}', media_type="application/json")

    with serve(answer) as server, asyncio.Runner() as runner, stamina.set_testing(True, attempts=1):
        yield Looker(server.url, runner, says)


def check_read(looker: Looker, page: Page) -> None:
    looker.says[:] = [page]

    async def run() -> None:
        venue = KalshiVenue(looker.url, 20, SteppedClock(NOW))
        try:
            await _look(venue, page)
        except VenueError:
            # refused by the one kind of error that is promised
            return
        finally:
            await venue.aclose()

    looker.runner.run(run())


async def _look(venue: KalshiVenue, page: Page) -> None:
    stated = numbers_in(page)
    if page.kind == "events":
        for listing in (await venue.open_markets()).listings:
            market = listing.market
            assert market.opened_at.tzinfo is market.closes_at.tzinfo is UTC
            assert market.opened_at < market.closes_at
            assert market.ticker.isascii()
            assert market.ticker.isprintable()
            assert len(market.question) <= QUESTION_LENGTH
            assert len(market.rules) <= RULES_LENGTH
            assert len(market.category) <= CATEGORY_LENGTH
            assert all(char.isprintable() or char == "\n" for char in market.question + market.rules + market.category)
            assert_stated(listing.quote, stated)
    elif page.kind == "orderbooks":
        for quote in (await venue.order_books(TICKERS)).values():
            assert_stated(quote, stated | {1 - it for it in stated if abs(it) <= 1})
    else:
        for quote in (await venue.quotes(TICKERS)).values():
            assert_stated(quote, stated)
        for settlement in (await venue.settlements(TICKERS)).settlements:
            assert settlement.resolved_at.tzinfo is UTC
            assert settlement.outcome is None or {True: b"yes", False: b"no"}[settlement.outcome] in page.body


def assert_stated(quote: Quote, stated: set[Decimal]) -> None:
    for price in (quote.yes_bid, quote.yes_ask, quote.last_price):
        assert price is None or (0 <= price <= 1 and price in stated), (price, stated)


@given(any_page)
def test_page_is_read_or_refused_and_states_what_is_read(looker: Looker, page: Page) -> None:
    check_read(looker, page)


@pytest.mark.slow
@settings(max_examples=FULL_READ)
@given(any_page)
def test_thousands_of_pages_are_read_or_refused(looker: Looker, page: Page) -> None:
    check_read(looker, page)


def check_kept(looker: Looker, database: Database, page: Page) -> None:
    """A look at markets, with a page in it, and one at settlements, both kept in the database."""
    looker.says[:] = [page]
    given_settings = Settings.model_validate({"kalshi_base_url": looker.url, "scan": {"max_horizon_days": 36500}})
    instance = Instance(given_settings, database, SteppedClock(NOW))

    async def run() -> None:
        venue = KalshiVenue(looker.url, 20, instance.clock)
        try:
            for look in (scan_markets(instance, venue, None), bring_resolutions(instance, venue)):
                try:
                    await look
                except VenueError:
                    # the next tick looks again
                    continue
        finally:
            await venue.aclose()

    looker.runner.run(run())


# one database for all examples: each is one more tick of the same instance
_kept = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@settings(_kept, max_examples=25)
@given(st.one_of(pages("events"), pages("markets")))
def test_what_is_read_of_a_page_can_be_kept(looker: Looker, database: Database, page: Page) -> None:
    check_kept(looker, database, page)


@pytest.mark.slow
@settings(_kept, max_examples=FULL_KEPT)
@given(st.one_of(pages("events"), pages("markets")))
def test_what_is_read_of_hundreds_of_pages_can_be_kept(looker: Looker, database: Database, page: Page) -> None:
    check_kept(looker, database, page)
