"""The clock that every process of an instance shares: one row, read at each question.

Real time needs no row. An accelerated clock is anchored to the machine's time while it runs; `freeze` keeps the
world's time over a stop. A stepped clock moves only through `advance_to`.
"""

from datetime import datetime, timedelta

from ensemble_pipeline.clock import AcceleratedClock, Clock, RealClock, require_utc
from ensemble_pipeline.errors import DatabaseLostError, InputError
from ensemble_pipeline.store.database import Connection, Database, Row

HEARTBEAT_S = 5.0


class StoredClock:
    """The instance's clock."""

    def __init__(self, database: Database, wall: Clock | None = None) -> None:
        self._database = database
        self._wall = wall or RealClock()

    def now(self) -> datetime:
        """The world's present time, in UTC."""
        try:
            row = self._look()
        except DatabaseLostError:
            # a call that came back wants to be booked: a server that was restarted is asked once more
            row = self._look()
        return self._read(row)

    def _look(self) -> Row | None:
        with self._database.connection() as connection:
            return connection.execute("select mode, world_at, wall_at, speed from world_clock").fetchone()

    def speed(self) -> float:
        """World seconds that pass per second of the machine: 1 for real time, 0 for a stepped clock."""
        with self._database.connection() as connection:
            row = connection.execute("select mode, speed from world_clock").fetchone()
        if row is None or row["mode"] == "real":
            return 1.0
        return float(row["speed"]) if row["mode"] == "accelerated" else 0.0

    def _read(self, row: Row | None) -> datetime:
        if row is None or row["mode"] == "real":
            return self._wall.now()
        if row["mode"] == "stepped":
            return require_utc(row["world_at"], "world_at")
        return AcceleratedClock(row["world_at"], row["wall_at"], row["speed"], self._wall).now()

    def start_stepped(self, at: datetime) -> None:
        """Make the clock a stepped one at `at`, or leave a stepped one where it stands."""
        with self._database.connection() as connection:
            row = connection.execute("select mode, world_at, wall_at, speed from world_clock").fetchone()
            if row is None or row["mode"] != "stepped":
                _write(connection, "stepped", self._resume_at(row) if row else require_utc(at, "at"), None, None)

    def start_accelerated(self, at: datetime, speed: float) -> None:
        """Run from `at`, or from where the world stood when it was frozen, `speed` times as fast as the machine."""
        with self._database.connection() as connection:
            row = connection.execute("select mode, world_at, wall_at, speed from world_clock").fetchone()
            world_at = require_utc(at, "at") if row is None else self._resume_at(row)
            _write(connection, "accelerated", world_at, self._wall.now(), speed)

    def _resume_at(self, row: Row) -> datetime:
        # after a crash the row still runs; nobody can have seen more than one heartbeat past its anchor
        if row["mode"] != "accelerated":
            return self._read(row)
        furthest = row["world_at"] + timedelta(seconds=HEARTBEAT_S * row["speed"])
        return min(self._read(row), require_utc(furthest, "world_at"))

    def beat(self) -> None:
        """Anchor an accelerated clock anew; called every `HEARTBEAT_S` seconds by whoever runs the world."""
        with self._database.connection() as connection:
            row = connection.execute("select mode, world_at, wall_at, speed from world_clock for update").fetchone()
            if row is not None and row["mode"] == "accelerated":
                _write(connection, "accelerated", self._read(row), self._wall.now(), row["speed"])

    def freeze(self) -> None:
        """Stop an accelerated clock where it is, so that no world time passes while nothing runs."""
        with self._database.connection() as connection:
            row = connection.execute("select mode, world_at, wall_at, speed from world_clock for update").fetchone()
            if row is not None and row["mode"] == "accelerated":
                _write(connection, "stepped", self._read(row), None, None)

    def advance_to(self, at: datetime) -> None:
        """Move a stepped clock forward to `at`.

        Raises:
            InputError: the clock is not a stepped one, or `at` lies before its present.
        """
        with self._database.connection() as connection:
            moved = connection.execute(
                "update world_clock set world_at = %(at)s where mode = 'stepped' and world_at <= %(at)s",
                {"at": require_utc(at, "at")},
            )
            if moved.rowcount != 1:
                raise InputError(f"the clock cannot be moved to {at.isoformat()}: it is not stepped, or is past that")


def _write(
    connection: Connection, mode: str, world_at: datetime, wall_at: datetime | None, speed: float | None
) -> None:
    connection.execute(
        "insert into world_clock (mode, world_at, wall_at, speed) values (%s, %s, %s, %s)"
        " on conflict (is_only_row) do update"
        " set mode = excluded.mode, world_at = excluded.world_at, wall_at = excluded.wall_at, speed = excluded.speed",
        [mode, world_at, wall_at, speed],
    )
