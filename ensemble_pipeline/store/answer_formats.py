"""In which form each server is asked for its answers, kept so that the next process need not find out again.

Belongs here: what is kept and for how long. Does not: when to ask in a plainer form (``ensemble.answer_formats``).
"""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from ensemble_pipeline.domain import AnswerFormat, FormatKey
from ensemble_pipeline.store.database import AsyncConnection, Connection

KEPT_FOR = timedelta(days=7)
"""After so long a server is asked in the strictest form again: it may have learnt it."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """The form to ask in, and how many answers in a row were not in it."""

    answer_format: AnswerFormat
    ignored: int


_KEY = "provider, base_url, model, has_search"
_IS_KEY = "(provider, base_url, model, has_search) = (%(provider)s, %(base_url)s, %(model)s, %(has_search)s)"
_INSERT = (
    f"insert into answer_formats as f ({_KEY}, answer_format, ignored, cause, changed_at) values (%(provider)s,"
    " %(base_url)s, %(model)s, %(has_search)s, %(answer_format)s, %(ignored)s, %(cause)s, %(now)s)"
    f" on conflict ({_KEY}) do update set"
)


def remembered(connection: Connection, now: datetime) -> dict[FormatKey, Remembered]:
    """What is known of servers and has not been forgotten at `now`."""
    rows = connection.execute(
        f"select {_KEY}, answer_format, ignored from answer_formats where changed_at > %s", [now - KEPT_FOR]
    )
    return {
        FormatKey(row["provider"], row["base_url"], row["model"], row["has_search"]): Remembered(
            AnswerFormat(row["answer_format"]), row["ignored"]
        )
        for row in rows
    }


async def step_down(
    connection: AsyncConnection,
    key: FormatKey,
    given_up: AnswerFormat,
    cause: str,
    now: datetime,
) -> None:
    """Ask in the next plainer form from now on; where `given_up` was left already nothing changes."""
    await connection.execute(
        f"{_INSERT} answer_format = excluded.answer_format, ignored = 0, cause = excluded.cause,"
        " changed_at = excluded.changed_at where f.answer_format = %(given_up)s or f.changed_at <= %(forgotten)s",
        asdict(key)
        | {"answer_format": given_up.plainer or given_up, "ignored": 0, "cause": cause, "now": now}
        | {"given_up": given_up, "forgotten": now - KEPT_FOR},
    )


async def note_ignored(connection: AsyncConnection, key: FormatKey, used: AnswerFormat, now: datetime) -> int:
    """Count an answer that is not in the form `used`; returns how many there were in a row, 0 where it was left."""
    cursor = await connection.execute(
        f"{_INSERT} ignored = case when f.changed_at <= %(forgotten)s then 1 else f.ignored + 1 end,"
        " answer_format = excluded.answer_format,"
        " changed_at = case when f.changed_at <= %(forgotten)s then excluded.changed_at else f.changed_at end"
        " where f.answer_format = excluded.answer_format or f.changed_at <= %(forgotten)s returning ignored",
        asdict(key) | {"answer_format": used, "ignored": 1, "cause": "", "now": now, "forgotten": now - KEPT_FOR},
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row["ignored"])


async def note_kept(connection: AsyncConnection, key: FormatKey, used: AnswerFormat) -> None:
    """An answer is in the form `used`: those that were not are no row of them any more."""
    await connection.execute(
        f"update answer_formats set ignored = 0 where {_IS_KEY} and answer_format = %(answer_format)s",
        asdict(key) | {"answer_format": used},
    )
