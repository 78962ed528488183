from datetime import UTC, datetime, timedelta, timezone

import pytest

from ensemble_pipeline.clock import (
    AcceleratedClock,
    RealClock,
    SteppedClock,
    Stopwatch,
    ceil_hour,
    floor_hour,
    require_utc,
)
from ensemble_pipeline.errors import InputError

AT = datetime(2026, 1, 5, 10, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_real_clock_tells_utc_and_does_not_run_backwards() -> None:
    clock = RealClock()
    first = clock.now()
    assert first.tzinfo is UTC
    assert clock.now() >= first


def test_accelerated_clock_runs_by_its_speed_and_never_before_its_start() -> None:
    wall = SteppedClock(AT)
    clock = AcceleratedClock(AT - 1000 * HOUR, AT, 60, wall)
    assert clock.now() == AT - 1000 * HOUR
    wall.advance_to(AT + HOUR)
    assert clock.now() == AT - 940 * HOUR
    early = AcceleratedClock(AT, AT + 9 * HOUR, 60, wall)
    assert early.now() == AT


def test_stepped_clock_when_told_to_run_backwards_refuses() -> None:
    clock = SteppedClock(AT)
    clock.advance_to(AT)
    clock.advance_to(AT + HOUR)
    with pytest.raises(InputError, match="does not run backwards"):
        clock.advance_to(AT)
    assert clock.now() == AT + HOUR


def test_require_utc_converts_and_refuses_what_has_no_zone() -> None:
    assert require_utc(datetime(2026, 1, 5, 12, 30, tzinfo=timezone(2 * HOUR)), "at") == AT
    with pytest.raises(InputError, match=r"closes_at=.* has no time zone"):
        require_utc(datetime(2026, 1, 5), "closes_at")  # noqa: DTZ001 - the point


@pytest.mark.parametrize("offset_us", [0, 1, 1_800_000_000, 3_599_999_999])
def test_hours_are_rounded_down_and_up(offset_us: int) -> None:
    hour = datetime(2026, 1, 5, 23, tzinfo=UTC)
    at = hour + timedelta(microseconds=offset_us)
    assert floor_hour(at) == hour
    assert ceil_hour(at) == (hour if offset_us == 0 else hour + HOUR)


def test_stopwatch_never_runs_backwards() -> None:
    watch = Stopwatch()
    first = watch.elapsed_s()
    assert 0 <= first <= watch.elapsed_s()
    assert watch.elapsed_ms() >= 0
