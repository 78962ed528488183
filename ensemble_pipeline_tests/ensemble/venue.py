"""The sandbox as venue and providers, for the length of a test."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, TypeVar

import httpx
import pytest

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.ensemble import decide
from ensemble_pipeline.ensemble.context import BatchContext
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.intake import Scan, scan_markets
from ensemble_pipeline.ensemble.plan import Plan
from ensemble_pipeline.ensemble.settlement import SettlementNews, bring_resolutions
from ensemble_pipeline.sandbox.world import WorldAnswer, WorldMarket, WorldModel
from ensemble_pipeline.settings import Settings
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.venues.kalshi.client import KalshiVenue
from ensemble_pipeline_tests.sandbox.running import running_sandbox
from ensemble_pipeline_tests.sandbox.small_world import HOUR, MODELS, START, SmallWorld, make_market
from ensemble_pipeline_tests.store.rows import quote_of

KEYS = ("XAI_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENROUTER_API_KEY")
T = TypeVar("T")


@dataclass
class Play:
    """A small world, the instance that looks at it, and the way to put faults in between."""

    world: SmallWorld
    instance: Instance
    clock: SteppedClock
    client: httpx.Client

    def fault(self, target: str, kind: str, count: int | None = 1, stall_s: float = 1.0, **more: Any) -> None:
        """Let the next calls to `target` go wrong; `more` are the other fields of a fault, such as its `model`."""
        body = {"target": target, "kind": kind, "count": count, "stall_s": stall_s, **more}
        self.client.post("/faults", json=body).raise_for_status()

    def reached(self) -> dict[str, Any]:
        """What reached the sandbox so far: requests and completions, as GET /calls tells them."""
        counts: dict[str, Any] = self.client.get("/calls").json()
        return counts

    def manners(self, provider: str, **manners: Any) -> None:
        """Let a provider's server have its ways from now on."""
        self.client.post("/manners", json={"provider": provider, **manners}).raise_for_status()

    def price(self, ticker: str, bid: str | None, ask: str | None, *, volume: str | None = "100000") -> None:
        """Put a book on a market from now on."""
        self.world.quotes[ticker] = quote_of(bid, ask, volume=volume, at=self.clock.now())

    def put(self, market: WorldMarket) -> None:
        """Let the world hold another truth about a market from now on."""
        self.world.markets = {**self.world.markets, market.ticker: market}

    def with_venue(self, work: Callable[[KalshiVenue], Awaitable[T]]) -> T:
        """Run `work` with a venue client of its own."""

        async def run() -> T:
            venue = KalshiVenue(self.instance.settings.kalshi_base_url, 10, self.clock)
            try:
                return await work(venue)
            finally:
                await venue.aclose()

        return asyncio.run(run())

    def scan(self, cursor: str | None = None) -> Scan:
        """Look at the venue's markets once."""
        return self.with_venue(lambda venue: scan_markets(self.instance, venue, cursor))

    def bring(self) -> SettlementNews:
        """Look at the venue's settlements once."""
        return self.with_venue(lambda venue: bring_resolutions(self.instance, venue))

    def plan(self, batch_id: int | None = None) -> tuple[BatchContext, list[Plan]]:
        """Load and plan what waits."""
        batch, waiting = decide.load(self.instance, batch_id)
        return decide.plan(self.instance, waiting, batch, "run")

    def decide(self, batch_id: int | None = None) -> decide.Recorded:
        """All six steps."""
        context, plans = self.plan(batch_id)
        plans = asyncio.run(decide.consult(self.instance, context, plans)).still_open(plans)
        opinions = decide.combine(self.instance, context, plans)
        made = self.with_venue(lambda venue: decide.size(self.instance, venue, context, plans, opinions))
        return decide.record(self.instance, context, made)

    def rows(self, statement: str) -> list[dict[str, Any]]:
        """What a query finds."""
        with self.instance.database.connection() as connection:
            return connection.execute(statement).fetchall()

    def change_member(self, name: str, **changes: Any) -> None:
        """Go on with one member set otherwise."""
        members = self.instance.settings.model_dump()["members"]
        self.change(members=[it | changes if it["name"] == name else it for it in members])

    def change(self, **sections: Any) -> None:
        """Go on with other settings; a section given replaces the old one."""
        raw = self.instance.settings.model_dump() | sections
        self.instance = replace(self.instance, settings=Settings.model_validate(raw))


@contextmanager
def playing(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    *tickers: str,
    closes: int = 300,
    settles: int | None = None,
    models: tuple[WorldModel, ...] = MODELS,
    **sections: Any,
) -> Iterator[Play]:
    """A world of these markets, priced at 0.40 to 0.42, whose five models all say 0.7."""
    for key in KEYS:
        monkeypatch.setenv(key, "sandbox")
    markets = {
        ticker: make_market(ticker, ticker.partition("-")[0], opens=0, closes=closes, settles=settles)
        for ticker in tickers
    }
    world = SmallWorld(markets, models=models)
    world.answers = {
        model.wire_model: WorldAnswer(p_yes=0.7, confidence=0.9, cost_usd=Decimal("0.001")) for model in MODELS
    }
    clock = SteppedClock(START + HOUR)
    with running_sandbox(world, clock) as client:
        url = str(client.base_url).rstrip("/")
        members = [
            {
                "name": model.name,
                "provider": model.provider,
                "model": model.wire_model,
                "input_usd_per_mtok": "2",
                "output_usd_per_mtok": "10",
            }
            for model in MODELS
        ]
        providers = {model.provider: {"base_url": f"{url}/providers/{model.provider}/v1"} for model in MODELS}
        base = {"members": members, "providers": providers, "kalshi_base_url": f"{url}/trade-api/v2"}
        settings = Settings.model_validate(base | {"budget": UNLIMITED} | sections)
        play = Play(world, Instance(settings, database, clock), clock, client)
        for ticker in tickers:
            play.price(ticker, "0.40", "0.42")
        yield play


UNLIMITED = dict.fromkeys(("day_soft_usd", "day_hard_usd", "decision_usd", "market_day_usd"), "unlimited")
