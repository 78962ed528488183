import asyncio
import logging
import socket
from collections.abc import Callable

import pytest

from ensemble_pipeline.errors import DatabaseError
from ensemble_pipeline.store import database as store_database
from ensemble_pipeline.store.database import AsyncDatabase, Database, public_url, require_row

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"postgresql://ann:{SECRET}@db.example/prod", "postgresql://ann@db.example/prod"),
        (f"postgresql://ann:p@{SECRET}@db.example:5432/prod", "postgresql://ann@db.example:5432/prod"),
        ("postgresql://db.example/prod", "postgresql://db.example/prod"),
        ("postgresql://postgres:@/ensemble?host=/data", "postgresql://postgres@/ensemble?host=/data"),
        (
            f"postgresql://db/prod?user=ann&password={SECRET}&sslmode=require",
            "postgresql://db/prod?user=ann&sslmode=require",
        ),
        (f"host=db user=ann password={SECRET} dbname=prod", "user=ann dbname=prod host=db"),
        (f"postgres//ann:{SECRET}@db/prod", "(an unreadable address)"),
    ],
)
def test_public_url_hides_the_password_however_it_is_written(url: str, shown: str) -> None:
    assert public_url(url) == shown


def test_database_when_address_is_no_address_refuses_without_repeating_it() -> None:
    with pytest.raises(DatabaseError, match="ENSEMBLE_DATABASE_URL") as refused:
        Database(f"postgres//ann:{SECRET}@db/prod")
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None


def use_session(database: Database) -> None:
    with database.session():
        pass


def use_pool(database: Database) -> None:
    with database.connection():
        pass


def use_async_pool(database: Database) -> None:
    async def run() -> None:
        async with database.async_pool():
            pass

    asyncio.run(run())


@pytest.mark.parametrize("use", [use_session, use_pool, use_async_pool])
def test_connection_when_server_is_unreachable_says_where_and_holds_no_password(
    use: Callable[[Database], None], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_database, "_TIMEOUT_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    database = Database(f"postgresql://ann:{SECRET}@127.0.0.1:{port}/prod")
    with caplog.at_level(logging.DEBUG), pytest.raises(DatabaseError, match="ENSEMBLE_DATABASE_URL") as refused:
        use(database)
    database.close()
    assert f"ann@127.0.0.1:{port}/prod cannot be reached" in str(refused.value)
    assert SECRET not in "".join([str(refused.value), str(refused.value.__cause__), caplog.text])


def test_connection_when_block_fails_rolls_back_and_stays_usable(database: Database) -> None:
    def fail() -> None:
        with database.connection() as connection:
            connection.execute("insert into world_clock (mode) values ('real')")
            raise RuntimeError("on the way")

    with pytest.raises(RuntimeError):
        fail()
    with database.connection() as connection:
        assert connection.execute("select * from world_clock").fetchall() == []
    database.close()
    with database.connection() as connection:
        assert connection.execute("show timezone").fetchone() == {"TimeZone": "UTC"}


def test_async_connection_when_block_fails_rolls_back(database: Database) -> None:
    async def fail(pool: AsyncDatabase) -> None:
        async with pool.connection() as connection:
            await connection.execute("insert into world_clock (mode) values ('real')")
            raise RuntimeError("on the way")

    async def run() -> list[dict[str, object]]:
        async with database.async_pool() as pool:
            with pytest.raises(RuntimeError):
                await fail(pool)
            async with pool.connection() as connection:
                return await (await connection.execute("select * from world_clock")).fetchall()

    assert asyncio.run(run()) == []


def test_require_row_when_there_is_none_points_to_the_doctor() -> None:
    assert require_row({"n": 1}) == {"n": 1}
    with pytest.raises(DatabaseError, match="ensemble doctor"):
        require_row(None)
