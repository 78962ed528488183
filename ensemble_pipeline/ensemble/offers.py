"""What a book offers on each side, after the venue's fee, and what it would demand of a belief.

Belongs here: one contract. Does not: how many (ordering.py).
"""

from dataclasses import dataclass
from decimal import Decimal

from ensemble_pipeline.domain import Action, Quote, Side
from ensemble_pipeline.forecasting.sizing import edge
from ensemble_pipeline.settings import GateSettings
from ensemble_pipeline.venues.kalshi.fees import taker_fee_usd

# the fee of so many contracts, so that rounding up once per order weighs as it does in practice
_FEE_COUNT = Decimal(100)


@dataclass(frozen=True, slots=True)
class Offer:
    """What the book offers on one side: price of a contract, price with the fee, our chance to win it, contracts there.

    `depth` is ``None`` where the venue does not say how many contracts rest at the price.
    """

    side: Side
    price: Decimal
    all_in: float
    p_win: float
    depth: Decimal | None

    @property
    def edge(self) -> float:
        """Expected profit per contract, in dollars."""
        return edge(self.p_win, self.all_in)


def best_offer(quote: Quote, p_yes: float) -> Offer | None:
    """The side with the larger edge after the fee; ``None`` where the book offers neither."""
    offers = []
    if quote.yes_ask is not None and 0 < quote.yes_ask < 1:
        offers.append(_offer(Side.YES, quote.yes_ask, p_yes, quote.yes_ask_size))
    if quote.yes_bid is not None and 0 < quote.yes_bid < 1:
        offers.append(_offer(Side.NO, 1 - quote.yes_bid, 1 - p_yes, quote.yes_bid_size))
    return max(offers, key=lambda offer: offer.edge, default=None)


def stance(quote: Quote, p_yes: float, confidence: float, gates: GateSettings) -> tuple[Action, Side | None]:
    """What a single member would do about a book, by its own probability and confidence alone."""
    offer = best_offer(quote, p_yes)
    if offer is None or offer.edge < demanded_edge(confidence, gates):
        return Action.SKIP, None
    return Action.TRADE, offer.side


def demanded_edge(confidence: float, gates: GateSettings) -> float:
    """The edge that a confidence band demands, in dollars per contract."""
    if confidence >= 0.8:
        return gates.min_edge_high
    return gates.min_edge_middle if confidence >= 0.6 else gates.min_edge_low


def _offer(side: Side, price: Decimal, p_win: float, depth: Decimal | None) -> Offer:
    fee = taker_fee_usd(price, _FEE_COUNT) / _FEE_COUNT
    return Offer(side, price, min(float(price + fee), 1.0 - 1e-9), p_win, depth)
