"""An instance over a database of the test's own, in a synthetic world that a sandbox serves over real HTTP."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from ensemble_pipeline.cli import cli
from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.pipeline.worlds import world_environment
from ensemble_pipeline.sandbox.synthetic import SyntheticWorld
from ensemble_pipeline.settings import Settings, load_settings
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.world_clock import StoredClock
from ensemble_pipeline.store.worlds import claim_world
from ensemble_pipeline_tests.journeys.running import environment
from ensemble_pipeline_tests.sandbox.running import running_sandbox
from ensemble_pipeline_tests.store.rows import NOW

Command = Callable[..., Result]


@dataclass(frozen=True)
class Live:
    """An instance, and the world and the clock it lives in."""

    instance: Instance
    world: SyntheticWorld
    clock: SteppedClock


@pytest.fixture(scope="module")
def world() -> SyntheticWorld:
    return SyntheticWorld(seed=5, days=3, markets_per_day=4)


@pytest.fixture
def live(world: SyntheticWorld, database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """The instance at the world's first instant at which a market is open."""
    first = min(market.opened_at for market in world.markets.values())
    clock = SteppedClock(first)
    with running_sandbox(world, clock) as client:
        for name, value in world_environment(world, str(client.base_url).rstrip("/"), "all").items():
            monkeypatch.setenv(name, value)
        yield Live(Instance(Settings(), database, clock), world, clock)


@pytest.fixture
def dagster_instance() -> Iterator[dg.DagsterInstance]:
    # schedules want an instance that a process could find again
    with dg.instance_for_test() as instance:
        yield instance


@pytest.fixture
def command(database: Database, tmp_path: Path) -> Iterator[Command]:
    """Run a command in this process, in a world whose clock stands still."""
    with database.connection() as connection:
        claim_world(connection, "live", "live")
    StoredClock(database).start_stepped(NOW)

    def run(*words: str) -> Result:
        load_settings.cache_clear()
        settings = environment(tmp_path, {"ENSEMBLE_DATABASE_URL": database.url})
        return CliRunner().invoke(cli, words, env=settings, catch_exceptions=False)

    yield run
    load_settings.cache_clear()


def said(done: Result) -> str:
    """What a command printed that went well."""
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout
