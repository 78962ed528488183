"""What happens outside, turned into runs: markets to decide, settlements to learn from."""

import asyncio
from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from ensemble_pipeline.errors import VenueUnavailableError
from ensemble_pipeline.pipeline.jobs import (
    BATCH_TAG,
    UNFINISHED,
    decide_job,
    decide_request,
    is_under_way,
    learn_job,
    learn_request,
)
from ensemble_pipeline.pipeline.pending import is_learnt
from ensemble_pipeline.pipeline.resources import EnsembleResource, open_venue
from ensemble_pipeline.pipeline.retries import is_left_to_dagster

if TYPE_CHECKING:
    from ensemble_pipeline.ensemble.instance import Instance
    from ensemble_pipeline.ensemble.intake import Scan
    from ensemble_pipeline.ensemble.settlement import SettlementNews

_MOST_RETRIES = 3
# with a clock that runs faster than the machine's, hours are learnt this many at a time
_HOURS_AT_A_TIME = 6


@dg.sensor(
    job=decide_job,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Finds new and materially changed markets and requests decision runs in batches. What was requested and not "
        "decided is requested again under the same key until it is; no market is lost where a tick dies."
    ),
)
def market_sensor(context: dg.SensorEvaluationContext, ensemble: EnsembleResource) -> dg.SensorResult | dg.SkipReason:
    """Look at the venue once, and request what waits for a decision."""
    from ensemble_pipeline.store.world_clock import StoredClock

    if StoredClock(ensemble.instance().database).speed() == 0 and not is_learnt(ensemble.instance()):
        return dg.SkipReason("in a stepped world what settled at an instant is learnt before anything is decided")
    try:
        scan = asyncio.run(_scan(ensemble.instance(), context.cursor))
    except VenueUnavailableError as error:
        return dg.SkipReason(str(error))
    waiting = renew_failed(ensemble.instance(), context.instance)
    return dg.SensorResult(
        run_requests=[decide_request(batch_id, len(ids)) for batch_id, ids in waiting.items()],
        asset_events=[_seen(scan)] if scan.due or scan.rejected else [],
        # an empty cursor would leave the old one in place
        cursor=scan.next_cursor or "",
    )


async def _scan(instance: "Instance", cursor: str | None) -> "Scan":
    from ensemble_pipeline.ensemble.intake import scan_markets

    async with open_venue(instance) as venue:
        return await scan_markets(instance, venue, cursor or None)


def _seen(scan: "Scan") -> dg.AssetObservation:
    metadata = {"open_markets": scan.seen, "due": scan.due, "rejected_rows": scan.rejected}
    return dg.AssetObservation("markets", metadata=metadata)


def renew_failed(instance: "Instance", dagster: dg.DagsterInstance) -> dict[int, tuple[int, ...]]:
    """Batches to request: those undecided, and in place of one whose runs ended without deciding it, a new one.

    While Dagster retries a run its batch is left to that. After three renewals a batch is left alone; its snapshots
    show as undecided in ``ensemble status``.
    """
    from ensemble_pipeline.store import markets

    with instance.database.connection() as connection:
        waiting = markets.undecided_batches(connection)
    wanted: dict[int, tuple[int, ...]] = {}
    for batch_id, snapshot_ids in waiting.items():
        records = dagster.get_run_records(dg.RunsFilter(tags={BATCH_TAG: str(batch_id)}))
        if not records:
            wanted[batch_id] = snapshot_ids
        elif not any(it.dagster_run.status in UNFINISHED or is_left_to_dagster(dagster, it) for it in records):
            wanted.update(_renew(instance, batch_id, snapshot_ids))
    return wanted


def _renew(instance: "Instance", batch_id: int, snapshot_ids: Sequence[int]) -> dict[int, tuple[int, ...]]:
    from ensemble_pipeline.store import markets

    with instance.database.connection() as connection:
        if markets.retries_of(connection, batch_id) >= _MOST_RETRIES:
            return {}
        renewed = markets.open_batch(connection, snapshot_ids, instance.clock.now(), retry_of=batch_id)
    return {renewed: tuple(snapshot_ids)}


@dg.sensor(
    job=learn_job,
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Asks the venue what markets settled to, keeps each new word as a version, pays out paper positions and "
        "requests a learning run. There is no cursor to lose: what has no resolution is asked for again."
    ),
)
def settlement_sensor(
    context: dg.SensorEvaluationContext, ensemble: EnsembleResource
) -> dg.SensorResult | dg.SkipReason:
    """Look at the venue's settlements once, and request learning where something is new."""
    try:
        news = asyncio.run(_bring(ensemble.instance()))
    except VenueUnavailableError as error:
        return dg.SkipReason(str(error))
    span = None if is_under_way(context.instance, learn_job.name) else _days_due(ensemble.instance())
    requests = [] if span is None else [learn_request(*span)]
    return dg.SensorResult(run_requests=requests, asset_events=[_settled(news)] if news.market_ids else [])


def _days_due(instance: "Instance") -> tuple[date, date] | None:
    """Days to learn because of new resolutions, or because a world's hours passed faster than schedules tick."""
    from ensemble_pipeline.ensemble.performance import PerformanceTracker
    from ensemble_pipeline.store.world_clock import StoredClock

    tracker = PerformanceTracker(instance)
    due = tracker.days_to_learn()
    if tracker.unlearnt_resolution() is not None:
        # late ones touch earlier days too: once they are scored, `restatement_sensor` finds which
        today = instance.clock.now().date()
        return due or (today, today)
    speed = StoredClock(instance.database).speed()
    if speed == 1.0:
        return None
    learnt = tracker.learnt_until()
    patience = timedelta(hours=_HOURS_AT_A_TIME if speed else 0)
    is_due = learnt is None or instance.clock.now() - learnt >= patience
    return due if is_due else None


@dg.sensor(
    job=learn_job,
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Finds days whose windows stand and that a late, corrected or withdrawn settlement touches, and requests just "
        "those partitions. There is no cursor to lose: a day is touched until its windows hold what touches it."
    ),
)
def restatement_sensor(
    context: dg.SensorEvaluationContext, ensemble: EnsembleResource
) -> dg.SensorResult | dg.SkipReason:
    """Request restatements of the days that late rows of the ledger touch."""
    from ensemble_pipeline.ensemble.performance import PerformanceTracker

    spans = PerformanceTracker(ensemble.instance()).days_to_restate()
    if not spans:
        return dg.SkipReason("every day's windows hold what touches them")
    if is_under_way(context.instance, learn_job.name):
        return dg.SkipReason("a learning run is under way")
    return dg.SensorResult(run_requests=[learn_request(*span, is_restatement=True) for span in spans])


async def _bring(instance: "Instance") -> "SettlementNews":
    from ensemble_pipeline.ensemble.settlement import bring_resolutions

    async with open_venue(instance) as venue:
        return await bring_resolutions(instance, venue)


def _settled(news: "SettlementNews") -> dg.AssetMaterialization:
    metadata = {
        "dagster/row_count": len(news.market_ids),
        "positions_settled": news.positions_settled,
        "rejected_rows": news.rejected,
    }
    return dg.AssetMaterialization("resolutions", metadata=metadata)


SENSORS = [market_sensor, settlement_sensor, restatement_sensor]
