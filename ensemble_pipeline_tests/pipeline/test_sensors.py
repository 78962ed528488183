"""Sensors as functions, over a real venue on loopback and a Dagster instance in memory."""

from datetime import timedelta

import dagster as dg
import pytest

from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.performance import PerformanceTracker
from ensemble_pipeline.pipeline.jobs import BATCH_TAG, learn_job
from ensemble_pipeline.pipeline.partitions import RESTATEMENT_TAG
from ensemble_pipeline.pipeline.resources import EnsembleResource
from ensemble_pipeline.pipeline.sensors import market_sensor, renew_failed, restatement_sensor, settlement_sensor
from ensemble_pipeline.settings import Settings
from ensemble_pipeline.store import markets
from ensemble_pipeline_tests.ensemble.history import HOUR, NOW, put_forecasts, settle
from ensemble_pipeline_tests.pipeline.conftest import Live

# Dagster asks pydantic for the fields of a resource by their old name
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")


def tick(
    sensor: dg.SensorDefinition, instance: Instance, dagster: dg.DagsterInstance, cursor: str | None = None
) -> dg.SensorResult | dg.SkipReason:
    with dg.build_sensor_context(
        instance=dagster, cursor=cursor, resources={"ensemble": EnsembleResource.of(instance)}
    ) as context:
        result = sensor(context)
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def keys(result: dg.SensorResult | dg.SkipReason) -> list[str | None]:
    assert isinstance(result, dg.SensorResult), result
    return [request.run_key for request in result.run_requests or []]


def add_run(dagster: dg.DagsterInstance, batch_id: int, status: dg.DagsterRunStatus) -> None:
    """A run of the batch as the daemon would have left it."""

    @dg.job
    def decide() -> None:
        pass

    run = dagster.create_run_for_job(decide, tags={BATCH_TAG: str(batch_id)}, status=status)
    assert run.tags[BATCH_TAG] == str(batch_id)


def the_batch(instance: Instance) -> tuple[int, tuple[int, ...]]:
    with instance.database.connection() as connection:
        ((batch_id, snapshot_ids),) = markets.undecided_batches(connection).items()
    return batch_id, snapshot_ids


def test_market_sensor_requests_each_open_market_once(live: Live, dagster_instance: dg.DagsterInstance) -> None:
    result = tick(market_sensor, live.instance, dagster_instance)
    batch_id, snapshot_ids = the_batch(live.instance)
    open_now = [it for it in live.world.markets.values() if it.opened_at <= live.clock.now() < it.closes_at]
    assert keys(result) == [f"decide-{batch_id}"]
    assert len(snapshot_ids) == len(open_now) > 0
    assert isinstance(result, dg.SensorResult)
    (event,) = result.asset_events
    assert event.asset_key == dg.AssetKey("markets")


def test_market_sensor_requests_an_undecided_batch_again_under_the_same_key(
    live: Live, dagster_instance: dg.DagsterInstance
) -> None:
    first = tick(market_sensor, live.instance, dagster_instance)
    again = tick(market_sensor, live.instance, dagster_instance)
    assert keys(again) == keys(first)
    assert isinstance(again, dg.SensorResult)
    assert not again.asset_events


def test_market_sensor_leaves_a_batch_alone_while_its_run_is_under_way(
    live: Live, dagster_instance: dg.DagsterInstance
) -> None:
    tick(market_sensor, live.instance, dagster_instance)
    add_run(dagster_instance, the_batch(live.instance)[0], dg.DagsterRunStatus.STARTED)
    assert keys(tick(market_sensor, live.instance, dagster_instance)) == []


def test_failed_batch_is_renewed_three_times_under_new_keys_and_then_left_alone(
    live: Live, dagster_instance: dg.DagsterInstance
) -> None:
    tick(market_sensor, live.instance, dagster_instance)
    seen = []
    for _ in range(3):
        batch_id, snapshot_ids = the_batch(live.instance)
        add_run(dagster_instance, batch_id, dg.DagsterRunStatus.FAILURE)
        (renewed,) = renew_failed(live.instance, dagster_instance).items()
        assert renewed[1] == snapshot_ids
        seen += [batch_id, renewed[0]]
    add_run(dagster_instance, the_batch(live.instance)[0], dg.DagsterRunStatus.FAILURE)
    assert renew_failed(live.instance, dagster_instance) == {}
    assert len(set(seen)) == 4
    assert keys(tick(market_sensor, live.instance, dagster_instance)) == []


def test_run_that_ended_well_without_deciding_its_batch_is_renewed_too(
    live: Live, dagster_instance: dg.DagsterInstance
) -> None:
    tick(market_sensor, live.instance, dagster_instance)
    add_run(dagster_instance, the_batch(live.instance)[0], dg.DagsterRunStatus.SUCCESS)
    assert len(renew_failed(live.instance, dagster_instance)) == 1


def test_market_sensor_splits_markets_into_batches_of_the_set_size(
    live: Live, dagster_instance: dg.DagsterInstance
) -> None:
    one_by_one = live.instance.settings.scan.model_copy(update={"batch_size": 1})
    settings = live.instance.settings.model_copy(update={"scan": one_by_one})
    live.clock.advance_to(sorted(market.opened_at for market in live.world.markets.values())[3])
    instance = Instance(settings, live.instance.database, live.clock)
    requests = keys(tick(market_sensor, instance, dagster_instance))
    assert len(set(requests)) == len(requests) > 1


def test_sensors_skip_with_the_cause_where_the_venue_does_not_answer(
    live: Live, dagster_instance: dg.DagsterInstance
) -> None:
    nowhere = Settings(kalshi_base_url="http://127.0.0.1:9/trade-api/v2")
    instance = Instance(nowhere, live.instance.database, live.clock)
    tick(market_sensor, live.instance, dagster_instance)
    for sensor in (market_sensor, settlement_sensor):
        result = tick(sensor, instance, dagster_instance)
        assert isinstance(result, dg.SkipReason)
        assert "the next tick asks again" in str(result.skip_message)


def test_settlement_sensor_requests_nothing_while_nothing_settled(
    live: Live, dagster_instance: dg.DagsterInstance
) -> None:
    tick(market_sensor, live.instance, dagster_instance)
    assert keys(tick(settlement_sensor, live.instance, dagster_instance)) == []


def test_settlement_sensor_brings_what_settled_and_asks_for_it_once(
    live: Live, dagster_instance: dg.DagsterInstance
) -> None:
    tick(market_sensor, live.instance, dagster_instance)
    live.clock.advance_to(live.world.ends_at)
    tick(settlement_sensor, live.instance, dagster_instance)
    with live.instance.database.connection() as connection:
        row = connection.execute("select count(*) as n from resolutions").fetchone()
        assert row == {"n": len(the_batch(live.instance)[1])}
    # nobody forecast these markets, so there is nothing to learn from them
    assert PerformanceTracker(live.instance).unlearnt_resolution() is None
    again = tick(settlement_sensor, live.instance, dagster_instance)
    assert keys(again) == []
    assert isinstance(again, dg.SensorResult)
    assert not again.asset_events


def test_restatement_sensor_requests_just_the_days_that_a_late_settlement_touches(
    live: Live, dagster_instance: dg.DagsterInstance
) -> None:
    asked = NOW
    live.clock.advance_to(asked)
    for ticker in ("M-1", "LATE"):
        put_forecasts(live.instance.database, {"a": 0.8, "b": 0.6}, ticker=ticker, event=ticker, at=asked)
    settle(live.instance.database, "M-1", True, resolved_at=asked + HOUR)
    live.clock.advance_to(asked + timedelta(days=40))
    tracker = PerformanceTracker(live.instance)
    tracker.record_prediction_result()
    tracker.update_rolling_windows(asked.date(), live.clock.now().date())
    assert isinstance(tick(restatement_sensor, live.instance, dagster_instance), dg.SkipReason)
    known = (asked + timedelta(days=3)).replace(hour=12, minute=0, second=0, microsecond=0)
    settle(live.instance.database, "LATE", False, resolved_at=known)
    tracker.record_prediction_result()
    result = tick(restatement_sensor, live.instance, dagster_instance)
    assert isinstance(result, dg.SensorResult)
    [request] = result.run_requests or []
    assert request.job_name == learn_job.name
    assert request.tags[RESTATEMENT_TAG] == "true"
    assert request.tags["dagster/asset_partition_range_start"] == known.date().isoformat()
    assert request.tags["dagster/asset_partition_range_end"] == (known + timedelta(hours=719)).date().isoformat()
    run = dagster_instance.create_run_for_job(_named(learn_job.name), status=dg.DagsterRunStatus.STARTED)
    assert isinstance(tick(restatement_sensor, live.instance, dagster_instance), dg.SkipReason)
    dagster_instance.report_run_failed(run)
    assert isinstance(tick(restatement_sensor, live.instance, dagster_instance), dg.SensorResult)


def _named(name: str) -> dg.JobDefinition:
    @dg.job(name=name)
    def made() -> None:
        pass

    return made
