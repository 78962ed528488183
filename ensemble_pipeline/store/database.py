"""Connections to the instance's database."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from ensemble_pipeline.errors import DatabaseError
from ensemble_pipeline.store.schema import SCHEMA

Row = dict[str, Any]
Connection = psycopg.Connection[Row]
AsyncConnection = psycopg.AsyncConnection[Row]

_TIMEOUT_S = 10
# hundreds of calls of one run share a few connections: waiting for one's turn is no fault of the server
_TURN_S = 120
_OPTIONS = f"-c search_path={SCHEMA} -c timezone=UTC"


class Database:
    """One database; every `connection` block is one transaction.

    Values come back as ``dict`` rows. The pools are small: many processes share one server.

    Raises:
        DatabaseError: `url` is no address of a PostgreSQL database.
    """

    def __init__(self, url: str, *, max_size: int = 4) -> None:
        self.url = _checked(url)
        self._max_size = max_size

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A pooled connection inside one transaction: committed at the end of the block, rolled back on error.

        Raises:
            DatabaseError: the server cannot be reached.
        """
        try:
            taken = self._pool.getconn(timeout=_TIMEOUT_S)
        except psycopg.OperationalError as error:
            raise DatabaseError(_unreachable(self.url, error)) from error
        try:
            with taken:
                yield taken
        finally:
            self._pool.putconn(taken)

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """A connection of its own outside the pool, each statement its own transaction; locks it takes end with it.

        Raises:
            DatabaseError: the server cannot be reached.
        """
        try:
            session = psycopg.connect(self.url, autocommit=True, **_connect_options())
        except psycopg.OperationalError as error:
            raise DatabaseError(_unreachable(self.url, error)) from error
        with session:
            yield session

    @asynccontextmanager
    async def async_pool(self, max_size: int = 8) -> AsyncIterator["AsyncDatabase"]:
        """A pool for one event loop."""
        pool = AsyncConnectionPool[AsyncConnection](
            self.url, min_size=1, max_size=max_size, open=False, kwargs=_connect_options(), timeout=_TURN_S
        )
        try:
            await pool.open(wait=True, timeout=_TIMEOUT_S)
        except psycopg.OperationalError as error:
            await pool.close()
            raise DatabaseError(_unreachable(self.url, error)) from error
        try:
            yield AsyncDatabase(pool)
        finally:
            await pool.close()

    @cached_property
    def _pool(self) -> ConnectionPool[Connection]:
        return ConnectionPool[Connection](
            self.url, min_size=0, max_size=self._max_size, open=True, kwargs=_connect_options(), timeout=_TIMEOUT_S
        )

    def close(self) -> None:
        """Close the pooled connections; a later `connection` opens new ones."""
        if "_pool" in self.__dict__:
            self._pool.close()
            del self.__dict__["_pool"]


class AsyncDatabase:
    """The asynchronous side of a ``Database``, bound to one event loop."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection]) -> None:
        self._pool = pool

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """A pooled connection inside one transaction."""
        async with self._pool.connection() as connection:
            yield connection

    @asynccontextmanager
    async def statement(self) -> AsyncIterator[AsyncConnection]:
        """A pooled connection on which each statement is a transaction of its own: one message there, one back."""
        async with self._pool.connection() as connection:
            await connection.set_autocommit(True)
            try:
                yield connection
            finally:
                await connection.set_autocommit(False)


def require_row(row: Row | None) -> Row:
    """The row of a statement that always returns one.

    Raises:
        DatabaseError: there is none, so the schema is not what this code expects.
    """
    if row is None:
        raise DatabaseError("a statement that always returns a row returned none; run `ensemble doctor`")
    return row


def _checked(url: str) -> str:
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # what libpq says of it repeats the text, password and all
        raise DatabaseError(
            "ENSEMBLE_DATABASE_URL is no address of a PostgreSQL database; it reads like "
            "postgresql://user:password@host:5432/name"
        ) from None
    return url


def _connect_options() -> dict[str, Any]:
    return {"options": _OPTIONS, "row_factory": dict_row, "connect_timeout": _TIMEOUT_S}


def _unreachable(url: str, error: Exception) -> str:
    shown = public_url(url)
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return f"PostgreSQL at {shown} cannot be reached: {first_line}. Start it, or correct ENSEMBLE_DATABASE_URL."


def public_url(url: str) -> str:
    """The URL without its password, fit for a message.

    >>> public_url("postgresql://ann:secret@db.example/prod")
    'postgresql://ann@db.example/prod'
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        # the other spelling: host=… user=… password=…
        try:
            parts = conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            return "(an unreadable address)"
        return make_conninfo("", **{name: value for name, value in parts.items() if "pass" not in name})
    userinfo, at, location = rest.rpartition("@")
    address, _, query = location.partition("?")
    shown = "&".join(part for part in query.split("&") if part and "pass" not in part.partition("=")[0].lower())
    user = f"{userinfo.partition(':')[0]}{at}" if at else ""
    return f"{scheme}{separator}{user}{address}{'?' if shown else ''}{shown}"
