"""Late, corrected and withdrawn settlements restate the windows they touch, and no others."""

import random
from datetime import date, datetime, timedelta

import pytest

from ensemble_pipeline.clock import SteppedClock, floor_hour
from ensemble_pipeline.ensemble.performance import PerformanceTracker
from ensemble_pipeline.errors import PartitionRangeError
from ensemble_pipeline.store import audit
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.history import HOUR, NOW, cube, play_history, put_forecasts, settle, windows
from ensemble_pipeline_tests.ensemble.parts import instance_of, settings_of

TODAY = NOW.date()
MIDNIGHT = floor_hour(NOW).replace(hour=0)


def day(number: int) -> date:
    return TODAY + timedelta(days=number)


def tracker_at(database: Database, now: datetime) -> PerformanceTracker:
    return PerformanceTracker(instance_of(settings_of(), database, SteppedClock(now)))


def learn_days(tracker: PerformanceTracker, last: int, *, is_restatement: bool = False) -> None:
    tracker.record_prediction_result()
    tracker.update_skill_cube(TODAY, day(last), is_restatement=is_restatement)
    tracker.update_rolling_windows(TODAY, day(last), is_restatement=is_restatement)


def rebuilt(database: Database, tracker: PerformanceTracker, last: int) -> list[dict[str, object]]:
    with database.connection() as connection:
        connection.execute("delete from performance_windows")
        connection.execute("delete from skill_cube")
    tracker.update_skill_cube(TODAY, day(last))
    tracker.update_rolling_windows(TODAY, day(last))
    return windows(database)


def restate(tracker: PerformanceTracker) -> None:
    for span in tracker.days_to_restate():
        tracker.update_skill_cube(*span, is_restatement=True)
        tracker.update_rolling_windows(*span, is_restatement=True)


def test_late_settlement_touches_the_days_from_its_hour_to_thirty_days_on(database: Database) -> None:
    put_forecasts(database, {"a": 0.8, "b": 0.6}, ticker="M-1")
    put_forecasts(database, {"a": 0.7, "b": 0.4}, ticker="LATE")
    settle(database, "M-1", True, resolved_at=NOW + HOUR)
    tracker = tracker_at(database, MIDNIGHT + 40 * 24 * HOUR)
    learn_days(tracker, 40)
    assert tracker.days_to_restate() == []
    # known on the fifth day at 23:30, first seen as of midnight, held by a 30-day window up to 23:00 thirty days on
    known = MIDNIGHT + (4 * 24 + 23.5) * HOUR
    settle(database, "LATE", False, resolved_at=known)
    assert tracker.days_to_restate() == []
    tracker.record_prediction_result()
    assert tracker.days_to_restate() == [(day(5), day(34))]


def test_settlement_scored_before_its_hours_were_built_touches_nothing(database: Database) -> None:
    put_forecasts(database, {"a": 0.8}, ticker="M-1")
    clock = SteppedClock(NOW)
    tracker = PerformanceTracker(instance_of(settings_of(), database, clock))
    learn_days(tracker, 0)
    clock.advance_to(NOW + 0.1 * HOUR)
    settle(database, "M-1", True, resolved_at=clock.now())
    tracker.record_prediction_result()
    assert tracker.days_to_restate() == []


@pytest.mark.parametrize("seed", range(4))
def test_restated_windows_equal_rebuilt_ones_bit_for_bit_and_leave_other_days_alone(
    database: Database, seed: int
) -> None:
    play_history(database, days=4, seed=seed)
    end = floor_hour(NOW) + 7 * 24 * HOUR
    tracker = tracker_at(database, end)
    learn_days(tracker, 7)
    before = windows(database)
    draw = random.Random(seed)  # noqa: S311 - a seeded world
    for number in range(3):
        at = NOW + draw.uniform(0, 90) * HOUR
        put_forecasts(database, {"a": 0.3, "b": 0.9}, ticker=f"LATE-{number}", event=f"L{number}", at=at)
        settle(database, f"LATE-{number}", True, resolved_at=at + 0.5 * HOUR)
    settle(database, "M-1", None, resolved_at=NOW + 60 * HOUR)
    settle(database, "M-6", draw.random() < 0.5, resolved_at=NOW + 61 * HOUR)
    tracker.record_prediction_result()
    touched = tracker.days_to_restate()
    assert touched
    restate(tracker)
    assert tracker.days_to_restate() == []
    after = windows(database)
    first = MIDNIGHT + (touched[0][0] - TODAY)
    assert [row for row in after if row["as_of"] < first] == [row for row in before if row["as_of"] < first]
    assert after != before
    cells = cube(database)
    assert after == rebuilt(database, tracker, 7)
    assert cells == cube(database)
    with database.connection() as connection:
        assert (audit.window_differences(connection), audit.cube_differences(connection)) == ([], [])
        assert audit.anachronisms(connection, hours=8) == []


def test_corrections_restate_only_the_hours_from_which_they_are_known(database: Database) -> None:
    put_forecasts(database, {"a": 0.8, "b": 0.6}, ticker="M-1")
    settle(database, "M-1", True, resolved_at=NOW + HOUR)
    end = MIDNIGHT + 3 * 24 * HOUR
    tracker = tracker_at(database, end)
    learn_days(tracker, 3)
    before = windows(database)
    known = MIDNIGHT + 26.5 * HOUR
    settle(database, "M-1", False, resolved_at=known)
    tracker.record_prediction_result()
    assert tracker.days_to_restate() == [(day(1), day(3))]
    restate(tracker)
    seen = MIDNIGHT + 27 * HOUR
    after = windows(database)
    assert [row for row in after if row["as_of"] < seen] == [row for row in before if row["as_of"] < seen]
    long = [row for row in after if row["as_of"] >= seen and row["window_hours"] == 720 and row["dimension"] == "all"]
    assert {(row["model_id"], row["n"], row["brier_e9"]) for row in long} == {
        ("a", 1, 640_000_000),
        ("b", 1, 360_000_000),
    }


def test_withdrawn_settlement_empties_the_windows_it_filled_from_then_on(database: Database) -> None:
    put_forecasts(database, {"a": 0.8}, ticker="M-1")
    settle(database, "M-1", True, resolved_at=NOW + HOUR)
    tracker = tracker_at(database, MIDNIGHT + 2 * 24 * HOUR)
    learn_days(tracker, 2)
    settle(database, "M-1", None, resolved_at=NOW + 8.2 * HOUR)
    tracker.record_prediction_result()
    restate(tracker)
    seen = floor_hour(NOW + 9.2 * HOUR)
    assert {row["as_of"] for row in windows(database)} == {
        floor_hour(NOW) + hours * HOUR for hours in range(2, (seen - floor_hour(NOW)) // HOUR)
    }


def test_restating_days_that_never_stood_builds_them(database: Database) -> None:
    play_history(database, days=2)
    tracker = tracker_at(database, floor_hour(NOW) + 4 * 24 * HOUR)
    learn_days(tracker, 4, is_restatement=True)
    found = windows(database)
    assert found == rebuilt(database, tracker, 4)
    assert tracker.days_to_learn() is None


@pytest.mark.parametrize("is_restatement", [False, True])
def test_range_that_is_empty_or_in_the_future_is_refused_and_changes_nothing(
    database: Database, is_restatement: bool
) -> None:
    play_history(database, days=1)
    tracker = tracker_at(database, NOW + 24 * HOUR)
    learn_days(tracker, 1)
    found = windows(database)
    for update in (tracker.update_skill_cube, tracker.update_rolling_windows):
        with pytest.raises(PartitionRangeError, match="is empty: name the earlier day first"):
            update(day(1), day(0), is_restatement=is_restatement)
        with pytest.raises(PartitionRangeError, match="lies in the future: the instance's clock stands at"):
            update(day(2), day(3), is_restatement=is_restatement)
    assert windows(database) == found
