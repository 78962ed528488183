"""Every fault of the sandbox's venue that is no page, against the client: what can be waited for, and what cannot."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest
import stamina

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.errors import VenueError, VenueUnavailableError
from ensemble_pipeline.sandbox.faults import OF_PROVIDERS, OF_THE_VENUE, FaultKind
from ensemble_pipeline.venues.kalshi import KalshiVenue
from ensemble_pipeline.venues.kalshi.client import ATTEMPTS
from ensemble_pipeline_tests.sandbox.running import running_sandbox
from ensemble_pipeline_tests.sandbox.small_world import START, SmallWorld, make_market
from ensemble_pipeline_tests.store.rows import quote_of

# asking again can help: three attempts are made before the look is given up
PASSING = (
    "rate_limited",
    "overloaded",
    "server_error",
    "bad_gateway",
    "unavailable",
    "gateway_timeout",
    "reset",
)
ENDLESS = ("hang", "slow_drip")
LASTING = ("out_of_credit", "wrong_key", "html", "cut_json", "body_twice")
HARMLESS = ("stall", "response_twice")


@pytest.fixture(autouse=True)
def _no_waiting_between_attempts() -> Iterator[None]:
    with stamina.set_testing(True, attempts=ATTEMPTS):
        yield


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    world = SmallWorld({"A-1": make_market("A-1", "A", opens=0, closes=30, settles=31)})
    world.quotes["A-1"] = quote_of("0.40", "0.42", volume="10", at=START)
    with running_sandbox(world, SteppedClock(START)) as client:
        yield client


@pytest.fixture(autouse=True)
def _clear(client: httpx.Client) -> Iterator[None]:
    yield
    client.delete("/faults").raise_for_status()


def look(client: httpx.Client, kind: str, count: int, timeout_s: float = 10) -> list[str]:
    """The markets of a look during which `count` requests are struck."""
    fault = {"target": "kalshi", "kind": kind, "count": count, "stall_s": 0.01}
    client.post("/faults", json=fault).raise_for_status()

    async def run() -> list[str]:
        venue = KalshiVenue(f"{str(client.base_url).rstrip('/')}/trade-api/v2", timeout_s, SteppedClock(START))
        try:
            return [it.market.ticker for it in (await venue.open_markets()).listings]
        finally:
            await venue.aclose()

    return asyncio.run(run())


def test_every_fault_of_the_venue_that_is_no_page_is_tried_here() -> None:
    assert {*PASSING, *ENDLESS, *LASTING, *HARMLESS} == set(FaultKind) - OF_PROVIDERS - OF_THE_VENUE


@pytest.mark.parametrize("kind", PASSING)
def test_fault_that_passes_is_waited_out_and_one_that_stays_ends_the_look(client: httpx.Client, kind: str) -> None:
    assert look(client, kind, ATTEMPTS - 1) == ["A-1"]
    with pytest.raises(VenueUnavailableError, match="next tick asks again"):
        look(client, kind, ATTEMPTS)
    assert client.get("/faults").json() == []


@pytest.mark.parametrize("kind", ENDLESS)
def test_reply_that_never_ends_is_given_up_at_the_time_limit_each_time(client: httpx.Client, kind: str) -> None:
    with pytest.raises(VenueUnavailableError, match=r"within 0\.1 s"):
        look(client, kind, ATTEMPTS, timeout_s=0.1)
    assert client.get("/faults").json() == []


@pytest.mark.parametrize("kind", LASTING)
def test_fault_that_waiting_does_not_help_ends_the_look_at_once(client: httpx.Client, kind: str) -> None:
    with pytest.raises(VenueError) as caught:
        look(client, kind, 1)
    assert not isinstance(caught.value, VenueUnavailableError)
    assert "/events" in str(caught.value)
    assert client.get("/faults").json() == []


@pytest.mark.parametrize("kind", HARMLESS)
def test_fault_that_leaves_the_page_whole_changes_nothing(client: httpx.Client, kind: str) -> None:
    assert look(client, kind, 1) == ["A-1"]
