"""What the sandbox plays: markets with prices and outcomes, and models with answers.

A world is a pure function of its definition and an instant: asked twice about the same instant it says the same.
It never tells a client anything that lies after that instant.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal, Protocol

from ensemble_pipeline.domain import MarketStatus, Quote

WorldKind = Literal["archive", "synthetic"]


@dataclass(frozen=True, slots=True)
class WorldMarket:
    """One question; `resolved_at` and `outcome` are ``None`` where it never settles.

    `event_title` and `outcome_label` word a market that shares its event with others ("High temperature on Monday",
    "above 60°F"); both are empty where the question alone says it.
    """

    ticker: str
    event_ticker: str
    series_ticker: str
    category: str
    question: str
    rules: str
    opened_at: datetime
    closes_at: datetime
    resolved_at: datetime | None
    outcome: bool | None
    event_title: str = ""
    outcome_label: str = ""


@dataclass(frozen=True, slots=True)
class WorldModel:
    """One model that can be asked. `name` is its identity in scores, `wire_model` its id on the wire.

    `shutdown_date` is its last day as its provider announced it, where one did.
    """

    name: str
    provider: str
    wire_model: str
    input_usd_per_mtok: Decimal
    output_usd_per_mtok: Decimal
    shutdown_date: date | None = None


class FailureKind(StrEnum):
    """How a call fails in a world."""

    UNAVAILABLE = "unavailable"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class WorldAnswer:
    """What a model says about a market at an instant: a probability, or the way it fails.

    `latency_ms`, `input_tokens`, `output_tokens` and `cost_usd` are ``None`` where the world does not know them;
    the sandbox then derives tokens from the texts and the cost from the model's price.
    """

    p_yes: float | None
    failure: FailureKind | None = None
    confidence: float | None = None
    latency_ms: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: Decimal | None = None


class World(Protocol):
    """Anything the sandbox can play."""

    key: str
    kind: WorldKind
    starts_at: datetime
    ends_at: datetime
    markets: Mapping[str, WorldMarket]
    models: tuple[WorldModel, ...]

    def status(self, ticker: str, at: datetime) -> MarketStatus:
        """The market's status at `at`; `PAUSED` while the world has no present observation of it."""
        ...

    def quote(self, ticker: str, at: datetime) -> Quote | None:
        """The latest quote at or before `at`, or ``None`` where nothing was observed yet."""
        ...

    def answer(self, wire_model: str, ticker: str, at: datetime) -> WorldAnswer | None:
        """The model's answer at `at`; ``None`` where the world holds none."""
        ...

    def next_event_after(self, at: datetime) -> datetime | None:
        """The next instant of a new quote or forecast, an opening, a close or a settlement; ``None`` at the end."""
        ...
