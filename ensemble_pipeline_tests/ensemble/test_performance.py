import math
from datetime import date, datetime, timedelta

import pytest

from ensemble_pipeline.clock import SteppedClock, floor_hour
from ensemble_pipeline.ensemble.performance import PerformanceTracker, ScoredForecasts
from ensemble_pipeline.store import audit
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.history import (
    HOUR,
    NOW,
    cube,
    play_history,
    put_forecasts,
    settle,
    table,
    windows,
)
from ensemble_pipeline_tests.ensemble.parts import instance_of, settings_of

TODAY = NOW.date()


def tracker_at(database: Database, now: datetime, *members: str) -> PerformanceTracker:
    return PerformanceTracker(instance_of(settings_of(*members), database, SteppedClock(now)))


def learn(database: Database, now: datetime, first: date | None = None, last: date | None = None) -> PerformanceTracker:
    tracker = tracker_at(database, now)
    tracker.record_prediction_result()
    tracker.update_skill_cube(first or TODAY, last or now.date())
    tracker.update_rolling_windows(first or TODAY, last or now.date())
    return tracker


def test_scores_worked_by_hand(database: Database) -> None:
    put_forecasts(database, {"a": 0.8, "b": 0.5})
    settle(database, "RAIN-1", True, resolved_at=NOW + HOUR)
    tracker = tracker_at(database, NOW + HOUR)
    assert tracker.record_prediction_result() == ScoredForecasts(2, 0)
    assert tracker.record_prediction_result() == ScoredForecasts(0, 0)
    one, other = table(database, "scored_forecasts", "model_id")
    assert one["brier"] == pytest.approx(0.04)
    assert one["log_loss"] == pytest.approx(-math.log(0.8))
    assert (one["is_correct"], one["outcome"], one["sign"], one["cost_micro_usd"]) == (True, 1, 1, 100)
    assert other["brier"] == 0.25
    assert one["known_at"] == NOW + HOUR
    assert one["market_p"] == pytest.approx(0.41)


def test_score_when_asked_after_the_world_knew_is_not_given(database: Database) -> None:
    put_forecasts(database, {"a": 0.8})
    settle(database, "RAIN-1", True, resolved_at=NOW - HOUR, known_at=NOW + HOUR)
    assert tracker_at(database, NOW + HOUR).record_prediction_result().appended == 0


def test_score_when_market_is_voided_is_not_given_and_taken_back_if_it_was(database: Database) -> None:
    put_forecasts(database, {"a": 0.8}, ticker="M-1")
    put_forecasts(database, {"a": 0.8}, ticker="M-2")
    settle(database, "M-1", None, resolved_at=NOW + HOUR)
    settle(database, "M-2", True, resolved_at=NOW + HOUR)
    tracker = tracker_at(database, NOW + 3 * HOUR)
    assert tracker.record_prediction_result().appended == 1
    settle(database, "M-2", None, resolved_at=NOW + 2 * HOUR)
    assert tracker.record_prediction_result().appended == 1
    assert tracker.record_prediction_result().appended == 0
    assert [(row["sign"], row["known_at"]) for row in table(database, "scored_forecasts", "score_id")] == [
        (1, NOW + HOUR),
        (-1, NOW + 2 * HOUR),
    ]


def test_correction_takes_the_score_back_and_scores_again_when_it_became_known(database: Database) -> None:
    put_forecasts(database, {"a": 0.8})
    settle(database, "RAIN-1", True, resolved_at=NOW + HOUR)
    learn(database, NOW + HOUR)
    settle(database, "RAIN-1", False, resolved_at=NOW + 2 * HOUR)
    tracker = learn(database, NOW + 5 * HOUR)
    signs = [
        (r["sign"], r["outcome"], round(r["brier"], 6), r["known_at"])
        for r in table(database, "scored_forecasts", "score_id")
    ]
    assert signs == [
        (1, 1, 0.04, NOW + HOUR),
        (-1, 1, 0.04, NOW + 2 * HOUR),
        (1, 0, 0.64, NOW + 2 * HOUR),
    ]
    as_of = floor_hour(NOW)
    day = {row["window_hours"]: row for row in tracker.calculate_accuracy(as_of + 2 * HOUR)}
    assert day[24]["brier"] == pytest.approx(0.04)
    day = {row["window_hours"]: row for row in tracker.calculate_accuracy(as_of + 3 * HOUR)}
    assert (day[24]["n"], day[24]["brier"], day[24]["accuracy"]) == (1, pytest.approx(0.64), 0)
    # the hour of the correction holds the right score alone
    assert (day[1]["n"], day[1]["brier"]) == (1, pytest.approx(0.64))
    assert tracker.rank().rows[0].sample_size == 1


def test_correction_overtaken_by_another_before_anyone_looked_scores_the_last_word_once(database: Database) -> None:
    put_forecasts(database, {"a": 0.8})
    settle(database, "RAIN-1", True, resolved_at=NOW + HOUR)
    tracker = tracker_at(database, NOW + 9 * HOUR)
    tracker.record_prediction_result()
    settle(database, "RAIN-1", False, resolved_at=NOW + 2 * HOUR)
    settle(database, "RAIN-1", True, resolved_at=NOW + 3 * HOUR)
    assert tracker.record_prediction_result() == ScoredForecasts(2, 0)
    assert tracker.record_prediction_result() == ScoredForecasts(0, 0)
    assert [(r["sign"], r["outcome"]) for r in table(database, "scored_forecasts", "score_id")] == [
        (1, 1),
        (-1, 1),
        (1, 1),
    ]


def test_score_known_a_fraction_of_a_second_past_the_hour_waits_for_the_next(database: Database) -> None:
    put_forecasts(database, {"a": 0.8})
    hour = floor_hour(NOW) + HOUR
    settle(database, "RAIN-1", True, resolved_at=NOW, known_at=hour + timedelta(milliseconds=300))
    with database.connection() as connection:
        connection.execute("update forecasts set asked_at = asked_at - interval '1 h'")
    tracker = learn(database, hour + 2 * HOUR)
    assert tracker.calculate_accuracy(hour) == []
    assert tracker.calculate_accuracy(hour + HOUR) != []


def test_score_known_a_fraction_past_midnight_belongs_to_the_next_day_alone(database: Database) -> None:
    put_forecasts(database, {"a": 0.8})
    last_hour = floor_hour(NOW).replace(hour=23)
    settle(database, "RAIN-1", True, resolved_at=NOW + HOUR, known_at=last_hour + timedelta(milliseconds=300))
    tracker = tracker_at(database, last_hour + 3 * HOUR)
    tracker.record_prediction_result()
    for _ in range(2):
        for day in (TODAY, TODAY + timedelta(days=1)):
            tracker.update_skill_cube(day, day)
    assert {row["hour_at"] for row in cube(database)} == {last_hour + HOUR}


def test_windows_worked_by_hand(database: Database) -> None:
    hour = floor_hour(NOW)
    for number, (p, outcome, known) in enumerate([(0.8, True, 1), (0.6, False, 3), (0.9, True, 30)]):
        put_forecasts(database, {"a": p}, ticker=f"M-{number}")
        settle(database, f"M-{number}", outcome, resolved_at=NOW + timedelta(minutes=1), known_at=hour + known * HOUR)
    tracker = learn(database, hour + 31 * HOUR)
    rows = {row["window_hours"]: row for row in tracker.calculate_accuracy(hour + 3 * HOUR)}
    assert [(w, row["n"]) for w, row in rows.items()] == [(1, 1), (6, 2), (24, 2), (168, 2), (720, 2)]
    assert rows[1]["brier"] == pytest.approx(0.36)
    assert rows[6]["brier"] == pytest.approx(0.2)
    assert rows[6]["accuracy"] == 0.5
    # .8 came true, .6 did not, each in a bin of its own: (.2 + .6) / 2
    assert rows[6]["calibration_error"] == pytest.approx(0.4)
    assert rows[1]["calibration_error"] == pytest.approx(0.6)
    # a call of 1000 ms lies between 512 and 1024
    assert 512 <= rows[6]["latency_p95_ms"] <= 1024
    # against the market's 0.41: (.04 - .3481 + .36 - .1681) / 2
    assert rows[6]["brier_minus_market"] == pytest.approx(-0.0581)
    counts = {row["window_hours"]: row["n"] for row in tracker.calculate_accuracy(hour + 30 * HOUR)}
    assert counts == {1: 1, 6: 1, 24: 1, 168: 3, 720: 3}
    assert tracker.calculate_accuracy(hour + 30 * HOUR, "category", "Sports") == []
    assert len(tracker.calculate_accuracy(hour + 30 * HOUR, "regime", "calm")) == 5


def test_windows_hour_by_hour_day_by_day_and_in_one_backfill_are_identical_rows(database: Database) -> None:
    play_history(database)
    end = floor_hour(NOW) + 5 * 24 * HOUR
    days = [TODAY + timedelta(days=n) for n in range((end.date() - TODAY).days + 1)]
    tracker = tracker_at(database, end)
    tracker.record_prediction_result()
    tracker.update_skill_cube(days[0], days[-1])
    tracker.update_rolling_windows(days[0], days[-1])
    at_once, cells = windows(database), cube(database)
    for day in reversed(days):
        tracker.update_skill_cube(day, day)
        tracker.update_rolling_windows(day, day)
    assert (windows(database), cube(database)) == (at_once, cells)
    with database.connection() as connection:
        connection.execute("truncate performance_windows, skill_cube, learning_marks, learnt_days")
    clock = SteppedClock(floor_hour(NOW))
    hourly = PerformanceTracker(instance_of(settings_of(), database, clock))
    while True:
        span = hourly.days_to_learn()
        assert span is not None
        hourly.update_skill_cube(*span)
        hourly.update_rolling_windows(*span)
        if clock.now() == end:
            break
        clock.advance_to(clock.now() + HOUR)
    assert (windows(database), cube(database)) == (at_once, cells)
    assert at_once


def test_nothing_from_the_future_changes_windows_ranking_or_calibration(database: Database) -> None:
    play_history(database)
    as_of = floor_hour(NOW) + 48 * HOUR
    last = as_of.date()
    before = learn(database, as_of, TODAY, last)
    ranked, calibrated = before.rank(), before.calibrate()
    seen = [row for row in windows(database) if row["as_of"] <= as_of]
    put_forecasts(database, dict.fromkeys("abc", 0.01), ticker="LATE-1")
    settle(database, "LATE-1", True, resolved_at=as_of + timedelta(microseconds=1))
    settle(database, "M-1", None, resolved_at=as_of + HOUR)
    later = learn(database, as_of + 3 * HOUR, TODAY, last)
    assert [row for row in windows(database) if row["as_of"] <= as_of] == seen
    assert later.get_model_ranking(as_of).rows == ranked.rows
    assert later.get_calibration(as_of).slope == calibrated.slope
    again = tracker_at(database, as_of)
    with database.connection() as connection:
        connection.execute("truncate learning_marks, learnt_days")
    assert again.rank() == ranked
    assert again.calibrate() == calibrated
    assert later.rank().rows != ranked.rows


def test_ranking_asked_for_an_instant_before_the_first_one_knows_nothing_of_later(database: Database) -> None:
    play_history(database)
    tracker = learn(database, NOW + 96 * HOUR, TODAY, TODAY + timedelta(days=4))
    early = tracker.get_model_ranking(NOW)
    assert early.as_of == floor_hour(NOW)
    assert {row.weight for row in early.rows} == {1 / 3}
    assert (tracker.get_calibration(NOW).as_of, tracker.get_calibration(NOW).slope) == (NOW, 1.0)
    assert tracker.rank().as_of > early.as_of


def put_skills(database: Database, said: dict[str, float], questions: int = 40) -> None:
    for number in range(questions):
        wobble = 0.1 * (number % 3 - 1)
        put_forecasts(
            database, {n: min(1, max(0, p + wobble)) for n, p in said.items()}, ticker=f"M-{number}", event=f"E{number}"
        )
        settle(database, f"M-{number}", True, resolved_at=NOW + timedelta(minutes=1))


def test_ranking_orders_models_by_planted_skill(database: Database) -> None:
    put_skills(database, {"a": 0.5, "b": 0.85, "c": 0.65})
    ranking = learn(database, NOW + HOUR).rank()
    assert [row.model_id for row in ranking.rows] == ["b", "c", "a"]
    assert [row.rank for row in ranking.rows] == [1, 2, 3]
    weights = [row.weight for row in ranking.rows]
    assert weights == sorted(weights, reverse=True)
    assert math.fsum(weights) == pytest.approx(1)
    assert all(row.sample_size == 40 for row in ranking.rows)
    with database.connection() as connection:
        assert audit.ranking_differences(connection, ranking) == {}
        assert audit.implausible_scores(connection) == 0


def test_ranking_when_models_are_equal_goes_by_name_with_equal_weights(database: Database) -> None:
    put_skills(database, {"c": 0.7, "a": 0.7, "b": 0.7}, 5)
    ranking = learn(database, NOW + HOUR).rank()
    assert [row.model_id for row in ranking.rows] == ["a", "b", "c"]
    assert [row.weight for row in ranking.rows] == pytest.approx([1 / 3] * 3)


def test_ranking_leaves_rows_that_the_windows_do_not_hold_yet_to_the_one_that_comes_with_theirs(
    database: Database,
) -> None:
    put_skills(database, {"a": 0.5, "b": 0.85}, 5)
    tracker = learn(database, NOW + 3 * HOUR)
    put_forecasts(database, {"a": 0.9, "b": 0.1}, ticker="LATE", event="LATE")
    settle(database, "LATE", True, resolved_at=NOW + HOUR)
    tracker.record_prediction_result()
    ranking = tracker.rank()
    assert {row.model_id: row.sample_size for row in ranking.rows} == {"a": 5, "b": 5, "c": 0}
    with database.connection() as connection:
        assert audit.ranking_differences(connection, ranking) == {}
    tracker.update_rolling_windows(TODAY, TODAY, is_restatement=True)
    assert {row.model_id: row.sample_size for row in tracker.rank().rows} == {"a": 6, "b": 6, "c": 0}


def test_category_of_a_venue_may_be_called_anything(database: Database) -> None:
    put_forecasts(database, {"a": 0.8}, category="*")
    settle(database, "RAIN-1", True, resolved_at=NOW + HOUR)
    tracker = learn(database, NOW + 3 * HOUR)
    assert [row["n"] for row in tracker.calculate_accuracy(dimension="category", segment="*")] == [1] * 4
    assert len(tracker.calculate_accuracy()) == 4


def test_accuracy_is_that_of_the_newest_hour_learnt_and_nothing_where_its_windows_are_empty(
    database: Database,
) -> None:
    put_forecasts(database, {"a": 0.8})
    settle(database, "RAIN-1", True, resolved_at=NOW + HOUR)
    later = NOW + 40 * 24 * HOUR
    assert learn(database, later).calculate_accuracy() == []
    assert len(learn(database, later).calculate_accuracy(NOW + 3 * HOUR)) == 4


def test_scoring_goes_through_a_resolution_once_and_for_stragglers_two_days_longer(database: Database) -> None:
    put_forecasts(database, {"a": 0.8}, ticker="M-1")
    settle(database, "M-1", True, resolved_at=NOW + HOUR)
    tracker = tracker_at(database, NOW + HOUR)
    assert tracker.record_prediction_result().appended == 1
    [followed] = table(database, "followed_resolutions", "resolution_id")
    assert followed["resolution_id"] == 1
    # an answer that was asked for before the market settled and came in after
    put_forecasts(database, {"b": 0.6}, ticker="M-1", at=NOW + 0.5 * HOUR)
    assert tracker.unlearnt_resolution() == 1
    assert tracker_at(database, NOW + 40 * HOUR).record_prediction_result().appended == 1
    assert tracker.unlearnt_resolution() is None


def test_ranking_when_nothing_is_scored_gives_equal_weights_and_repeats_are_one(database: Database) -> None:
    tracker = tracker_at(database, NOW, "b", "a")
    first = tracker.rank()
    assert [(row.model_id, row.weight, row.standard_error) for row in first.rows] == [
        ("a", 0.5, None),
        ("b", 0.5, None),
    ]
    assert tracker.rank() == first


def test_ranking_when_one_member_is_alone_gives_it_everything(database: Database) -> None:
    put_skills(database, {"a": 0.7}, 3)
    tracker = tracker_at(database, NOW + HOUR, "a")
    tracker.record_prediction_result()
    [row] = tracker.rank().rows
    assert (row.weight, row.skill, row.sample_size) == (1, 0, 3)


def test_ranking_when_a_model_left_the_ensemble_keeps_its_skill_without_weight(database: Database) -> None:
    put_skills(database, {"a": 0.5, "b": 0.85, "gone": 0.95})
    tracker = tracker_at(database, NOW + HOUR, "a", "b")
    tracker.record_prediction_result()
    rows = {row.model_id: row for row in tracker.rank().rows}
    assert (rows["gone"].rank, rows["gone"].weight) == (1, 0)
    assert rows["a"].weight + rows["b"].weight == pytest.approx(1)


def test_days_to_learn_follows_the_clock(database: Database) -> None:
    clock = SteppedClock(NOW)
    tracker = PerformanceTracker(instance_of(settings_of(), database, clock))
    assert tracker.days_to_learn() == (TODAY, TODAY)
    assert tracker.learnt_until() is None
    tracker.update_rolling_windows(TODAY, TODAY)
    assert tracker.days_to_learn() is None
    assert tracker.learnt_until() == floor_hour(NOW)
    clock.advance_to(NOW + 24 * HOUR)
    tomorrow = TODAY + timedelta(days=1)
    assert tracker.days_to_learn() == (TODAY, tomorrow)
    tracker.update_rolling_windows(TODAY, tomorrow)
    assert tracker.days_to_learn() is None


def test_days_to_learn_when_only_today_was_materialised_still_names_the_days_before(database: Database) -> None:
    tracker = tracker_at(database, NOW)
    tracker.update_rolling_windows(TODAY, TODAY)
    tomorrow = TODAY + timedelta(days=1)
    later = tracker_at(database, NOW + 24 * HOUR)
    later.update_rolling_windows(tomorrow, tomorrow)
    assert later.days_to_learn() == (TODAY, TODAY)
    later.update_rolling_windows(TODAY, TODAY)
    assert later.days_to_learn() is None
