"""Paper money: what is cash, what is staked where, and what of it bears on one market. Micro-dollars."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ensemble_pipeline.domain import Market


@dataclass(frozen=True, slots=True)
class Exposure:
    """Paper money as one market sees it, in micro-dollars.

    `opened_in_mode` counts the open positions that were opened in the present operating mode or a more careful one.
    """

    cash: int
    open_positions: int
    in_market: int
    in_event: int
    staked_today: int
    opened_in_mode: int = 0


@dataclass(frozen=True, slots=True)
class Portfolio:
    """Paper money at an instant, in micro-dollars; `opened_in_mode` as in `Exposure`."""

    cash: int
    open_positions: int
    staked_today: int
    staked_by_market: Mapping[str, int] = field(default_factory=dict)
    staked_by_event: Mapping[str, int] = field(default_factory=dict)
    opened_in_mode: int = 0

    def seen_from(self, market: Market) -> Exposure:
        """The portfolio as far as it bears on `market`."""
        return Exposure(
            self.cash,
            self.open_positions,
            self.staked_by_market.get(market.market_id, 0),
            self.staked_by_event.get(market.event_id, 0),
            self.staked_today,
            self.opened_in_mode,
        )

    def after(self, market: Market, stake: int, fee: int) -> "Portfolio":
        """The portfolio once a position in `market` is opened."""
        held, of_event = self.seen_from(market), market.event_id
        return replace(
            self,
            cash=self.cash - stake - fee,
            open_positions=self.open_positions + 1,
            staked_today=self.staked_today + stake,
            staked_by_market={**self.staked_by_market, market.market_id: held.in_market + stake},
            staked_by_event={**self.staked_by_event, of_event: held.in_event + stake},
            opened_in_mode=self.opened_in_mode + 1,
        )

    def without(self, market: Market, stake: int, received: int) -> "Portfolio":
        """The portfolio once a position in `market` is closed for `received`, fees taken off."""
        held, of_event = self.seen_from(market), market.event_id
        return replace(
            self,
            cash=self.cash + received,
            open_positions=self.open_positions - 1,
            staked_by_market={**self.staked_by_market, market.market_id: held.in_market - stake},
            staked_by_event={**self.staked_by_event, of_event: held.in_event - stake},
            opened_in_mode=self.opened_in_mode - 1,
        )
