"""Plays a world to its end in one process: the same sensors, schedules, jobs and assets, without waiting for anyone.

A stepped clock stands still while anything is pending and then moves to the world's next event, so a slow machine
changes nothing in the result. Runs and events land in the same Dagster storage and show in the UI afterwards.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Protocol

import dagster as dg
from dagster._core.storage.event_log import SqlEventLogStorage
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import DBAPIError

from ensemble_pipeline.clock import ceil_hour
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.errors import DatabaseLostError, EnsembleError, VenueError
from ensemble_pipeline.pipeline.jobs import QUIET_CONSOLE, bury_dead_runs
from ensemble_pipeline.pipeline.pending import has_looked
from ensemble_pipeline.pipeline.resources import EnsembleResource
from ensemble_pipeline.pipeline.retries import NOT_RETRIED_TAGS
from ensemble_pipeline.pipeline.schedules import health_and_budget_schedule, positions_schedule, windows_schedule
from ensemble_pipeline.pipeline.sensors import market_sensor, restatement_sensor, settlement_sensor
from ensemble_pipeline.store.world_clock import StoredClock

_MOST_FAILED_RUNS = 10
_MOST_LOOKS = 10


class Timeline(Protocol):
    """When something changes in a world."""

    def next_event_after(self, at: datetime) -> datetime | None:
        """The next instant at which anything changes; ``None`` at the end."""
        ...


@dataclass
class Played:
    """What it took to play a world."""

    steps: int = 0
    runs: int = 0
    failed_runs: int = 0


class Conductor:
    """Ticks sensors and schedules until nothing is pending, then lets the world go on."""

    def __init__(
        self,
        definitions: dg.Definitions,
        instance: Instance,
        clock: StoredClock,
        dagster: dg.DagsterInstance,
        timeline: Timeline,
    ) -> None:
        self._definitions = definitions
        self._instance = instance
        self._clock = clock
        self._dagster = dagster
        self._timeline = timeline
        self._cursors: dict[str, str | None] = {}
        self._unusable = ""
        self.played = Played()

    def play(self, on_step: Callable[[datetime], None]) -> Played:
        """Play from where the clock stands to the world's end; `on_step` is told the time before each step.

        Raises:
            EnsembleError: a tick failed; what was done so far stands, and playing again goes on from there.
        """
        try:
            return self._play(on_step)
        except (DBAPIError, DagsterPostgresException) as error:
            # what Dagster raises where it is its own storage that finds the server gone
            raise DatabaseLostError(
                f"PostgreSQL went away in the middle of a play ({type(error).__name__}): what was done so far stands; "
                "once it answers again start anew, and it goes on from there"
            ) from error

    def _play(self, on_step: Callable[[datetime], None]) -> Played:
        bury_dead_runs(self._dagster, has_daemon=False)
        _remember_columns(self._dagster)
        # one for all ticks: each new one connects to Dagster's storage anew, and our schedules ask the instance's clock
        with dg.build_schedule_context(
            instance=self._dagster,
            scheduled_execution_time=self._clock.now(),
            resources={"ensemble": EnsembleResource.of(self._instance)},
        ) as schedules:
            while True:
                now = self._clock.now()
                on_step(now)
                self._settle_down(schedules)
                following = self._timeline.next_event_after(now)
                if following is None:
                    break
                self._clock.advance_to(following)
            # what became known within the last hour is first seen as of the next full one
            self._clock.advance_to(ceil_hour(self._clock.now()))
            self._settle_down(schedules)
        return self.played

    def _settle_down(self, schedules: dg.ScheduleEvaluationContext) -> None:
        self.played.steps += 1
        # a look that the venue did not answer, or that ended before the last page, is repeated: time stands still
        for _ in range(_MOST_LOOKS):
            while self._tick(schedules):
                pass
            if has_looked(self._instance):
                return
        raise EnsembleError(
            f"the venue did not answer usably at {self._clock.now().isoformat()}, though asked {_MOST_LOOKS} times: "
            f"nothing of the world was passed over; start again, and it goes on from there. {self._unusable}".rstrip()
        )

    def _tick(self, schedules: dg.ScheduleEvaluationContext) -> int:
        """One round of everything that could request a run, settlements first; returns how many runs it took."""
        return (
            self._tick_sensor(settlement_sensor)
            + self._tick_sensor(restatement_sensor)
            + self._tick_schedule(windows_schedule, schedules)
            + self._tick_schedule(health_and_budget_schedule, schedules)
            + self._tick_sensor(market_sensor)
            # last, so that what this round opened is marked with the rest, once
            + self._tick_schedule(positions_schedule, schedules)
        )

    def _tick_sensor(self, sensor: dg.SensorDefinition) -> int:
        with dg.build_sensor_context(
            instance=self._dagster,
            cursor=self._cursors.get(sensor.name),
            resources={"ensemble": EnsembleResource.of(self._instance)},
            definitions=self._definitions,
        ) as context:
            try:
                data = sensor.evaluate_tick(context)
            except VenueError as error:
                # a failed tick where a daemon ticks; here it is a look that has to be repeated
                self._unusable = str(error)
                return 0
        self._cursors[sensor.name] = data.cursor
        for event in data.asset_events:
            self._dagster.report_runless_asset_event(event)
        return self._run_all(list(data.run_requests or []), str(sensor.job_name))

    def _tick_schedule(self, schedule: dg.ScheduleDefinition, context: dg.ScheduleEvaluationContext) -> int:
        data = schedule.evaluate_tick(context)
        return self._run_all(list(data.run_requests or []), schedule.job_name)

    def _run_all(self, requests: list[dg.RunRequest], job_name: str) -> int:
        for request in requests:
            job = self._definitions.resolve_job_def(request.job_name or job_name)
            result = job.execute_in_process(
                run_config={**request.run_config, **QUIET_CONSOLE},
                instance=self._dagster,
                tags={**request.tags, **NOT_RETRIED_TAGS, "dagster/run_key": request.run_key or ""},
                raise_on_error=False,
            )
            self.played.runs += 1
            if not result.success:
                self._note_failure(result)
        return len(requests)

    def _note_failure(self, result: dg.ExecuteInProcessResult) -> None:
        self.played.failed_runs += 1
        if self.played.failed_runs > _MOST_FAILED_RUNS:
            raise EnsembleError(
                f"{self.played.failed_runs} runs failed, the last one is {result.run_id}: see it in the UI "
                "(the same command without --until-done), mend the cause and start again; nothing done so far is lost"
            )


def _remember_columns(dagster: dg.DagsterInstance) -> None:
    """Dagster reads the catalogue of its database before each event of an asset: an eighth of the time of a play."""
    storage = dagster.event_log_storage
    if isinstance(storage, SqlEventLogStorage):
        setattr(storage, "has_asset_key_col", cache(storage.has_asset_key_col))  # noqa: B010 - a method of its class
