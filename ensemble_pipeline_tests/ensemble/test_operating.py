"""The mode in force, against a real database: by hand as a floor, by evidence, by expiry; each transition once."""

import threading
from datetime import timedelta
from typing import Any, Literal

import psycopg
import pytest

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.domain import Mode
from ensemble_pipeline.ensemble.fallback import FallbackManager
from ensemble_pipeline.ensemble.operating import ModeInForce, mode_in_force
from ensemble_pipeline.errors import InputError
from ensemble_pipeline.store import alerts, operating_modes, worlds
from ensemble_pipeline.store.alerts import Alert
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.health import ModelHealth
from ensemble_pipeline.store.world_clock import StoredClock
from ensemble_pipeline_tests.ensemble.history import put_call, put_forecasts, table, wait_until_it_waits
from ensemble_pipeline_tests.ensemble.parts import instance_of, mode_of, settings_of
from ensemble_pipeline_tests.store.rows import HOUR, NOW

MINUTE = timedelta(minutes=1)
NAMES = "abcde"


class Room:
    """Five models, of which those in `out` are not available, and a clock."""

    def __init__(self, database: Database, **sections: Any) -> None:
        self.clock = SteppedClock(NOW)
        self.database = database
        self.instance = instance_of(settings_of(*NAMES, **sections), database, self.clock)
        self.manager = FallbackManager(self.instance)
        self.out = ""

    def review(self) -> ModeInForce:
        return self.manager.review_mode(
            {name: ModelHealth(name, name not in self.out, self.clock.now(), 0, None, 1, 0, "closed") for name in NAMES}
        )

    def later(self, minutes: float) -> None:
        self.clock.advance_to(self.clock.now() + minutes * MINUTE)

    def rows(self) -> list[tuple[str, str]]:
        return [(row["origin"], row["mode"]) for row in table(self.database, "operating_modes", "mode_id")]

    def alerts(self) -> list[dict[str, Any]]:
        with self.database.connection() as connection:
            return [row for row in alerts.open_alerts(connection) if row["kind"] == "operating_mode"]


@pytest.fixture
def room(database: Database) -> Room:
    return Room(database)


def test_where_all_is_well_nothing_is_written_and_the_mode_is_normal(room: Room) -> None:
    assert room.review() == ModeInForce(Mode.NORMAL, "nothing calls for another mode", "evidence")
    assert (room.rows(), room.alerts()) == ([], [])


def test_evidence_puts_a_mode_in_force_with_its_readings_and_lets_it_go_by_steps(room: Room) -> None:
    room.out = "abc"
    found = room.review()
    assert (found.mode, found.origin, found.since, found.until) == ("conservative", "evidence", NOW, None)
    assert found.cause == "2 of 5 models are available"
    [row] = table(room.database, "operating_modes", "mode_id")
    assert (row["readings"]["enabled"], row["readings"]["available"]) == (5, 2)
    room.review()
    room.out = ""
    for minutes, mode in ((0, "conservative"), (15, "degraded"), (14, "degraded"), (1, "normal"), (60, "normal")):
        room.later(minutes)
        assert room.review().mode == mode
    assert room.rows() == [("evidence", "conservative"), ("evidence", "degraded"), ("evidence", "normal")]
    assert room.alerts() == []


def test_recovery_waits_for_looks_and_not_for_time_in_which_nobody_looked(room: Room) -> None:
    room.out = "abcd"
    room.review()
    room.out = ""
    room.later(48 * 60)
    assert room.review().mode is Mode.MINIMAL
    room.later(15)
    assert room.review().mode is Mode.CONSERVATIVE


def test_what_is_set_by_hand_is_a_floor_that_evidence_may_only_worsen(room: Room) -> None:
    room.manager.enable_emergency_mode("conservative", "maintenance")
    assert room.review() == ModeInForce(Mode.CONSERVATIVE, "maintenance", "hand", NOW)
    room.out = "abcd"
    assert (room.review().mode, room.review().origin) == ("minimal", "evidence")
    room.out = ""
    for _ in range(10):
        room.later(15)
        room.review()
    assert (room.review().mode, room.review().origin) == ("conservative", "hand")
    assert room.manager.enable_emergency_mode("normal", "over").mode is Mode.NORMAL


def test_normal_by_hand_returns_to_what_the_evidence_says(room: Room) -> None:
    room.out = "abc"
    room.review()
    room.manager.enable_emergency_mode("suspended", "drill")
    assert mode_of(room.instance) == "suspended"
    found = room.manager.enable_emergency_mode("normal", "over")
    assert (found.mode, found.origin) == ("conservative", "evidence")


def test_what_is_set_by_hand_expires_at_its_time_whether_anybody_looks_or_not(room: Room) -> None:
    found = room.manager.enable_emergency_mode(Mode.SUSPENDED, "release", timedelta(hours=2))
    assert found.until == NOW + 2 * HOUR
    room.later(119)
    assert mode_of(room.instance) == "suspended"
    room.later(1)
    assert mode_of(room.instance) == "normal"
    assert room.rows() == [("hand", "suspended")]
    room.later(600)
    assert room.review().mode is Mode.NORMAL
    room.review()
    [_, ended] = table(room.database, "operating_modes", "mode_id")
    assert (ended["mode"], ended["origin"], ended["since"]) == ("normal", "hand", NOW + 2 * HOUR)
    assert ended["cause"] == "suspended, set for “release”, has expired"


def test_second_mode_by_hand_takes_the_place_of_the_first(room: Room) -> None:
    room.manager.enable_emergency_mode("suspended", "first", timedelta(hours=2))
    room.manager.enable_emergency_mode("degraded", "second")
    assert mode_of(room.instance) == "degraded"
    room.later(1000)
    assert room.review().mode == "degraded"


@pytest.mark.parametrize(
    ("mode", "cause", "lasts", "said"),
    [
        ("panic", "why", None, "no operating mode 'panic'"),
        ("minimal", " ", None, "say why"),
        ("minimal", "why", timedelta(0), "more than 0"),
        ("normal", "why", timedelta(hours=1), "nothing in it that could expire"),
    ],
)
def test_mode_by_hand_that_makes_no_sense_is_refused_and_nothing_is_written(
    room: Room, mode: str, cause: str, lasts: timedelta | None, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        room.manager.enable_emergency_mode(mode, cause, lasts)
    assert room.rows() == []


def test_alert_stands_while_the_mode_does_and_says_cause_time_and_what_to_do(room: Room) -> None:
    room.out = "ab"
    room.review()
    [alert] = room.alerts()
    assert (alert["subject"], alert["severity"]) == ("degraded", "warning")
    assert alert["cause"] == (
        "the operating mode is degraded since 2026-03-02 12:30 UTC, by evidence: 3 of 5 models are available"
    )
    assert "softens by itself" in alert["action"]
    room.later(1)
    room.manager.enable_emergency_mode("suspended", "drill", timedelta(minutes=9))
    [alert] = room.alerts()
    assert (alert["subject"], alert["severity"], alert["evidence"]["origin"]) == ("suspended", "error", "hand")
    assert "until 2026-03-02 12:40 UTC, by hand: drill" in alert["cause"]
    assert "`ensemble mode normal`" in alert["action"]
    room.out = ""
    for _ in range(4):
        room.later(15)
        room.review()
    assert room.alerts() == []


def test_recent_calls_count_and_old_ones_do_not(database: Database) -> None:
    room = Room(database, modes={"min_calls": 4})
    snapshot = put_forecasts(database, {"a": 0.5})
    with database.connection() as connection:
        for attempt in (2, 3, 4, 5):
            put_call(connection, snapshot, "a", attempt=attempt, status="failed")
    assert room.review().cause == "1 of 5 calls of the last 60 minutes were answered"
    assert mode_of(room.instance) == "conservative"
    room.later(60)
    room.review()
    room.later(15)
    assert room.review().mode == "degraded"


@pytest.mark.parametrize(("kind", "mode"), [("ledger", "suspended"), ("budget", "normal")])
def test_ledger_that_was_found_off_suspends_and_other_alerts_do_not(room: Room, kind: str, mode: str) -> None:
    with room.database.connection() as connection:
        alerts.update_alerts(connection, (kind,), [Alert(kind, "accounts", "error", "drill", "drill")], NOW)
    assert room.review().mode == mode


@pytest.mark.parametrize(
    ("clock", "mode"), [("real", "conservative"), ("accelerated", "normal"), ("stepped", "normal")]
)
def test_silent_venue_is_one_that_was_silent_by_the_watch_of_who_looks(room: Room, clock: str, mode: str) -> None:
    if clock == "accelerated":
        StoredClock(room.database).start_accelerated(NOW, 720)
    elif clock == "stepped":
        StoredClock(room.database).start_stepped(NOW)
    with room.database.connection() as connection:
        worlds.note_look(connection, "markets", NOW)
    room.later(119)
    assert room.review().mode == "normal"
    room.later(1)
    assert room.review().mode == mode


def test_venue_that_told_anything_is_not_silent(room: Room) -> None:
    subjects: tuple[Literal["markets", "settlements", "quotes"], ...] = ("markets", "settlements", "quotes")
    for subject in subjects:
        with room.database.connection() as connection:
            worlds.note_look(connection, subject, room.clock.now())
        room.later(119)
        assert room.review().mode == "normal"


def test_venue_that_nobody_has_looked_at_yet_is_not_silent(room: Room) -> None:
    room.later(10_000)
    assert room.review().mode == "normal"


def test_processes_that_review_at_once_write_a_transition_once(database: Database) -> None:
    rooms = [Room(database) for _ in range(4)]
    gate = threading.Barrier(4)

    def review(room: Room) -> None:
        room.out = "abcd"
        gate.wait(30)
        room.review()

    threads = [threading.Thread(target=review, args=(room,)) for room in rooms]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rooms[0].rows() == [("evidence", "minimal")]
    assert len(rooms[0].alerts()) == 1


@pytest.mark.parametrize("work", ["review", "by hand"])
def test_who_waited_while_another_put_a_mode_in_force_looks_at_the_clock_after_it(
    database: Database, work: str
) -> None:
    room, failed = Room(database), []

    def wait() -> None:
        try:
            room.review() if work == "review" else room.manager.enable_emergency_mode("degraded", "drill")
        except psycopg.Error as error:
            failed.append(error)

    waiting = threading.Thread(target=wait)
    with database.connection() as connection:
        operating_modes.lock_modes(connection)
        waiting.start()
        wait_until_it_waits(database, waiting)
        room.later(1)
        operating_modes.append(connection, "minimal", "1 of 5 models are available", room.clock.now(), "evidence")
    waiting.join(30)
    assert failed == []
    newest = table(database, "operating_modes", "mode_id")[-1]
    assert newest["better_since" if work == "review" else "since"] == NOW + MINUTE


def test_reading_the_mode_changes_nothing(room: Room) -> None:
    room.manager.enable_emergency_mode("minimal", "drill", timedelta(minutes=1))
    room.later(5)
    with room.database.connection() as connection:
        assert mode_in_force(connection, room.clock.now()).mode is Mode.NORMAL
    assert len(room.rows()) == 1
