"""How far learning has come: which days' windows stand up to which hour, and which of them late rows touch.

A ledger row touches the windows as of the hours from the one at which it is seen to the last one whose longest window
still holds it. It is late for a day whose windows had passed that hour when the row was appended.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal, TypeAlias

from ensemble_pipeline.store.database import Connection

Derived: TypeAlias = Literal["cube", "windows"]

_SEEN = "date_trunc('hour', {0} + interval '1 hour' - interval '1 microsecond')"
_PLACED_AT, _SEEN_AT = _SEEN.format("s.window_at"), _SEEN.format("s.known_at")


@dataclass(frozen=True, slots=True)
class LearntDay:
    """A day whose windows stand as of each hour up to `as_of`, from the ledger's rows up to `through_score_id`."""

    day: date
    as_of: datetime
    through_score_id: int


def day_start(day: date) -> datetime:
    """Midnight, UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def last_hour_of(day: date, now_hour: datetime) -> datetime:
    """The last as-of hour a day can have by now."""
    return min(day_start(day) + timedelta(hours=23), now_hour)


def hour_number(at: datetime) -> int:
    """Full hours from the Unix epoch to `at`, rounded down."""
    return int(at.timestamp()) // 3600


def learnt_days(connection: Connection, first: date, last: date) -> dict[date, LearntDay]:
    """The days from `first` to `last` whose windows stand."""
    rows = connection.execute(
        "select day, as_of, through_score_id from learnt_days where day between %s and %s", [first, last]
    )
    return {row["day"]: LearntDay(**row) for row in rows}


def mark_days(connection: Connection, days: Iterable[LearntDay]) -> None:
    """Remember that the windows of these days stand."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into learnt_days (day, as_of, through_score_id) values (%s, %s, %s)"
            " on conflict (day) do update set as_of = excluded.as_of, through_score_id = excluded.through_score_id",
            [(day.day, day.as_of, day.through_score_id) for day in days],
        )


def newest_day(connection: Connection) -> LearntDay | None:
    """The last day whose windows stand."""
    row = connection.execute(
        "select day, as_of, through_score_id from learnt_days order by day desc limit 1"
    ).fetchone()
    return None if row is None else LearntDay(**row)


def learnt_until(connection: Connection, until: datetime | None = None) -> datetime | None:
    """The newest as-of hour, at or before `until`, whose windows stand."""
    row = connection.execute(
        "select max(least(as_of, date_trunc('hour', %(until)s::timestamptz))) as at from learnt_days"
        " where %(until)s::timestamptz is null or day <= (%(until)s at time zone 'UTC')::date",
        {"until": until},
    ).fetchone()
    return None if row is None else row["at"]


def days_due(connection: Connection, now_hour: datetime) -> list[date]:
    """Days since the first score or day learnt whose windows lack an hour by now; today where there is neither."""
    rows = connection.execute(
        "with first as (select least((select min(known_at) from scored_forecasts),"
        " (select min(day)::timestamp at time zone 'UTC' from learnt_days), %(now)s) as at)"
        " select g::date as day from first,"
        " generate_series(date_trunc('day', first.at), date_trunc('day', %(now)s::timestamptz), interval '1 day') g"
        " left join learnt_days d on d.day = g::date"
        " where d.as_of is null or d.as_of < least(g + interval '23 hours', %(now)s) order by 1",
        {"now": now_hour},
    )
    return [row["day"] for row in rows]


def through_score_id(connection: Connection, derived: Derived) -> int:
    """The ledger row up to which a derived table holds everything.

    The cube holds nothing beyond it; each day's windows hold what touches them, and may hold more.
    """
    row = connection.execute(
        "select through_score_id as id from learning_marks where derived = %s", [derived]
    ).fetchone()
    return 0 if row is None else int(row["id"])


def mark_through(connection: Connection, derived: Derived, score_id: int) -> None:
    """Remember that a derived table holds every ledger row up to `score_id`; a mark never goes back."""
    connection.execute(
        "insert into learning_marks (derived, through_score_id) values (%s, %s) on conflict (derived)"
        " do update set through_score_id = greatest(learning_marks.through_score_id, excluded.through_score_id)",
        [derived, score_id],
    )


def late_days(connection: Connection, longest_window_hours: int) -> list[date]:
    """Days whose windows stand and are touched by a row that was appended after they were materialised."""
    rows = connection.execute(
        "select distinct d.day from scored_forecasts s join learnt_days d"
        f" on d.through_score_id < s.score_id and d.as_of >= {_SEEN_AT}"
        f" and d.day <= (({_PLACED_AT} + %(reach)s) at time zone 'UTC')::date"
        " where s.score_id > %(mark)s order by 1",
        {"mark": through_score_id(connection, "windows"), "reach": timedelta(hours=longest_window_hours - 1)},
    )
    return [row["day"] for row in rows]


def settle_mark(connection: Connection, through: int, longest_window_hours: int) -> None:
    """Move the mark up to the ledger's row `through` where no day lacks anything that touches it."""
    if not late_days(connection, longest_window_hours):
        mark_through(connection, "windows", through)


def spans(days: Sequence[date]) -> list[tuple[date, date]]:
    """Sorted days as ranges of consecutive ones.

    >>> spans([date(2026, 1, 1), date(2026, 1, 2), date(2026, 1, 5)])
    [(datetime.date(2026, 1, 1), datetime.date(2026, 1, 2)), (datetime.date(2026, 1, 5), datetime.date(2026, 1, 5))]
    """
    found: list[tuple[date, date]] = []
    for day in days:
        if found and day - found[-1][1] == timedelta(days=1):
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found
