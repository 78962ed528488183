"""One forecast and what came of it, as a row of the ledger; or a named refusal that says which row and why."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from ensemble_pipeline.domain import RejectedRow
from ensemble_pipeline.errors import DuplicateScoreError, EarlyResolutionError, ForecastRangeError, RefusedRowError
from ensemble_pipeline.forecasting.scoring import brier_score, is_correct, log_loss
from ensemble_pipeline.store.database import Row
from ensemble_pipeline.store.scores import REFUSED_SCORES, ModelPerformance, score_key


@dataclass(frozen=True, slots=True)
class Scored:
    """What a batch of rows came to: what may be appended, and what was refused."""

    scores: tuple[ModelPerformance, ...]
    refused: tuple[RejectedRow, ...]


def score_all(rows: Sequence[Row]) -> Scored:
    """Score each row by itself: one that is refused takes no other with it."""
    scores: list[ModelPerformance] = []
    refused: list[RejectedRow] = []
    for row in rows:
        try:
            scores.append(_score(row))
        except RefusedRowError as error:
            refused.append(_refusal(row["forecast_id"], row["resolution_id"], error))
    return Scored(tuple(scores), tuple(refused))


def without_duplicates(scores: Iterable[ModelPerformance], known: set[tuple[int, int, int]]) -> Scored:
    """The scores that neither the ledger holds (`known` keys) nor an earlier one of the batch repeats."""
    seen = set(known)
    fresh: list[ModelPerformance] = []
    refused: list[RejectedRow] = []
    for score in scores:
        key = (score.forecast_id, score.resolution_id, score.sign)
        if key in seen:
            error = DuplicateScoreError(
                f"forecast {score.forecast_id} is scored under resolution {score.resolution_id} already: the second "
                "score was left out"
            )
            refused.append(_refusal(score.forecast_id, score.resolution_id, error))
        else:
            seen.add(key)
            fresh.append(score)
    return Scored(tuple(fresh), tuple(refused))


def retraction(row: Row) -> ModelPerformance:
    """The row of the ledger that takes `row` back, known when its correction became known."""
    return _performance(
        row,
        sign=-1,
        known_at=row["corrected_at"],
        window_at=row["known_at"],
        scores=(row["brier"], row["log_loss"], row["is_correct"]),
    )


def _score(row: Row) -> ModelPerformance:
    p_yes = row["p_yes"]
    if not 0 <= p_yes <= 1:
        raise ForecastRangeError(
            f"forecast {row['forecast_id']} of {row['model_id']} says P(YES) = {p_yes}; allowed: 0 to 1"
        )
    if row["resolved_at"] < row["opened_at"]:
        raise EarlyResolutionError(
            f"{row['market_id']} resolved at {row['resolved_at'].isoformat()}, before it opened at "
            f"{row['opened_at'].isoformat()}"
        )
    said, came = np.array([p_yes]), np.array([row["outcome"]])
    scores = float(brier_score(said, came)[0]), float(log_loss(said, came)[0]), bool(is_correct(said, came)[0])
    return _performance(row, sign=1, known_at=row["known_at"], window_at=row["known_at"], scores=scores)


def _performance(
    row: Row, *, sign: int, known_at: datetime, window_at: datetime, scores: tuple[float, float, bool]
) -> ModelPerformance:
    brier, loss, is_right = scores
    return ModelPerformance(
        forecast_id=row["forecast_id"],
        resolution_id=row["resolution_id"],
        sign=sign,
        model_name=row["model_id"],
        market_id=row["market_id"],
        event_id=row["event_id"],
        market_category=row["category"],
        volatility_regime=row["volatility_regime"],
        expiry_bucket=row["expiry_bucket"],
        asked_at=row["asked_at"],
        resolved_at=row["resolved_at"],
        known_at=known_at,
        window_at=window_at,
        p_yes=row["p_yes"],
        market_p=row["market_p"],
        outcome=row["outcome"],
        brier=brier,
        log_loss=loss,
        is_correct=is_right,
        confidence=row["confidence"],
        response_time_ms=row["latency_ms"],
        cost_micro_usd=row["cost_micro_usd"],
    )


def _refusal(forecast_id: int, resolution_id: int, error: RefusedRowError) -> RejectedRow:
    return RejectedRow.of(REFUSED_SCORES, score_key(forecast_id, resolution_id), error)
