"""Paper money on the way through an archive: positions opened, sold by the exit rules, and settled.

Prices are those of the archive at the instants it holds; between them nothing is known and nothing is sold.
"""

from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import count

from ensemble_pipeline.domain import MICRO_PER_USD, Action, Market, Quote, Side
from ensemble_pipeline.ensemble.exiting import exit_of, held_bid, rules_of
from ensemble_pipeline.settings import ExitSettings
from ensemble_pipeline.store.decisions import EnsembleDecision
from ensemble_pipeline.store.portfolio import Portfolio
from ensemble_pipeline.store.positions import OpenPosition


@dataclass(frozen=True, slots=True)
class _Held:
    """An open position with what its market will settle to; `resolved_at` is ``None`` where it never does."""

    position: OpenPosition
    market: Market
    outcome: bool | None
    resolved_at: datetime | None


class PaperBook:
    """The paper account of one strategy; every sum in micro-dollars."""

    def __init__(self, bankroll: int, exits: ExitSettings) -> None:
        self.portfolio = Portfolio(bankroll, 0, 0)
        self.trades = self.staked = self.fees = self.net_profit = self.exits = 0
        self._rules = rules_of(exits)
        self._held: dict[str, _Held] = {}
        self._day: date | None = None
        self._ids = count(1)

    @property
    def open_positions(self) -> int:
        """Positions that neither were sold nor settled."""
        return len(self._held)

    def begin(self, at: datetime) -> None:
        """Pay out what has settled by `at`; on a new day nothing is staked yet."""
        self.settle(at)
        if at.date() != self._day:
            self._day = at.date()
            self.portfolio = replace(self.portfolio, staked_today=0)

    def settle(self, at: datetime | None) -> None:
        """Pay out what has settled by `at`, or ever (``None``)."""
        for held in list(self._held.values()):
            if held.resolved_at is not None and (at is None or held.resolved_at <= at):
                is_won = held.outcome == (held.position.side is Side.YES)
                self._close(held, held.position.contracts * MICRO_PER_USD if is_won else 0)

    def mark(self, market: Market, quote: Quote, at: datetime) -> None:
        """Look at the position in `market`, and sell it where an exit is due."""
        held = self._held.get(market.market_id)
        bid = None if held is None else held_bid(held.position.side, quote)
        if held is None or bid is None:
            return
        sale = exit_of(self._rules, held.position, bid, at)
        if sale is not None and bid.fits(held.position.contracts):
            self.fees += sale.fee_micro_usd
            self.exits += 1
            self._close(held, sale.proceeds_micro_usd)
            return
        highest = max(bid.price, held.position.highest_bid or bid.price)
        self._held[market.market_id] = replace(held, position=replace(held.position, highest_bid=highest))

    def open(
        self, market: Market, decision: EnsembleDecision, outcome: bool | None, resolved_at: datetime | None
    ) -> None:
        """Take the position a decision opens, where it opens one."""
        if decision.action is not Action.TRADE or decision.side is None or decision.contracts is None:
            return
        position = OpenPosition(
            position_id=next(self._ids),
            market_id=market.market_id,
            ticker=market.ticker,
            side=decision.side,
            contracts=decision.contracts,
            cost_micro_usd=decision.stake_micro_usd,
            fee_micro_usd=decision.fee_micro_usd,
            opened_at=decision.decided_at,
            closes_at=market.closes_at,
            highest_bid=None,
        )
        self._held[market.market_id] = _Held(position, market, outcome, resolved_at)
        self.portfolio = self.portfolio.after(market, decision.stake_micro_usd, decision.fee_micro_usd)
        self.trades += 1
        self.staked += decision.stake_micro_usd
        self.fees += decision.fee_micro_usd

    def _close(self, held: _Held, received: int) -> None:
        del self._held[held.market.market_id]
        self.net_profit += received - held.position.paid_micro_usd
        self.portfolio = self.portfolio.without(held.market, held.position.cost_micro_usd, received)
