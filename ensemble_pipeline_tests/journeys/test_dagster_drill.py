"""Processes of decision runs killed under a real daemon and code server, and recovered by Dagster's run retries."""

import random
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ensemble_pipeline.clock import Stopwatch
from ensemble_pipeline.pipeline import launcher
from ensemble_pipeline.pipeline.family import Family
from ensemble_pipeline.pipeline.worlds import Home, world_environment
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.embedded import EmbeddedServer
from ensemble_pipeline.store.migrate import migrate
from ensemble_pipeline.store.world_clock import StoredClock
from ensemble_pipeline_tests.conftest import opened
from ensemble_pipeline_tests.ensemble.drill import Toll, drilled_world, take_toll
from ensemble_pipeline_tests.ensemble.venue import Play
from ensemble_pipeline_tests.journeys.decide_runs import DecideRun, decide_runs

KILLS, BATCHES = 50, 24
STEPS = ("starting", "load", "plan", "consult", "combine", "size", "record")
# a step takes a good deal longer here than its work: Dagster writes its events in between
LONGEST_S = 0.4
MOST_RETRIES = 3


@pytest.fixture
def drilled(server: EmbeddedServer) -> Iterator[Database]:
    """A database that Dagster may put its tables in too."""
    with opened(server.ensure_database("drilled")) as made:
        migrate(made)
        yield made
    server.drop_database("drilled")


@contextmanager
def running_dagster(play: Play, monkeypatch: pytest.MonkeyPatch) -> Iterator[Family]:
    """Daemon and code server over the world of a play, whose clock goes on from where the play's stands."""
    database = play.instance.database
    StoredClock(database).start_accelerated(play.clock.now(), 1.0)
    with tempfile.TemporaryDirectory(prefix="ensemble-drill-", dir="/tmp") as folder:
        home = Home(database.url, Path(folder), None)
        scan = {f"ENSEMBLE_SCAN__{name.upper()}": str(value) for name, value in play.instance.settings.scan}
        url = str(play.client.base_url).rstrip("/")
        variables = {**home.environment(), **world_environment(play.world, url, "selected"), **scan}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        launcher.prepare_dagster_home(home)
        family = Family(launcher.log_dir(home))
        try:
            launcher.start_runner(family, home, launcher.inherited())
            yield family
        finally:
            family.stop()


class Hunter:
    """Kills decision runs at random moments of steps drawn at random, each group as often as it may be retried."""

    def __init__(self, play: Play, seed: int) -> None:
        self._play = play
        self._draw = random.Random(seed)  # noqa: S311 - no secret
        self._done: set[str] = set()
        self.kills: Counter[str] = Counter()
        self.killed: list[str] = []

    def hunt(self, kills: int, family: Family, timeout_s: float) -> None:
        """Until so many were killed and all markets are decided."""
        watch = Stopwatch()
        while not self._is_all_decided():
            family.require_alive()
            assert watch.elapsed_s() < timeout_s, f"{self.kills.total()} kills, and not all decided"
            if self.kills.total() < kills:
                self._kill_who_is_under_way()
            threading.Event().wait(0.05)

    def _is_all_decided(self) -> bool:
        (row,) = self._play.rows("select count(*) as n from decisions")
        return bool(row["n"] >= len(self._play.world.markets))

    def _kill_who_is_under_way(self) -> None:
        for run in self.runs():
            if run.is_under_way and run.run_id not in self._done:
                self._done.add(run.run_id)
                # whom Dagster would not retry any more is left to come through
                if run.retry_number < MOST_RETRIES:
                    self._kill(run.run_id, self._draw.choice(STEPS))

    def _kill(self, run_id: str, step: str) -> None:
        while (run := self._run(run_id)).is_under_way and STEPS.index(run.step) < STEPS.index(step):
            threading.Event().wait(0.02)
        threading.Event().wait(self._draw.uniform(0, LONGEST_S))
        run = self._run(run_id)
        if run.is_under_way:
            run.kill()
            self.kills[run.step] += 1
            self.killed.append(run_id)

    def _run(self, run_id: str) -> DecideRun:
        return next(run for run in self.runs() if run.run_id == run_id)

    def runs(self) -> list[DecideRun]:
        """All decision runs so far."""
        return decide_runs(self._play.rows)

    def recovered(self) -> int:
        """Kills after which Dagster itself retried the run."""
        retried = {run.run_id: run.retried_as for run in self.runs()}
        return sum(retried[run_id] is not None for run_id in self.killed)


def toll_of(play: Play, hunter: Hunter) -> Toll:
    toll = take_toll(play)
    toll.kills, toll.recovered_by_dagster = hunter.kills, hunter.recovered()
    return toll


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_runs_are_recovered_by_dagsters_run_retries_with_nothing_lost_decided_or_paid_twice(
    drilled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with drilled_world(drilled, monkeypatch, BATCHES) as play, running_dagster(play, monkeypatch) as family:
        hunter = Hunter(play, seed=50)
        hunter.hunt(KILLS, family, timeout_s=3000)
        toll = toll_of(play, hunter)
        print(f"kill drill: {toll}")  # noqa: T201 - the figures of the drill
        assert toll.harm == (0, 0, 0, False)
        assert toll.recovered_by_dagster >= KILLS
        assert len(toll.kills) >= 5
        # Dagster retried what was killed, so the sensor has renewed nothing
        assert play.rows("select from decision_batches where retry_of is not null") == []
        runs = Counter((run.batch_id, run.retry_number) for run in hunter.runs())
        assert set(runs.values()) == {1}
