"""Earlier answers that may be given again, and what each look for one came to. Append-only."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Literal

from ensemble_pipeline.domain import EarlierAnswer, Market, Snapshot
from ensemble_pipeline.store.database import AsyncConnection, Connection, Row
from ensemble_pipeline.store.markets import MARKET_COLUMNS, market_of_row

UseOutcome = Literal["hit", "shadow", "miss"]
EMERGENCY = "emergency"
"""Cause of a use: its member could not be asked, and the bounds were wider than usual."""


@dataclass(frozen=True, slots=True)
class CacheKey:
    """What an answer depended on when it was given. Digests are SHA-256 in hex; `mid` is P(YES) by the market."""

    prompt_hash: str
    rules_digest: str
    news_digest: str
    calibration_epoch: str
    shows_price: bool
    mid: float | None
    twin_key: str


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """An answer that may be given again, with its market as it is listed now.

    `is_superseded`: its model has answered about that market anew since.
    """

    forecast_id: int
    model_id: str
    market: Market
    answered_at: datetime
    response_model: str
    key: CacheKey
    is_superseded: bool


@dataclass(frozen=True, slots=True)
class CacheUse:
    """What one look for an earlier answer came to: given again, asked for real to compare, or not to be given.

    `bounds` names the settings by which an answer may be given again (`cache_evidence.bounds_of`).
    """

    snapshot: Snapshot
    model_id: str
    earlier: EarlierAnswer
    outcome: UseOutcome
    cause: str
    bounds: str


KEY_COLUMNS = tuple(field.name for field in fields(CacheKey))
_ENTRY = (
    f"select c.forecast_id, c.model_id, c.answered_at, c.response_model, m.status,"
    f" {', '.join(f'c.{name}' for name in KEY_COLUMNS)}, {MARKET_COLUMNS},"
    # an answer that is not kept, for it was unsure or would do nothing, tells all the same that the last one is past
    " exists (select from forecasts l where l.market_id = c.market_id and l.model_id = c.model_id"
    " and l.forecast_id > c.forecast_id and l.query_id is not null and l.asked_at <= %(as_of)s) as is_superseded"
    " from answer_cache c join markets m using (market_id) join market_events e using (event_id)"
)


def newest_of_market(
    connection: Connection, market_ids: Sequence[str], model_ids: Sequence[str], as_of: datetime
) -> list[CacheEntry]:
    """The newest entry of each model on each of the markets, given at `as_of` or before."""
    rows = connection.execute(
        f"{_ENTRY} where c.forecast_id in (select distinct on (market_id, model_id) forecast_id from answer_cache"
        " where market_id = any(%(markets)s) and model_id = any(%(models)s) and answered_at <= %(as_of)s"
        " order by market_id, model_id, answered_at desc, forecast_id desc) order by c.forecast_id",
        {"markets": list(market_ids), "models": list(model_ids), "as_of": as_of},
    )
    return [_entry(row) for row in rows]


def newest_of_twins(
    connection: Connection, twin_keys: Sequence[str], model_ids: Sequence[str], since: datetime, as_of: datetime
) -> list[CacheEntry]:
    """Entries of each model on markets that ask the same, given within [since, as_of], the newest first."""
    rows = connection.execute(
        f"{_ENTRY} where c.twin_key = any(%(keys)s) and c.model_id = any(%(models)s)"
        " and c.answered_at between %(since)s and %(as_of)s order by c.answered_at desc, c.forecast_id desc",
        {"keys": list(twin_keys), "models": list(model_ids), "since": since, "as_of": as_of},
    )
    return [_entry(row) for row in rows]


def answering_models(connection: Connection, model_ids: Sequence[str], as_of: datetime) -> dict[str, str]:
    """Which model each member's newest reply came from; members that never replied are absent."""
    rows = connection.execute(
        "select m.id, q.response_model from unnest(%s::text[]) m(id) cross join lateral (select response_model"
        " from llm_queries where model_id = m.id and response_model is not null and requested_at <= %s"
        " order by requested_at desc, query_id desc limit 1) q",
        [list(model_ids), as_of],
    )
    return {row["id"]: row["response_model"] for row in rows}


async def give_again(
    connection: AsyncConnection, snapshot: Snapshot, model_id: str, forecast_id: int, confidence_share: float = 1.0
) -> bool:
    """Repeat an earlier forecast of the model on another snapshot, with this share of its confidence.

    ``False`` where it has a forecast there already.
    """
    cursor = await connection.execute(
        "insert into forecasts (reused_from, snapshot_id, market_id, model_id, asked_at, p_yes, confidence, reasoning,"
        " market_p, volatility_regime, expiry_bucket) select forecast_id, %s, %s, model_id, %s, p_yes,"
        " confidence * %s::float8, reasoning, %s, %s, %s from forecasts where forecast_id = %s and model_id = %s"
        " on conflict (snapshot_id, model_id) do nothing",
        [
            snapshot.snapshot_id,
            snapshot.market.market_id,
            snapshot.quote.observed_at,
            confidence_share,
            snapshot.quote.mid,
            snapshot.regime,
            snapshot.expiry,
            forecast_id,
            model_id,
        ],
    )
    return cursor.rowcount > 0


def given_in_emergency(connection: Connection, snapshot_ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """By snapshot, the models that gave an earlier answer again in an emergency."""
    rows = connection.execute(
        "select snapshot_id, array_agg(model_id order by model_id) as names from cache_uses"
        " where snapshot_id = any(%s) and cause = %s group by 1",
        [list(snapshot_ids), EMERGENCY],
    )
    return {row["snapshot_id"]: tuple(row["names"]) for row in rows}


async def note_use(connection: AsyncConnection, use: CacheUse, now: datetime) -> None:
    """Keep what a look for an earlier answer came to; a run taken up again changes nothing."""
    earlier = use.earlier
    await connection.execute(
        "insert into cache_uses (snapshot_id, model_id, source_forecast_id, kind, outcome, cause, bounds, closes_at,"
        " age_s, price_distance, similarity, used_at) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
        " on conflict do nothing",
        [
            use.snapshot.snapshot_id,
            use.model_id,
            earlier.forecast_id,
            earlier.kind,
            use.outcome,
            use.cause,
            use.bounds,
            use.snapshot.market.closes_at,
            earlier.age_s,
            earlier.price_distance,
            earlier.similarity,
            now,
        ],
    )


def shadow_pairs(connection: Connection, bounds: str, as_of: datetime) -> list[Row]:
    """Hits within `bounds` that were asked for real by `as_of`: both answers, and how their market was to close.

    In the order of these closes. `is_settled` tells whether a settlement is known, `outcome` what it says (``None``:
    it counts for nobody, or is not known).
    """
    return connection.execute(
        "select u.kind, repeated.p_yes as p_repeated, asked.p_yes as p_asked, u.snapshot_id, m.event_id, u.closes_at,"
        " r.market_id is not null as is_settled, r.outcome"
        " from cache_uses u join forecasts repeated on repeated.forecast_id = u.source_forecast_id"
        " join forecasts asked on (asked.snapshot_id, asked.model_id) = (u.snapshot_id, u.model_id)"
        " join markets m on m.market_id = asked.market_id left join lateral (select l.market_id, l.outcome,"
        " l.is_withdrawn from resolutions l where l.market_id = asked.market_id and l.known_at <= %(as_of)s"
        " order by l.version desc limit 1) r on not r.is_withdrawn"
        " where u.outcome = 'shadow' and u.bounds = %(bounds)s and u.used_at <= %(as_of)s"
        " and asked.query_id is not null order by u.closes_at, u.use_id",
        {"as_of": as_of, "bounds": bounds},
    ).fetchall()


def uses_by_kind(connection: Connection, since: datetime, until: datetime) -> list[Row]:
    """Looks within (since, until], by kind, outcome and cause: how often, and what hits saved in micro-dollars.

    A hit saves what the ledger says now of the call that gave the answer, its corrections included, and nothing where
    nobody would have been asked, or could have been.
    """
    return connection.execute(
        "select u.kind, u.outcome, u.cause, count(*) as n,"
        " coalesce(sum(l.spent_micro_usd) filter (where u.outcome = 'hit'"
        " and u.cause not in ('nobody_asked', 'emergency')), 0)::bigint as micro_usd from cache_uses u"
        " join forecasts f on f.forecast_id = u.source_forecast_id join llm_queries q using (query_id)"
        " join ledger l using (reservation_id) where u.used_at > %s and u.used_at <= %s"
        " group by 1, 2, 3 order by 1, 2, 3",
        [since, until],
    ).fetchall()


def _entry(row: Row) -> CacheEntry:
    return CacheEntry(
        forecast_id=row["forecast_id"],
        model_id=row["model_id"],
        market=market_of_row(row),
        answered_at=row["answered_at"],
        response_model=row["response_model"],
        key=CacheKey(**{name: row[name] for name in KEY_COLUMNS}),
        is_superseded=row["is_superseded"],
    )
