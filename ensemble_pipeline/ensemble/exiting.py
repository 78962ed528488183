"""Whether an open paper position is to be sold now, and what the sale brings. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from ensemble_pipeline.domain import MICRO_PER_USD, Quote, Side
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
        """Whether all of them find a buyer; a position is sold as a whole, so that it has one exit with one price."""
        return self.depth is None or contracts <= self.depth


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


def _sale(rules: ExitRules, position: OpenPosition, bid: Decimal, reason: ExitReason, at: datetime) -> Exit:
    contracts = Decimal(position.contracts)
    if reason is ExitReason.TAKE_PROFIT:
        # it rested at its price and was crossed: that price and not the better bid, and a maker's fee
        price = Decimal(f"{take_profit_price(position.entry_price, rules.take_profit_share):.2f}")
        fee = maker_fee_usd(price, contracts, FeeType.QUADRATIC)
    else:
        price = bid
        fee = taker_fee_usd(price, contracts)
    return Exit(position, at, reason, price, int(fee * MICRO_PER_USD))
