"""The sensor's tick dies at every point between asking the venue and saving its cursor; no market is lost or doubled.

The daemon is played here, so that it too can die between a tick's result, the runs it creates and the cursor it keeps.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import dagster as dg
import psycopg
import pytest

from ensemble_pipeline.pipeline.jobs import BATCH_TAG
from ensemble_pipeline.pipeline.sensors import market_sensor
from ensemble_pipeline.store import markets
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.venues.kalshi import client
from ensemble_pipeline.venues.kalshi.client import KalshiVenue
from ensemble_pipeline_tests.ensemble.rush import Run, start_scan
from ensemble_pipeline_tests.ensemble.venue import KEYS, Play, playing
from ensemble_pipeline_tests.pipeline.test_sensors import tick

# Dagster asks pydantic for the fields of a resource by their old name
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")

MARKETS, PER_LOOK = 3, 2


class Died(BaseException):
    """The end of a process, which no handler of errors catches."""


@dataclass
class Fuse:
    """Burns through at the `length`-th point that is passed while it is lit."""

    length: int
    passed: int = 0
    is_lit: bool = False

    def burn(self) -> None:
        if self.is_lit:
            self.passed += 1
            if self.passed == self.length:
                raise Died

    def lay(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        """A point before each call of `owner.name`."""
        before = getattr(owner, name)

        def passing(*arguments: Any, **options: Any) -> Any:
            self.burn()
            return before(*arguments, **options)

        monkeypatch.setattr(owner, name, passing)


@dataclass
class Daemon:
    """What Dagster's daemon does with a sensor, and keeps of it."""

    play: Play
    dagster: dg.DagsterInstance
    fuse: Fuse
    cursor: str | None = None

    def tick(self) -> int:
        """One tick; returns how many runs it started."""
        result = tick(market_sensor, self.play.instance, self.dagster, self.cursor)
        assert isinstance(result, dg.SensorResult)
        self.fuse.burn()
        started = [self._start(request) for request in result.run_requests or []]
        self.cursor = result.cursor
        return sum(started)

    def _start(self, request: dg.RunRequest) -> bool:
        self.fuse.burn()
        if self.dagster.get_runs(dg.RunsFilter(tags={"dagster/run_key": str(request.run_key)})):
            return False
        tags = {**request.tags, "dagster/run_key": str(request.run_key)}
        self.dagster.create_run_for_job(_decide, tags=tags, status=dg.DagsterRunStatus.STARTED)
        return True


@dg.job(name="decide")
def _decide() -> None:
    pass


@contextmanager
def waiting_venue(database: Database, monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[Play]:
    """A venue with markets that nobody has seen, read in two looks."""
    tickers = [f"{name}N{number}-1" for number in range(MARKETS)]
    with playing(database, monkeypatch, *tickers, scan={"max_open_markets": PER_LOOK, "batch_size": 1}) as play:
        yield play


def live_on(daemon: Daemon) -> None:
    """Tick, restarted by somebody where it dies, until nothing is left to do from the first page to the last."""
    idle = 0
    while idle < 2:
        daemon.fuse.is_lit = True
        try:
            idle = 0 if daemon.tick() else idle + 1
        except Died:
            idle = 0
        finally:
            daemon.fuse.is_lit = False


def assert_each_requested_once(play: Play, dagster: dg.DagsterInstance) -> None:
    requested = play.rows(
        "select s.market_id, count(*) as n, min(r.batch_id) as batch_id from market_snapshots s"
        " left join decision_requests r using (snapshot_id) group by 1"
    )
    ours = {
        row["market_id"]: row for row in requested if row["market_id"].removeprefix("kalshi:") in play.world.markets
    }
    assert len(ours) == MARKETS
    assert {row["n"] for row in ours.values()} == {1}
    for row in ours.values():
        assert len(dagster.get_runs(dg.RunsFilter(tags={BATCH_TAG: str(row["batch_id"])}))) == 1


@pytest.mark.parametrize("step", [12, pytest.param(1, marks=pytest.mark.slow)])
def test_tick_that_dies_at_any_point_loses_no_market_and_requests_none_twice(
    database: Database, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(client, "EVENTS_PER_PAGE", PER_LOOK)
    with dg.DagsterInstance.ephemeral() as dagster:
        for length in count(1, step):
            fuse = Fuse(length)
            with monkeypatch.context() as laid, waiting_venue(database, laid, f"D{length}") as play:
                for owner, name in (
                    (psycopg.Cursor, "execute"),
                    (psycopg.Cursor, "executemany"),
                    (psycopg.Connection, "commit"),
                    (KalshiVenue, "open_markets"),
                ):
                    fuse.lay(laid, owner, name)
                live_on(Daemon(play, dagster, fuse))
            assert_each_requested_once(play, dagster)
            if fuse.passed < fuse.length:
                break
        # two looks at the venue, each of a page, a dozen statements and what the daemon does with them
        assert length > 30


@pytest.mark.parametrize("statement", [1, 6, 99])
def test_process_killed_while_it_reads_the_venue_leaves_each_market_to_be_requested_once(
    database: Database, monkeypatch: pytest.MonkeyPatch, statement: int
) -> None:
    monkeypatch.setattr(client, "EVENTS_PER_PAGE", PER_LOOK)
    with dg.DagsterInstance.ephemeral() as dagster, waiting_venue(database, monkeypatch, "K") as play:
        settings = play.instance.settings.model_dump_json(exclude={"database_url"})
        process = start_scan(Run(database.url, settings, 0, play.clock.now(), KEYS), dies_at=statement)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        live_on(Daemon(play, dagster, Fuse(0)))
        assert_each_requested_once(play, dagster)
        with database.connection() as connection:
            assert len(markets.undecided_batches(connection)) == MARKETS
