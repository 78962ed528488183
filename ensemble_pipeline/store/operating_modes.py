"""Operating modes as they were put in force, by hand and by evidence, each with its cause.

Rows are appended; only `better_since` of the newest row by evidence is brought up to date.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg.types.json import Jsonb

from ensemble_pipeline.store.database import Connection, require_row

Origin = Literal["hand", "evidence"]

_LOCK = 0x6D6F6465


@dataclass(frozen=True, slots=True)
class ModeRow:
    """One transition. `expires_at` bounds what was set by hand, ``None``: until it is ended.

    `better_since` is when the evidence last began to call for less than a mode that it put in force.
    """

    mode_id: int
    mode: str
    cause: str
    since: datetime
    origin: Origin
    expires_at: datetime | None
    better_since: datetime | None


_COLUMNS = "mode_id, mode, cause, since, origin, expires_at, better_since"


def lock_modes(connection: Connection) -> None:
    """Keep everybody else from putting a mode in force until the transaction ends."""
    connection.execute("select pg_advisory_xact_lock(%s)", [_LOCK])


def newest(connection: Connection) -> dict[Origin, ModeRow]:
    """The last transition of each origin; absent where there was none."""
    rows = connection.execute(
        f"select distinct on (origin) {_COLUMNS} from operating_modes order by origin, mode_id desc"
    )
    return {row["origin"]: ModeRow(**row) for row in rows}


def transitions(connection: Connection, most: int) -> list[ModeRow]:
    """The last transitions, the newest first."""
    rows = connection.execute(f"select {_COLUMNS} from operating_modes order by mode_id desc limit %s", [most])
    return [ModeRow(**row) for row in rows]


def append(
    connection: Connection,
    mode: str,
    cause: str,
    since: datetime,
    origin: Origin,
    expires_at: datetime | None = None,
    better_since: datetime | None = None,
    readings: dict[str, Any] | None = None,
) -> int:
    """Put a mode in force; `readings` are what it rests on, as JSON. Returns the transition's number."""
    row = connection.execute(
        "insert into operating_modes (mode, cause, since, origin, expires_at, better_since, readings)"
        " values (%s, %s, %s, %s, %s, %s, %s) returning mode_id",
        [mode, cause, since, origin, expires_at, better_since, None if readings is None else Jsonb(readings)],
    ).fetchone()
    return int(require_row(row)["mode_id"])


def note_better_since(connection: Connection, mode_id: int, better_since: datetime | None) -> None:
    """Keep since when the evidence has called for less than the mode of this transition."""
    connection.execute("update operating_modes set better_since = %s where mode_id = %s", [better_since, mode_id])
