"""An instance over a database of the test's own, in a synthetic world that a sandbox serves over real HTTP."""

from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import pytest

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.pipeline.worlds import world_environment
from ensemble_pipeline.sandbox.synthetic import SyntheticWorld
from ensemble_pipeline.settings import Settings
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.sandbox.running import running_sandbox


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
