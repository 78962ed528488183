"""Who acts after a run that ended without deciding its batch: Dagster's run retries first, then the sensor.

Belongs here: the tags by which Dagster retries a run, and whether it is still going to. Does not: a new batch in
place of one that Dagster has given up (sensors.py).
"""

from datetime import UTC, datetime, timedelta

import dagster as dg

from ensemble_pipeline.clock import RealClock

MAX_RETRIES_TAG = "dagster/max_retries"
WILL_RETRY_TAG = "dagster/will_retry"
AUTO_RETRY_RUN_ID_TAG = "dagster/auto_retry_run_id"
# answers and plans of a run are in its memory alone: what is retried begins anew, and finds in the database what was
# answered. The last tag, in seconds, ends a run that hangs, for no other may decide while it is under way
RETRIED_TAGS = {MAX_RETRIES_TAG: "3", "dagster/retry_strategy": "ALL_STEPS", "dagster/max_runtime": "1800"}
NOT_RETRIED_TAGS = {MAX_RETRIES_TAG: "0"}

# a daemon acts within seconds; what it has not retried by then was lost to it
_PATIENCE = timedelta(minutes=2)


def is_left_to_dagster(dagster: dg.DagsterInstance, record: dg.RunRecord) -> bool:
    """Whether Dagster retries the run, or has not said yet whether it does; after two minutes without a retry: not.

    A run that is given up so is marked as such, so that Dagster does not take it up after all.
    """
    if not _may_be_retried(dagster, record.dagster_run):
        return False
    if RealClock().now() - _ended_at(record) < _PATIENCE:
        return True
    _give_up(dagster, record)
    return False


def give_up_retries(dagster: dg.DagsterInstance) -> None:
    """Leave no run to Dagster that failed before: said where no daemon is there to retry it."""
    for record in dagster.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])):
        if _may_be_retried(dagster, record.dagster_run):
            _give_up(dagster, record)


def _may_be_retried(dagster: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    if run.status is not dg.DagsterRunStatus.FAILURE or not dagster.run_retries_enabled:
        return False
    # Dagster writes the status first and then, in another transaction, whether it retries
    return run.tags.get(WILL_RETRY_TAG) != "false" and AUTO_RETRY_RUN_ID_TAG not in run.tags


def _ended_at(record: dg.RunRecord) -> datetime:
    return record.update_timestamp if record.end_time is None else datetime.fromtimestamp(record.end_time, UTC)


def _give_up(dagster: dg.DagsterInstance, record: dg.RunRecord) -> None:
    dagster.add_run_tags(record.dagster_run.run_id, {WILL_RETRY_TAG: "false"})
