"""Budget status, and when somebody last looked."""

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
