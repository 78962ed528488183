from datetime import UTC, datetime, timedelta

import pytest

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.errors import InputError
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.world_clock import HEARTBEAT_S, StoredClock

WALL = datetime(2026, 11, 1, tzinfo=UTC)
WORLD = datetime(2026, 1, 5, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def wall() -> SteppedClock:
    return SteppedClock(WALL)


@pytest.fixture
def clock(database: Database, wall: SteppedClock) -> StoredClock:
    return StoredClock(database, wall)


def let_pass(wall: SteppedClock, seconds: float) -> None:
    wall.advance_to(wall.now() + seconds * SECOND)


def test_now_when_nobody_set_a_mode_is_the_machines_time(clock: StoredClock, wall: SteppedClock) -> None:
    assert clock.now() == WALL
    let_pass(wall, 7)
    assert clock.now() == WALL + 7 * SECOND


def test_now_when_no_wall_is_given_follows_the_machine(database: Database) -> None:
    assert StoredClock(database).now() > WALL - timedelta(days=3650)


def test_stepped_clock_moves_only_when_told_and_for_every_process(
    database: Database, clock: StoredClock, wall: SteppedClock
) -> None:
    clock.start_stepped(WORLD)
    let_pass(wall, 1000)
    assert clock.now() == WORLD
    clock.advance_to(WORLD + HOUR)
    assert StoredClock(database, SteppedClock(WALL)).now() == WORLD + HOUR
    clock.start_stepped(WORLD)
    assert clock.now() == WORLD + HOUR


def test_advance_when_time_lies_before_the_present_refuses(clock: StoredClock) -> None:
    clock.start_stepped(WORLD)
    clock.advance_to(WORLD)
    with pytest.raises(InputError, match="past that"):
        clock.advance_to(WORLD - SECOND)
    with pytest.raises(InputError, match="no time zone"):
        clock.advance_to(datetime(2027, 1, 1))  # noqa: DTZ001 - the point
    assert clock.now() == WORLD


def test_advance_when_clock_is_not_stepped_refuses(clock: StoredClock) -> None:
    with pytest.raises(InputError, match="not stepped"):
        clock.advance_to(WALL + HOUR)
    clock.start_accelerated(WORLD, 60)
    with pytest.raises(InputError, match="not stepped"):
        clock.advance_to(WORLD + HOUR)


def test_accelerated_clock_runs_by_its_speed(clock: StoredClock, wall: SteppedClock) -> None:
    clock.start_accelerated(WORLD, 3600)
    assert clock.now() == WORLD
    let_pass(wall, 2.5)
    assert clock.now() == WORLD + 2.5 * HOUR
    clock.beat()
    assert clock.now() == WORLD + 2.5 * HOUR


def test_accelerated_clock_when_frozen_keeps_world_time_over_the_stop(clock: StoredClock, wall: SteppedClock) -> None:
    clock.start_accelerated(WORLD, 3600)
    let_pass(wall, 3)
    clock.freeze()
    let_pass(wall, 86_400)
    assert clock.now() == WORLD + 3 * HOUR
    clock.start_accelerated(WORLD, 60)
    let_pass(wall, 60)
    assert clock.now() == WORLD + 4 * HOUR


@pytest.mark.parametrize("seen_after_s", [0.0, HEARTBEAT_S / 2, HEARTBEAT_S])
def test_accelerated_clock_after_a_crash_never_goes_back_behind_what_was_seen(
    database: Database, clock: StoredClock, wall: SteppedClock, seen_after_s: float
) -> None:
    clock.start_accelerated(WORLD, 3600)
    let_pass(wall, HEARTBEAT_S)
    clock.beat()
    let_pass(wall, seen_after_s)
    seen = clock.now()
    let_pass(wall, 10 * 86_400)
    resumed = StoredClock(database, wall)
    resumed.start_accelerated(WORLD, 3600)
    assert seen <= resumed.now() <= WORLD + 2 * HEARTBEAT_S * HOUR


def test_stepped_clock_after_a_crash_of_an_accelerated_one_does_not_leap(
    clock: StoredClock, wall: SteppedClock
) -> None:
    clock.start_accelerated(WORLD, 3600)
    let_pass(wall, 10 * 86_400)
    clock.start_stepped(WORLD)
    assert clock.now() == WORLD + HEARTBEAT_S * HOUR


def test_beat_and_freeze_when_clock_is_not_accelerated_change_nothing(clock: StoredClock, wall: SteppedClock) -> None:
    clock.beat()
    clock.freeze()
    assert clock.now() == WALL
    clock.start_stepped(WORLD)
    let_pass(wall, 5)
    clock.beat()
    clock.freeze()
    assert clock.now() == WORLD


def test_start_when_time_has_no_zone_refuses(clock: StoredClock) -> None:
    with pytest.raises(InputError, match="no time zone"):
        clock.start_stepped(datetime(2026, 1, 1))  # noqa: DTZ001 - the point
    with pytest.raises(InputError, match="no time zone"):
        clock.start_accelerated(datetime(2026, 1, 1), 2)  # noqa: DTZ001 - the point
