"""Health, budget status and operating mode."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ensemble_pipeline.store.budget import DaySpend, Limits
from ensemble_pipeline.store.database import Connection, Row


@dataclass(frozen=True, slots=True)
class ModelHealth:
    """How a model answered lately. `breaker_state` is closed (asked), open (not asked) or half_open (one probe)."""

    model_name: str
    is_available: bool
    last_check_time: datetime
    consecutive_failures: int
    avg_response_time_ms: float | None
    calls: int
    failures: int
    breaker_state: str


def call_history(connection: Connection, model_ids: Sequence[str], since: datetime, until: datetime) -> list[Row]:
    """Per model since `since`: calls, failures, mean latency of answers, failures in a row, when the last one was.

    A failed attempt counts as one failure; unreadable answers and refusals count as failures too.
    """
    return connection.execute(
        "with recent as (select model_id, query_id, requested_at, latency_ms, status = 'answered' as ok"
        " from llm_queries where model_id = any(%(ids)s) and requested_at >= %(since)s and requested_at <= %(until)s),"
        " last_ok as (select model_id, max(query_id) as id from recent where ok group by 1)"
        " select m.model_id, count(r.query_id) as calls, count(*) filter (where not r.ok) as failures,"
        " avg(r.latency_ms) filter (where r.ok)::float8 as latency_ms,"
        " count(*) filter (where not r.ok and r.query_id > coalesce(l.id, 0)) as in_a_row,"
        " max(r.requested_at) filter (where not r.ok) as last_failure_at"
        " from unnest(%(ids)s::text[]) as m(model_id) left join recent r using (model_id)"
        " left join last_ok l using (model_id) group by 1 order by 1",
        {"ids": list(model_ids), "since": since, "until": until},
    ).fetchall()


def save_health(connection: Connection, rows: Sequence[ModelHealth]) -> None:
    """Append a health reading of each model."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into model_health (model_id, last_check_time, is_available, consecutive_failures,"
            " avg_response_time_ms, calls, failures, breaker_state) values (%s, %s, %s, %s, %s, %s, %s, %s)"
            " on conflict (model_id, last_check_time) do update set is_available = excluded.is_available,"
            " consecutive_failures = excluded.consecutive_failures,"
            " avg_response_time_ms = excluded.avg_response_time_ms, calls = excluded.calls,"
            " failures = excluded.failures, breaker_state = excluded.breaker_state",
            [
                (
                    row.model_name,
                    row.last_check_time,
                    row.is_available,
                    row.consecutive_failures,
                    row.avg_response_time_ms,
                    row.calls,
                    row.failures,
                    row.breaker_state,
                )
                for row in rows
            ],
        )


def save_budget_status(connection: Connection, spend: DaySpend, limits: Limits, now: datetime) -> None:
    """Append a reading of the day's budget."""
    connection.execute(
        "insert into budget_status (checked_at, budget_day, spent_micro_usd, held_micro_usd, soft_micro_usd,"
        " hard_micro_usd) values (%s, %s, %s, %s, %s, %s) on conflict (checked_at) do update set"
        " spent_micro_usd = excluded.spent_micro_usd, held_micro_usd = excluded.held_micro_usd",
        [now, spend.day, spend.spent, spend.held, limits.day_soft, limits.day_hard],
    )


def last_reading(connection: Connection) -> datetime | None:
    """When budget and health were last looked at."""
    row = connection.execute("select max(checked_at) as at from budget_status").fetchone()
    return None if row is None else row["at"]


def operating_mode(connection: Connection) -> str:
    """The mode in force; ``normal`` where nobody ever set one."""
    row = connection.execute("select mode from operating_modes order by mode_id desc limit 1").fetchone()
    return "normal" if row is None else str(row["mode"])


def set_operating_mode(connection: Connection, mode: str, cause: str, now: datetime) -> None:
    """Put a mode in force, with its cause."""
    connection.execute("insert into operating_modes (mode, cause, since) values (%s, %s, %s)", [mode, cause, now])
