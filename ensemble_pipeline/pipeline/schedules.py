"""What recurs by the instance's clock.

Dagster's schedules tick by the machine's minutes. An instance's hours may pass faster, so each tick asks the
instance's clock whether something is due and skips where it is not.
"""

from datetime import timedelta

import dagster as dg

from ensemble_pipeline.pipeline.jobs import (
    is_under_way,
    learn_job,
    learn_request,
    positions_job,
    positions_request,
    watch_job,
    watch_request,
)
from ensemble_pipeline.pipeline.resources import EnsembleResource

_READING_EVERY = timedelta(minutes=15)
_MARKS_EVERY = timedelta(minutes=5)


@dg.schedule(
    job=learn_job,
    cron_schedule="* * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Brings windows, calibration and ranking up to each new hour of the instance's clock, today's again.",
)
def windows_schedule(
    context: dg.ScheduleEvaluationContext, ensemble: EnsembleResource
) -> dg.RunRequest | dg.SkipReason:
    """Request learning where an hour has passed."""
    from ensemble_pipeline.ensemble.performance import PerformanceTracker

    span = PerformanceTracker(ensemble.instance()).days_to_learn()
    if span is None:
        return dg.SkipReason("the windows reach up to the present hour")
    if is_under_way(context.instance, learn_job.name):
        return dg.SkipReason("a learning run is under way")
    return learn_request(*span)


@dg.schedule(
    job=watch_job,
    cron_schedule="* * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Reads health, budget and costs each quarter of an hour of the instance's clock.",
)
def health_and_budget_schedule(
    context: dg.ScheduleEvaluationContext, ensemble: EnsembleResource
) -> dg.RunRequest | dg.SkipReason:
    """Request a reading where the last one is a quarter of an hour old."""
    from ensemble_pipeline.store.monitoring import last_reading

    now = ensemble.instance().clock.now()
    with ensemble.instance().database.connection() as connection:
        last = last_reading(connection)
    if last is not None and now - last < _READING_EVERY:
        return dg.SkipReason(f"last read at {last.isoformat()}")
    if is_under_way(context.instance, watch_job.name):
        return dg.SkipReason("a reading is under way")
    return watch_request()


@dg.schedule(
    job=positions_job,
    cron_schedule="* * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=(
        "Marks open paper positions to market and exits them every five minutes of the instance's clock; in a stepped "
        "world at each instant. Requests nothing while no position is open."
    ),
)
def positions_schedule(
    context: dg.ScheduleEvaluationContext, ensemble: EnsembleResource
) -> dg.RunRequest | dg.SkipReason:
    """Request marks where a position is open whose last one is five minutes old."""
    from ensemble_pipeline.ensemble.positions import is_due
    from ensemble_pipeline.store.world_clock import StoredClock

    is_stepped = StoredClock(ensemble.instance().database).speed() == 0
    if not is_due(ensemble.instance(), timedelta(0) if is_stepped else _MARKS_EVERY):
        return dg.SkipReason("no position is open whose mark is old")
    if is_under_way(context.instance, positions_job.name):
        return dg.SkipReason("a run of marks and exits is under way")
    return positions_request()


SCHEDULES = [windows_schedule, health_and_budget_schedule, positions_schedule]
