"""Model calls and the forecasts read from them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from ensemble_pipeline.domain import (
    Answer,
    AnswerFormat,
    CallStatus,
    Forecast,
    PromptWording,
    Snapshot,
    Source,
    Usage,
)
from ensemble_pipeline.store.answer_cache import KEY_COLUMNS, CacheKey
from ensemble_pipeline.store.database import AsyncConnection, Connection

SELECT_FORECASTS = "select forecast_id, snapshot_id, model_id, p_yes, confidence from forecasts"
"""Reads rows that make a `Forecast`; a condition follows."""


@dataclass(frozen=True, slots=True)
class LLMQuery:
    """One attempt to get an answer from a model, whatever came of it."""

    reservation_id: int
    snapshot_id: int
    model_id: str
    attempt: int
    prompt_hash: str
    prompt: str
    requested_at: datetime
    latency_ms: int
    status: CallStatus
    cost_micro_usd: int
    cost_source: str
    http_status: int | None = None
    response_model: str | None = None
    response: str | None = None
    problem: str | None = None
    usage: Usage | None = None
    answer_format: AnswerFormat | None = None
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often a model was asked about a snapshot, whether it answered, and whether it must not be asked again.

    What counts are attempts on record and those that a dead run had reserved and left behind, which may have been sent
    and billed.
    """

    count: int
    is_answered: bool
    is_final: bool


def save_models(connection: Connection, models: Sequence[tuple[str, str, str]], now: datetime) -> None:
    """Register (model id, provider, wire model); known ones keep their first entry."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into models (model_id, provider, wire_model, first_seen_at) values (%s, %s, %s, %s)"
            " on conflict (model_id) do nothing",
            [(*model, now) for model in models],
        )


def save_prompt(connection: Connection, wording: PromptWording, now: datetime) -> None:
    """Register a prompt version with its wording; a known one keeps its first entry."""
    connection.execute(
        "insert into prompts (prompt_hash, role, version, system, template, first_used_at)"
        " values (%s, %s, %s, %s, %s, %s) on conflict (prompt_hash) do nothing",
        [wording.prompt_hash, wording.role, wording.version, wording.system, wording.template, now],
    )


def save_settings(connection: Connection, settings_hash: str, settings: dict[str, Any], now: datetime) -> None:
    """Keep the settings a decision rests on."""
    connection.execute(
        "insert into settings_snapshots (settings_hash, settings, first_used_at) values (%s, %s, %s)"
        " on conflict (settings_hash) do nothing",
        [settings_hash, Jsonb(settings), now],
    )


def attempts_made(connection: Connection, snapshot_ids: Sequence[int]) -> dict[tuple[int, str], Attempts]:
    """Attempts made so far by (snapshot, model).

    Final is one that was answered or billed, or may have been billed where it timed out or was cut off, and an answer
    repeated.
    """
    rows = connection.execute(
        "select snapshot_id, model_id, max(attempt) + count(*) filter (where status = 'cut_off') as attempts,"
        " bool_or(status = 'answered') as is_answered,"
        " bool_or(status in ('answered', 'unreadable', 'refused_by_model', 'timed_out', 'cut_off')) as is_final from"
        " (select snapshot_id, model_id, attempt, status from llm_queries where snapshot_id = any(%(ids)s)"
        " union all select snapshot_id, model_id, 0, 'answered' from forecasts where snapshot_id = any(%(ids)s)"
        " and reused_from is not null"
        " union all select snapshot_id, model_id, 0, 'cut_off' from budget_reservations"
        " where snapshot_id = any(%(ids)s) and state = 'expired') a group by 1, 2",
        {"ids": list(snapshot_ids)},
    )
    return {
        (row["snapshot_id"], row["model_id"]): Attempts(row["attempts"], row["is_answered"], row["is_final"])
        for row in rows
    }


def forecasts_on(connection: Connection, snapshot_ids: Sequence[int]) -> dict[int, list[Forecast]]:
    """The forecasts on each snapshot, in the order of their models."""
    rows = connection.execute(
        f"{SELECT_FORECASTS} where snapshot_id = any(%s) order by snapshot_id, model_id",
        [list(snapshot_ids)],
    )
    found: dict[int, list[Forecast]] = {}
    for row in rows:
        found.setdefault(row["snapshot_id"], []).append(Forecast(**row))
    return found


def consulted_on(connection: Connection, snapshot_ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """Who was asked about each snapshot, whatever came of it, and also where a dead run left only a reservation."""
    rows = connection.execute(
        "select snapshot_id, array_agg(distinct model_id) as names from"
        " (select snapshot_id, model_id from llm_queries where snapshot_id = any(%(ids)s) union all"
        " select snapshot_id, model_id from budget_reservations where snapshot_id = any(%(ids)s)"
        " and state = 'expired') a group by 1",
        {"ids": list(snapshot_ids)},
    )
    return {row["snapshot_id"]: tuple(row["names"]) for row in rows}


async def answers_on(connection: AsyncConnection, snapshot_id: int) -> list[Forecast]:
    """The forecasts on one snapshot so far, in the order of their models."""
    cursor = await connection.execute(
        f"{SELECT_FORECASTS} where snapshot_id = %s order by model_id",
        [snapshot_id],
    )
    return [Forecast(**row) for row in await cursor.fetchall()]


async def save_query(
    connection: AsyncConnection,
    query: LLMQuery,
    snapshot: Snapshot | None = None,
    answer: Answer | None = None,
    key: CacheKey | None = None,
) -> None:
    """Record an attempt, with the forecast that was read from it and the conditions known when it was asked.

    With a `key` the forecast may be given again later, by who finds that nothing in it changed.
    """
    values = {name: getattr(query, name) for name in _QUERY_COLUMNS} | _usage_values(query.usage)
    values["sources"] = Jsonb([asdict(source) for source in query.sources]) if query.sources else None
    if snapshot is None or answer is None:
        await connection.execute(_INSERT_QUERY, values)
        return
    kept = {} if key is None else {f"key_{name}": getattr(key, name) for name in KEY_COLUMNS}
    await connection.execute(
        _INSERT_FORECAST if key is None else _INSERT_CACHED,
        values
        | kept
        | {
            "market_id": snapshot.market.market_id,
            "asked_at": snapshot.quote.observed_at,
            "answered_at": query.requested_at,
            "p_yes": answer.p_yes,
            "confidence": answer.confidence,
            "reasoning": answer.reasoning,
            "market_p": snapshot.quote.mid,
            "regime": snapshot.regime,
            "expiry": snapshot.expiry,
        },
    )


_FORECAST = (
    "insert into forecasts (query_id, snapshot_id, market_id, model_id, asked_at, p_yes, confidence, reasoning,"
    " market_p, volatility_regime, expiry_bucket) select q.query_id, %(snapshot_id)s, %(market_id)s, %(model_id)s,"
    " %(asked_at)s, %(p_yes)s, %(confidence)s, %(reasoning)s, %(market_p)s, %(regime)s, %(expiry)s from q"
)
_QUERY_COLUMNS = tuple(field.name for field in fields(LLMQuery) if field.name != "usage")
_USAGE_COLUMNS = (
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "web_searches",
)
_INSERT_QUERY = (
    f"insert into llm_queries ({', '.join((*_QUERY_COLUMNS, *_USAGE_COLUMNS))})"
    f" values ({', '.join(f'%({name})s' for name in (*_QUERY_COLUMNS, *_USAGE_COLUMNS))})"
)


_INSERT_FORECAST = f"with q as ({_INSERT_QUERY} returning query_id) {_FORECAST}"
_INSERT_CACHED = (
    f"with q as ({_INSERT_QUERY} returning query_id), f as ({_FORECAST} returning forecast_id)"
    " insert into answer_cache (forecast_id, model_id, market_id, answered_at, response_model,"
    f" {', '.join(KEY_COLUMNS)}) select f.forecast_id, %(model_id)s, %(market_id)s, %(answered_at)s,"
    f" %(response_model)s, {', '.join(f'%(key_{name})s' for name in KEY_COLUMNS)} from f"
)


def _usage_values(usage: Usage | None) -> dict[str, int | None]:
    return {name: None if usage is None else getattr(usage, name) for name in _USAGE_COLUMNS}
