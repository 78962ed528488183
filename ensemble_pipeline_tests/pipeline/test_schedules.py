"""Schedules follow the instance's clock, not the machine's minutes."""

from datetime import timedelta

import dagster as dg
import pytest

from ensemble_pipeline.ensemble.cost import CostOptimizer
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.performance import PerformanceTracker
from ensemble_pipeline.pipeline.resources import EnsembleResource
from ensemble_pipeline.pipeline.schedules import health_and_budget_schedule, windows_schedule
from ensemble_pipeline_tests.pipeline.conftest import Live

# Dagster asks pydantic for the fields of a resource by their old name
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")


def tick(
    schedule: dg.ScheduleDefinition, instance: Instance, dagster: dg.DagsterInstance
) -> dg.RunRequest | dg.SkipReason:
    with dg.build_schedule_context(instance=dagster, resources={"ensemble": EnsembleResource.of(instance)}) as context:
        result = schedule(context)
    assert isinstance(result, dg.RunRequest | dg.SkipReason)
    return result


def add_run(dagster: dg.DagsterInstance, job_name: str, status: dg.DagsterRunStatus) -> None:
    """A run of the job as the daemon would have left it."""

    @dg.job(name=job_name)
    def made() -> None:
        pass

    dagster.create_run_for_job(made, status=status)


def learn(live: Live) -> None:
    day = live.clock.now().date()
    PerformanceTracker(live.instance).update_skill_cube(day, day)
    PerformanceTracker(live.instance).update_rolling_windows(day, day)


def test_windows_schedule_requests_the_present_day_where_nothing_was_learnt_yet(
    live: Live, dagster_instance: dg.DagsterInstance
) -> None:
    request = tick(windows_schedule, live.instance, dagster_instance)
    day = live.clock.now().date().isoformat()
    assert isinstance(request, dg.RunRequest)
    assert request.tags["dagster/asset_partition_range_start"] == day
    assert request.tags["dagster/asset_partition_range_end"] == day


def test_schedules_ask_again_after_a_failed_run_and_not_while_one_is_under_way(
    live: Live, dagster_instance: dg.DagsterInstance
) -> None:
    for schedule in (windows_schedule, health_and_budget_schedule):
        add_run(dagster_instance, schedule.job_name, dg.DagsterRunStatus.FAILURE)
        assert isinstance(tick(schedule, live.instance, dagster_instance), dg.RunRequest)
        add_run(dagster_instance, schedule.job_name, dg.DagsterRunStatus.STARTED)
        assert isinstance(tick(schedule, live.instance, dagster_instance), dg.SkipReason)


def test_windows_schedule_skips_within_the_hour_it_has_learnt(live: Live, dagster_instance: dg.DagsterInstance) -> None:
    learn(live)
    live.clock.advance_to(live.clock.now() + timedelta(minutes=59))
    assert isinstance(tick(windows_schedule, live.instance, dagster_instance), dg.SkipReason)


def test_windows_schedule_catches_up_from_the_last_learnt_day_to_today(
    live: Live, dagster_instance: dg.DagsterInstance
) -> None:
    learn(live)
    learnt_on = live.clock.now().date()
    live.clock.advance_to(live.clock.now() + timedelta(days=2))
    request = tick(windows_schedule, live.instance, dagster_instance)
    assert isinstance(request, dg.RunRequest)
    assert request.tags["dagster/asset_partition_range_start"] == learnt_on.isoformat()
    assert request.tags["dagster/asset_partition_range_end"] == live.clock.now().date().isoformat()


def test_health_and_budget_are_read_each_quarter_of_an_hour_of_the_instance(
    live: Live, dagster_instance: dg.DagsterInstance
) -> None:
    assert isinstance(tick(health_and_budget_schedule, live.instance, dagster_instance), dg.RunRequest)
    CostOptimizer(live.instance).record_status()
    live.clock.advance_to(live.clock.now() + timedelta(minutes=14))
    assert isinstance(tick(health_and_budget_schedule, live.instance, dagster_instance), dg.SkipReason)
    live.clock.advance_to(live.clock.now() + timedelta(minutes=1))
    assert isinstance(tick(health_and_budget_schedule, live.instance, dagster_instance), dg.RunRequest)
