"""Connections to the instance's database.

A server that was restarted has hung up on all of them: those that lay in a pool are replaced before anybody gets one,
and whoever was using one is told by `DatabaseLostError`.
"""

import select
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from ensemble_pipeline.errors import DatabaseError, DatabaseLostError
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
            DatabaseLostError: it went away before the transaction was confirmed.
        """
        try:
            taken = self._take()
        except psycopg.OperationalError as error:
            raise DatabaseError(_unreachable(self.url, error)) from error
        try:
            with taken:
                yield taken
        except psycopg.OperationalError as error:
            if not taken.broken:
                raise
            raise DatabaseLostError(_lost(self.url, error)) from error
        finally:
            self._pool.putconn(taken)

    def _take(self) -> Connection:
        while True:
            taken = self._pool.getconn(timeout=_TIMEOUT_S)
            if is_open(taken):
                return taken
            # the pool makes a new one for it
            self._pool.putconn(taken)

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """A connection of its own outside the pool, each statement its own transaction; locks it takes end with it.

        Raises:
            DatabaseError: the server cannot be reached.
            DatabaseLostError: it went away in the middle of a statement.
        """
        session = self.open_session()
        try:
            with session:
                yield session
        except psycopg.OperationalError as error:
            if not session.broken:
                raise
            raise DatabaseLostError(_lost(self.url, error)) from error

    def open_session(self) -> Connection:
        """The same, which the caller closes.

        Raises:
            DatabaseError: the server cannot be reached.
        """
        try:
            return psycopg.connect(self.url, autocommit=True, **_connect_options())
        except psycopg.OperationalError as error:
            raise DatabaseError(_unreachable(self.url, error)) from error

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
            yield AsyncDatabase(pool, self.url)
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

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection], url: str) -> None:
        self._pool = pool
        self._url = url

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """A pooled connection inside one transaction.

        Raises:
            DatabaseError: the server cannot be reached.
            DatabaseLostError: it went away before the transaction was confirmed.
        """
        try:
            taken = await self._take()
        except psycopg.OperationalError as error:
            raise DatabaseError(_unreachable(self._url, error)) from error
        try:
            async with taken:
                yield taken
        except psycopg.OperationalError as error:
            if not taken.broken:
                raise
            raise DatabaseLostError(_lost(self._url, error)) from error
        finally:
            await self._pool.putconn(taken)

    async def _take(self) -> AsyncConnection:
        while True:
            taken = await self._pool.getconn()
            if await _is_open(taken):
                return taken
            await self._pool.putconn(taken)

    @asynccontextmanager
    async def statement(self) -> AsyncIterator[AsyncConnection]:
        """A pooled connection on which each statement is a transaction of its own: one message there, one back.

        Raises the same errors as `connection`.
        """
        async with self.connection() as connection:
            await connection.set_autocommit(True)
            try:
                yield connection
            finally:
                if not connection.broken:
                    await connection.set_autocommit(False)


def is_open(connection: psycopg.Connection[Any]) -> bool:
    """Whether the server still listens to a connection that nobody uses right now.

    What can be read though nothing was asked is its farewell, as a rule: only then is it asked, so that a sound
    connection costs no round trip.
    """
    try:
        if _has_something_to_read(connection.fileno()):
            ConnectionPool.check_connection(connection)
    except psycopg.Error:
        return False
    return True


async def _is_open(connection: AsyncConnection) -> bool:
    try:
        if _has_something_to_read(connection.fileno()):
            await AsyncConnectionPool.check_connection(connection)
    except psycopg.Error:
        return False
    return True


def _has_something_to_read(descriptor: int) -> bool:
    look = select.poll()
    look.register(descriptor, select.POLLIN)
    return bool(look.poll(0))


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
    return f"PostgreSQL at {shown} cannot be reached: {_first_line(error)}. Start it, or correct ENSEMBLE_DATABASE_URL."


def _lost(url: str, error: Exception) -> str:
    return (
        f"PostgreSQL at {public_url(url)} went away in the middle of work: {_first_line(error)}. What it had confirmed "
        "stands; once it answers again the same work can be taken up."
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


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
