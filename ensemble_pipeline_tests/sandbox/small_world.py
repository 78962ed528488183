"""A world of a few markets whose every quote and answer a test can set."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from ensemble_pipeline.domain import MarketStatus, Quote
from ensemble_pipeline.sandbox.world import WorldAnswer, WorldKind, WorldMarket, WorldModel

START = datetime(2026, 1, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)

MODELS = tuple(
    WorldModel(f"{provider}-model", provider, f"{provider}-model", Decimal(2), Decimal(10))
    for provider in ("openai", "xai", "openrouter", "local", "anthropic")
)


def make_market(ticker: str, event: str, *, opens: int, closes: int, settles: int | None) -> WorldMarket:
    return WorldMarket(
        ticker=ticker,
        event_ticker=event,
        series_ticker=event.partition("-")[0],
        category="Politics",
        question=f"Will {ticker} happen?",
        rules=f"Resolves YES if {ticker} happens.",
        opened_at=START + opens * HOUR,
        closes_at=START + closes * HOUR,
        resolved_at=None if settles is None else START + settles * HOUR,
        outcome=None if settles is None else True,
    )


@dataclass
class SmallWorld:
    markets: Mapping[str, WorldMarket]
    quotes: dict[str, Quote] = field(default_factory=dict)
    answers: dict[str, WorldAnswer | None] = field(default_factory=dict)
    models: tuple[WorldModel, ...] = MODELS
    key: str = "small"
    kind: WorldKind = "synthetic"
    starts_at: datetime = START
    ends_at: datetime = START + 100 * HOUR

    def status(self, ticker: str, at: datetime) -> MarketStatus:
        market = self.markets[ticker]
        if at < market.opened_at:
            return MarketStatus.UNOPENED
        if market.resolved_at is not None and at >= market.resolved_at:
            return MarketStatus.SETTLED
        if at >= market.closes_at:
            return MarketStatus.CLOSED
        return MarketStatus.PAUSED if ticker.endswith("PAUSED") else MarketStatus.ACTIVE

    def quote(self, ticker: str, at: datetime) -> Quote | None:
        found = self.quotes.get(ticker)
        return None if found is None or found.observed_at > at else found

    def answer(self, wire_model: str, ticker: str, at: datetime) -> WorldAnswer | None:
        del ticker, at
        return self.answers.get(wire_model)

    def next_event_after(self, at: datetime) -> datetime | None:
        return at + HOUR
