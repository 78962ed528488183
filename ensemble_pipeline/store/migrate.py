"""Brings the ``ensemble`` schema to the version this code needs, safely from several processes at once."""

from importlib.resources import files
from pathlib import Path

import psycopg

from ensemble_pipeline.errors import DatabaseError
from ensemble_pipeline.store.database import Connection, Database
from ensemble_pipeline.store.schema import SCHEMA, VERSION_TABLE

_LOCK = 0x656E73656D  # "ensem": any number, the same in every process


def known_revisions() -> tuple[str, ...]:
    """All migrations, oldest first, read from file names so that Alembic need not be imported."""
    names = (entry.name for entry in files("ensemble_pipeline.store.migrations.versions").iterdir())
    return tuple(sorted(name[1:5] for name in names if name.startswith("v") and name.endswith(".py")))


def current_revision(connection: Connection) -> str | None:
    """The version the database is at; ``None`` for an empty one."""
    found = connection.execute("select to_regclass(%s) as name", [f"{SCHEMA}.{VERSION_TABLE}"]).fetchone()
    if found is None or found["name"] is None:
        return None
    row = connection.execute(f"select version_num from {SCHEMA}.{VERSION_TABLE}").fetchone()
    return None if row is None else str(row["version_num"])


def pending_revisions(database: Database) -> tuple[str, ...]:
    """Migrations that `migrate` would apply.

    Raises:
        DatabaseError: the database was written by newer code.
    """
    with database.connection() as connection:
        current = current_revision(connection)
    known = known_revisions()
    if current is not None and current not in known:
        raise DatabaseError(
            f"the database is at schema version {current}, this code knows versions up to {known[-1]}: "
            "install the newer release, or name another database in ENSEMBLE_DATABASE_URL"
        )
    return tuple(revision for revision in known if current is None or revision > current)


def require_migrated(database: Database) -> None:
    """Refuse a database that lacks tables this code reads.

    Raises:
        DatabaseError: migrations are pending, or it was written by newer code.
    """
    if pending := pending_revisions(database):
        raise DatabaseError(
            f"migrations {', '.join(pending)} of this database are pending: "
            "`ensemble up` or `ensemble demo` applies them"
        )


def migrate(database: Database) -> tuple[str, ...]:
    """Apply what is pending, all or nothing, and return it. A second process waits for the first and finds nothing.

    Raises:
        DatabaseError: the database was written by newer code, or cannot be reached.
    """
    return _upgrade(database.url) if pending_revisions(database) else ()


def _upgrade(url: str) -> tuple[str, ...]:
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(url, connect_timeout=10), poolclass=NullPool
    )
    config = Config()
    config.set_main_option("script_location", str(Path(str(files("ensemble_pipeline.store.migrations")))))
    with engine.begin() as connection:
        connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        connection.execute(text(f"create schema if not exists {SCHEMA}"))
        connection.execute(text(f"set local search_path to {SCHEMA}"))
        # another process may have migrated while this one waited for the lock
        table = connection.execute(text("select to_regclass(:name)"), {"name": f"{SCHEMA}.{VERSION_TABLE}"}).scalar()
        found = None if table is None else connection.execute(text(f"select version_num from {VERSION_TABLE}")).scalar()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    engine.dispose()
    return tuple(revision for revision in known_revisions() if found is None or revision > str(found))
