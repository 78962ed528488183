"""Paper positions marked and sold, against a real database and books over real HTTP."""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.domain import Quote, Settlement, Side
from ensemble_pipeline.ensemble.positions import Managed, is_due, manage_positions
from ensemble_pipeline.errors import VenueUnavailableError
from ensemble_pipeline.forecasting.exits import ExitReason
from ensemble_pipeline.store import chain, decisions, positions, reports, resolutions
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.positions import Exit, OpenPosition
from ensemble_pipeline.venues.base import Venue
from ensemble_pipeline_tests.ensemble.held import USD, Books, hold
from ensemble_pipeline_tests.ensemble.venue import Play, playing
from ensemble_pipeline_tests.sandbox.small_world import HOUR, START
from ensemble_pipeline_tests.store.rows import quote_of

# 100 contracts at 0.40, and 0.07 * 100 * 0.40 * 0.60 of fee
PAID = 41_680_000
SIDES = pytest.mark.parametrize("side", ["yes", "no"])


def manage(play: Play) -> Managed:
    return play.with_venue(lambda venue: manage_positions(play.instance, venue))


def manage_on(play: Play, venue: object) -> Managed:
    return asyncio.run(manage_positions(play.instance, cast("Venue", venue)))


def bid(play: Play, side: str, price: str, ticker: str = "A-1") -> None:
    """An hour later a contract of `side` can be sold at `price`."""
    # the sandbox shows one board for as long as the clock stands
    wait(play)
    other = Decimal(price) + Decimal("0.02")
    low, high = (price, str(other)) if side == "yes" else (str(1 - other), str(1 - Decimal(price)))
    play.price(ticker, low, high)


def wait(play: Play, hours: float = 1) -> None:
    play.clock.advance_to(play.clock.now() + hours * HOUR)


def position_of(play: Play) -> dict[str, object]:
    [row] = play.rows("select * from positions")
    return row


def cash_adds_up(play: Play, cash: int) -> None:
    """The portfolio's cash is the bankroll and the log, to the cent, and is this much."""
    with play.instance.database.connection() as connection:
        held = decisions.portfolio(connection, play.instance.bankroll_micro_usd, play.clock.now())
    log = play.rows("select sum(cash_micro_usd)::bigint as n from trade_log")[0]["n"]
    assert held.cash == play.instance.bankroll_micro_usd + log == cash


@SIDES
def test_mark_is_the_bid_of_the_held_side(database: Database, monkeypatch: pytest.MonkeyPatch, side: str) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        hold(play, "A-1", side)
        for price in ("0.38", "0.47", "0.45"):
            bid(play, side, price)
            assert manage(play) == Managed(1, 0, 0, {}, 0)
        marks = play.rows("select bid, value_micro_usd as value, unrealised_micro_usd as gain from position_marks")
        assert [(str(it["bid"]), it["value"] - PAID == it["gain"]) for it in marks] == [
            ("0.3800", True),
            ("0.4700", True),
            ("0.4500", True),
        ]
        assert [it["value"] for it in marks] == [38 * USD, 47 * USD, 45 * USD]
        assert position_of(play)["highest_bid"] == Decimal("0.4700")
        assert position_of(play)["marked_at"] == play.clock.now()
        cash_adds_up(play, 1000 * USD - PAID)


@SIDES
@pytest.mark.parametrize(
    ("path", "rules", "reason", "price", "fee"),
    [
        # 0.4 * 0.4168 = 0.1667; 0.07 * 100 * 0.16 * 0.84
        (["0.16"], {}, "stop", "0.16", 940_800),
        # armed from 0.7084 on; 0.80 - 0.4 * (0.80 - 0.4168) = 0.6467; 0.07 * 100 * 0.64 * 0.36
        (["0.80", "0.64"], {}, "trailing", "0.64", 1_612_800),
        # rests at 0.4168 + 0.9 * 0.5832 = 0.9417, to the next cent; not the better bid, and a maker pays nothing
        (["0.97"], {}, "take_profit", "0.95", 0),
        # 0.07 * 100 * 0.45 * 0.55
        (["0.45"], {"max_age_days": 0.03}, "time", "0.45", 1_732_500),
        (["0.45"], {"before_close_hours": 300}, "before_expiry", "0.45", 1_732_500),
    ],
)
def test_exit_sells_at_its_price_net_of_both_fees(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    side: str,
    path: Sequence[str],
    rules: dict[str, float],
    reason: str,
    price: str,
    fee: int,
) -> None:
    net = int(Decimal(price) * 100 * USD) - fee - PAID
    with playing(database, monkeypatch, "A-1", exits=rules) as play:
        hold(play, "A-1", side)
        for step in path:
            bid(play, side, step)
            last = manage(play)
        assert last == Managed(1, 0, 0, {reason: 1}, net)
        position = position_of(play)
        assert (position["exit_reason"], position["exit_price"]) == (reason, Decimal(price))
        assert (position["exit_fee_micro_usd"], position["closed_at"]) == (fee, play.clock.now())
        assert position["payout_micro_usd"] == net + PAID
        log = play.rows("select kind, cash_micro_usd as cash, at from trade_log order by trade_id")
        assert [(row["kind"], row["cash"]) for row in log] == [("open", -PAID), ("exit", net + PAID)]
        assert log[1]["at"] == play.clock.now()
        cash_adds_up(play, 1000 * USD + net)


@pytest.mark.parametrize(("low", "high"), [(None, None), (None, "0.05"), ("0.05", None), ("0.10", "0.08")])
@SIDES
def test_position_without_an_executable_book_is_marked_with_nothing_and_stays_open(
    database: Database, monkeypatch: pytest.MonkeyPatch, side: str, low: str | None, high: str | None
) -> None:
    with playing(database, monkeypatch, "A-1", exits={"max_age_days": 0.001}) as play:
        hold(play, "A-1", side)
        wait(play)
        play.price("A-1", low, high)
        assert manage(play) == Managed(1, 1, 0, {}, 0)
        assert play.rows("select bid, value_micro_usd, unrealised_micro_usd from position_marks") == [
            {"bid": None, "value_micro_usd": None, "unrealised_micro_usd": None}
        ]
        assert (position_of(play)["closed_at"], position_of(play)["highest_bid"]) == (None, None)


def test_position_whose_book_is_missing_stays_open(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1", exits={"max_age_days": 0.001}) as play:
        hold(play, "A-1")
        wait(play)
        assert manage_on(play, Books()) == Managed(1, 1, 0, {}, 0)


def test_market_that_has_closed_is_marked_once_and_not_asked_about(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", closes=4, exits={"max_age_days": 0.001}) as play:
        hold(play, "A-1")
        play.clock.advance_to(START + 4 * HOUR)
        venue = Books(A_1=quote_of("0.30", "0.32"))
        assert is_due(play.instance, timedelta(0))
        assert manage_on(play, venue) == Managed(1, 1, 0, {}, 0)
        assert venue.asked == []
        wait(play)
        assert not is_due(play.instance, timedelta(0))
        assert manage_on(play, venue) == Managed(0, 0, 0, {}, 0)
        assert position_of(play)["closed_at"] is None


def test_market_that_closes_during_the_look_sells_nothing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1", closes=2) as play:
        hold(play, "A-1")

        class Slow(Books):
            async def order_books(self, asked: Sequence[str]) -> dict[str, Quote]:
                wait(play)
                return await super().order_books(asked)

        assert manage_on(play, Slow(A_1=quote_of("0.10", "0.12"))) == Managed(1, 1, 0, {}, 0)
        assert position_of(play)["closed_at"] is None


def thin(size: str) -> Books:
    """A book on which NO is bid 0.12 for, so many contracts of it."""
    book = replace(quote_of("0.85", "0.88"), yes_bid_size=Decimal(500), yes_ask_size=Decimal(size))
    return Books(A_1=book)


def test_position_larger_than_what_rests_at_the_bid_is_sold_in_part_and_the_rest_waits_for_a_deeper_book(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        whole = hold(play, "A-1", "no")
        # 60 * 0.12 less 0.07 * 60 * 0.12 * 0.88, rounded up to a hundredth of a cent; 60 of 100 paid for
        back, paid = 7_200_000 - 443_600, 24 * USD + 1_008_000
        assert manage_on(play, thin("60.5")) == Managed(1, 0, 0, {}, back - paid, 1)
        rows = play.rows(
            "select position_id as id, contracts as n, cost_micro_usd as cost, fee_micro_usd as fee, part_of,"
            " exit_reason as why, payout_micro_usd as back from positions order by 1"
        )
        assert rows == [
            {"id": whole, "n": 40, "cost": 16 * USD, "fee": 672_000, "part_of": None, "why": None, "back": None},
            {
                "id": whole + 1,
                "n": 60,
                "cost": 24 * USD,
                "fee": 1_008_000,
                "part_of": whole,
                "why": "stop",
                "back": back,
            },
        ]
        log = play.rows("select position_id as id, kind, cash_micro_usd as cash from trade_log order by trade_id")
        assert [tuple(row.values()) for row in log] == [
            (whole, "open", -PAID),
            (whole, "split", paid),
            (whole + 1, "split", -paid),
            (whole + 1, "exit", back),
        ]
        cash_adds_up(play, 1000 * USD - PAID + back)
        # the book of an instant is sold into once
        before = everything(play)
        assert manage_on(play, thin("60.5")) == Managed(1, 0, 1, {}, 0)
        assert everything(play) == before
        wait(play)
        assert manage_on(play, thin("0.9")) == Managed(1, 0, 1, {}, 0)
        assert manage_on(play, thin("40")).exits == {"stop": 1}
        assert play.rows("select count(*) as n from positions where closed_at is null") == [{"n": 0}]
        # 40 * 0.12 less 0.07 * 40 * 0.12 * 0.88
        cash_adds_up(play, 1000 * USD - PAID + back + 4_800_000 - 295_700)
        with play.instance.database.connection() as connection:
            assert reports.paper_result(connection)["trades"] == 1


def test_rest_of_a_position_sold_in_part_settles_and_the_part_does_not(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        hold(play, "A-1", "no")
        sold = manage_on(play, thin("60"))
        assert settle(play, False) == 1
        paid = play.rows("select payout_micro_usd as n from positions where part_of is null")
        assert paid == [{"n": 40 * USD}]
        assert settle(play, None) == 1
        # a void gives back the stake of what was held until then
        paid = play.rows("select payout_micro_usd as n from positions where part_of is null")
        assert paid == [{"n": 16 * USD}]
        cash_adds_up(play, 1000 * USD + sold.net_micro_usd - 672_000)
        with play.instance.database.connection() as connection:
            outcome = chain.outcome_of(connection, 1, "kalshi:A-1")["position"]
        assert outcome["cash_flow_micro_usd"] == sold.net_micro_usd - 672_000


@given(
    contracts=st.integers(2, 5000), sold=st.integers(1, 4999), cents=st.integers(1, 99), fee=st.integers(0, 10_000_000)
)
def test_part_and_rest_were_paid_what_the_whole_was(contracts: int, sold: int, cents: int, fee: int) -> None:
    at = START
    whole = OpenPosition(1, "m", "t", Side.YES, contracts, contracts * cents * 10_000, fee, at, at + HOUR, None)
    part = whole.part(min(sold, contracts - 1))
    assert part.cost_micro_usd == part.contracts * cents * 10_000
    assert 0 <= part.fee_micro_usd <= fee
    assert abs(part.fee_micro_usd - fee * part.contracts / contracts) < 1


def everything(play: Play) -> list[list[dict[str, object]]]:
    tables = ("positions", "position_marks", "trade_log")
    return [play.rows(f"select * from {name} order by 1, 2") for name in tables]


def test_repeating_a_look_and_starting_again_change_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", "B-1") as play:
        hold(play, "A-1")
        hold(play, "B-1")
        bid(play, "yes", "0.16")
        assert manage(play).exits == {"stop": 1}
        before = everything(play)
        assert manage(play) == Managed(1, 0, 0, {}, 0)
        with closing(Database(database.url)) as opened_anew:
            play.instance = replace(play.instance, database=opened_anew)
            assert manage(play) == Managed(1, 0, 0, {}, 0)
            after = everything(play)
        assert after == before


def test_two_processes_at_once_sell_each_position_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    tickers = [f"M{number}-1" for number in range(6)]
    with playing(database, monkeypatch, *tickers) as play:
        for ticker in tickers:
            hold(play, ticker, contracts=10)
        gate = threading.Barrier(2)

        class Together(Books):
            async def order_books(self, asked: Sequence[str]) -> dict[str, Quote]:
                # both have read what is open before either sells
                gate.wait(30)
                return await super().order_books(asked)

        books = {ticker.replace("-", "_"): quote_of("0.10", "0.12") for ticker in tickers}
        found: list[Managed] = []
        threads = [threading.Thread(target=lambda: found.append(manage_on(play, Together(**books)))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # who comes second finds them sold, and marks nothing
        assert sorted((it.marked, it.exits.get("stop", 0)) for it in found) == [(0, 0), (6, 6)]
        assert play.rows("select count(*) as n from trade_log where kind = 'exit'") == [{"n": 6}]
        # 10 * 0.10 less 0.07 * 10 * 0.10 * 0.90, against 4 and 0.168
        cash_adds_up(play, 1000 * USD - 6 * (4_168_000 - 937_000))


def test_who_waits_for_another_process_finds_what_it_sold(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        hold(play, "A-1")
        found: list[Managed] = []
        second = threading.Thread(target=lambda: found.append(manage_on(play, Books(A_1=quote_of("0.10", "0.12")))))
        with database.connection() as first:
            [position] = positions.lock_open_positions(first, play.clock.now())
            second.start()
            while second.is_alive() and not play.rows("select from pg_locks where not granted"):
                threading.Event().wait(0.02)
            assert positions.sell(first, Exit(position, play.clock.now(), ExitReason.TIME, Decimal("0.30"), 0))
            assert not positions.sell(first, Exit(position, play.clock.now(), ExitReason.TIME, Decimal("0.30"), 0))
        second.join()
        assert found == [Managed(0, 0, 0, {}, 0)]
        assert play.rows("select * from position_marks") == []
        cash_adds_up(play, 1000 * USD - PAID + 30 * USD)


def test_slow_look_does_not_undo_a_later_one(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        hold(play, "A-1")
        slow = replace(play.instance, clock=SteppedClock(play.clock.now()))
        bid(play, "yes", "0.45")
        manage(play)
        stale = Books(A_1=quote_of("0.10", "0.12"))
        assert asyncio.run(manage_positions(slow, cast("Venue", stale))) == Managed(0, 0, 0, {}, 0)
        assert position_of(play)["closed_at"] is None


def test_market_that_settles_during_the_look_is_settled_and_not_sold(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        hold(play, "A-1")

        class Settling(Books):
            async def order_books(self, asked: Sequence[str]) -> dict[str, Quote]:
                settle(play, True)
                return await super().order_books(asked)

        assert manage_on(play, Settling(A_1=quote_of("0.10", "0.12"))) == Managed(0, 0, 0, {}, 0)
        cash_adds_up(play, 1000 * USD - PAID + 100 * USD)


def settle(play: Play, outcome: bool | None) -> int:
    wait(play)
    said = Settlement("kalshi:A-1", outcome, play.clock.now())
    with play.instance.database.connection() as connection:
        resolutions.save_settlements(connection, [said], play.clock.now())
        return decisions.settle_positions(connection)


@SIDES
def test_sold_position_gets_nothing_from_settlement_correction_or_withdrawal(
    database: Database, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        hold(play, "A-1", side)
        bid(play, side, "0.16")
        sold = manage(play)
        assert sold.exits == {"stop": 1}
        before = position_of(play)
        for outcome in (True, False, None):
            assert settle(play, outcome) == 0
        wait(play)
        with play.instance.database.connection() as connection:
            assert resolutions.withdraw(connection, ["kalshi:A-1"], play.clock.now()) == ["kalshi:A-1"]
            assert decisions.settle_positions(connection) == 0
        assert settle(play, True) == 0
        assert position_of(play) == before
        cash_adds_up(play, 1000 * USD + sold.net_micro_usd)
        with play.instance.database.connection() as connection:
            held = decisions.portfolio(connection, play.instance.bankroll_micro_usd, play.clock.now())
        assert (held.open_positions, held.staked_by_market, held.staked_today) == (0, {}, 40 * USD)


def test_position_open_again_after_a_withdrawn_settlement_is_looked_after_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        hold(play, "A-1")
        assert settle(play, True) == 1
        assert not is_due(play.instance, timedelta(0))
        wait(play)
        with play.instance.database.connection() as connection:
            resolutions.withdraw(connection, ["kalshi:A-1"], play.clock.now())
            decisions.settle_positions(connection)
        assert manage_on(play, Books(A_1=quote_of("0.10", "0.12"))).exits == {"stop": 1}
        # 100 * 0.10 less 0.07 * 100 * 0.10 * 0.90
        cash_adds_up(play, 1000 * USD - PAID + 9_370_000)


def test_venue_that_does_not_answer_leaves_everything_as_it_is(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        hold(play, "A-1")
        bid(play, "yes", "0.16")
        play.fault("kalshi", "overloaded", count=3)
        with pytest.raises(VenueUnavailableError):
            manage(play)
        assert play.rows("select * from position_marks") == []
        assert manage(play).exits == {"stop": 1}


def test_marks_are_due_after_their_patience_and_never_twice_at_one_instant(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        assert not is_due(play.instance, timedelta(0))
        hold(play, "A-1")
        assert is_due(play.instance, timedelta(minutes=5))
        manage(play)
        assert not is_due(play.instance, timedelta(0))
        wait(play, 4 / 60)
        assert is_due(play.instance, timedelta(0))
        assert not is_due(play.instance, timedelta(minutes=5))
        wait(play, 1 / 60)
        assert is_due(play.instance, timedelta(minutes=5))


def test_position_that_a_decision_opened_is_marked_and_stopped(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble={"member_policy": "all", "market_weight": 0.5}) as play:
        play.scan()
        play.decide(1)
        assert manage(play) == Managed(1, 0, 0, {}, 0)
        bid(play, "yes", "0.05")
        assert manage(play).exits == {"stop": 1}
        position = play.rows(
            "select cost_micro_usd + fee_micro_usd as paid, payout_micro_usd as back, contracts from positions"
        )[0]
        cash_adds_up(play, 1000 * USD - position["paid"] + position["back"])
