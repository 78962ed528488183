"""How many contracts: the Kelly share, the limits of market, event and day, the cash reserve."""

from dataclasses import dataclass
from decimal import Decimal

from ensemble_pipeline.domain import MICRO_PER_USD, GateVerdict, Reason
from ensemble_pipeline.ensemble.modes import Row
from ensemble_pipeline.ensemble.offers import Offer
from ensemble_pipeline.forecasting.sizing import kelly_fraction, stake_fraction
from ensemble_pipeline.settings import SizingSettings
from ensemble_pipeline.store.portfolio import Exposure
from ensemble_pipeline.venues.kalshi.fees import taker_fee_usd

# where an order breaks a position limit, these shares of it are tried in turn
RETRY_SHARES = (1.0, 0.8, 0.6, 0.4, 0.2, 0.1)


@dataclass(frozen=True, slots=True)
class Order:
    """A sized paper order, in micro-dollars."""

    offer: Offer
    contracts: int
    stake_micro_usd: int
    fee_micro_usd: int

    @classmethod
    def of(cls, offer: Offer, contracts: int) -> "Order":
        """An order of so many contracts, with the fee of exactly that many."""
        stake, fee = offer.price * contracts, taker_fee_usd(offer.price, Decimal(contracts))
        return cls(offer, contracts, int(stake * MICRO_PER_USD), int(fee * MICRO_PER_USD))

    @property
    def cost_micro_usd(self) -> int:
        """Stake and fee together."""
        return self.stake_micro_usd + self.fee_micro_usd


class Sizer:
    """Sizes one order. Belief and uncertainty come with `size`; what else bounds it is fixed here."""

    def __init__(self, options: SizingSettings, mode: Row, trade_value_micro_usd: int) -> None:
        self._options = options
        self._bankroll = int(options.bankroll_usd * MICRO_PER_USD)
        self._mode = mode
        self._trade_value = trade_value_micro_usd

    def size(self, offer: Offer, uncertainty: float, held: Exposure) -> tuple[list[GateVerdict], Order | None]:
        """The gates of size, position limits and cash, and the order that passes them."""
        surest, usual = self._usual(offer, 0.0), self._usual(offer, uncertainty)
        wanted = self._left(usual)
        order = self._affordable(offer, wanted)
        numbers = {
            "kelly_share": self._share(offer, uncertainty),
            "mode_share": self._mode.stake_share,
            "trade_value_micro_usd": self._trade_value,
            "wanted_micro_usd": wanted,
            "contracts_offered": None if offer.depth is None else str(offer.depth),
            "contracts": 0 if order is None else order.contracts,
        }
        verdicts = [GateVerdict(Reason.SIZE, order is not None, numbers)]
        if order is None:
            return verdicts, None
        limit, order = self._within_limits(offer, surest, usual, held)
        verdicts.append(limit)
        if order is None:
            return verdicts, None
        reserve = int(self._bankroll * self._options.cash_reserve_share)
        left = held.cash - order.cost_micro_usd
        verdicts.append(
            GateVerdict(Reason.CASH_RESERVE, left >= reserve, {"cash_after": left, "cash_reserve": reserve})
        )
        return verdicts, order

    def _share(self, offer: Offer, uncertainty: float) -> float:
        return stake_fraction(offer.p_win, offer.all_in, self._options.kelly_fraction, uncertainty)

    def _usual(self, offer: Offer, uncertainty: float) -> int:
        """What is usually staked at so much uncertainty, before any limit, in micro-dollars."""
        kelly = self._bankroll * self._share(offer, uncertainty)
        return min(int(kelly * self._mode.kelly_share), self._trade_value)

    def _left(self, usual: int) -> int:
        """What the mode leaves of it."""
        return int(usual * self._mode.share_of_usual)

    def _affordable(self, offer: Offer, budget: int) -> Order | None:
        """The largest order that costs no more than `budget`, stays below full Kelly and is there to be had."""
        most = int(budget / (offer.all_in * MICRO_PER_USD))
        if offer.depth is not None:
            most = min(most, int(offer.depth))
        while most >= 1:
            order = Order.of(offer, most)
            if order.cost_micro_usd <= min(budget, self._kelly_bound(order)):
                return order
            # fees are rounded up once per order, which weighs more on a small one
            most -= 1
        return None

    def _kelly_bound(self, order: Order) -> int:
        """Full Kelly at what this very order costs a contract, fee included."""
        all_in = order.cost_micro_usd / (order.contracts * MICRO_PER_USD)
        return int(self._bankroll * kelly_fraction(order.offer.p_win, all_in)) if 0 < all_in < 1 else 0

    def _within_limits(self, offer: Offer, surest: int, usual: int, held: Exposure) -> tuple[GateVerdict, Order | None]:
        """The share of the order that no limit refuses.

        The share is found for the order of a sure ensemble in the usual mode and taken of the one that is wanted: found
        for that itself, a smaller order could fill the room of a limit better than a larger one.
        """
        options, mode = self._options, self._mode
        room = {
            "market_room": int(self._bankroll * options.max_market_share) - held.in_market,
            "event_room": int(self._bankroll * options.max_event_share) - held.in_event,
            "day_room": int(self._bankroll * options.max_day_share) - held.staked_today,
        }
        has_room = mode.max_positions is None or held.opened_in_mode < mode.max_positions
        is_free = held.open_positions < options.max_open_positions and held.in_market == 0 and has_room
        fitting, tried = None, 0.0
        for tried in RETRY_SHARES if is_free else ():
            largest = self._affordable(offer, int(surest * tried))
            if largest is not None and largest.stake_micro_usd <= min(room.values()):
                fitting = self._affordable(offer, int(self._left(usual) * tried))
                break
        of_mode = {"opened_in_mode": held.opened_in_mode, "max_in_mode": mode.max_positions}
        numbers = {
            **room,
            "wanted_micro_usd": self._left(usual),
            "without_uncertainty_micro_usd": surest,
            "share_tried": tried,
            "open_positions": held.open_positions,
            "max_open_positions": options.max_open_positions,
            "in_market": held.in_market,
            **(of_mode if mode.max_positions is not None else {}),
        }
        return GateVerdict(Reason.POSITION_LIMIT, fitting is not None, numbers), fitting
