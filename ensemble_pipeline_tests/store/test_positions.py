"""What the schema itself refuses of marks and exits, and what a way back to the schema before them leaves."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import cast

import psycopg
import pytest

from ensemble_pipeline.ensemble.positions import manage_positions
from ensemble_pipeline.store import decisions
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.migrate import migrate
from ensemble_pipeline.venues.base import Venue
from ensemble_pipeline_tests.ensemble.held import Books, hold
from ensemble_pipeline_tests.ensemble.history import settle
from ensemble_pipeline_tests.ensemble.venue import Play, playing
from ensemble_pipeline_tests.sandbox.small_world import HOUR
from ensemble_pipeline_tests.store.rows import quote_of
from ensemble_pipeline_tests.store.test_migrate import downgrade

SOLD = (
    "update positions set closed_at = now(), exit_reason = {reason}, exit_price = {price}, exit_fee_micro_usd = {fee},"
    " payout_micro_usd = {payout}"
)
LOGGED = (
    "insert into trade_log (position_id, kind, at, cash_micro_usd, resolution_id) values (1, {kind}, now(), 1, {id})"
)
MARKED = "insert into position_marks values ({position}, now(), {bid}, {value}, {gain})"


def sold(**changes: str) -> str:
    """A sale of 100 contracts at 0.50 with a fee of $1.75."""
    whole = {"reason": "'stop'", "price": "0.5", "fee": "1750000", "payout": "48250000"}
    return SOLD.format(**(whole | changes))


def logged(kind: str = "exit", resolution: str = "null") -> str:
    return LOGGED.format(kind=f"'{kind}'", id=resolution)


def marked(position: str = "1", bid: str = "0.5", value: str = "50000000", gain: str = "0") -> str:
    return MARKED.format(position=position, bid=bid, value=value, gain=gain)


def run(play: Play, *statements: str) -> None:
    with play.instance.database.connection() as connection:
        for statement in statements:
            connection.execute(statement)


def test_schema_takes_a_sale_a_mark_and_its_log(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        hold(play, "A-1")
        run(play, marked(), marked(bid="null", value="null", gain="null").replace("now()", "now() - interval '1 h'"))
        run(play, sold(), logged())
        assert play.rows("select count(*) as n from position_marks") == [{"n": 2}]


@pytest.mark.parametrize(
    "statement",
    [
        sold(reason="'bored'"),
        sold(price="null"),
        sold(fee="null"),
        sold(fee="-1"),
        sold(price="0"),
        sold(price="1"),
        sold(payout="50000000"),
        sold().replace("closed_at = now()", "closed_at = null"),
        sold().replace("closed_at = now()", "closed_at = null").replace("48250000", "null"),
        "update positions set highest_bid = 0.5",
        "update positions set marked_at = opened_at - interval '1 s'",
        "update positions set marked_at = now() + interval '1 y', highest_bid = 1.2",
        marked(bid="null"),
        marked(value="null"),
        marked(bid="0", value="0"),
        logged("gift"),
        logged("exit", "1"),
    ],
)
def test_schema_when_sale_or_mark_is_impossible_refuses(
    database: Database, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        hold(play, "A-1")
        settle(database, "A-1", True, resolved_at=play.clock.now())
        with pytest.raises(psycopg.errors.CheckViolation):
            run(play, statement)


def test_schema_refuses_a_second_exit_and_marks_of_nothing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        hold(play, "A-1")
        run(play, logged())
        with pytest.raises(psycopg.errors.UniqueViolation):
            run(play, logged())
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            run(play, marked(position="99"))


def test_downgrade_opens_what_was_sold_so_that_its_settlement_pays_and_upgrade_takes_it_on(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(empty_url)
    migrate(database)
    with playing(database, monkeypatch, "A-1", "B-1") as play:
        for ticker in ("A-1", "B-1"):
            hold(play, ticker)
        play.clock.advance_to(play.clock.now() + HOUR)
        play.price("A-1", "0.10", "0.12")
        assert play.with_venue(lambda venue: manage_positions(play.instance, venue)).exits == {"stop": 1}
        database.close()
        downgrade(empty_url, "0007")
        assert (
            play.rows("select closed_at, payout_micro_usd from positions")
            == [{"closed_at": None, "payout_micro_usd": None}] * 2
        )
        assert (
            play.rows("select kind, cash_micro_usd as cash from trade_log")
            == [{"kind": "open", "cash": -41_680_000}] * 2
        )
        with pytest.raises(psycopg.errors.CheckViolation):
            run(play, logged())
        database.close()
        assert migrate(database)[0] == "0008"
        settle(database, "A-1", True, resolved_at=play.clock.now())
        with database.connection() as connection:
            assert decisions.settle_positions(connection) == 1
        assert play.with_venue(lambda venue: manage_positions(play.instance, venue)).marked == 1
    database.close()


def test_downgrade_makes_a_whole_of_what_was_sold_in_part_and_upgrade_takes_it_on(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(empty_url)
    migrate(database)
    with playing(database, monkeypatch, "A-1") as play:
        hold(play, "A-1")
        thin = Books(A_1=replace(quote_of("0.10", "0.12"), yes_bid_size=Decimal(30), yes_ask_size=Decimal(30)))
        play.clock.advance_to(play.clock.now() + HOUR)
        assert asyncio.run(manage_positions(play.instance, cast("Venue", thin))).reduced == 1
        settle(database, "A-1", True, resolved_at=play.clock.now())
        with database.connection() as connection:
            assert decisions.settle_positions(connection) == 1
        database.close()
        downgrade(empty_url, "0015")
        whole = {"contracts": 100, "cost": 40_000_000, "fee": 1_680_000, "closed_at": None}
        columns = "contracts, cost_micro_usd as cost, fee_micro_usd as fee, closed_at"
        assert play.rows(f"select {columns} from positions") == [whole]
        assert play.rows("select kind, cash_micro_usd as cash from trade_log") == [
            {"kind": "open", "cash": -41_680_000}
        ]
        database.close()
        assert migrate(database)[0] == "0016"
        with database.connection() as connection:
            assert decisions.settle_positions(connection) == 1
        assert play.rows("select payout_micro_usd as paid from positions") == [{"paid": 100_000_000}]
    database.close()
