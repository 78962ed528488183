"""When a held contract is to be sold before its market settles.

Belongs here: which exit is due, from a few numbers of one position. Does not: how much rests at the bid, fees,
money (ensemble). Everything is said of the side that is held, in dollars a contract that pays 1: `bid` is what it could
be sold for now. Mirroring a market (YES for NO) changes none of these numbers, and so no exit.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import fraction, positive

# a product of floats may end a hair beside the price it means
_HAIR = 1e-9


class ExitReason(StrEnum):
    """Why a position is sold, in the order of precedence."""

    TAKE_PROFIT = "take_profit"
    STOP = "stop"
    TRAILING = "trailing"
    BEFORE_EXPIRY = "before_expiry"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class ExitRules:
    """When to sell. A share of 1 never does: no bid reaches 0 or 1.

    Args:
        stop_share: share of what was paid that may be lost, within (0, 1].
        trailing_arm_share: share of the greatest possible gain from which on the highest bid is trailed, within (0, 1].
        trailing_give_back_share: share of the highest gain that may then be given back, within (0, 1].
        take_profit_share: share of the greatest possible gain at which a sale rests, within (0, 1].
        max_age_hours: longest time held, finite, > 0.
        before_close_hours: time left to the close below which it is sold, ≥ 0; 0 never does.

    Raises:
        InputError: a value is out of its range.
    """

    stop_share: float
    trailing_arm_share: float
    trailing_give_back_share: float
    take_profit_share: float
    max_age_hours: float
    before_close_hours: float

    def __post_init__(self) -> None:
        for name in ("stop_share", "trailing_arm_share", "trailing_give_back_share", "take_profit_share"):
            positive(fraction(getattr(self, name), name), name)
        positive(self.max_age_hours, "max_age_hours")
        if not 0 <= self.before_close_hours < math.inf:
            raise InputError(f"before_close_hours = {self.before_close_hours} is out of range; allowed: finite, >= 0")


def take_profit_price(entry_price: float, take_profit_share: float) -> float:
    """Price at which the take-profit sale rests: ``e + t (1 - e)``, rounded up to a cent.

    Whole cents are on the grid of every market; rounding up never sells for less than the rule says.

    Args:
        entry_price: e, what a contract cost in dollars, fee included, within (0, 1].
        take_profit_share: t, share of the greatest possible gain ``1 - e``, within (0, 1].

    Returns:
        Dollars within (0, 1]; at 1 nobody buys, so the sale never comes about.

    Raises:
        InputError: an argument is out of range.

    >>> take_profit_price(0.50, 0.75), take_profit_price(0.43, 0.9)
    (0.88, 0.95)
    """
    entry, share = _paid(entry_price), positive(fraction(take_profit_share, "take_profit_share"), "take_profit_share")
    return min(1.0, math.ceil((entry + share * (1 - entry)) * 100 - _HAIR) / 100)


def exit_due(
    rules: ExitRules,
    *,
    entry_price: float,
    bid: float | None,
    highest_bid: float | None,
    age_hours: float,
    hours_to_close: float,
) -> ExitReason | None:
    """The exit that is due, or ``None``: e paid, bid b, highest bid h (b included), age a, r hours to the close.

    In this order, so that a position has one reason: take-profit where b reaches ``take_profit_price`` (it rests at the
    venue and fills before anything that is sent now), stop where ``b <= (1 - s) e``, trailing where
    ``h >= e + k (1 - e)`` and ``b <= h - g (h - e)``, before expiry where ``r < n``, time where ``a > m``.

    Args:
        rules: s, k, g, t, m and n, in the order of their fields.
        entry_price: e, what a contract cost in dollars, fee included, within (0, 1].
        bid: b, what a contract could be sold for now, fee not taken off, within (0, 1); ``None`` where nobody buys,
            and then no exit is due, whatever the rules say.
        highest_bid: highest bid seen before this one, within (0, 1); ``None`` where there was none.
        age_hours: a, time since the position was opened, finite.
        hours_to_close: r, time left to the market's close, finite; negative after it.

    Returns:
        The first rule of the order that applies.

    Raises:
        InputError: an argument is out of range.

    Paid 0.40, it may lose 60%, so it is stopped at a bid of 0.16. Once at 0.70 (half of the greatest gain), it is sold
    where 40% of the highest gain is given back: from 0.80 at 0.64.

    >>> rules = ExitRules(0.6, 0.5, 0.4, 0.9, max_age_hours=2160, before_close_hours=0)
    >>> now = {"entry_price": 0.40, "age_hours": 5, "hours_to_close": 100}
    >>> [str(exit_due(rules, bid=bid, highest_bid=0.41, **now)) for bid in (0.94, 0.93, 0.17, 0.16)]
    ['take_profit', 'None', 'None', 'stop']
    >>> [str(exit_due(rules, bid=bid, highest_bid=0.80, **now)) for bid in (0.65, 0.64, None)]
    ['None', 'trailing', 'None']
    """
    entry = _paid(entry_price)
    if not (math.isfinite(age_hours) and math.isfinite(hours_to_close)):
        raise InputError(f"age_hours = {age_hours} and hours_to_close = {hours_to_close} must be finite")
    for name, price in (("bid", bid), ("highest_bid", highest_bid)):
        if price is not None:
            fraction(price, name, is_open=True)
    if bid is None:
        return None
    due = {
        ExitReason.TAKE_PROFIT: bid >= take_profit_price(entry, rules.take_profit_share),
        ExitReason.STOP: bid <= (1 - rules.stop_share) * entry + _HAIR,
        ExitReason.TRAILING: _is_trailed(rules, entry, bid, max(bid, highest_bid or bid)),
        ExitReason.BEFORE_EXPIRY: hours_to_close < rules.before_close_hours,
        ExitReason.TIME: age_hours > rules.max_age_hours,
    }
    return next((reason for reason in ExitReason if due[reason]), None)


def _is_trailed(rules: ExitRules, entry: float, bid: float, highest: float) -> bool:
    is_armed = highest > entry and highest >= entry + rules.trailing_arm_share * (1 - entry) - _HAIR
    return is_armed and bid <= highest - rules.trailing_give_back_share * (highest - entry) + _HAIR


def _paid(entry_price: float) -> float:
    return positive(fraction(entry_price, "entry_price"), "entry_price")
