"""Which world a database holds. One database holds one world, so that play money never mixes with the real record."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from ensemble_pipeline.errors import DatabaseError
from ensemble_pipeline.store.database import Connection, require_row

LIVE = "live"


@dataclass(frozen=True, slots=True)
class ClaimedWorld:
    """The world a database holds, and the days its history covers where the world itself says."""

    world_key: str
    kind: str
    first_day: date | None
    last_day: date | None


def claim_world(connection: Connection, world_key: str, kind: str, history: tuple[date, date] | None = None) -> bool:
    """Claim an empty database for a world, or confirm that it is this world's; True where it was empty.

    `history` names the first and the last day of a world that has an end.

    Raises:
        DatabaseError: the database holds another world.
    """
    fresh = connection.execute(
        "insert into world (world_key, kind, first_day, last_day) values (%s, %s, %s, %s)"
        " on conflict do nothing returning world_key",
        [world_key, kind, *(history or (None, None))],
    ).fetchone()
    if fresh is not None:
        return True
    held = world_key_of(connection)
    if held != world_key:
        raise DatabaseError(
            f"this database holds the world {held!r}, not {world_key!r}: name another in ENSEMBLE_DATABASE_URL"
        )
    if history is not None:
        connection.execute("update world set first_day = %s, last_day = %s", history)
    return False


def claimed_world(connection: Connection) -> ClaimedWorld | None:
    """The world this database holds, with its days; ``None`` where nobody claimed it."""
    row = connection.execute("select world_key, kind, first_day, last_day from world").fetchone()
    return None if row is None else ClaimedWorld(**row)


def world_key_of(connection: Connection) -> str | None:
    """The world this database holds, or ``None`` where nobody claimed it."""
    row = connection.execute("select world_key from world").fetchone()
    return None if row is None else str(row["world_key"])


def is_live(connection: Connection) -> bool:
    """Whether this is the real world at the machine's time, where nobody can know what is still to come."""
    row = connection.execute(
        "select exists (select from world where world_key = %s)"
        " and not exists (select from world_clock where mode <> 'real') as is_live",
        [LIVE],
    ).fetchone()
    return bool(require_row(row)["is_live"])


def note_look(connection: Connection, subject: Literal["markets", "settlements", "quotes"], at: datetime) -> None:
    """Remember that everything of `subject` was read from the venue at `at`; of ``quotes``, those that were wanted."""
    connection.execute(
        "insert into venue_looks (subject, looked_at) values (%s, %s)"
        " on conflict (subject) do update set looked_at = excluded.looked_at",
        [subject, at],
    )


def last_looks(connection: Connection) -> dict[str, datetime]:
    """When each subject was last read from the venue, by the instance's clock."""
    rows = connection.execute("select subject, looked_at from venue_looks")
    return {row["subject"]: row["looked_at"] for row in rows}
