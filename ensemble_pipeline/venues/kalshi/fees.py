"""What Kalshi charges for a fill.

Schedule effective 2026-07-07 (kalshi.com/docs/kalshi-fee-schedule.pdf; the multipliers are fields of GET /series and
GET /events). Its taker formula was matched against 115 reported fills. Prefer the fee that a fill reports.
"""

from decimal import ROUND_CEILING, Decimal
from enum import StrEnum

from ensemble_pipeline.errors import InputError

TAKER_RATE = Decimal("0.07")
MAKER_RATE = Decimal("0.0175")
DIRECT_STEP_USD = Decimal("0.0001")
CENT_STEP_USD = Decimal("0.01")


class FeeType(StrEnum):
    """How a series is charged, as its `fee_type` says; ``flat`` is not modelled."""

    QUADRATIC = "quadratic"
    QUADRATIC_WITH_MAKER_FEES = "quadratic_with_maker_fees"
    QUADRATIC_WITH_COMBO_MAKER_FEES = "quadratic_with_combo_maker_fees"


_MAKER_MULTIPLIERS = {
    FeeType.QUADRATIC: 0,
    FeeType.QUADRATIC_WITH_MAKER_FEES: 1,
    FeeType.QUADRATIC_WITH_COMBO_MAKER_FEES: 2,
}


def taker_fee_usd(
    price_usd: Decimal, count: Decimal, multiplier: Decimal = Decimal(1), step_usd: Decimal = DIRECT_STEP_USD
) -> Decimal:
    """Fee in dollars of one order that takes `count` contracts at `price_usd`: ``M · 0.07 · C · P · (1 - P)``.

    Args:
        price_usd: price of a contract, in [0, 1]. Both sides of a market cost the same fee.
        count: contracts of the whole order, ≥ 0; fractions are allowed.
        multiplier: the series' `fee_multiplier`, ≥ 0.
        step_usd: the fee is rounded up to a multiple of it, once per order: 0.0001 for direct members, else 0.01.

    Raises:
        InputError: a value is out of its range.

    >>> taker_fee_usd(Decimal("0.50"), Decimal(100))
    Decimal('1.7500')
    """
    return _fee_usd(TAKER_RATE, price_usd, count, multiplier, step_usd)


def maker_fee_usd(
    price_usd: Decimal,
    count: Decimal,
    fee_type: FeeType,
    multiplier: Decimal = Decimal(1),
    step_usd: Decimal = DIRECT_STEP_USD,
) -> Decimal:
    """Fee in dollars of one resting order: ``M · 0.0175 · m · C · P · (1 - P)``, with `m` 0, 1 or 2 by `fee_type`.

    The other arguments and errors are those of `taker_fee_usd`.

    >>> maker_fee_usd(Decimal("0.50"), Decimal(100), FeeType.QUADRATIC_WITH_MAKER_FEES)
    Decimal('0.4375')
    """
    return _fee_usd(MAKER_RATE * _MAKER_MULTIPLIERS[fee_type], price_usd, count, multiplier, step_usd)


def _fee_usd(rate: Decimal, price_usd: Decimal, count: Decimal, multiplier: Decimal, step_usd: Decimal) -> Decimal:
    if not 0 <= price_usd <= 1:
        raise InputError(f"price_usd={price_usd} is not within [0, 1]")
    if not (count.is_finite() and count >= 0 and multiplier.is_finite() and multiplier >= 0):
        raise InputError(f"count={count} and multiplier={multiplier} must be finite and ≥ 0")
    if not (step_usd.is_finite() and step_usd > 0):
        raise InputError(f"step_usd={step_usd} must be finite and > 0")
    exact = multiplier * rate * count * price_usd * (1 - price_usd)
    return (exact / step_usd).to_integral_value(ROUND_CEILING) * step_usd
