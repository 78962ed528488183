"""A world drawn from a seed: every probability, skill and failure in it is known.

Belongs here: the synthetic ``World``. Does not: how markets are drawn (``synthetic_markets``) and who the models
are (``synthetic_models``). All changes fall on a grid of six hours from the start.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from ensemble_pipeline.clock import require_utc
from ensemble_pipeline.domain import MarketStatus, Quote
from ensemble_pipeline.errors import InputError
from ensemble_pipeline.sandbox.synthetic_markets import STEP, SyntheticMarket, draw_markets
from ensemble_pipeline.sandbox.synthetic_models import DEFAULT_MODELS, Occasion, SyntheticModel, draw_answer
from ensemble_pipeline.sandbox.world import WorldAnswer, WorldKind, WorldMarket, WorldModel

DEFAULT_START = datetime(2026, 1, 5, tzinfo=UTC)


class SyntheticWorld:
    """A world of invented markets and models; the same arguments make the same world, to the last digit.

    Args:
        seed: What everything is drawn from.
        days: Length of the world in days, at least 2; everything has settled at its end.
        markets_per_day: Markets that open on each day but the last, at least 1.
        models: Who can be asked; wire ids must be unique.
        starts_at: First instant, timezone-aware.

    Raises:
        InputError: an argument is out of its range.
    """

    kind: WorldKind = "synthetic"

    def __init__(
        self,
        seed: int = 7,
        days: int = 30,
        markets_per_day: int = 10,
        models: Sequence[SyntheticModel] = DEFAULT_MODELS,
        starts_at: datetime = DEFAULT_START,
    ) -> None:
        if days < 2 or markets_per_day < 1:
            raise InputError(f"a world needs days ≥ 2 and markets_per_day ≥ 1; given {days} and {markets_per_day}")
        self._by_wire = {spec.model.wire_model: spec for spec in models}
        if len(self._by_wire) != len(models):
            raise InputError("two models of a world share a wire_model; give each its own")
        self._seed = seed
        self.key = f"synthetic-s{seed}-d{days}-m{markets_per_day}"
        self.starts_at = require_utc(starts_at, "starts_at")
        self.ends_at = self.starts_at + timedelta(days=days)
        drawn = draw_markets(seed, days, markets_per_day, self.starts_at)
        self._drawn: dict[str, SyntheticMarket] = {item.market.ticker: item for item in drawn}
        self.markets: Mapping[str, WorldMarket] = MappingProxyType(
            {ticker: item.market for ticker, item in self._drawn.items()}
        )
        self.models: tuple[WorldModel, ...] = tuple(spec.model for spec in models)
        self._events = self._collect_events()

    @property
    def true_skill_order(self) -> tuple[str, ...]:
        """Names of the models, the most skilled first."""
        return tuple(spec.model.name for spec in sorted(self._by_wire.values(), key=lambda spec: spec.noise_sd))

    def true_noise(self, model: str, category: str) -> float:
        """Standard deviation of a model's error in a category, in log-odds.

        Raises:
            InputError: no model of this world has that name.
        """
        for spec in self._by_wire.values():
            if spec.model.name == model:
                return spec.noise_in(category)
        raise InputError(f"unknown model {model!r}; this world has {', '.join(self.true_skill_order)}")

    def true_probability(self, ticker: str, at: datetime) -> float:
        """The latent probability of YES at `at`, exactly calibrated; held at its ends outside the market's life."""
        item = self._drawn[ticker]
        return item.latent[min(max(self._step(at) - item.first_step, 0), len(item.latent) - 1)]

    def status(self, ticker: str, at: datetime) -> MarketStatus:
        """The market's status at `at`; synthetic markets are never paused."""
        market = self.markets[ticker]
        if at < market.opened_at:
            return MarketStatus.UNOPENED
        if at < market.closes_at:
            return MarketStatus.ACTIVE
        if market.resolved_at is None or at < market.resolved_at:
            return MarketStatus.CLOSED
        return MarketStatus.SETTLED

    def quote(self, ticker: str, at: datetime) -> Quote | None:
        """The quote of the six-hour step `at` falls in; the last one before the close stays."""
        item = self._drawn[ticker]
        index = self._step(at) - item.first_step
        return None if index < 0 else item.quotes[min(index, len(item.quotes) - 2)]

    def answer(self, wire_model: str, ticker: str, at: datetime) -> WorldAnswer | None:
        """The model's answer in the step `at` falls in; ``None`` for unknown models and markets that are not active."""
        spec = self._by_wire.get(wire_model)
        if spec is None or ticker not in self.markets or self.status(ticker, at) is not MarketStatus.ACTIVE:
            return None
        step = self._step(at)
        lived = step * STEP / (self.ends_at - self.starts_at)
        category = self.markets[ticker].category
        occasion = Occasion(self._seed, ticker, category, step, lived, self.true_probability(ticker, at))
        return draw_answer(spec, occasion)

    def next_event_after(self, at: datetime) -> datetime | None:
        """The next step of the grid at which a market opens, changes its quote, closes or settles."""
        index = bisect_right(self._events, at)
        return self._events[index] if index < len(self._events) else None

    def _step(self, at: datetime) -> int:
        return (at - self.starts_at) // STEP

    def _collect_events(self) -> list[datetime]:
        instants: set[datetime] = set()
        for item in self._drawn.values():
            instants.update(quote.observed_at for quote in item.quotes)
            instants.update(at for at in (item.market.closes_at, item.market.resolved_at) if at is not None)
        return sorted(instants)
