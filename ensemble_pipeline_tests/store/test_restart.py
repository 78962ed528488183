"""What a restart of the server does to those who are connected to it, on a server that is really restarted."""

import asyncio
import logging
import threading
from typing import Any, cast

import psycopg
import pytest

from ensemble_pipeline.errors import DatabaseError, DatabaseLostError
from ensemble_pipeline.store import database as store_database
from ensemble_pipeline.store.database import AsyncDatabase, Database
from ensemble_pipeline.store.lasting import AnySession, LastingSession
from ensemble_pipeline.store.locks import SNAPSHOT_LOCKS, locked_snapshots
from ensemble_pipeline.store.world_clock import StoredClock
from ensemble_pipeline_tests.store.own_server import Mode, OwnServer

LOST = r"PostgreSQL at .+ went away in the middle of work: .+\. What it had confirmed stands"


def one(connection: psycopg.Connection[dict[str, object]]) -> dict[str, object] | None:
    return connection.execute("select 1 as n").fetchone()


def test_connections_that_lay_in_the_pools_are_replaced_before_anybody_gets_one(
    own: OwnServer, restarted: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask(pool: AsyncDatabase) -> object:
        async with pool.connection() as connection:
            return await (await connection.execute("select 1 as n")).fetchone()

    async def run() -> list[object]:
        async with restarted.async_pool() as pool:
            before = await asyncio.gather(*(ask(pool) for _ in range(3)))
            own.restart()
            return [*before, *await asyncio.gather(*(ask(pool) for _ in range(3)))]

    with restarted.connection() as first, restarted.connection() as second:
        assert one(first) == one(second) == {"n": 1}
    with caplog.at_level(logging.CRITICAL, "psycopg.pool"):
        assert asyncio.run(run()) == [{"n": 1}] * 6
        with restarted.connection() as first, restarted.connection() as second:
            assert one(first) == one(second) == {"n": 1}


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_transaction_that_is_cut_off_says_so_and_left_nothing_behind(
    own: OwnServer, restarted: Database, mode: Mode
) -> None:
    def write() -> None:
        with restarted.connection() as connection:
            connection.execute("insert into models values ('lost', 'p', 'w', now())")
            own.restart(mode)
            connection.execute("select 1")

    with pytest.raises(DatabaseLostError, match=LOST):
        write()
    with restarted.connection() as connection:
        assert connection.execute("select from models where model_id = 'lost'").fetchone() is None


def test_async_transaction_that_is_cut_off_says_so(own: OwnServer, restarted: Database) -> None:
    async def run() -> None:
        async with restarted.async_pool() as pool, pool.connection() as connection:
            await connection.execute("select 1")
            own.restart()
            await connection.execute("select 1")

    with pytest.raises(DatabaseLostError, match=LOST):
        asyncio.run(run())


def test_server_that_stays_away_is_said_to_be_unreachable(
    own: OwnServer, restarted: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_database, "_TIMEOUT_S", 0.3)

    def look() -> None:
        with restarted.connection():
            pass

    look()
    own.stop()
    try:
        with pytest.raises(DatabaseError, match="cannot be reached"):
            look()
    finally:
        own.start()
    monkeypatch.undo()
    look()


def test_clock_that_is_read_in_the_moment_of_a_restart_reads_again(
    own: OwnServer, restarted: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, read = StoredClock(restarted), cast("Any", psycopg.Connection.execute)
    before = clock.now()

    def cut_off(*arguments: Any) -> Any:
        monkeypatch.undo()
        own.restart()
        return read(*arguments)

    monkeypatch.setattr(psycopg.Connection, "execute", cut_off)
    assert clock.now() > before


def wait_until_locked(database: Database, snapshot_id: int, *, is_wanted: bool = True) -> None:
    for _ in range(250):
        if is_locked(database, snapshot_id) is is_wanted:
            return
        threading.Event().wait(0.02)
    pytest.fail(f"snapshot {snapshot_id} is {'not ' if is_wanted else ''}locked after 5 s")


def is_locked(database: Database, snapshot_id: int) -> bool:
    with database.connection() as connection:
        held = connection.execute(
            "select from pg_locks where locktype = 'advisory' and (classid, objid) = (%s, %s)",
            [SNAPSHOT_LOCKS, snapshot_id],
        )
        return held.fetchone() is not None


def test_locks_that_the_server_dropped_are_taken_again_and_count_as_broken(own: OwnServer, restarted: Database) -> None:
    with locked_snapshots(restarted, [7, 8]) as locks:
        locks.require_unbroken()
        own.restart()
        with pytest.raises(DatabaseLostError, match="took the locks on this run's snapshots with it"):
            locks.require_unbroken()
        wait_until_locked(restarted, 7)
        with pytest.raises(DatabaseLostError):
            locks.require_unbroken()
    wait_until_locked(restarted, 7, is_wanted=False)


def test_hold_on_an_embedded_server_is_there_again_after_a_restart(own: OwnServer, restarted: Database) -> None:
    holders = "select count(*) as n from pg_stat_activity where application_name = 'ensemble launcher'"
    own.restart()
    for _ in range(250):
        with restarted.connection() as connection:
            if connection.execute(holders).fetchone() == {"n": 1}:
                return
        threading.Event().wait(0.02)
    pytest.fail("another process that leaves now would stop the server under this one")


def test_session_whose_place_another_took_stays_closed(own: OwnServer, restarted: Database) -> None:
    asked = threading.Event()

    def take(session: AnySession) -> bool:
        assert session.execute("select 1 as n").fetchone() == {"n": 1}
        asked.set()
        return False

    lasting = LastingSession(restarted.open_session(), restarted.open_session, take)
    assert lasting.is_unbroken()
    own.restart()
    assert asked.wait(10)
    assert not lasting.is_unbroken()
    assert lasting.session.closed
    lasting.close()


def test_session_in_which_nothing_can_be_taken_is_closed_before_another_is_opened(database: Database) -> None:
    asked: list[AnySession] = []
    is_held = threading.Event()

    def take(session: AnySession) -> bool:
        asked.append(session)
        if len(asked) == 1:
            session.execute("set statement_timeout = 1")
            session.execute("select pg_sleep(1)")
        is_held.set()
        return True

    lasting = LastingSession(database.open_session(), database.open_session, take)
    with database.session() as other:
        other.execute("select pg_terminate_backend(%s)", [lasting.session.info.backend_pid])
    assert is_held.wait(10)
    assert [it.closed for it in asked] == [True, False]
    lasting.close()
    assert asked[1].closed


def test_session_that_is_told_something_else_than_farewell_is_unbroken(database: Database) -> None:
    lasting = LastingSession(database.open_session(), database.open_session, lambda _: False)
    lasting.session.execute("listen news")
    with database.session() as other:
        other.execute("notify news, 'something to read'")
    assert lasting.is_unbroken()
    lasting.close()
