"""Rows that make no sense are refused by name, and take no other with them."""

from dataclasses import replace
from typing import Any

import pytest

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.ensemble.performance import PerformanceTracker, ScoredForecasts
from ensemble_pipeline.ensemble.scored import score_all, without_duplicates
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.history import HOUR, NOW, put_forecasts, settle, table
from ensemble_pipeline_tests.ensemble.parts import instance_of, settings_of


def row(**changes: Any) -> dict[str, Any]:
    return {
        "forecast_id": 7,
        "resolution_id": 3,
        "model_id": "a",
        "market_id": "kalshi:M-1",
        "event_id": "E",
        "category": "Climate",
        "volatility_regime": "calm",
        "expiry_bucket": "1-7d",
        "asked_at": NOW,
        "opened_at": NOW - HOUR,
        "resolved_at": NOW + HOUR,
        "known_at": NOW + HOUR,
        "p_yes": 0.8,
        "market_p": 0.5,
        "outcome": 1,
        "confidence": 0.9,
        "latency_ms": 900,
        "cost_micro_usd": 100,
    } | changes


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"p_yes": 1.5}, "ForecastRangeError: forecast 7 of a says P(YES) = 1.5; allowed: 0 to 1"),
        ({"p_yes": float("nan")}, "ForecastRangeError: forecast 7 of a says P(YES) = nan; allowed: 0 to 1"),
        ({"opened_at": NOW + 2 * HOUR}, "EarlyResolutionError: kalshi:M-1 resolved at "),
    ],
)
def test_row_that_makes_no_sense_is_refused_by_name_and_the_others_are_scored(
    changes: dict[str, Any], why: str
) -> None:
    found = score_all([row(forecast_id=1), row(**changes), row(forecast_id=9)])
    assert [score.forecast_id for score in found.scores] == [1, 9]
    [refused] = found.refused
    assert (refused.source, refused.key) == ("scores", "7/3")
    assert refused.why.startswith(why)


def test_score_that_is_there_already_is_refused_by_name() -> None:
    [score] = score_all([row()]).scores
    other = replace(score, forecast_id=8)
    found = without_duplicates([score, other, other], {(7, 3, 1)})
    assert found.scores == (other,)
    assert [refused.key for refused in found.refused] == ["7/3", "8/3"]
    assert found.refused[0].why.startswith("DuplicateScoreError: forecast 7 is scored under resolution 3 already")


def test_refused_forecast_is_kept_with_its_reason_and_not_tried_again(database: Database) -> None:
    put_forecasts(database, {"a": 0.8, "b": 0.6})
    with database.connection() as connection:
        # what the tables refuse can still come from an older schema or a hand at the prompt
        connection.execute("alter table forecasts drop constraint forecasts_p_yes_check")
        connection.execute("update forecasts set p_yes = 'NaN' where model_id = 'a'")
    settle(database, "RAIN-1", True, resolved_at=NOW + HOUR)
    tracker = PerformanceTracker(instance_of(settings_of(), database, SteppedClock(NOW + HOUR)))
    assert tracker.unlearnt_resolution() == 1
    assert tracker.record_prediction_result() == ScoredForecasts(1, 1)
    assert tracker.record_prediction_result() == ScoredForecasts(0, 0)
    assert tracker.unlearnt_resolution() is None
    [refused] = table(database, "rejected_rows", "row_key")
    assert refused["why"].startswith("ForecastRangeError: forecast 1 of a says P(YES) = nan")
    with database.connection() as connection:
        connection.execute("delete from rejected_rows; delete from scored_forecasts; delete from forecasts")
        connection.execute("alter table forecasts add constraint forecasts_p_yes_check check (p_yes between 0 and 1)")
