"""From a world to an instance that lives in it: database, sandbox address, members, dates."""

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.errors import DatabaseError, UserError
from ensemble_pipeline.replay.archive import read_archive
from ensemble_pipeline.replay.archive_world import ArchiveWorld
from ensemble_pipeline.sandbox.asking import SANDBOX_KEY
from ensemble_pipeline.sandbox.faults import PROVIDERS
from ensemble_pipeline.sandbox.synthetic import SyntheticWorld
from ensemble_pipeline.sandbox.world import World, WorldModel
from ensemble_pipeline.settings import Settings, load_settings
from ensemble_pipeline.store.database import Database, require_row
from ensemble_pipeline.store.embedded import EmbeddedServer, start_embedded
from ensemble_pipeline.store.lasting import AnySession, LastingSession
from ensemble_pipeline.store.migrate import current_revision, migrate, require_migrated
from ensemble_pipeline.store.world_clock import StoredClock
from ensemble_pipeline.store.worlds import LIVE, claim_world, world_key_of

_KEY_VARIABLE = "ENSEMBLE_SANDBOX_KEY"
_CURRENT = "current_database"
_ENVIRONMENT = "played_environment.json"
_LONGEST_NAME = 63


@dataclass(frozen=True, slots=True)
class WorldSpec:
    """Which world to play: an archive (or part of it), or a synthetic one."""

    archive: Path | None
    first: date | None
    last: date | None
    seed: int
    days: int
    markets_per_day: int

    def open(self) -> World:
        """The world itself.

        Raises:
            ArchiveError: the archive cannot be played.
        """
        if self.archive is None:
            return SyntheticWorld(seed=self.seed, days=self.days, markets_per_day=self.markets_per_day)
        return ArchiveWorld(read_archive(self.archive), self.first, self.last)

    def arguments(self) -> list[str]:
        """The command-line options that name this world again."""
        named: dict[str, object] = {"--seed": self.seed, "--days": self.days, "--markets-per-day": self.markets_per_day}
        if self.archive is not None:
            named = {"--archive": self.archive.resolve(), "--from": self.first, "--to": self.last}
        return [text for name, value in named.items() if value is not None for text in (name, str(value))]


def home_key(world: World, member_policy: str) -> str:
    """What names the home of a world: played with another policy it is another record."""
    return f"{world.key}-{member_policy}"


def history_of(world: World) -> tuple[date, date]:
    """The first and the last day of a world; what became known in its last hour is first seen an hour later."""
    return world.starts_at.date(), (world.ends_at + timedelta(hours=1)).date()


def history_environment(first: date, last: date) -> dict[str, str]:
    """The settings that name the days of a history."""
    return {"ENSEMBLE_HISTORY_START": first.isoformat(), "ENSEMBLE_HISTORY_END": last.isoformat()}


def key_variable(provider: str) -> str:
    """The environment variable that may hold a key for the sandbox's `provider`, in place of the usual one."""
    return f"{_KEY_VARIABLE}_{provider.upper()}"


def sandbox_keys(environ: Mapping[str, str]) -> dict[str, str]:
    """The keys by provider that the environment names for the sandbox; the others take ``sandbox``."""
    named = {provider: environ.get(key_variable(provider), "") for provider in PROVIDERS}
    return {provider: key for provider, key in named.items() if key}


def world_environment(
    world: World, sandbox_url: str, member_policy: str, own_keys: Collection[str] = ()
) -> dict[str, str]:
    """The settings, as environment variables, of an instance that lives in `world`.

    The sandbox and the real services differ in base URLs and keys alone. The providers in `own_keys` have theirs in
    variables of their own, which are not repeated here: what this returns is written to a file.

    An archive is decided again at each of its instants, whatever their distance; asking all its members may cost more
    per decision than an operator would pay. A synthetic market errs by much, and the ensemble is given half the weight
    against it from the start.
    """
    variables = {
        "ENSEMBLE_KALSHI_BASE_URL": f"{sandbox_url}/trade-api/v2",
        "ENSEMBLE_MEMBERS": json.dumps([_member(model) for model in world.models]),
        "ENSEMBLE_ENSEMBLE__MEMBER_POLICY": member_policy,
        **history_environment(*history_of(world)),
        _KEY_VARIABLE: SANDBOX_KEY,
    }
    for provider in sorted({model.provider for model in world.models}):
        prefix = f"ENSEMBLE_PROVIDERS__{provider.upper()}"
        variables[f"{prefix}__BASE_URL"] = f"{sandbox_url}/providers/{provider}/v1"
        variables[f"{prefix}__API_KEY_ENV"] = key_variable(provider) if provider in own_keys else _KEY_VARIABLE
    if world.kind == "archive":
        variables |= {"ENSEMBLE_SCAN__REASSESS_HOURS": "0", "ENSEMBLE_SCAN__MAX_HORIZON_DAYS": "36500"}
    if world.kind == "synthetic":
        # its market is a poor one, and who made it knows: with the usual weight against a price nothing is bought
        variables["ENSEMBLE_ENSEMBLE__MARKET_WEIGHT"] = "0.5"
    if member_policy == "all":
        variables["ENSEMBLE_BUDGET__DECISION_USD"] = "unlimited"
    return variables


@contextmanager
def played(home: "Home", environment: Mapping[str, str]) -> Iterator[None]:
    """Live in a world until the block ends: in this process, and for commands that join it meanwhile."""
    os.environ.update(environment)
    load_settings.cache_clear()
    note = home.folder / _ENVIRONMENT
    note.write_text(json.dumps(dict(environment)))
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


@contextmanager
def joined(settings: Settings) -> Iterator[tuple[Settings, Database]]:
    """The settings and the database of the instance last started here, in the world it is playing.

    Raises:
        UserError: nothing was ever started here, or its world is not being played now.
    """
    with current_home(settings) as home:
        note = home.folder / _ENVIRONMENT
        if note.exists():
            os.environ.update(json.loads(note.read_text()))
            load_settings.cache_clear()
        elif (world := _world_in(home.database_url)) != LIVE:
            raise UserError(
                f"world {world} is not being played now, so nobody could be asked: run this while `ensemble demo` does"
            )
        database = Database(home.database_url)
        try:
            yield load_settings(), database
        finally:
            database.close()


def _member(model: WorldModel) -> dict[str, str]:
    return {
        "name": model.name,
        "provider": model.provider,
        "model": model.wire_model,
        "input_usd_per_mtok": str(model.input_usd_per_mtok),
        "output_usd_per_mtok": str(model.output_usd_per_mtok),
    }


@dataclass(frozen=True)
class Home:
    """Where an instance lives: its database, its folder, and the embedded server where there is one."""

    database_url: str
    folder: Path
    server: EmbeddedServer | None

    def environment(self) -> dict[str, str]:
        """What a process of this instance needs in its environment."""
        return {
            "ENSEMBLE_DATABASE_URL": self.database_url,
            "DAGSTER_HOME": str(self.folder),
            # the setting in dagster.yaml stops the sending; this stops the collecting too
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "DAGSTER_EVENT_BATCH_SIZE": "100",
            "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS": "true",
            # seconds between two looks for failed runs to retry
            "DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS": "1",
        }


def database_name(world_key: str) -> str:
    """A PostgreSQL database name for a world.

    >>> database_name("polymarket_live_2025-1f0c")
    'ensemble_polymarket_live_2025_1f0c'
    """
    name = f"ensemble_{re.sub(r'[^a-z0-9]+', '_', world_key.lower())}".rstrip("_")
    if len(name) <= _LONGEST_NAME:
        return name
    # what tells two long keys apart may stand at their end
    digest = hashlib.sha256(world_key.encode()).hexdigest()[:10]
    return f"{name[: _LONGEST_NAME - 11]}_{digest}"


@contextmanager
def open_home(
    world_key: str, kind: str, history: tuple[date, date] | None = None, *, fresh: bool = False
) -> Iterator[Home]:
    """The home of a world, with its schema up to date: the database that is named, else one of the embedded server.

    The embedded server is released last, and stops where no other process needs it.

    Raises:
        DatabaseError: no database can be had, or the one named holds another world.
        UserError: `fresh` was asked of a database that is not ours to drop.
    """
    settings = load_settings()
    name = database_name(world_key)
    folder = settings.data_dir / "dagster" / name
    with ExitStack() as stack:
        server = None
        if settings.database_url is not None:
            if fresh:
                raise UserError(
                    "--fresh drops embedded databases only; empty the one in ENSEMBLE_DATABASE_URL yourself"
                )
            url = settings.database_url.get_secret_value()
            stack.enter_context(_only_player(url, name))
        else:
            server = start_embedded(settings.data_dir)
            server.hold()
            stack.callback(server.release)
            stack.enter_context(_only_player(server.url("postgres"), name))
            if fresh:
                server.drop_database(name)
            url = server.ensure_database(name)
            (settings.data_dir / _CURRENT).write_text(name)
        _prepare(url, world_key, kind, history)
        yield Home(url, folder, server)


@contextmanager
def _only_player(url: str, name: str) -> Iterator[None]:
    """Keep every other launcher away from this world until the block ends, or this process does."""

    def lock(session: AnySession) -> bool:
        row = session.execute("select pg_try_advisory_lock(hashtext(%s)) as is_ours", [name]).fetchone()
        return bool(require_row(row)["is_ours"])

    database = Database(url)
    with database.session() as session:
        if not lock(session):
            raise DatabaseError(f"the world in database {name} is being played by another process: end that one first")
        lasting = LastingSession(session, database.open_session, lock)
        try:
            yield
        finally:
            lasting.close()


def _prepare(url: str, world_key: str, kind: str, history: tuple[date, date] | None) -> None:
    database = Database(url)
    migrate(database)
    with database.connection() as connection:
        claim_world(connection, world_key, kind, history)
    database.close()


@contextmanager
def current_database(settings: Settings) -> Iterator[Database]:
    """The database of the instance last started here, or the one that is named; starts an embedded server if needed.

    Raises:
        UserError: nothing was ever started here and no database is named.
    """
    with current_home(settings) as home:
        database = Database(home.database_url)
        try:
            yield database
        finally:
            database.close()


def _world_in(url: str) -> str:
    database = Database(url)
    try:
        with database.connection() as connection:
            key = None if current_revision(connection) is None else world_key_of(connection)
    finally:
        database.close()
    return key or LIVE


@contextmanager
def current_instance() -> Iterator[Instance]:
    """The instance last started here, or the one whose database is named, with its schema up to date.

    Raises:
        UserError: nothing was ever started here and no database is named.
        DatabaseError: the database lacks tables that this code reads.
    """
    settings = load_settings()
    with current_database(settings) as database:
        require_migrated(database)
        yield Instance(settings, database, StoredClock(database))


@contextmanager
def current_home(settings: Settings) -> Iterator[Home]:
    """The home of the instance last started here, or of the database that is named.

    Raises:
        UserError: nothing was ever started here and no database is named.
    """
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        yield Home(url, settings.data_dir / "dagster" / database_name(_world_in(url)), None)
        return
    marker = settings.data_dir / _CURRENT
    if not marker.exists():
        raise UserError("Nothing was started here yet: run `ensemble demo` or `ensemble up` first.")
    name = marker.read_text()
    server = start_embedded(settings.data_dir)
    server.hold()
    try:
        yield Home(server.url(name), settings.data_dir / "dagster" / name, server)
    finally:
        server.release()
