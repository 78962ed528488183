"""One PostgreSQL server for all tests, and a migrated database of its own for each test that asks for one."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import hypothesis
import psycopg
import pytest
from psycopg import sql

from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.embedded import EmbeddedServer, start_embedded
from ensemble_pipeline.store.migrate import migrate
from ensemble_pipeline_tests.store.own_server import OwnServer, own_server

# `make test-all` takes the second. No deadlines: how long an example takes tells of the machine, not of the law
hypothesis.settings.register_profile("quick", max_examples=50, deadline=None)
hypothesis.settings.register_profile("thorough", max_examples=500, deadline=None)
hypothesis.settings.load_profile("quick")

TEMPLATE = "template_migrated"
_LONGEST_FIRST = ("journeys", "archives", "replay", "pipeline")
_NUMBERS = count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where two workers share the files, those that take long come first, so that both end at about the same time."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    folder = item.path.parent.name
    return _LONGEST_FIRST.index(folder) if folder in _LONGEST_FIRST else len(_LONGEST_FIRST)


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """An empty embedded server."""
    folder = Path(tempfile.mkdtemp(prefix="ensemble-tests-", dir="/tmp"))
    # as root, PostgreSQL runs as a user of its own, which must get through
    folder.chmod(0o755)
    started = start_embedded(folder)
    started.hold()
    with psycopg.connect(started.url("postgres"), autocommit=True) as connection:
        # these databases need not survive a power cut
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(sql.SQL("alter system set {} = off").format(sql.Identifier(setting)))
        connection.execute("select pg_reload_conf()")
    yield started
    started.release()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated(server: EmbeddedServer) -> EmbeddedServer:
    """The server with a template that holds the whole schema."""
    with opened(server.ensure_database(TEMPLATE)) as template:
        migrate(template)
    return server


@pytest.fixture
def empty_url(server: EmbeddedServer) -> Iterator[str]:
    """The URL of a database without a schema."""
    name = f"empty_{next(_NUMBERS)}"
    yield server.ensure_database(name)
    server.drop_database(name)


@pytest.fixture
def database(migrated: EmbeddedServer) -> Iterator[Database]:
    """A migrated, empty database of the test's own, emptied and handed on at the end (cheaper than a new one)."""
    name = _free.pop() if _free else _copy_template(migrated)
    with opened(migrated.url(name)) as made:
        yield made
    _empty(migrated.url(name))
    _free.append(name)


@pytest.fixture(scope="session")
def own() -> Iterator[OwnServer]:
    """A server that tests restart, with a migrated database."""
    with own_server() as started:
        with opened(started.embedded.ensure_database("restarted")) as made:
            migrate(made)
        yield started


@pytest.fixture
def restarted(own: OwnServer) -> Iterator[Database]:
    """A migrated, empty database on it."""
    url = own.embedded.url("restarted")
    with opened(url) as made:
        yield made
    _empty(url)


_free: list[str] = []

_EMPTY = """
do $$
declare it record;
begin
    set local session_replication_role = replica;
    set local lock_timeout = '20s';
    for it in select tablename from pg_tables where schemaname = 'ensemble' and tablename <> 'schema_version' loop
        execute format('delete from ensemble.%I', it.tablename);
    end loop;
    for it in select sequencename from pg_sequences where schemaname = 'ensemble' and last_value is not null loop
        perform setval(format('ensemble.%I', it.sequencename), 1, false);
    end loop;
end $$
"""


def _copy_template(server: EmbeddedServer) -> str:
    name = f"test_{next(_NUMBERS)}"
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        statement = sql.SQL("create database {} template {}")
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(TEMPLATE)))
    return name


def _empty(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(_EMPTY)


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """A database whose connections are closed at the end."""
    made = Database(url)
    try:
        yield made
    finally:
        made.close()
