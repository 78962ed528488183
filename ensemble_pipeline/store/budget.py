"""The budget ledger: hold the worst case before a call, settle to the actual after it. Money is micro-dollars.

Both steps are single calls of SQL functions (migration 0002), atomic whatever runs at once. What a crash leaves
held is closed as ``expired`` and counts as spent, since the provider may have billed it.
"""

from dataclasses import dataclass
from datetime import date, datetime

from ensemble_pipeline.domain import MICRO_PER_USD
from ensemble_pipeline.errors import BudgetRefusedError
from ensemble_pipeline.store.database import AsyncConnection, Connection, require_row


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits in micro-dollars; ``None`` is "unlimited", 0 lets nothing pass."""

    day_soft: int | None
    day_hard: int | None
    decision: int | None


@dataclass(frozen=True, slots=True)
class DaySpend:
    """What a UTC day has cost so far, in micro-dollars."""

    day: date
    spent: int
    held: int


async def reserve(
    connection: AsyncConnection, snapshot_id: int, model_id: str, amount: int, limits: Limits, now: datetime
) -> int:
    """Hold `amount` against the day and the decision, or refuse; returns the reservation.

    Raises:
        BudgetRefusedError: `amount` would overshoot one of the limits; nothing is held.
    """
    cursor = await connection.execute(
        "select * from budget_reserve(%s, %s, %s, %s, %s, %s, %s)",
        [snapshot_id, model_id, now.date(), amount, limits.day_hard, limits.decision, now],
    )
    row = require_row(await cursor.fetchone())
    if row["refused_scope"] is not None:
        raise BudgetRefusedError(
            row["refused_scope"],
            f"a call of {model_id} may cost {_usd(amount)}, but the {row['refused_scope']} budget of "
            f"{_usd(row['account_limit'])} has {_usd(row['spent'])} spent and {_usd(row['held'])} held",
        )
    return int(row["reservation_id"])


async def settle(connection: AsyncConnection, reservation_id: int, actual: int) -> None:
    """Replace what was held by what the call cost."""
    await connection.execute("select budget_close(%s, 'settled', %s)", [reservation_id, actual])


def expire_left_over(connection: Connection, snapshot_ids: list[int]) -> int:
    """Close what a crashed run left held on these snapshots, as spent; returns how many reservations.

    The caller holds the snapshots' locks, so no living run owns them.
    """
    rows = connection.execute(
        "select budget_close(reservation_id, 'expired', null) from (select reservation_id from budget_reservations"
        " where state = 'held' and snapshot_id = any(%s) order by reservation_id) as left_over",
        [snapshot_ids],
    ).fetchall()
    return len(rows)


def day_spend(connection: Connection, day: date) -> DaySpend:
    """The day's account."""
    row = connection.execute(
        "select spent_micro_usd, held_micro_usd from budget_accounts where scope = 'day' and account_key = %s",
        [day.isoformat()],
    ).fetchone()
    return DaySpend(day, 0, 0) if row is None else DaySpend(day, row["spent_micro_usd"], row["held_micro_usd"])


def _usd(micro: int) -> str:
    return f"${micro / MICRO_PER_USD:.6f}".rstrip("0").rstrip(".")
