"""How many contracts an order may have, whatever book, belief and budget say."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.domain import Mode, Reason, Side
from ensemble_pipeline.ensemble.modes import row_of
from ensemble_pipeline.ensemble.offers import Offer, best_offer
from ensemble_pipeline.ensemble.ordering import RETRY_SHARES, Order, Sizer
from ensemble_pipeline.forecasting.sizing import kelly_fraction
from ensemble_pipeline.settings import ModeSettings, SizingSettings
from ensemble_pipeline.store.portfolio import Exposure
from ensemble_pipeline.venues.kalshi.fees import taker_fee_usd
from ensemble_pipeline_tests.ensemble.parts import USD, book, nothing_held

NO_LIMITS: dict[str, Any] = {
    "max_market_share": 1.0,
    "max_event_share": 1.0,
    "max_day_share": 1.0,
    "cash_reserve_share": 0.0,
}
PROBABILITIES = st.floats(0, 1)
CENTS = st.integers(1, 99)
MODES = st.sampled_from(list(Mode))
NORMAL = row_of("normal", ModeSettings())
DEPTHS = st.one_of(st.none(), st.decimals(0, 5000, places=2))


def offer_of(p_win: float, cents: int, depth: Decimal | None = None) -> Offer:
    """YES at so many cents, with what a hundred contracts pay in fees."""
    price = Decimal(cents) / 100
    return Offer(Side.YES, price, float(price + taker_fee_usd(price, Decimal(100)) / 100), p_win, depth)


def size(
    offer: Offer,
    uncertainty: float = 0.0,
    held: Exposure | None = None,
    mode: str = "normal",
    value_usd: float = 1e6,
    **options: Any,
) -> Order | None:
    """The order that passes every gate, if one does."""
    row = row_of(mode, ModeSettings())
    sizer = Sizer(SizingSettings.model_validate(NO_LIMITS | options), row, int(value_usd * USD))
    verdicts, order = sizer.size(offer, uncertainty, held or nothing_held())
    assert (order is None) <= any(not verdict.is_passed for verdict in verdicts)
    return order if all(verdict.is_passed for verdict in verdicts) else None


def test_order_worked_by_hand() -> None:
    # all in 0.42 + 0.017052; Kelly (0.7 - 0.437052) / 0.562948 = 0.467091, a quarter of it on $1000 is $116.77
    order = size(offer_of(0.7, 42))
    assert order is not None
    assert (order.contracts, order.stake_micro_usd) == (267, 112_140_000)
    # 0.07 · 267 · 0.42 · 0.58 = 4.552884, rounded up to a hundredth of a cent
    assert order.fee_micro_usd == 4_552_900
    assert order.cost_micro_usd <= 116_772_839


@given(
    p_win=PROBABILITIES,
    cents=CENTS,
    depth=DEPTHS,
    uncertainty=PROBABILITIES,
    kelly=PROBABILITIES,
    bankroll=st.decimals("0.01", 100_000, places=2),
    value_usd=st.floats(0, 10_000),
    mode=MODES,
)
def test_no_order_costs_more_than_full_kelly_at_its_own_all_in_price(
    p_win: float,
    cents: int,
    depth: Decimal | None,
    uncertainty: float,
    kelly: float,
    bankroll: Decimal,
    value_usd: float,
    mode: str,
) -> None:
    held = nothing_held(float(bankroll))
    offer = offer_of(p_win, cents, depth)
    order = size(offer, uncertainty, held, mode, value_usd, bankroll_usd=bankroll, kelly_fraction=kelly)
    if order is None:
        return
    all_in = order.cost_micro_usd / order.contracts / USD
    assert order.cost_micro_usd <= float(bankroll) * USD * kelly_fraction(p_win, all_in) * (1 + 1e-12)
    assert order.cost_micro_usd <= value_usd * USD
    assert order.contracts >= 1
    assert depth is None or order.contracts <= depth
    # what is booked is what the venue charges for exactly so many
    assert order.stake_micro_usd == offer.price * order.contracts * USD
    assert order.fee_micro_usd == taker_fee_usd(offer.price, Decimal(order.contracts)) * USD


@given(
    p_win=PROBABILITIES,
    cents=CENTS,
    depth=DEPTHS,
    uncertainties=st.tuples(PROBABILITIES, PROBABILITIES),
)
def test_more_uncertainty_never_means_a_larger_position(
    p_win: float, cents: int, depth: Decimal | None, uncertainties: tuple[float, float]
) -> None:
    offer = offer_of(p_win, cents, depth)
    sure, unsure = (size(offer, u) for u in sorted(uncertainties))
    assert contracts_of(unsure) <= contracts_of(sure)


def test_more_uncertainty_never_means_a_larger_position_at_a_limit_either() -> None:
    # $30 of the event's limit are left, less than is wanted at little uncertainty
    sizer = Sizer(SizingSettings(), NORMAL, 50 * USD)
    held = Exposure(1000 * USD, 1, 0, 70 * USD, 0)
    found = [contracts_of(sizer.size(offer_of(0.55, 42), u / 20, held)[1]) for u in range(21)]
    assert found == sorted(found, reverse=True)


@given(
    p_win=PROBABILITIES,
    cents=CENTS,
    depth=DEPTHS,
    uncertainty=PROBABILITIES,
    in_event=st.integers(0, 120 * USD),
    value_usd=st.floats(0, 100),
)
def test_more_careful_modes_never_mean_a_larger_position_at_no_limit_and_at_any(
    p_win: float, cents: int, depth: Decimal | None, uncertainty: float, in_event: int, value_usd: float
) -> None:
    offer, held = offer_of(p_win, cents, depth), Exposure(1000 * USD, 1, 0, in_event, 0)
    for limits in (NO_LIMITS, {}):
        found = []
        for mode in Mode:
            options = SizingSettings.model_validate(limits)
            sizer = Sizer(options, row_of(mode, ModeSettings()), int(value_usd * USD))
            found.append(contracts_of(sizer.size(offer, uncertainty, held)[1]))
        assert found == sorted(found, reverse=True)
        assert found[-1] == 0


@pytest.mark.parametrize(
    ("mode", "opened", "is_open"),
    [("conservative", 9, True), ("conservative", 10, False), ("minimal", 0, True), ("minimal", 1, False)],
)
def test_mode_bounds_the_positions_that_were_opened_in_it(mode: str, opened: int, *, is_open: bool) -> None:
    sizer = Sizer(SizingSettings(), row_of(mode, ModeSettings()), 50 * USD)
    verdicts, order = sizer.size(offer_of(0.7, 42), 0.0, Exposure(1000 * USD, 30, 0, 0, 0, opened))
    assert (order is not None) is is_open
    [limit] = [verdict for verdict in verdicts if verdict.gate is Reason.POSITION_LIMIT]
    assert limit.is_passed is is_open
    assert limit.numbers["opened_in_mode"] == opened


@pytest.mark.parametrize("mode", ["normal", "degraded"])
def test_usual_limits_alone_bound_positions_where_the_mode_names_no_number(mode: str) -> None:
    sizer = Sizer(SizingSettings(), row_of(mode, ModeSettings()), 50 * USD)
    verdicts, order = sizer.size(offer_of(0.7, 42), 0.0, Exposure(1000 * USD, 49, 0, 0, 0, 49))
    assert order is not None
    assert all("max_in_mode" not in verdict.numbers for verdict in verdicts)


@given(
    p_win=st.floats(0.5, 1),
    cents=st.integers(1, 60),
    in_event=st.integers(0, 120 * USD),
    today=st.integers(0, 300 * USD),
    positions=st.integers(0, 60),
    cash=st.integers(0, 1000 * USD),
)
def test_order_never_breaks_a_limit_nor_touches_the_reserve(
    p_win: float, cents: int, in_event: int, today: int, positions: int, cash: int
) -> None:
    options = SizingSettings()
    sizer = Sizer(options, NORMAL, 50 * USD)
    verdicts, order = sizer.size(offer_of(p_win, cents), 0.0, Exposure(cash, positions, 0, in_event, today))
    if order is None or not all(verdict.is_passed for verdict in verdicts):
        return
    assert order.stake_micro_usd <= 50 * USD
    assert order.stake_micro_usd + in_event <= 100 * USD
    assert order.stake_micro_usd + today <= 250 * USD
    assert positions < 50
    assert cash - order.cost_micro_usd >= 200 * USD


def test_limits_are_tried_at_their_shares_in_turn_and_the_verdict_says_at_which() -> None:
    assert RETRY_SHARES == (1.0, 0.8, 0.6, 0.4, 0.2, 0.1)
    sizer = Sizer(SizingSettings(), NORMAL, 50 * USD)
    verdicts, order = sizer.size(offer_of(0.7, 42), 0.0, Exposure(1000 * USD, 1, 0, 75 * USD, 0))
    assert order is not None
    [limit] = [verdict for verdict in verdicts if verdict.gate is Reason.POSITION_LIMIT]
    assert (limit.is_passed, limit.numbers["share_tried"], limit.numbers["event_room"]) == (True, 0.4, 25 * USD)


@pytest.mark.parametrize("held", [Exposure(1000 * USD, 1, USD, USD, USD), Exposure(1000 * USD, 50, 0, 0, 0)])
def test_market_that_is_held_and_a_full_book_of_positions_take_no_order(held: Exposure) -> None:
    verdicts, order = Sizer(SizingSettings(), NORMAL, 50 * USD).size(offer_of(0.7, 42), 0.0, held)
    assert order is None
    assert verdicts[-1].gate is Reason.POSITION_LIMIT
    assert verdicts[-1].numbers["share_tried"] == 0


@pytest.mark.parametrize(("size_there", "contracts"), [("20", 20), ("20.9", 20), ("0.9", 0), ("0", 0), (None, 267)])
def test_order_takes_no_more_than_is_there(size_there: str | None, contracts: int) -> None:
    depth = None if size_there is None else Decimal(size_there)
    assert contracts_of(size(offer_of(0.7, 42, depth))) == contracts


@pytest.mark.parametrize(("p_yes", "side", "depth"), [(0.9, Side.YES, "5"), (0.1, Side.NO, "7")])
def test_depth_of_an_order_is_that_of_the_side_it_buys(p_yes: float, side: Side, depth: str) -> None:
    # who buys NO sells YES to those who bid for it
    offer = best_offer(book(sizes=("7", "5")), p_yes)
    assert offer is not None
    assert (offer.side, offer.depth) == (side, Decimal(depth))


@given(PROBABILITIES, CENTS)
def test_no_edge_means_no_order(p_win: float, cents: int) -> None:
    offer = offer_of(min(p_win, cents / 100), cents)
    assert size(offer) is None


def contracts_of(order: Order | None) -> int:
    """Contracts of an order, 0 for none."""
    return 0 if order is None else order.contracts
