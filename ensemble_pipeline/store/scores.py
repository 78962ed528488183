"""The ledger of scored forecasts: append-only, the truth from which cube, windows and rankings are rebuilt.

Belongs here: what is still to be scored, appending, and marks in the ledger. Does not: reading it as columns
(score_arrays.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ensemble_pipeline.store.database import Connection, Row, require_row
from ensemble_pipeline.store.resolutions import IS_NEWEST

REFUSED_SCORES = "scores"
"""Source of the rejected rows whose key is forecast/resolution."""

_LEARNING = 0x6C6561726E  # any number, the same in every process
_COPY_SCORES = (
    "copy scored_forecasts (forecast_id, resolution_id, sign, model_id, market_id, event_id, category,"
    " volatility_regime, expiry_bucket, asked_at, resolved_at, known_at, window_at, p_yes, market_p, outcome, brier,"
    " log_loss, is_correct, confidence, latency_ms, cost_micro_usd) from stdin"
)


@dataclass(frozen=True, slots=True)
class ModelPerformance:
    """One scored forecast: what a model said, what happened, and how good that was.

    `sign` is 1, or -1 where it takes back an earlier score after a correction. Windows place a row at `window_at`:
    when it became known, or when what it takes back did.
    """

    forecast_id: int
    resolution_id: int
    sign: int
    model_name: str
    market_id: str
    event_id: str
    market_category: str
    volatility_regime: str
    expiry_bucket: str
    asked_at: datetime
    resolved_at: datetime
    known_at: datetime
    window_at: datetime
    p_yes: float
    market_p: float | None
    outcome: int
    brier: float
    log_loss: float
    is_correct: bool
    confidence: float
    response_time_ms: int
    cost_micro_usd: int


# a forecast that was asked before its market settled can be recorded after: looked for again for so long
_STRAGGLING = timedelta(days=2)
_OPEN = (
    "(not exists (select from followed_resolutions w where w.resolution_id = {0}.resolution_id)"
    " or {0}.known_at > %(recent)s)"
)

_UNSCORED = (
    " from resolutions r join forecasts f using (market_id)"
    # what repeats an earlier forecast says nothing new about its model
    f" where {_OPEN.format('r')} and r.outcome is not null and f.asked_at < r.resolved_at and f.query_id is not null"
    f" and {IS_NEWEST}"
    " and not exists (select from scored_forecasts s where s.forecast_id = f.forecast_id"
    " and s.resolution_id = r.resolution_id and s.sign = 1)"
    # what was refused once is not tried again: its row says why
    f" and not exists (select from rejected_rows j where j.source = '{REFUSED_SCORES}'"
    " and j.row_key = f.forecast_id || '/' || r.resolution_id)"
)


def score_key(forecast_id: int, resolution_id: int) -> str:
    """The key under which a refused score is kept."""
    return f"{forecast_id}/{resolution_id}"


_OUTDATED = (
    " from scored_forecasts s join resolutions o using (resolution_id)"
    " join resolutions n on n.market_id = o.market_id and n.version = o.version + 1"
    f" where {_OPEN.format('n')} and s.sign = 1"
    " and not exists (select from scored_forecasts t where t.forecast_id = s.forecast_id"
    " and t.resolution_id = s.resolution_id and t.sign = -1)"
)


def newest_unlearnt_resolution(connection: Connection, now: datetime) -> int | None:
    """The newest resolution that the ledger has not followed."""
    row = connection.execute(
        f"select max(id) as id from (select max(r.resolution_id) as id {_UNSCORED}"
        f" union all select max(n.resolution_id) {_OUTDATED}) pending",
        _recent(now),
    ).fetchone()
    found = require_row(row)["id"]
    return None if found is None else int(found)


def lock_learning(connection: Connection) -> None:
    """Wait for whoever else is learning, until this transaction ends: derived tables are replaced by one at a time."""
    connection.execute("select pg_advisory_xact_lock(%s)", [_LEARNING])


def unfollowed(connection: Connection) -> list[int]:
    """Resolutions that scoring has not gone through yet."""
    rows = connection.execute(
        "select resolution_id from resolutions r where not exists"
        " (select from followed_resolutions w where w.resolution_id = r.resolution_id)"
    )
    return [row["resolution_id"] for row in rows]


def mark_followed(connection: Connection, resolution_ids: Sequence[int]) -> None:
    """Remember that scoring has gone through these resolutions."""
    connection.execute(
        "insert into followed_resolutions select unnest(%s::bigint[]) on conflict do nothing", [list(resolution_ids)]
    )


def _recent(now: datetime) -> dict[str, datetime]:
    return {"recent": now - _STRAGGLING}


def unscored(connection: Connection, now: datetime) -> list[Row]:
    """Forecast × latest resolution pairs that are not in the ledger yet, oldest knowledge first."""
    return connection.execute(
        "select u.*, m.event_id, m.opened_at, e.category, q.latency_ms, l.spent_micro_usd as cost_micro_usd from ("
        "select f.forecast_id, r.resolution_id, f.model_id, f.market_id, f.volatility_regime, f.query_id,"
        " f.expiry_bucket, f.asked_at, r.resolved_at, r.known_at, f.p_yes, f.market_p, r.outcome, f.confidence"
        f"{_UNSCORED}) u join markets m using (market_id) join market_events e using (event_id)"
        " join llm_queries q using (query_id) join ledger l using (reservation_id)"
        " order by u.known_at, u.forecast_id",
        _recent(now),
    ).fetchall()


def outdated(connection: Connection, now: datetime) -> list[Row]:
    """Scores that a later version of their resolution has overtaken and that nobody took back yet.

    Each comes with `corrected_at`, when the later version became known.
    """
    return connection.execute(
        f"select s.*, greatest(n.known_at, s.known_at) as corrected_at{_OUTDATED} order by s.score_id",
        _recent(now),
    ).fetchall()


def known_scores(connection: Connection, forecast_ids: Sequence[int]) -> set[tuple[int, int, int]]:
    """Keys (forecast, resolution, sign) of the ledger's rows on these forecasts."""
    rows = connection.execute(
        "select forecast_id, resolution_id, sign from scored_forecasts where forecast_id = any(%s)",
        [list(forecast_ids)],
    )
    return {(row["forecast_id"], row["resolution_id"], row["sign"]) for row in rows}


def append_scores(connection: Connection, scores: Sequence[ModelPerformance]) -> None:
    """Append to the ledger; a score that is there already is refused by its unique key."""
    with connection.cursor() as cursor, cursor.copy(_COPY_SCORES) as copy:
        for score in scores:
            copy.write_row(
                (
                    score.forecast_id,
                    score.resolution_id,
                    score.sign,
                    score.model_name,
                    score.market_id,
                    score.event_id,
                    score.market_category,
                    score.volatility_regime,
                    score.expiry_bucket,
                    score.asked_at,
                    score.resolved_at,
                    score.known_at,
                    score.window_at,
                    score.p_yes,
                    score.market_p,
                    score.outcome,
                    score.brier,
                    score.log_loss,
                    score.is_correct,
                    score.confidence,
                    score.response_time_ms,
                    score.cost_micro_usd,
                )
            )


def last_score_id(connection: Connection) -> int:
    """The newest row of the ledger; 0 where it is empty."""
    row = connection.execute("select coalesce(max(score_id), 0) as id from scored_forecasts").fetchone()
    return 0 if row is None else int(row["id"])
