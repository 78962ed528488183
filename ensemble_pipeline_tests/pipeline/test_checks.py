"""Each check passes on what learning leaves behind, and fails once that is tampered with."""

from collections.abc import Callable
from datetime import timedelta
from typing import cast

import dagster as dg
import pytest

from ensemble_pipeline.clock import SteppedClock, floor_hour
from ensemble_pipeline.domain import Mode
from ensemble_pipeline.ensemble.fallback import FallbackManager
from ensemble_pipeline.ensemble.performance import PerformanceTracker
from ensemble_pipeline.pipeline import checks
from ensemble_pipeline.pipeline.resources import EnsembleResource
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.world_clock import StoredClock
from ensemble_pipeline_tests.ensemble.history import NOW, play_history
from ensemble_pipeline_tests.ensemble.parts import instance_of, settings_of

# Dagster asks pydantic for the fields of a resource by their old name
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")

Check = Callable[..., dg.AssetCheckResult]


@pytest.fixture
def learnt(database: Database) -> tuple[Database, EnsembleResource, SteppedClock]:
    play_history(database)
    end = floor_hour(NOW) + timedelta(days=5)
    StoredClock(database).start_stepped(end)
    clock = SteppedClock(end)
    instance = instance_of(settings_of(), database, clock)
    tracker = PerformanceTracker(instance)
    tracker.record_prediction_result()
    tracker.update_skill_cube(NOW.date(), end.date())
    tracker.update_rolling_windows(NOW.date(), end.date())
    tracker.rank()
    return database, EnsembleResource.of(instance), clock


@pytest.mark.parametrize(
    ("check", "tampering"),
    [
        (
            checks.counts_equal_ledger,
            "update performance_windows set n = n + 1 where as_of = (select max(as_of) from performance_windows)",
        ),
        (
            checks.counts_equal_ledger,
            "delete from skill_cube where ctid in (select ctid from skill_cube limit 1)",
        ),
        (checks.counts_equal_ledger, "delete from skill_cube"),
        (
            checks.counts_equal_ledger,
            "update performance_windows w set n = n + 1 from skill_keys k where k.key_id = w.key_id and segment > 'c'",
        ),
        (
            # an earlier window that holds what became known later
            checks.windows_saw_nothing_later,
            "update performance_windows set n = n + 1 where window_hours = 24",
        ),
        (checks.scores_in_range, "update scored_forecasts set brier = 0.9 where score_id = 3"),
        (checks.ranking_agrees_with_windows, "update model_ranking_rows set weight = weight / 2"),
        (
            checks.no_row_refused,
            "insert into rejected_rows values ('scores', '1/1', 'ForecastRangeError: it says so', now())",
        ),
        (
            checks.no_model_degraded,
            "update model_trends set is_degraded = true, cusum = 99",
        ),
    ],
)
def test_check_passes_on_what_was_learnt_and_fails_once_it_is_tampered_with(
    learnt: tuple[Database, EnsembleResource, SteppedClock], check: Check, tampering: str
) -> None:
    database, resource, _ = learnt
    assert check(resource).passed
    with database.connection() as connection:
        connection.execute(tampering)
    assert not check(resource).passed


@pytest.mark.parametrize(
    ("mode", "severity"),
    [
        (Mode.NORMAL, None),
        (Mode.DEGRADED, dg.AssetCheckSeverity.WARN),
        (Mode.MINIMAL, dg.AssetCheckSeverity.WARN),
        (Mode.SUSPENDED, dg.AssetCheckSeverity.ERROR),
    ],
)
def test_mode_that_is_not_normal_warns_and_suspended_fails(
    database: Database, mode: Mode, severity: dg.AssetCheckSeverity | None
) -> None:
    instance = instance_of(settings_of(), database, SteppedClock(NOW))
    FallbackManager(instance).enable_emergency_mode(mode, "drill")
    found = cast("Check", checks.operating_mode_is_normal)(EnsembleResource.of(instance))
    assert found.passed is (severity is None)
    if severity is not None:
        assert (found.severity, found.metadata["cause"].value) == (severity, "drill")


def test_windows_are_fresh_until_the_clock_has_left_them_behind(
    learnt: tuple[Database, EnsembleResource, SteppedClock],
) -> None:
    _, resource, clock = learnt
    check = cast("Check", checks.windows_are_fresh)
    assert check(resource).passed
    clock.advance_to(clock.now() + timedelta(hours=2))
    assert check(resource).passed
    clock.advance_to(clock.now() + timedelta(minutes=1))
    assert not check(resource).passed


def test_windows_that_were_never_built_are_stale_once_something_is_scored(
    learnt: tuple[Database, EnsembleResource, SteppedClock],
) -> None:
    database, resource, _ = learnt
    check = cast("Check", checks.windows_are_fresh)
    with database.connection() as connection:
        connection.execute("delete from learnt_days")
    assert not check(resource).passed
    with database.connection() as connection:
        connection.execute("delete from scored_forecasts")
    assert check(resource).passed


def test_blocking_checks_are_those_of_learning_that_would_spread_what_is_wrong() -> None:
    blocking = {spec.name for check in checks.CHECKS for spec in check.check_specs if spec.blocking}
    assert blocking == {
        "ledger_equals_calls",
        "counts_equal_ledger",
        "windows_saw_nothing_later",
        "windows_are_fresh",
        "scores_in_range",
        "ranking_agrees_with_windows",
    }
