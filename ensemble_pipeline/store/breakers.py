"""Circuit breakers of providers and models, as all processes of an instance share them.

Belongs here: what is asked of them and said by them. Each question is one call of an SQL function (migrations 0014,
0017), atomic whoever asks at the same time. A breaker with an empty `model_id` is that of the provider as a whole. Does
not: which outcome an error is, who waits and for how long (``ensemble.breakers``).

A call is admitted without more ado where its breaker is trusted: closed, without failures, and answered lately. Else it
is a trial: no more of them are under way at once than failures are missing to open the breaker, and one only where it
is half-open. A trial lasts as long as its run holds the lock of its snapshot.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from ensemble_pipeline.store.database import AsyncConnection, Connection, Row

PROVIDER = ""
"""The `model_id` of a provider's own breaker."""

Verdict = Literal["trusted", "trial", "wait", "open"]
Outcome = Literal["success", "failure", "shut", "slow_down", "cut_short", "none"]
State = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True)
class Rules:
    """When breakers open, and for how long in seconds.

    `failures` in a row; the first rest, the longest that doubling leads to, and that of what only a person can mend;
    `trusted` is how long a success vouches for the next calls.
    """

    failures: int
    open_s: float
    max_open_s: float
    long_open_s: float
    trusted: timedelta


@dataclass(frozen=True, slots=True)
class Ask:
    """A call that wants to leave."""

    provider: str
    model_id: str
    snapshot_id: int


@dataclass(frozen=True, slots=True)
class Admission:
    """What the breakers say to a call. `wait_s` in seconds of the machine where somebody asked to slow down."""

    verdict: Verdict
    trial_id: int | None = None
    said: str | None = None
    wait_s: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a call, for the breaker of its provider and of its model.

    ``none`` and ``cut_short`` say nothing about either; after the second a breaker that was trying rests again.
    """

    provider: str
    model_id: str
    trial_id: int | None
    of_provider: Outcome
    of_model: Outcome
    cause: str = ""
    wait_s: float | None = None

    @property
    def tells_of_trouble(self) -> bool:
        """Whether it says more of either than that it answered."""
        return not {self.of_provider, self.of_model} <= {"success", "none"}


@dataclass(frozen=True, slots=True)
class Breaker:
    """A breaker as it stands. Its rest ends at `open_until`; from then on one call may try."""

    provider: str
    model_id: str
    state: State
    consecutive_failures: int
    cause: str | None
    since: datetime | None
    open_until: datetime | None

    @property
    def name(self) -> str:
        """Whose it is: the model's, or the provider's."""
        return self.provider if self.model_id == PROVIDER else self.model_id

    def is_open_at(self, at: datetime) -> bool:
        """Whether no call may leave at `at`."""
        return self.open_until is not None and self.open_until > at


async def trusted(
    connection: AsyncConnection, keys: Iterable[tuple[str, str]], now: datetime, rules: Rules
) -> set[tuple[str, str]]:
    """Of these (provider, model) the ones whose calls go without more ado; takes no lock."""
    providers, models = zip(*keys, strict=True)
    cursor = await connection.execute(
        "select k.provider, k.model_id from unnest(%s::text[], %s::text[]) k(provider, model_id) join breakers b"
        " on b.provider = k.provider and b.model_id in ('', k.model_id)"
        " where breaker_is_trusted(b, %s, %s) and coalesce(b.paused_until <= clock_timestamp(), true)"
        " group by 1, 2 having count(*) = 2",
        [list(providers), list(models), now, rules.trusted],
    )
    return {(row["provider"], row["model_id"]) for row in await cursor.fetchall()}


async def admit(connection: AsyncConnection, ask: Ask, now: datetime, rules: Rules) -> Admission:
    """Whether one call may leave now."""
    cursor = await connection.execute(
        "select * from breaker_admit(%s, %s, %s, %s, %s, %s)",
        [ask.provider, ask.model_id, ask.snapshot_id, now, rules.failures, rules.trusted],
    )
    [row] = await cursor.fetchall()
    return Admission(**row)


async def report(connection: AsyncConnection, it: Report, now: datetime, rules: Rules) -> None:
    """Tell the breakers what came of a call; ends its trial."""
    await connection.execute(REPORT, report_arguments(it, now, rules))


REPORT = "select breaker_report(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"


def report_arguments(it: Report, now: datetime, rules: Rules) -> list[object]:
    """The arguments of `REPORT`."""
    told = [it.provider, it.model_id, it.trial_id, it.of_provider, it.of_model, it.cause, it.wait_s]
    return [*told, now, rules.failures, rules.open_s, rules.max_open_s, rules.long_open_s]


async def note_not_made(connection: AsyncConnection, ask: Ask, cause: str, now: datetime) -> None:
    """Keep why a member was not asked about a snapshot; of several causes the last."""
    await connection.execute(
        "insert into calls_not_made (snapshot_id, model_id, cause, noticed_at) values (%s, %s, %s, %s)"
        " on conflict (snapshot_id, model_id) do update set cause = excluded.cause, noticed_at = excluded.noticed_at",
        [ask.snapshot_id, ask.model_id, cause, now],
    )


def not_made_on(connection: Connection, snapshot_id: int) -> dict[str, str]:
    """Why members were not asked about a snapshot, by member."""
    rows = connection.execute("select model_id, cause from calls_not_made where snapshot_id = %s", [snapshot_id])
    return {row["model_id"]: row["cause"] for row in rows}


def all_breakers(connection: Connection) -> dict[tuple[str, str], Breaker]:
    """Every breaker that ever heard of a failure or a success, by provider and model."""
    rows = connection.execute(
        "select provider, model_id, state, consecutive_failures, cause, since, open_until from breakers order by 1, 2"
    )
    return {(row["provider"], row["model_id"]): Breaker(**row) for row in rows}


def close_by_hand(connection: Connection, it: Breaker, cause: str, now: datetime) -> bool:
    """Close a breaker because somebody says so, and end its pause; False where it was closed and had none."""
    closed = connection.execute(
        "update breakers set state = 'closed', since = %s, consecutive_failures = 0, failing_models = '{}',"
        " cause = null, open_s = null, open_until = null, slow_downs = 0, paused_until = null"
        " where (provider, model_id) = (%s, %s) and (state <> 'closed' or paused_until > clock_timestamp())",
        [now, it.provider, it.model_id],
    )
    if it.state != "closed" and closed.rowcount:
        connection.execute(
            "insert into breaker_transitions (provider, model_id, at, from_state, to_state, cause)"
            " values (%s, %s, %s, %s, 'closed', %s)",
            [it.provider, it.model_id, now, it.state, f"by hand: {cause}"],
        )
    return bool(closed.rowcount)


def transitions_since(connection: Connection, since: datetime) -> Sequence[Row]:
    """Every change of a breaker's state since, oldest first, with its cause."""
    return connection.execute(
        "select provider, model_id, at, from_state, to_state, cause from breaker_transitions where at >= %s"
        " order by transition_id",
        [since],
    ).fetchall()
