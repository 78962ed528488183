"""Budget status and operating mode."""

from datetime import datetime

from ensemble_pipeline.store.budget import DaySpend, Limits
from ensemble_pipeline.store.database import Connection


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
