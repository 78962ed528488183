"""The days of an instance, wherever its world lies against the machine's today."""

from datetime import UTC, date, datetime, timedelta

from ensemble_pipeline.clock import RealClock
from ensemble_pipeline.pipeline.partitions import daily_partitions, range_tags

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
TODAY = NOON.date()


def days(first: str, last: str | None) -> list[str]:
    return list(daily_partitions(first, last, TODAY).get_partition_keys(current_time=NOON))


def test_open_history_reaches_to_today_and_includes_it() -> None:
    assert days("2026-03-08", None) == ["2026-03-08", "2026-03-09", "2026-03-10"]


def test_history_that_ended_is_cut_at_its_end() -> None:
    assert days("2025-07-29", "2025-07-31") == ["2025-07-29", "2025-07-30", "2025-07-31"]


def test_history_that_ends_today_includes_today() -> None:
    assert days("2026-03-09", "2026-03-10") == ["2026-03-09", "2026-03-10"]


def test_history_that_ended_yesterday_does_not_reach_today() -> None:
    assert days("2026-03-08", "2026-03-09") == ["2026-03-08", "2026-03-09"]


def test_world_that_reaches_past_today_has_all_its_days() -> None:
    keys = days("2026-03-09", "2026-03-14")
    assert keys == [f"2026-03-{day:02d}" for day in range(9, 15)]


def test_world_in_the_future_has_all_its_days() -> None:
    assert days("2027-01-01", "2027-01-03") == ["2027-01-01", "2027-01-02", "2027-01-03"]


def test_days_by_the_machine_clock_agree_with_days_at_a_given_time() -> None:
    today = RealClock().now().date()
    first = today - timedelta(days=1)
    keys = daily_partitions(first.isoformat(), None, today).get_partition_keys()
    # midnight may pass between the two looks
    assert list(keys)[:2] == [first.isoformat(), today.isoformat()]


def test_range_tags_name_both_ends() -> None:
    assert range_tags(date(2026, 1, 1), date(2026, 1, 9)) == {
        "dagster/asset_partition_range_start": "2026-01-01",
        "dagster/asset_partition_range_end": "2026-01-09",
    }
