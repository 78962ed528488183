"""One of both acts on a run that ended without deciding: Dagster's run retries first, then the sensor's new batch."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from ensemble_pipeline.clock import RealClock
from ensemble_pipeline.pipeline import retries
from ensemble_pipeline.pipeline.jobs import BATCH_TAG, JOBS, bury_dead_runs, decide_job, decide_request
from ensemble_pipeline.pipeline.retries import (
    AUTO_RETRY_RUN_ID_TAG,
    MAX_RETRIES_TAG,
    NOT_RETRIED_TAGS,
    RETRIED_TAGS,
    WILL_RETRY_TAG,
)
from ensemble_pipeline.pipeline.run_launcher import LocalRunLauncher, is_alive
from ensemble_pipeline.pipeline.sensors import market_sensor, renew_failed
from ensemble_pipeline_tests.pipeline.conftest import Live
from ensemble_pipeline_tests.pipeline.test_sensors import the_batch, tick

CODE_SERVER = GrpcServerCodeLocationOrigin(host="127.0.0.1", port=4000, location_name="here")
FAILED = dg.DagsterRunStatus.FAILURE


@dg.job
def decide() -> None:
    pass


class Later(RealClock):
    def now(self) -> datetime:
        return super().now() + timedelta(minutes=3)


@pytest.fixture(scope="module")
def shared() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(overrides={"run_retries": {"enabled": True, "max_retries": 0}}) as instance:
        yield instance


@pytest.fixture
def retrying(shared: dg.DagsterInstance) -> Iterator[dg.DagsterInstance]:
    """An instance that retries runs as ours does; cheaper to empty than to make."""
    yield shared
    shared.wipe()


@pytest.fixture
def batch(live: Live, retrying: dg.DagsterInstance) -> int:
    """A batch that the sensor has requested."""
    tick(market_sensor, live.instance, retrying)
    return the_batch(live.instance)[0]


def start_run(dagster: dg.DagsterInstance, batch_id: int, **tags: str) -> dg.DagsterRun:
    made = {BATCH_TAG: str(batch_id), **RETRIED_TAGS, **tags}
    return dagster.create_run_for_job(decide, tags=made, status=dg.DagsterRunStatus.STARTED)


def retry_of(dagster: dg.DagsterInstance, failed: dg.DagsterRun) -> dg.DagsterRun:
    """The next run of the group, as the daemon makes it."""
    root = failed.tags.get("dagster/root_run_id", failed.run_id)
    tags = {**failed.tags, "dagster/parent_run_id": failed.run_id, "dagster/root_run_id": root}
    made = dagster.create_run_for_job(
        decide, tags=tags, parent_run_id=failed.run_id, root_run_id=root, status=dg.DagsterRunStatus.STARTED
    )
    dagster.add_run_tags(failed.run_id, {AUTO_RETRY_RUN_ID_TAG: made.run_id})
    return made


def will_retry(dagster: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    found = dagster.get_run_by_id(run.run_id)
    assert found is not None
    return found.tags.get(WILL_RETRY_TAG)


def test_only_decision_runs_are_retried_from_their_first_step_on() -> None:
    assert {job.name for job in JOBS if (job.tags or {}).get(MAX_RETRIES_TAG)} == {"decide"}
    assert decide_job.tags is not None
    assert decide_job.tags["dagster/retry_strategy"] == "ALL_STEPS"
    # the retry of an early batch does not queue behind those that came after it
    assert int(decide_request(7, 1).tags["dagster/priority"]) > int(decide_request(8, 1).tags["dagster/priority"])


def test_batch_is_left_to_dagster_until_its_retries_are_used_up_and_then_renewed(
    live: Live, retrying: dg.DagsterInstance, batch: int
) -> None:
    run = start_run(retrying, batch)
    for _ in range(3):
        retrying.report_run_failed(run)
        assert will_retry(retrying, run) == "true"
        assert renew_failed(live.instance, retrying) == {}
        run = retry_of(retrying, run)
        assert renew_failed(live.instance, retrying) == {}
    retrying.report_run_failed(run)
    assert will_retry(retrying, run) == "false"
    ((renewed, snapshot_ids),) = renew_failed(live.instance, retrying).items()
    assert renewed > batch
    assert snapshot_ids == the_batch(live.instance)[1]


def test_run_of_which_dagster_has_not_said_yet_whether_it_retries_is_left_to_it(
    live: Live, retrying: dg.DagsterInstance, batch: int
) -> None:
    retrying.create_run_for_job(decide, tags={BATCH_TAG: str(batch), **RETRIED_TAGS}, status=FAILED)
    assert renew_failed(live.instance, retrying) == {}


def test_run_that_dagster_never_retried_is_taken_from_it_for_good(
    live: Live, retrying: dg.DagsterInstance, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start_run(retrying, batch)
    retrying.report_run_failed(run)
    assert renew_failed(live.instance, retrying) == {}
    monkeypatch.setattr(retries, "RealClock", Later)
    assert len(renew_failed(live.instance, retrying)) == 1
    assert will_retry(retrying, run) == "false"


def test_canceled_run_is_not_retried_and_its_batch_renewed(
    live: Live, retrying: dg.DagsterInstance, batch: int
) -> None:
    retrying.report_run_canceled(start_run(retrying, batch))
    assert len(renew_failed(live.instance, retrying)) == 1


def test_run_that_no_daemon_will_retry_is_renewed_at_once(live: Live, retrying: dg.DagsterInstance, batch: int) -> None:
    retrying.report_run_failed(start_run(retrying, batch, **NOT_RETRIED_TAGS))
    assert len(renew_failed(live.instance, retrying)) == 1


def test_runs_cut_off_are_retried_where_a_daemon_starts_and_renewed_where_none_does(
    live: Live, retrying: dg.DagsterInstance, batch: int
) -> None:
    cut_off = start_run(retrying, batch)
    assert bury_dead_runs(retrying) == 1
    assert will_retry(retrying, cut_off) == "true"
    queued = retrying.create_run_for_job(
        decide,
        tags={BATCH_TAG: str(batch), **RETRIED_TAGS},
        remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(CODE_SERVER, "repository"), "decide"),
        status=dg.DagsterRunStatus.QUEUED,
    )
    assert bury_dead_runs(retrying) == 0
    assert renew_failed(live.instance, retrying) == {}
    assert bury_dead_runs(retrying, has_daemon=False) == 1
    assert [will_retry(retrying, run) for run in (cut_off, queued)] == ["false", "false"]
    assert len(renew_failed(live.instance, retrying)) == 1


def started_in(dagster: dg.DagsterInstance, pid: int, host: str = "127.0.0.1") -> dg.DagsterRun:
    """A run as a code server leaves it once its process has said that it started."""
    run = start_run(dagster, 1, **{".dagster/grpc_info": json.dumps({"host": host, "port": 4000})})
    dagster.report_engine_event(
        "Started process for run", run, EngineEventData(metadata={"pid": dg.MetadataValue.text(str(pid))})
    )
    return run


def test_run_launcher_tells_the_living_process_of_a_run_from_a_dead_one(retrying: dg.DagsterInstance) -> None:
    launcher = LocalRunLauncher()
    launcher.register_instance(retrying)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    # ended and not waited for: what a code server leaves that does not look after its runs any more
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    assert launcher.supports_check_run_worker_health
    healths = [
        launcher.check_run_worker_health(run).status.value
        for run in (
            started_in(retrying, os.getpid()),
            started_in(retrying, ended.pid),
            started_in(retrying, ended.pid, host="code.example"),
            start_run(retrying, 1),
        )
    ]
    assert healths == ["RUNNING", "FAILED", "RUNNING", "RUNNING"]
    ended.wait()
    assert not is_alive(ended.pid)
