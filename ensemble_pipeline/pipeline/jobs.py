"""Jobs and the tags by which their runs are found."""

from datetime import date

import dagster as dg

from ensemble_pipeline.pipeline.assets.costs import budget_status, cost_efficiency, cost_report
from ensemble_pipeline.pipeline.assets.judgements import calibration_tables, judgements
from ensemble_pipeline.pipeline.assets.monitoring import model_health
from ensemble_pipeline.pipeline.assets.performance import performance_windows, scored_forecasts, skill_cube
from ensemble_pipeline.pipeline.assets.positions import paper_positions
from ensemble_pipeline.pipeline.decide import ensemble_decisions
from ensemble_pipeline.pipeline.partitions import RESTATEMENT_TAG, range_tags
from ensemble_pipeline.pipeline.retries import RETRIED_TAGS, give_up_retries

KIND_TAG = "ensemble/kind"
BATCH_TAG = "ensemble/batch"
# events go to the database as ever; a terminal wants progress and errors
QUIET_CONSOLE = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

_COUNTING_CHECKS = ("counts_equal_ledger", "windows_saw_nothing_later")

decide_job = dg.define_asset_job(
    "decide",
    selection=[ensemble_decisions],
    executor_def=dg.in_process_executor,
    tags={KIND_TAG: "decide", **RETRIED_TAGS},
    description="Decides one batch of markets. Idempotent: a run that failed is retried, and nobody is paid twice.",
)
learn_job = dg.define_asset_job(
    "learn",
    selection=[scored_forecasts, skill_cube, performance_windows, calibration_tables, judgements],
    executor_def=dg.in_process_executor,
    tags={KIND_TAG: "learn"},
    description="Scores what settled and brings cube, windows, calibration and ranking up to the present hour.",
)
backfill_job = dg.define_asset_job(
    "backfill",
    # a range of the past says nothing about the present hour
    selection=dg.AssetSelection.assets(skill_cube, performance_windows).without_checks()
    | dg.AssetSelection.checks(
        *(dg.AssetCheckKey(dg.AssetKey("performance_windows"), name) for name in _COUNTING_CHECKS)
    ),
    executor_def=dg.in_process_executor,
    tags={KIND_TAG: "backfill"},
    description="Rebuilds cube and windows of a range of days from the ledger, in a single run.",
)
watch_job = dg.define_asset_job(
    "watch",
    selection=dg.AssetSelection.assets(model_health, budget_status, cost_efficiency, cost_report)
    | dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey("performance_windows"), "windows_are_fresh")),
    executor_def=dg.in_process_executor,
    tags={KIND_TAG: "watch"},
    description=(
        "Reads the health of the models and the state of the budget; where the ledger equals the calls, also what a "
        "dollar buys, and rebuilds the cost report."
    ),
)
positions_job = dg.define_asset_job(
    "positions",
    selection=[paper_positions],
    executor_def=dg.in_process_executor,
    tags={KIND_TAG: "positions"},
    description="Marks open paper positions to market and sells those whose exit is due. Safe to run at any time.",
)
JOBS = [decide_job, learn_job, backfill_job, watch_job, positions_job]


def decide_request(batch_id: int, markets: int) -> dg.RunRequest:
    """A run for a batch; its key is the batch's number, which is never used twice.

    Earlier batches come first: one whose run is retried does not queue behind all that came after it.
    """
    return dg.RunRequest(
        run_key=f"decide-{batch_id}",
        job_name=decide_job.name,
        run_config=dg.RunConfig(ops={"ensemble_decisions": {"ops": {"load": {"config": {"batch_id": batch_id}}}}}),
        tags={BATCH_TAG: str(batch_id), "ensemble/markets": str(markets), "dagster/priority": str(-batch_id)},
    )


def learn_request(first: date, last: date, *, is_restatement: bool = False) -> dg.RunRequest:
    """A single run over the days from `first` to `last`; a restatement only adds to them what came late."""
    tags = range_tags(first, last) | ({RESTATEMENT_TAG: "true"} if is_restatement else {})
    return dg.RunRequest(job_name=learn_job.name, tags=tags)


def watch_request() -> dg.RunRequest:
    """A run that reads health, budget, efficiency and costs."""
    return dg.RunRequest(job_name=watch_job.name)


def positions_request() -> dg.RunRequest:
    """A run that marks positions and sells what is due."""
    return dg.RunRequest(job_name=positions_job.name)


def is_under_way(dagster: dg.DagsterInstance, job_name: str) -> bool:
    """Whether a run of the job is queued or running.

    Learning, watching and marking need no run keys: who finds one under way does not ask for another, and what a
    failed one left undone is still due at the next tick.
    """
    return bool(dagster.get_run_ids(dg.RunsFilter(job_name=job_name, statuses=UNFINISHED), limit=1))


def bury_dead_runs(dagster: dg.DagsterInstance, *, has_daemon: bool = True) -> int:
    """Mark runs that a crash cut off as failed, so that they neither block others nor keep their batch.

    Called before anything is started, by the one process that may play the world: nothing can be running yet. What is
    queued or to be retried is the daemon's to start; where there will be none, that ends too.
    """
    statuses = [status for status in UNFINISHED if status is not dg.DagsterRunStatus.QUEUED or not has_daemon]
    dead = dagster.get_runs(dg.RunsFilter(statuses=statuses))
    for run in dead:
        dagster.report_run_failed(run, "the process that ran it ended; what it left undone is taken up again")
    if not has_daemon:
        give_up_retries(dagster)
    return len(dead)
