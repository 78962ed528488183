"""Whether an open paper position is to be sold now, and what the sale brings. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from ensemble_pipeline.domain import MICRO_PER_USD, Quote, Side
from ensemble_pipeline.ensemble.modes import Row, Step
from ensemble_pipeline.forecasting.exits import ExitReason, ExitRules, exit_due, take_profit_price
from ensemble_pipeline.settings import ExitSettings
from ensemble_pipeline.store.positions import Exit, OpenPosition
from ensemble_pipeline.venues.kalshi.fees import FeeType, maker_fee_usd, taker_fee_usd

_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Bid:
    """What the held side could be sold for; `depth` is ``None`` where the venue does not say."""

    price: Decimal
    depth: Decimal | None

    def fits(self, contracts: int) -> bool:
        """Whether all of them find a buyer."""
        return self.most(contracts) == contracts

    def most(self, contracts: int) -> int:
        """How many of them find a buyer."""
        return contracts if self.depth is None else min(contracts, int(self.depth))


def rules_of(settings: ExitSettings) -> ExitRules:
    """The rules that the settings describe."""
    return ExitRules(
        stop_share=settings.stop_share,
        trailing_arm_share=settings.trailing_arm_share,
        trailing_give_back_share=settings.trailing_give_back_share,
        take_profit_share=settings.take_profit_share,
        max_age_hours=settings.max_age_days * 24,
        before_close_hours=settings.before_close_hours,
    )


def held_bid(side: Side, book: Quote | None) -> Bid | None:
    """The bid on the side that is held; ``None`` where there is none to be relied on."""
    # the last order of a book that lost its other side says nothing of what a contract is worth
    if book is None or book.yes_bid is None or book.yes_ask is None or book.is_crossed:
        return None
    price, depth = (book.yes_bid, book.yes_bid_size) if side is Side.YES else (1 - book.yes_ask, book.yes_ask_size)
    return Bid(price, depth) if 0 < price < 1 else None


def exit_of(rules: ExitRules, position: OpenPosition, bid: Bid | None, at: datetime) -> Exit | None:
    """The sale that is due at `at`, whether it fits into the book or not; ``None`` where none is."""
    reason = exit_due(
        rules,
        entry_price=position.entry_price,
        bid=None if bid is None else float(bid.price),
        highest_bid=None if position.highest_bid is None else float(position.highest_bid),
        age_hours=(at - position.opened_at) / _HOUR,
        hours_to_close=(position.closes_at - at) / _HOUR,
    )
    return None if bid is None or reason is None else _sale(rules, position, bid.price, reason, at)


def possible_sale(mode: Row, sale: Exit, bid: Bid) -> Exit | None:
    """As much of a sale that is due as finds a buyer and the mode allows; ``None`` where that is nothing.

    What rested at the bid at an instant is sold once: who looks again at that instant finds the same book.
    """
    position = sale.position
    if position.reduced_at is not None and position.reduced_at >= sale.at:
        return None
    if bid.fits(position.contracts):
        return sale if mode.allows(Step.EXIT) else None
    contracts = bid.most(position.contracts)
    if not contracts or not mode.allows(Step.REDUCE):
        return None
    return replace(
        sale, position=position.part(contracts), fee_micro_usd=_fee_micro_usd(sale.reason, sale.price, contracts)
    )


def _sale(rules: ExitRules, position: OpenPosition, bid: Decimal, reason: ExitReason, at: datetime) -> Exit:
    price = bid
    if reason is ExitReason.TAKE_PROFIT:
        # it rested at its price and was crossed: that price and not the better bid
        price = Decimal(f"{take_profit_price(position.entry_price, rules.take_profit_share):.2f}")
    return Exit(position, at, reason, price, _fee_micro_usd(reason, price, position.contracts))


def _fee_micro_usd(reason: ExitReason, price: Decimal, contracts: int) -> int:
    """A maker's fee where the sale rested, a taker's elsewhere."""
    if reason is ExitReason.TAKE_PROFIT:
        return int(maker_fee_usd(price, Decimal(contracts), FeeType.QUADRATIC) * MICRO_PER_USD)
    return int(taker_fee_usd(price, Decimal(contracts)) * MICRO_PER_USD)
