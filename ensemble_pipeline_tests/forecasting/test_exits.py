from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.exits import ExitReason, ExitRules, exit_due, take_profit_price

RULES = ExitRules(0.6, 0.5, 0.4, 0.9, max_age_hours=2160, before_close_hours=0)
NEVER = ExitRules(1, 1, 1, 1, max_age_hours=1e9, before_close_hours=0)

cents = st.integers(1, 99).map(lambda cent: cent / 100)
shares = st.integers(1, 100).map(lambda percent: percent / 100)
hours = st.floats(0, 5000)
rules = st.builds(
    ExitRules,
    stop_share=shares,
    trailing_arm_share=shares,
    trailing_give_back_share=shares,
    take_profit_share=shares,
    max_age_hours=st.floats(1, 5000),
    before_close_hours=hours,
)


def due(
    bid: float | None, highest: float | None = None, *, of: ExitRules = RULES, age: float = 5, left: float = 100
) -> ExitReason | None:
    """What is due for a contract that 0.40 was paid for."""
    return exit_due(of, entry_price=0.40, bid=bid, highest_bid=highest, age_hours=age, hours_to_close=left)


@pytest.mark.parametrize(
    ("entry", "share", "price"),
    [(0.40, 0.9, 0.94), (0.4168, 0.9, 0.95), (0.50, 0.5, 0.75), (0.95, 0.9, 1.0), (1, 1, 1)],
)
def test_take_profit_price_by_hand_is_rounded_up_to_a_cent(entry: float, share: float, price: float) -> None:
    assert take_profit_price(entry, share) == price


@pytest.mark.parametrize(
    ("bid", "highest", "reason"),
    [
        # 0.40 + 0.9 * 0.60 = 0.94
        (0.94, None, ExitReason.TAKE_PROFIT),
        (0.93, None, None),
        # 0.4 * 0.40 = 0.16
        (0.16, None, ExitReason.STOP),
        (0.17, None, None),
        # armed at 0.40 + 0.5 * 0.60 = 0.70; 0.70 - 0.4 * 0.30 = 0.58
        (0.58, 0.70, ExitReason.TRAILING),
        (0.59, 0.70, None),
        (0.58, 0.69, None),
        # 0.90 - 0.4 * 0.50 = 0.70
        (0.70, 0.90, ExitReason.TRAILING),
        # fell through both: what was lost is the reason
        (0.16, 0.90, ExitReason.STOP),
    ],
)
def test_exit_by_hand(bid: float, highest: float | None, reason: ExitReason | None) -> None:
    assert due(bid, highest) is reason


def test_time_and_expiry_begin_where_the_rules_say() -> None:
    before = replace(RULES, before_close_hours=24)
    assert due(0.40, age=2160) is None
    assert due(0.40, age=2160.1) is ExitReason.TIME
    assert due(0.40, left=24, of=before) is None
    assert due(0.40, left=23.9, of=before) is ExitReason.BEFORE_EXPIRY
    assert due(0.40, left=0.1) is None
    # both at once
    assert due(0.40, age=2161, left=1, of=before) is ExitReason.BEFORE_EXPIRY


def test_first_of_the_order_wins_where_several_are_due() -> None:
    eager = ExitRules(0.5, 0.1, 0.1, 0.5, max_age_hours=1, before_close_hours=1000)
    # resting at 0.40 + 0.5 * 0.60 = 0.70; trailing at 0.90 - 0.1 * 0.50 = 0.85
    assert due(0.70, 0.90, of=eager) is ExitReason.TAKE_PROFIT
    assert due(0.20, 0.90, of=eager) is ExitReason.STOP
    assert due(0.69, 0.90, of=eager) is ExitReason.TRAILING
    assert due(0.40, None, of=eager) is ExitReason.BEFORE_EXPIRY
    assert due(0.40, None, of=eager, left=2000) is ExitReason.TIME


@given(rules, cents, st.none() | cents, hours, st.floats(-100, 5000))
def test_without_a_bid_nothing_is_due(
    of: ExitRules, entry: float, highest: float | None, age: float, left: float
) -> None:
    assert exit_due(of, entry_price=entry, bid=None, highest_bid=highest, age_hours=age, hours_to_close=left) is None


@given(cents, cents, st.none() | cents, hours, st.floats(0, 5000))
def test_shares_of_one_never_sell(entry: float, bid: float, highest: float | None, age: float, left: float) -> None:
    assert exit_due(NEVER, entry_price=entry, bid=bid, highest_bid=highest, age_hours=age, hours_to_close=left) is None


@given(rules, cents, cents, cents, st.none() | cents)
def test_higher_bid_never_triggers_a_stop_nor_lower_one_a_profit(
    of: ExitRules, entry: float, first: float, second: float, highest: float | None
) -> None:
    low, high = sorted((first, second))
    calm = replace(of, max_age_hours=1e6, before_close_hours=0)
    at_low, at_high = (
        exit_due(calm, entry_price=entry, bid=bid, highest_bid=highest, age_hours=1, hours_to_close=1)
        for bid in (low, high)
    )
    if at_high is ExitReason.STOP:
        assert at_low is ExitReason.STOP
    if at_low is ExitReason.TAKE_PROFIT:
        assert at_high is ExitReason.TAKE_PROFIT


@given(rules, cents, cents, cents)
def test_trailing_sells_only_what_gained_and_gave_back_its_share(
    of: ExitRules, entry: float, bid: float, highest: float
) -> None:
    found = exit_due(of, entry_price=entry, bid=bid, highest_bid=highest, age_hours=0, hours_to_close=1e6)
    if found is ExitReason.TRAILING:
        gained = max(bid, highest) - entry
        assert gained > 0
        assert bid - entry <= gained * (1 - of.trailing_give_back_share) + 1e-6


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"entry_price": 0.0}, "entry_price = 0"),
        ({"entry_price": 1.1}, "entry_price = 1.1"),
        ({"bid": 0.0}, "bid = 0"),
        ({"bid": 1.0}, "bid = 1.0"),
        ({"highest_bid": 1.5}, "highest_bid = 1.5"),
        ({"age_hours": float("nan")}, "age_hours = nan"),
        ({"hours_to_close": float("inf")}, "hours_to_close = inf"),
    ],
)
def test_exit_when_out_of_range_names_the_argument(changes: dict[str, float], complaint: str) -> None:
    given_ = {"entry_price": 0.4, "bid": 0.5, "highest_bid": 0.5, "age_hours": 1.0, "hours_to_close": 1.0} | changes
    with pytest.raises(InputError, match=complaint):
        exit_due(RULES, **given_)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stop_share", 0.0),
        ("trailing_arm_share", 1.1),
        ("trailing_give_back_share", -0.1),
        ("take_profit_share", float("nan")),
        ("max_age_hours", 0.0),
        ("before_close_hours", -1.0),
        ("before_close_hours", float("inf")),
    ],
)
def test_rule_when_out_of_range_is_named(field: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{field} = "):
        replace(RULES, **{field: value})
