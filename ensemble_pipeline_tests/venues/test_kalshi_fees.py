from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.venues.kalshi.fees import CENT_STEP_USD, FeeType, maker_fee_usd, taker_fee_usd

prices = st.decimals(0, 1, places=4)
counts = st.decimals(0, 100_000, places=2)


@pytest.mark.parametrize(
    ("price", "count", "multiplier", "direct", "cents"),
    [
        ("0.50", "100", "1", "1.75", "1.75"),
        ("0.50", "1", "1", "0.0175", "0.02"),
        ("0.05", "1", "1", "0.0034", "0.01"),  # 0.003325
        ("0.01", "100", "1", "0.0693", "0.07"),
        ("0.99", "100", "1", "0.0693", "0.07"),
        ("0.56", "10", "1", "0.1725", "0.18"),  # 0.17248
        ("0.50", "100", "0.5", "0.875", "0.88"),
        ("0.50", "0", "1", "0", "0"),
        ("0", "100", "1", "0", "0"),
        ("1", "100", "1", "0", "0"),
    ],
)
def test_taker_fee_by_hand(price: str, count: str, multiplier: str, direct: str, cents: str) -> None:
    order = (Decimal(price), Decimal(count), Decimal(multiplier))
    assert taker_fee_usd(*order) == Decimal(direct)
    assert taker_fee_usd(*order, step_usd=CENT_STEP_USD) == Decimal(cents)


@pytest.mark.parametrize(
    ("fee_type", "fee"),
    [
        (FeeType.QUADRATIC, "0"),
        (FeeType.QUADRATIC_WITH_MAKER_FEES, "0.4375"),
        (FeeType.QUADRATIC_WITH_COMBO_MAKER_FEES, "0.875"),
    ],
)
def test_maker_fee_by_hand(fee_type: FeeType, fee: str) -> None:
    assert maker_fee_usd(Decimal("0.5"), Decimal(100), fee_type) == Decimal(fee)


@given(prices, counts)
def test_fee_is_rounded_up_by_less_than_a_step_and_equal_for_both_sides(price: Decimal, count: Decimal) -> None:
    exact = Decimal("0.07") * count * price * (1 - price)
    fee = taker_fee_usd(price, count)
    assert exact <= fee < exact + Decimal("0.0001")
    assert fee == taker_fee_usd(1 - price, count)


@pytest.mark.parametrize(
    ("price", "count", "multiplier", "step"),
    [
        ("1.01", "1", "1", "0.01"),
        ("-0.01", "1", "1", "0.01"),
        ("0.5", "-1", "1", "0.01"),
        ("0.5", "Infinity", "1", "0.01"),
        ("0.5", "1", "-1", "0.01"),
        ("0.5", "1", "1", "0"),
    ],
)
def test_value_out_of_range_is_refused(price: str, count: str, multiplier: str, step: str) -> None:
    with pytest.raises(InputError):
        taker_fee_usd(Decimal(price), Decimal(count), Decimal(multiplier), Decimal(step))
