"""How models answered, from their real calls, and what probes of idle providers found; readings as they were kept."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from datetime import datetime

from ensemble_pipeline.store.database import Connection, Row, require_row


@dataclass(frozen=True, slots=True)
class ModelHealth:
    """How a model answered lately. `breaker_state` is closed (asked), open (not asked) or half_open (one call may try).

    `failures` are all calls without a forecast; of these `timed_out` had no reply in time, `unreadable` had one that
    is no answer, and `refused` were declined by the model. Response times in ms are those of answers, mean and
    quantiles, ``None`` where there was none. `cause` says why a breaker is not closed.
    """

    model_name: str
    is_available: bool
    last_check_time: datetime
    consecutive_failures: int
    avg_response_time_ms: float | None
    calls: int
    failures: int
    breaker_state: str
    timed_out: int = 0
    unreadable: int = 0
    refused: int = 0
    p50_response_time_ms: float | None = None
    p95_response_time_ms: float | None = None
    cause: str | None = None

    @property
    def success_share(self) -> float | None:
        """Share of calls that brought a forecast, in [0, 1]; ``None`` where none was made."""
        return 1 - self.failures / self.calls if self.calls else None


@dataclass(frozen=True, slots=True)
class Probe:
    """What a look at an idle provider found; `problem` says why it cannot be reached."""

    provider: str
    probed_at: datetime
    is_reachable: bool
    latency_ms: int | None
    problem: str | None


def call_history(connection: Connection, model_ids: Sequence[str], since: datetime, until: datetime) -> list[Row]:
    """Per model, from `since` to `until`: how its calls ended, and how long the answered ones took in ms."""
    return connection.execute(
        "select m.model_id, count(q.query_id) as calls, count(*) filter (where q.status <> 'answered') as failures,"
        " count(*) filter (where q.status = 'timed_out') as timed_out,"
        " count(*) filter (where q.status = 'unreadable') as unreadable,"
        " count(*) filter (where q.status = 'refused_by_model') as refused,"
        " avg(q.latency_ms) filter (where q.status = 'answered')::float8 as avg_ms,"
        " percentile_cont(0.5) within group (order by q.latency_ms) filter (where q.status = 'answered') as p50_ms,"
        " percentile_cont(0.95) within group (order by q.latency_ms) filter (where q.status = 'answered') as p95_ms"
        " from unnest(%(ids)s::text[]) as m(model_id) left join llm_queries q on q.model_id = m.model_id"
        " and q.requested_at between %(since)s and %(until)s group by 1 order by 1",
        {"ids": list(model_ids), "since": since, "until": until},
    ).fetchall()


def recent_calls(connection: Connection, model_ids: Sequence[str], since: datetime, until: datetime) -> tuple[int, int]:
    """Calls of these models within (since, until], and how many of them were not answered."""
    row = connection.execute(
        "select count(*) as calls, count(*) filter (where status <> 'answered') as failures from llm_queries"
        " where model_id = any(%s) and requested_at > %s and requested_at <= %s",
        [list(model_ids), since, until],
    ).fetchone()
    found = require_row(row)
    return int(found["calls"]), int(found["failures"])


_COLUMNS = ("model_id", *(it.name for it in fields(ModelHealth) if it.name != "model_name"))
_SAVE = (
    f"insert into model_health ({', '.join(_COLUMNS)}) values ({', '.join(['%s'] * len(_COLUMNS))})"
    " on conflict (model_id, last_check_time) do update set "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in ("model_id", "last_check_time"))
)


def save_health(connection: Connection, rows: Sequence[ModelHealth]) -> None:
    """Append a health reading of each model; of two at one instant the last counts."""
    with connection.cursor() as cursor:
        cursor.executemany(_SAVE, [astuple(row) for row in rows])


def idle_providers(connection: Connection, providers: Sequence[str], since: datetime) -> list[str]:
    """Of these providers the ones that no call went to since, nor a probe; in their order."""
    rows = connection.execute(
        "select p.provider from unnest(%(providers)s::text[]) with ordinality p(provider, place)"
        " where not exists (select from llm_queries q join models m using (model_id)"
        " where m.provider = p.provider and q.requested_at > %(since)s)"
        " and not exists (select from provider_probes b where b.provider = p.provider and b.probed_at > %(since)s)"
        " order by p.place",
        {"providers": list(providers), "since": since},
    )
    return [row["provider"] for row in rows]


def save_probes(connection: Connection, probes: Sequence[Probe]) -> None:
    """Append what probes found."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into provider_probes (provider, probed_at, is_reachable, latency_ms, problem)"
            " values (%s, %s, %s, %s, %s) on conflict (provider, probed_at) do nothing",
            [astuple(probe) for probe in probes],
        )


_LAST_PROBES = (
    "select distinct on (provider) provider, probed_at, is_reachable, latency_ms, problem from provider_probes"
    " order by provider, probed_at desc"
)


def last_probes(connection: Connection) -> list[Probe]:
    """The newest probe of each provider that was ever probed."""
    return [Probe(**row) for row in connection.execute(_LAST_PROBES)]


def failed_probes(connection: Connection) -> list[Probe]:
    """Of the newest probes those that failed, where the provider has answered no call since."""
    rows = connection.execute(
        f"select p.* from ({_LAST_PROBES}) p where not p.is_reachable and not exists (select from breakers b"
        " where b.provider = p.provider and b.model_id = '' and b.succeeded_at > p.probed_at) order by p.provider"
    )
    return [Probe(**row) for row in rows]
