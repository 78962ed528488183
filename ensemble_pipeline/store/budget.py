"""The budget ledger: hold the worst case before a call, settle to the actual after it. Money is micro-dollars.

Belongs here: what is asked of the ledger and said by it. Each step is one call of an SQL function (migration 0010),
atomic whatever runs at once, over five accounts that are checked together: the day's, the provider's, the model's and
the market's of that day, and the decision's. What a crash leaves held is closed as ``expired`` and counts as spent,
since the provider may have billed it. Does not: batches of requests (ledger.py), costs by period (costs.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import chain
from typing import Literal

from ensemble_pipeline.domain import MICRO_PER_USD
from ensemble_pipeline.errors import BudgetRefusedError
from ensemble_pipeline.store.database import AsyncConnection, Connection, Row
from ensemble_pipeline.store.locks import SNAPSHOT_LOCKS

ClosingState = Literal["settled", "released", "expired"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits in micro-dollars; ``None`` is "unlimited", 0 lets nothing pass.

    `providers` and `models` are per day and by name; whoever is not named there is unlimited.
    """

    day_soft: int | None
    day_hard: int | None
    decision: int | None
    market_day: int | None = None
    providers: Mapping[str, int | None] = field(default_factory=dict)
    models: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Account:
    """What counts against a limit, in micro-dollars."""

    spent: int = 0
    held: int = 0

    @property
    def committed(self) -> int:
        """Spent and held together."""
        return self.spent + self.held


@dataclass(frozen=True, slots=True)
class DaySpend:
    """What a UTC day has cost so far, in micro-dollars; `providers` and `models` hold those that were asked."""

    day: date
    spent: int
    held: int
    providers: Mapping[str, Account] = field(default_factory=dict)
    models: Mapping[str, Account] = field(default_factory=dict)

    @property
    def committed(self) -> int:
        """Spent and held together."""
        return self.spent + self.held


@dataclass(frozen=True, slots=True)
class BudgetCall:
    """One call as the ledger sees it before it leaves: whose accounts it concerns, and what it may cost at most.

    `day` is the UTC day it counts on, also where it ends on the next.
    """

    snapshot_id: int
    market_id: str
    provider: str
    model_id: str
    amount: int
    at: datetime

    @property
    def day(self) -> date:
        """The UTC day the call counts on."""
        return self.at.date()


@dataclass(frozen=True, slots=True)
class Closing:
    """How a reservation ends: ``settled`` at what the call cost, ``released`` where nothing is owed, or ``expired``.

    `day` is the one it was reserved on; `booked` says what a settled one cost, in micro-dollars.
    """

    reservation_id: int
    day: date
    state: ClosingState
    booked: int = 0


@dataclass(frozen=True, slots=True)
class BudgetRefusal:
    """A call that the ledger did not let leave: which account, and the numbers compared, in micro-dollars."""

    model_id: str
    scope: str
    asked_micro_usd: int
    spent_micro_usd: int
    held_micro_usd: int
    limit_micro_usd: int


async def reserve(
    connection: AsyncConnection, wanted: Sequence[BudgetCall], limits: Limits
) -> list[int | BudgetRefusedError]:
    """Hold the worst cases, each against all its accounts or not at all; in order, a reservation or the refusal."""
    cursor = await connection.execute(RESERVE, reserve_arguments(wanted, limits))
    return [_outcome(call, row) for call, row in zip(wanted, await cursor.fetchall(), strict=True)]


async def close(connection: AsyncConnection, closings: Sequence[Closing], now: datetime) -> None:
    """Replace what was held by what is owed.

    Raises:
        psycopg.errors.RaiseException: one of them is closed already, or named twice; none is closed then.
    """
    await connection.execute(CLOSE, close_arguments(closings, now))


RESERVE = "select * from budget_reserve(%s, %s, %s, %s::bigint[], %s, %s, %s, %s, %s, %s, %s, %s::bigint[], %s)"
CLOSE = "select budget_close(%s, %s, %s, %s::bigint[], %s)"


def reserve_arguments(wanted: Sequence[BudgetCall], limits: Limits) -> list[object]:
    """The arguments of `RESERVE`: accounts once each with their limits, then the calls as columns."""
    of_calls = [_accounts_of(call, limits) for call in wanted]
    accounts = dict(chain.from_iterable(of_calls))
    place = {account: number for number, account in enumerate(accounts, start=1)}
    return [
        sorted({call.day for call in wanted}),
        [scope for scope, _ in accounts],
        [key for _, key in accounts],
        list(accounts.values()),
        limits.day_soft,
        [place[account] for account, _ in chain.from_iterable(of_calls)],
        [call.snapshot_id for call in wanted],
        [call.market_id for call in wanted],
        [call.provider for call in wanted],
        [call.model_id for call in wanted],
        [call.day for call in wanted],
        [call.amount for call in wanted],
        [call.at for call in wanted],
    ]


def close_arguments(closings: Sequence[Closing], now: datetime) -> list[object]:
    """The arguments of `CLOSE`."""
    return [
        sorted({it.day for it in closings}),
        [it.reservation_id for it in closings],
        [it.state for it in closings],
        [it.booked for it in closings],
        now,
    ]


async def states_of(connection: AsyncConnection, reservation_ids: Sequence[int]) -> dict[int, str]:
    """How each of the reservations stands: ``held``, or how it was closed."""
    cursor = await connection.execute(
        "select reservation_id, state from budget_reservations where reservation_id = any(%s)", [list(reservation_ids)]
    )
    return {row["reservation_id"]: row["state"] for row in await cursor.fetchall()}


def expire_left_over(connection: Connection, snapshot_ids: Sequence[int], now: datetime) -> int:
    """Close what a crashed run left held on these snapshots, as spent; returns how many reservations.

    The caller holds the snapshots' locks, so no living run owns them.
    """
    rows = connection.execute(
        "select reservation_id, budget_day from budget_reservations where state = 'held' and snapshot_id = any(%s)",
        [list(snapshot_ids)],
    ).fetchall()
    if rows:
        closings = [Closing(row["reservation_id"], row["budget_day"], "expired") for row in rows]
        connection.execute(CLOSE, close_arguments(closings, now))
    return len(rows)


def expire_abandoned(connection: Connection, now: datetime) -> int:
    """Close, as spent, what is held on snapshots that nobody works on any more; returns how many reservations.

    Whoever asks models about a snapshot holds its lock until the session ends: where the lock is free the run is gone.
    """
    rows = connection.execute(
        "select snapshot_id from (select distinct snapshot_id from budget_reservations where state = 'held') as s"
        " where pg_try_advisory_xact_lock(%s, (snapshot_id %% %s)::integer)",
        [SNAPSHOT_LOCKS, 2**31],
    ).fetchall()
    return expire_left_over(connection, [row["snapshot_id"] for row in rows], now)


def correct(connection: Connection, reservation_id: int, amount: int, cause: str, now: datetime) -> None:
    """Add `amount` (negative: take it off) to what a closed reservation cost, as a row of its own."""
    connection.execute("select budget_correct(%s, %s, %s, %s)", [reservation_id, amount, cause, now])


def day_spend(connection: Connection, day: date) -> DaySpend:
    """The day's accounts: of the whole day, of each provider and of each model."""
    rows = connection.execute(
        "select scope, substr(account_key, 12) as subject, spent_micro_usd, held_micro_usd from budget_accounts"
        " where (scope = 'day' and account_key = %(day)s)"
        " or (scope in ('provider', 'model') and starts_with(account_key, %(day)s || ' ')) order by 1, 2",
        {"day": day.isoformat()},
    ).fetchall()
    total = next((_account(row) for row in rows if row["scope"] == "day"), Account())
    return DaySpend(day, total.spent, total.held, _named(rows, "provider"), _named(rows, "model"))


def market_spend(connection: Connection, market_ids: Sequence[str], day: date) -> dict[str, int]:
    """Spent and held on each market on a day; markets without any are absent."""
    keys = {f"{day.isoformat()} {market_id}": market_id for market_id in market_ids}
    rows = connection.execute(
        "select account_key, spent_micro_usd, held_micro_usd from budget_accounts"
        " where scope = 'market' and account_key = any(%s)",
        [list(keys)],
    )
    return {keys[row["account_key"]]: _account(row).committed for row in rows}


def refusals_on(connection: Connection, snapshot_ids: Sequence[int]) -> dict[int, tuple[BudgetRefusal, ...]]:
    """The newest refusal of each model that was not heard or asked after it, by snapshot; others are absent.

    What an earlier run of the snapshot was refused says nothing once the model has answered or its call has left.
    """
    rows = connection.execute(
        'select distinct on (snapshot_id, model_id collate "C") snapshot_id, model_id, scope, asked_micro_usd,'
        " spent_micro_usd, held_micro_usd, limit_micro_usd from budget_refusals b where snapshot_id = any(%s)"
        " and not exists (select from budget_reservations r where (r.snapshot_id, r.model_id) ="
        " (b.snapshot_id, b.model_id) and r.reservation_id > b.after_reservation_id)"
        " and not exists (select from forecasts f where (f.snapshot_id, f.model_id) = (b.snapshot_id, b.model_id))"
        ' order by snapshot_id, model_id collate "C", refusal_id desc',
        [list(snapshot_ids)],
    )
    found: dict[int, tuple[BudgetRefusal, ...]] = {}
    for row in rows:
        key = row.pop("snapshot_id")
        found[key] = (*found.get(key, ()), BudgetRefusal(**row))
    return found


_Account = tuple[str, str]


def _accounts_of(call: BudgetCall, limits: Limits) -> list[tuple[_Account, int | None]]:
    """The five accounts of a call (scope and key, as `budget_accounts` has them), each with its limit."""
    day = call.day.isoformat()
    return [
        (("day", day), limits.day_hard),
        (("provider", f"{day} {call.provider}"), limits.providers.get(call.provider)),
        (("model", f"{day} {call.model_id}"), limits.models.get(call.model_id)),
        (("market", f"{day} {call.market_id}"), limits.market_day),
        (("decision", str(call.snapshot_id)), limits.decision),
    ]


def _outcome(call: BudgetCall, row: Row) -> int | BudgetRefusedError:
    scope = row["refused_scope"]
    if scope is None:
        return int(row["reservation_id"])
    if scope == "dispute":
        return BudgetRefusedError(
            scope,
            f"{call.model_id} billed what nobody can believe and is not asked until somebody decided about that bill: "
            "`ensemble budget disputes` shows it",
        )
    return BudgetRefusedError(
        scope,
        f"a call of {call.model_id} may cost {_usd(call.amount)}, but the {_SCOPES[scope]} budget of "
        f"{_usd(row['most'])} has {_usd(row['spent'])} spent and {_usd(row['held'])} held",
    )


_SCOPES = {
    "day_soft": "day's soft",
    "day": "day",
    "provider": "provider's day",
    "model": "model's day",
    "market": "market's day",
    "decision": "decision",
}


def _account(row: Row) -> Account:
    return Account(row["spent_micro_usd"], row["held_micro_usd"])


def _named(rows: Sequence[Row], scope: str) -> dict[str, Account]:
    return {row["subject"]: _account(row) for row in rows if row["scope"] == scope}


def _usd(micro: int) -> str:
    return f"${micro / MICRO_PER_USD:.6f}".rstrip("0").rstrip(".")
