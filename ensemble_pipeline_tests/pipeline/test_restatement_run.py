"""A late settlement, from the sensor's tick through a real run of the learning job to the rows it changed."""

from datetime import timedelta

import dagster as dg
import pytest

from ensemble_pipeline.definitions import defs
from ensemble_pipeline.ensemble.performance import PerformanceTracker
from ensemble_pipeline.pipeline.resources import EnsembleResource
from ensemble_pipeline.pipeline.sensors import restatement_sensor
from ensemble_pipeline.store.world_clock import StoredClock
from ensemble_pipeline_tests.ensemble.history import HOUR, NOW, play_history, put_forecasts, settle, windows
from ensemble_pipeline_tests.pipeline.conftest import Live

# Dagster asks pydantic for the fields of a resource by their old name
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")


def test_late_settlement_is_restated_by_a_run_over_just_the_days_it_touches(
    live: Live, dagster_instance: dg.DagsterInstance
) -> None:
    database = live.instance.database
    play_history(database, days=2)
    live.clock.advance_to(NOW + timedelta(days=6))
    StoredClock(database).start_stepped(live.clock.now())
    first, last = NOW.date(), live.clock.now().date()
    tracker = PerformanceTracker(live.instance)
    tracker.record_prediction_result()
    tracker.update_skill_cube(first, last)
    tracker.update_rolling_windows(first, last)

    put_forecasts(database, {"a": 0.1, "b": 0.9}, ticker="LATE", event="LATE", at=NOW + 70 * HOUR)
    settle(database, "LATE", True, resolved_at=NOW + 75 * HOUR)
    tracker.record_prediction_result()
    resources = {"ensemble": EnsembleResource.of(live.instance)}
    with dg.build_sensor_context(instance=dagster_instance, resources=resources) as context:
        [request] = restatement_sensor.evaluate_tick(context).run_requests or []
    job = defs.resolve_job_def("learn")
    result = job.execute_in_process(instance=dagster_instance, tags=request.tags, resources=resources)
    assert result.success
    touched = [(NOW + 76 * HOUR + timedelta(days=n)).date() for n in range(10)]
    assert sorted(dagster_instance.get_materialized_partitions(dg.AssetKey("performance_windows"))) == [
        day.isoformat() for day in touched if day <= last
    ]
    assert tracker.days_to_restate() == []
    restated = windows(database)
    tracker.update_rolling_windows(first, last)
    assert windows(database) == restated
    assert tracker.get_model_ranking().rows[0].sample_size > 0
