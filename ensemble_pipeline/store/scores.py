"""The ledger of scored forecasts: append-only, the truth from which cube, windows and rankings are rebuilt."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from ensemble_pipeline.store.database import Connection, Row, require_row
from ensemble_pipeline.store.resolutions import IS_NEWEST

_LEARNING = 0x6C6561726E  # any number, the same in every process
_COPY_SCORES = (
    "copy scored_forecasts (forecast_id, resolution_id, sign, model_id, market_id, event_id, category,"
    " volatility_regime, expiry_bucket, asked_at, resolved_at, known_at, p_yes, market_p, outcome, brier, log_loss,"
    " is_correct, confidence, latency_ms, cost_micro_usd) from stdin"
)


@dataclass(frozen=True, slots=True)
class ModelPerformance:
    """One scored forecast: what a model said, what happened, and how good that was.

    `sign` is 1, or -1 where it takes back an earlier score after a correction.
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
    p_yes: float
    market_p: float | None
    outcome: int
    brier: float
    log_loss: float
    is_correct: bool
    confidence: float
    response_time_ms: int
    cost_micro_usd: int


@dataclass(frozen=True, slots=True)
class ScoreArrays:
    """Scored forecasts as columns, all of one length; `model` and `category` index the name tuples."""

    models: tuple[str, ...]
    categories: tuple[str, ...]
    known_at_s: NDArray[np.int64]
    model: NDArray[np.int64]
    category: NDArray[np.int64]
    p_yes: NDArray[np.float64]
    outcome: NDArray[np.int64]
    market_p: NDArray[np.float64]
    cost_micro_usd: NDArray[np.int64]
    latency_ms: NDArray[np.int64]
    sign: NDArray[np.int64]
    forecast_group: NDArray[np.int64]
    event: NDArray[np.int64]


_UNSCORED = (
    " from resolutions r join forecasts f using (market_id)"
    " where r.outcome is not null and f.asked_at < r.resolved_at"
    f" and {IS_NEWEST}"
    " and not exists (select from scored_forecasts s where s.forecast_id = f.forecast_id"
    " and s.resolution_id = r.resolution_id and s.sign = 1)"
)


_OUTDATED = (
    " from scored_forecasts s join resolutions o using (resolution_id)"
    " join resolutions n on n.market_id = o.market_id and n.version = o.version + 1"
    " where s.sign = 1 and not exists (select from scored_forecasts t where t.forecast_id = s.forecast_id"
    " and t.resolution_id = s.resolution_id and t.sign = -1)"
)


@dataclass(frozen=True, slots=True)
class UnlearntResolution:
    """A resolution the ledger has not followed yet; `known_at` is the earliest among all such."""

    resolution_id: int
    known_at: datetime


def newest_unlearnt_resolution(connection: Connection) -> UnlearntResolution | None:
    """The newest resolution that the ledger has not followed, with the earliest `known_at` of all such."""
    row = require_row(
        connection.execute(
            "select max(id) as id, min(at) as at from ("
            f"select max(r.resolution_id) as id, min(r.known_at) as at {_UNSCORED} union all"
            f" select max(n.resolution_id), min(n.known_at) {_OUTDATED}) pending"
        ).fetchone()
    )
    return None if row["id"] is None else UnlearntResolution(row["id"], row["at"])


def lock_learning(connection: Connection) -> None:
    """Wait for whoever else is learning, until this transaction ends: derived tables are replaced by one at a time."""
    connection.execute("select pg_advisory_xact_lock(%s)", [_LEARNING])


def unscored(connection: Connection) -> list[Row]:
    """Forecast × latest resolution pairs that are not in the ledger yet, oldest knowledge first."""
    return connection.execute(
        "select u.*, m.event_id, e.category, q.latency_ms, q.cost_micro_usd from ("
        "select f.forecast_id, r.resolution_id, f.model_id, f.market_id, f.volatility_regime, f.query_id,"
        " f.expiry_bucket, f.asked_at, r.resolved_at, r.known_at, f.p_yes, f.market_p, r.outcome, f.confidence"
        f"{_UNSCORED}) u join markets m using (market_id) join market_events e using (event_id)"
        " join llm_queries q using (query_id) order by u.known_at, u.forecast_id"
    ).fetchall()


def outdated(connection: Connection) -> list[Row]:
    """Scores that a later version of their resolution has overtaken and that nobody took back yet.

    Each comes with `corrected_at`, when the later version became known.
    """
    return connection.execute(
        "select s.*, n.resolution_id as correction_id, greatest(n.known_at, s.known_at) as corrected_at"
        f"{_OUTDATED} order by s.score_id"
    ).fetchall()


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


def load_scores(connection: Connection, known_after: datetime, known_until: datetime) -> ScoreArrays:
    """All ledger rows with ``known_after < known_at <= known_until``, in ledger order."""
    rows = connection.execute(
        "select ceil(extract(epoch from known_at))::bigint as known_at_s, model_id, category, p_yes, outcome, market_p,"
        " cost_micro_usd, latency_ms, sign, market_id || '@' || asked_at as asked, event_id"
        " from scored_forecasts where known_at > %s and known_at <= %s order by score_id",
        [known_after, known_until],
    ).fetchall()
    models, model = _index([row["model_id"] for row in rows])
    categories, category = _index([row["category"] for row in rows])
    _, group = _index([row["asked"] for row in rows])
    _, event = _index([row["event_id"] for row in rows])

    def integers(name: str) -> NDArray[np.int64]:
        return np.array([row[name] for row in rows], dtype=np.int64)

    return ScoreArrays(
        models=models,
        categories=categories,
        known_at_s=integers("known_at_s"),
        model=model,
        category=category,
        p_yes=np.array([row["p_yes"] for row in rows], dtype=np.float64),
        outcome=integers("outcome"),
        market_p=np.array([row["market_p"] for row in rows], dtype=np.float64),
        cost_micro_usd=integers("cost_micro_usd"),
        latency_ms=integers("latency_ms"),
        sign=integers("sign"),
        forecast_group=group,
        event=event,
    )


def _index(names: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    known = tuple(sorted(set(names)))
    position = {name: index for index, name in enumerate(known)}
    return known, np.array([position[name] for name in names], dtype=np.int64)


def last_score_id(connection: Connection) -> int:
    """The newest row of the ledger; 0 where it is empty."""
    row = connection.execute("select coalesce(max(score_id), 0) as id from scored_forecasts").fetchone()
    return 0 if row is None else int(row["id"])


def earliest_known_after(connection: Connection, score_id: int) -> datetime | None:
    """The earliest `known_at` among rows appended after `score_id`."""
    row = connection.execute("select min(known_at) as at from scored_forecasts where score_id > %s", [score_id])
    found = row.fetchone()
    return None if found is None else found["at"]
