"""What the panel gains over the base rate, what answers cost, and what a dollar buys: by hand and on a database."""

import math
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.domain import Ranked, Ranking
from ensemble_pipeline.ensemble.cost import CostOptimizer
from ensemble_pipeline.ensemble.efficiency import efficiencies, share_of_worst_case
from ensemble_pipeline.ensemble.judging import judge
from ensemble_pipeline.ensemble.performance import PerformanceTracker
from ensemble_pipeline.forecasting.efficiency import gain_per_cost
from ensemble_pipeline.settings import EnsembleSettings
from ensemble_pipeline.store import budget, rankings
from ensemble_pipeline.store import efficiency as stored
from ensemble_pipeline.store.database import Database, Row
from ensemble_pipeline.store.efficiency import CostEfficiency
from ensemble_pipeline.store.rankings import ModelStrength, PanelLevel
from ensemble_pipeline_tests.ensemble.history import put_call, put_forecasts, settle, table
from ensemble_pipeline_tests.ensemble.parts import instance_of, ranking_of, settings_of
from ensemble_pipeline_tests.ensemble.test_judging import DAY_S, scores_of
from ensemble_pipeline_tests.store.rows import DAY, HOUR, NOW, call_of, close, hold, save_models

# nothing ages, and two effective events count as much as the whole
OPTIONS = settings_of(ensemble={"half_life_resolutions": 1e12, "segment_prior_events": 2}).ensemble
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def levels_of(
    said: list[list[float]],
    outcome: list[int],
    category: list[int] | None = None,
    event: NDArray[np.int64] | None = None,
    options: EnsembleSettings = OPTIONS,
    window_from_day: int = 0,
) -> dict[str, PanelLevel]:
    """The panel's levels; question n became known on day 100 + n, each its own event unless `event` says otherwise."""
    kinds = None if category is None else np.array(category)
    data = scores_of(np.array(said), np.array(outcome), kinds)
    if event is not None:
        data = replace(data, event=event[data.question])
    names = "abcdefgh"[: len(said[0])]
    return {it.category: it for it in judge(data, names, window_from_day * DAY_S, options).levels}


# Climate: Brier scores .04 and .16, mean .10; .25. Sports: .01 and .09, mean .05; .64 and .36, mean .50
SAID = [[0.8, 0.6], [0.5, 0.5], [0.9, 0.7], [0.2, 0.4]]
OUTCOME = [1, 0, 1, 1]
CATEGORY = [0, 0, 1, 1]


def test_level_over_all_is_the_brier_score_of_the_base_rate_less_that_of_the_panel() -> None:
    # base rate 3/4, scores .0625 where YES and .5625 where NO: gains -.0375, .3125, .0125, -.4375, mean -.0375;
    # residuals 0, .35, .05, -.4: sqrt(4/3 (.1225 + .0025 + .16)) / 4 = .154110
    level = levels_of(SAID, OUTCOME, CATEGORY)["*"]
    assert level.gain == pytest.approx(-0.0375)
    assert level.events == 4
    assert level.standard_error == pytest.approx(0.154110, abs=1e-6)


def test_level_of_a_category_is_drawn_towards_that_over_all_by_its_effective_events() -> None:
    # Climate: base rate 1/2, gains .15 and 0: .075 ± .075 on 2 events; halfway to -.0375: .01875, and its error half
    # of each: sqrt(.15411² + .075²) / 2 = .085696
    # Sports: base rate 1, gains -.05 and -.5: -.275 ± .225; halfway: -.15625 ± sqrt(.15411² + .225²) / 2 = .136359
    found = levels_of(SAID, OUTCOME, CATEGORY)
    assert found.keys() == {"*", "Climate", "Sports"}
    for name, gain, error in (("Climate", 0.01875, 0.085696), ("Sports", -0.15625, 0.136359)):
        assert found[name].gain == pytest.approx(gain)
        assert found[name].events == 2
        assert found[name].standard_error == pytest.approx(error, abs=1e-6)


def test_level_counts_questions_of_one_event_as_one() -> None:
    # all say 1/2, base rate 2/3: gains -5/36, 7/36, -5/36, mean -1/36; residuals -1/9, 2/9, -1/9, the first two
    # together 1/9: sqrt(2 (1/81 + 1/81)) / 3 = 2/27. Apart: sqrt(3/2 (1/81 + 4/81 + 1/81)) / 3 = 1/9
    together = levels_of([[0.5]] * 3, [1, 0, 1], event=np.array([0, 0, 1]))["*"]
    apart = levels_of([[0.5]] * 3, [1, 0, 1])["*"]
    assert together.gain == pytest.approx(-1 / 36) == apart.gain
    assert (together.standard_error, apart.standard_error) == pytest.approx((2 / 27, 1 / 9))
    assert (together.events, apart.events) == (2, 3)


def test_level_counts_what_is_older_less_in_the_base_rate_and_in_the_mean() -> None:
    # half-life of one event: weights 1/2 and 1, base rate 2/3: gains 4/9 - 1/4 = 7/36 and 1/9 - 1/4 = -5/36,
    # mean (7/72 - 10/72) / (3/2) = -1/36
    options = OPTIONS.model_copy(update={"half_life_resolutions": 1.0})
    assert levels_of([[0.5]] * 2, [0, 1], options=options)["*"].gain == pytest.approx(-1 / 36)


def test_level_takes_the_mean_of_those_who_answered() -> None:
    nan = float("nan")
    # base rate 1/2 scores .25; Brier scores .04 of the one who answered, and (.16 + .36) / 2 = .26
    found = levels_of([[0.8, nan], [0.4, 0.6]], [1, 0])["*"]
    assert found.gain == pytest.approx((0.21 - 0.01) / 2)


def test_level_of_one_event_has_no_error_and_no_category_drawn_from_it_has_one() -> None:
    # base rate 1 scores 0: the gain is less 1/4
    found = levels_of([[0.5]], [1], [0])
    assert found == {"*": PanelLevel("*", -0.25, None, 1), "Climate": PanelLevel("Climate", -0.25, None, 1)}
    # one event in Sports among three: its own record has no error, so that what it is drawn to has none either
    mixed = levels_of([[0.8], [0.5], [0.9]], [1, 0, 1], [0, 0, 1])
    assert mixed["Sports"].standard_error is None
    assert mixed["Climate"].standard_error is not None


def test_level_knows_the_window_alone() -> None:
    # question 0 lies outside: what remains are .25, .05 and .50 of Brier, base rate 2/3, gains .4444 - .25, and so on
    found = levels_of(SAID, OUTCOME, CATEGORY, window_from_day=100)
    assert found["*"].events == 3
    assert found["*"].gain == pytest.approx((4 / 9 + 1 / 9 + 1 / 9) / 3 - (0.25 + 0.05 + 0.5) / 3)
    assert found["Climate"].events == 1
    assert levels_of(SAID, OUTCOME, CATEGORY, window_from_day=101).keys() == {"*", "Sports"}


def test_levels_where_nothing_settled_are_none() -> None:
    empty = scores_of(np.empty((0, 0)), np.empty(0))
    assert judge(empty, "ab", 0, OPTIONS).levels == ()
    assert levels_of(SAID, OUTCOME, CATEGORY, window_from_day=103) == {}


def costs_of(model: str, category: str, *calls: tuple[int, bool]) -> Row:
    """Closed calls (cost in micro-dollars, whether it was answered) as the ledger sums them; 50,000 were held each."""
    answered = [cost for cost, is_answered in calls if is_answered]
    return {
        "model_id": model,
        "category": category,
        "calls": len(calls),
        "answers": len(answered),
        "cost_micro_usd": sum(cost for cost, _ in calls),
        "reserved_micro_usd": 50_000 * len(calls),
        "cost_squared": float(sum(cost**2 for cost, _ in calls)),
        "cost_of_answered": sum(answered),
    }


def ranked_of(model: str, skill: float, standard_error: float | None = 0.006) -> Ranked:
    return Ranked(model, 1, skill, standard_error, 100, 100.0, 1.0)


def strength_of(model: str, skill: float, category: str = "Climate", **changes: Any) -> ModelStrength:
    row = ModelStrength(model, "category", category, -0.04, 0.01, 100, 100, 100.0, skill, "as_elsewhere")
    return replace(row, **changes)


LEVELS = (PanelLevel("*", 0.1, 0.03, 200), PanelLevel("Climate", 0.15, 0.04, 100))
DEFAULTS = settings_of().ensemble  # skill_spread .008, segment_prior_events 100

# cents: 1 and 2 for two answers; 2 for an answer and 1 for a failure
COSTS = [
    costs_of("a", "Climate", (10_000, True), (20_000, True)),
    costs_of("a", "Sports", (20_000, True), (10_000, False)),
]


def lines_of(
    costs: list[Row],
    ranked: tuple[Ranked, ...] = (),
    strengths: tuple[ModelStrength, ...] = (),
    levels: tuple[PanelLevel, ...] = LEVELS,
) -> dict[tuple[str, str], CostEfficiency]:
    found = efficiencies(costs, Ranking(1, NOW, ranked), strengths, levels, DEFAULTS)
    by_place = {(it.model_id, it.category): it for it in found}
    assert len(by_place) == len(found)
    return by_place


def test_efficiency_over_all_by_hand() -> None:
    found = lines_of(COSTS, (ranked_of("a", -0.01),))["a", "*"]
    assert (found.calls, found.answers, found.cost_micro_usd) == (4, 3, 60_000)
    # 6 cents for 3 answers; residuals of the four calls -1, 0, 0 and 1 cents: sqrt(2) / 3 cents
    assert found.cost_per_answer_usd == pytest.approx(0.02)
    assert found.cost_standard_error_usd == pytest.approx(0.01 * math.sqrt(2) / 3)
    # .1 + .01; the skill's error is .008 · .006 / .01 = .0048: sqrt(.03² + .0048²) = .030382
    assert found.gain == pytest.approx(0.11)
    assert found.gain_standard_error == pytest.approx(0.030382, abs=1e-6)
    assert found.gain_per_usd == pytest.approx(5.5)


def test_efficiency_by_category_is_drawn_towards_the_models_own_mean_as_if_twenty_answers_had_cost_that() -> None:
    found = lines_of(COSTS, (ranked_of("a", -0.01),))
    assert found.keys() == {("a", "*"), ("a", "Climate"), ("a", "Sports")}
    climate, sports = found["a", "Climate"], found["a", "Sports"]
    assert (climate.calls, climate.answers, climate.cost_micro_usd) == (2, 2, 30_000)
    assert (sports.calls, sports.answers, sports.cost_micro_usd) == (2, 1, 30_000)
    # mean 2 cents: (3 + 20 · 2) / (2 + 20) and (3 + 20 · 2) / (1 + 20) cents
    assert climate.cost_per_answer_usd == pytest.approx(0.43 / 22)
    assert sports.cost_per_answer_usd == pytest.approx(0.43 / 21)


def test_category_with_twenty_answers_stands_halfway_between_its_own_mean_and_the_models() -> None:
    costs = [
        costs_of("a", "Climate", *[(10_000, True)] * 20),
        costs_of("a", "Sports", *[(50_000, True)] * 20),
    ]
    found = lines_of(costs)
    # own 1 and 5 cents, over all 3
    assert found["a", "Climate"].cost_per_answer_usd == pytest.approx(0.02)
    assert found["a", "Sports"].cost_per_answer_usd == pytest.approx(0.04)


def test_cost_of_a_category_errs_as_the_whole_does_for_the_part_that_is_drawn_from_it() -> None:
    found = lines_of(COSTS, strengths=(strength_of("a", 0.0, "Economics"),))
    # over all ± sqrt(2) / 3 = .471405 cents. Climate: 2 of 22 parts its own, ± sqrt(.25 + .25) / 2 = .353553 cents:
    # sqrt((.353553 · 2/22)² + (.471405 · 20/22)²) = .429754 cents. Economics: asked nothing there lately, all drawn
    assert found["a", "Climate"].cost_standard_error_usd == pytest.approx(0.00429754, abs=1e-8)
    assert found["a", "Economics"].cost_standard_error_usd == pytest.approx(0.00471405, abs=1e-8)


def test_gain_is_the_panels_level_less_the_models_skill_there() -> None:
    strengths = (
        strength_of("a", -0.02),
        # what is said of other dimensions is not about categories
        strength_of("a", 0.5, dimension="regime"),
        strength_of("b", 0.5),
    )
    found = lines_of(COSTS, (ranked_of("a", -0.01),), strengths)
    # Climate: .15 + .02; its own error .01 counts 100 / (100 + 100): sqrt(.04² + .0048² + .005²) = .040596
    assert found["a", "Climate"].gain == pytest.approx(0.17)
    assert found["a", "Climate"].gain_standard_error == pytest.approx(0.040596, abs=1e-6)
    # Sports: neither a level nor a record of its own: both over all
    assert found["a", "Sports"].gain == pytest.approx(0.11)
    assert found["a", "Sports"].gain_standard_error == pytest.approx(0.030382, abs=1e-6)


def test_gain_of_a_model_worse_than_the_panel_can_be_a_loss() -> None:
    found = lines_of(COSTS, (ranked_of("a", 0.13),))["a", "*"]
    assert found.gain == pytest.approx(-0.03)
    assert found.gain_per_usd == pytest.approx(-1.5)
    assert found.low is not None
    assert found.low < -1.5


def test_ratio_and_its_ends_are_those_of_gain_and_cost() -> None:
    for found in lines_of(COSTS, (ranked_of("a", -0.01),), (strength_of("a", -0.02),)).values():
        assert None not in (found.gain, found.gain_standard_error)
        assert None not in (found.cost_per_answer_usd, found.cost_standard_error_usd)
        expected = gain_per_cost(
            found.gain or 0,
            found.gain_standard_error or 0,
            found.cost_per_answer_usd or 0,
            found.cost_standard_error_usd or 0,
        )
        assert math.isfinite(expected.low)
        assert (found.gain_per_usd, found.low, found.high) == (expected.ratio, expected.low, expected.high)


def test_ratio_whose_cost_may_be_nothing_has_no_ends() -> None:
    # 0 and 2 cents: 1 cent ± sqrt(2) / 2 cents, less than 1.96 errors away from nothing
    found = lines_of([costs_of("a", "Climate", (0, True), (20_000, True))])["a", "*"]
    assert found.gain_per_usd == pytest.approx(10)
    assert (found.low, found.high) == (None, None)


def test_free_model_has_a_gain_and_no_ratio() -> None:
    costs = [costs_of("a", "Climate", (0, True), (0, True), (0, False))]
    for found in lines_of(costs, (ranked_of("a", -0.01),)).values():
        assert (found.calls, found.answers, found.cost_per_answer_usd, found.cost_standard_error_usd) == (3, 2, 0, 0)
        assert found.gain is not None
        assert (found.gain_per_usd, found.low, found.high) == (None, None, None)


def test_model_that_was_never_asked_has_a_gain_and_no_cost() -> None:
    found = lines_of(COSTS, (ranked_of("a", 0), ranked_of("b", -0.02)), (strength_of("b", -0.03),))
    assert {category for model, category in found if model == "b"} == {"*", "Climate"}
    for category, gain in (("*", 0.12), ("Climate", 0.18)):
        line = found["b", category]
        assert (line.calls, line.answers, line.cost_micro_usd) == (0, 0, 0)
        assert (line.cost_per_answer_usd, line.cost_standard_error_usd) == (None, None)
        assert line.gain == pytest.approx(gain)
        assert (line.gain_per_usd, line.low, line.high) == (None, None, None)


def test_model_that_was_never_scored_counts_as_good_as_the_panel_with_the_spread_of_skill_as_error() -> None:
    found = lines_of(COSTS)
    # sqrt(.03² + .008²) = .031048 and sqrt(.04² + .008²) = .040792
    for category, gain, error in (("*", 0.1, 0.031048), ("Climate", 0.15, 0.040792)):
        assert found["a", category].gain == pytest.approx(gain)
        assert found["a", category].gain_standard_error == pytest.approx(error, abs=1e-6)


def test_model_scored_on_one_event_errs_by_the_spread_of_skill() -> None:
    found = lines_of(COSTS, (ranked_of("a", 0.0, None),), (strength_of("a", 0.0, standard_error=None),))
    assert found["a", "*"].gain_standard_error == pytest.approx(math.hypot(0.03, 0.008))
    assert found["a", "Climate"].gain_standard_error == pytest.approx(math.hypot(0.04, 0.008))


def test_model_that_never_answered_keeps_what_it_cost_and_has_no_cost_per_answer() -> None:
    found = lines_of([costs_of("a", "Climate", (10_000, False), (30_000, False))])
    assert found.keys() == {("a", "*"), ("a", "Climate")}
    for line in found.values():
        assert (line.calls, line.answers, line.cost_micro_usd) == (2, 0, 40_000)
        assert (line.cost_per_answer_usd, line.cost_standard_error_usd, line.gain_per_usd) == (None, None, None)


def test_category_that_never_answered_costs_more_than_the_model_elsewhere() -> None:
    costs = [costs_of("a", "Climate", (30_000, False)), costs_of("a", "Sports", (20_000, True), (20_000, True))]
    found = lines_of(costs)
    # 7 cents for 2 answers: 3.5; (3 + 20 · 3.5) / 20 = 3.65 cents
    assert found["a", "Climate"].cost_per_answer_usd == pytest.approx(0.0365)


def test_gain_where_nothing_has_settled_is_unknown() -> None:
    for found in lines_of(COSTS, (ranked_of("a", 0.0),), levels=()).values():
        assert (found.gain, found.gain_standard_error) == (None, None)
        assert (found.gain_per_usd, found.low, found.high) == (None, None, None)
        assert found.cost_per_answer_usd is not None


def test_gain_over_a_level_whose_error_nobody_knows_bounds_nothing() -> None:
    found = lines_of(COSTS, (ranked_of("a", 0.0),), levels=(PanelLevel("*", 0.1, None, 1),))["a", "*"]
    assert found.gain == pytest.approx(0.1)
    assert (found.low, found.high) == (None, None)


def test_efficiencies_of_nobody_are_none_and_those_of_many_come_by_name() -> None:
    assert lines_of([]) == {}
    rows = efficiencies([costs_of("c", "Sports", (1, True)), *COSTS], ranking_of({"b": 0.0}), (), (), DEFAULTS)
    places = [(it.model_id, it.category) for it in rows]
    assert places == [("a", "*"), ("a", "Climate"), ("a", "Sports"), ("b", "*"), ("c", "*"), ("c", "Sports")]


def test_share_of_worst_case_is_what_was_spent_of_what_was_held() -> None:
    # 6 cents of 20 held; overruns go beyond
    assert share_of_worst_case(COSTS) == pytest.approx(0.3)
    assert share_of_worst_case([costs_of("a", "Climate", (75_000, True))]) == 1.5
    assert share_of_worst_case([]) == 1
    free = costs_of("a", "Climate", (0, True)) | {"reserved_micro_usd": 0}
    assert share_of_worst_case([free]) == 1
    assert share_of_worst_case([free, *COSTS]) == pytest.approx(0.3)


def optimizer_of(database: Database, now: datetime = NOW) -> CostOptimizer:
    return CostOptimizer(instance_of(settings_of("a", "b"), database, SteppedClock(now)))


def overall_of(found: stored.Efficiency, model: str = "a") -> tuple[int, int, int]:
    line = found.by_place[model, "*"]
    return line.calls, line.answers, line.cost_micro_usd


def test_reading_counts_failures_and_what_was_held(database: Database) -> None:
    snapshot = put_forecasts(database, {"a": 0.5})
    with database.connection() as connection:
        put_call(connection, snapshot, "a", attempt=2, status="failed", cost=300)
    found = optimizer_of(database).calculate_cost_efficiency()
    # 100 and 300 of 2 · 500 micro-dollars for one answer; residuals 300 and 300: sqrt(2 · 300²)
    assert overall_of(found) == (2, 1, 400)
    line = found.by_place["a", "*"]
    assert line.cost_per_answer_usd == pytest.approx(400e-6)
    assert line.cost_standard_error_usd == pytest.approx(math.sqrt(2) * 300e-6)
    assert found.share_of_worst_case == pytest.approx(0.4)
    # nobody asked b
    assert overall_of(found, "b") == (0, 0, 0)


def test_reading_counts_the_thirty_days_up_to_its_instant(database: Database) -> None:
    snapshot = put_forecasts(database, {"b": 0.5})
    planted = {
        NOW - 31 * DAY: 1,
        NOW - 30 * DAY: 10,
        NOW - 30 * DAY + SECOND: 100,
        NOW - DAY: 1_000,
        NOW: 10_000,
        NOW + SECOND: 100_000,
        NOW + DAY: 1_000_000,
    }
    with database.connection() as connection:
        save_models(connection, "a")
        for attempt, (at, cost) in enumerate(planted.items(), start=1):
            put_call(connection, snapshot, "a", attempt=attempt, at=at, cost=cost)
    optimizer = optimizer_of(database, NOW + 2 * DAY)
    # what is older than 30 days and what came after do not count
    assert overall_of(optimizer.calculate_cost_efficiency(NOW)) == (3, 3, 11_100)
    assert overall_of(optimizer.calculate_cost_efficiency(NOW + SECOND)) == (3, 3, 111_000)
    assert overall_of(optimizer.calculate_cost_efficiency()) == (4, 4, 1_111_000)
    assert overall_of(optimizer.calculate_cost_efficiency(NOW - 40 * DAY)) == (0, 0, 0)


def test_reading_leaves_out_what_is_held_and_counts_what_a_crash_left_in_full(database: Database) -> None:
    snapshot = put_forecasts(database, {"a": 0.5})
    with database.connection() as connection:
        assert hold(connection, call_of(snapshot, 700, at=NOW - MINUTE)) is not None
    optimizer = optimizer_of(database)
    assert overall_of(optimizer.calculate_cost_efficiency()) == (1, 1, 100)
    with database.connection() as connection:
        assert budget.expire_abandoned(connection, NOW) == 1
    found = optimizer.calculate_cost_efficiency()
    assert overall_of(found) == (2, 1, 800)
    assert found.share_of_worst_case == pytest.approx(800 / 1200)


def test_reading_of_the_past_does_not_know_what_a_call_under_way_then_came_to_cost(database: Database) -> None:
    snapshot = put_forecasts(database, {"a": 0.5})
    with database.connection() as connection:
        under_way = hold(connection, call_of(snapshot, 700, at=NOW - MINUTE))
        assert under_way is not None
        close(connection, under_way, 600, at=NOW + MINUTE)
    optimizer = optimizer_of(database, NOW + HOUR)
    assert overall_of(optimizer.calculate_cost_efficiency()) == (2, 1, 700)
    assert overall_of(optimizer.calculate_cost_efficiency(NOW)) == (1, 1, 100)


def test_reading_of_the_past_does_not_know_corrections_that_were_made_later(database: Database) -> None:
    put_forecasts(database, {"a": 0.5})
    with database.connection() as connection:
        budget.correct(connection, 1, 900, "the bill came", NOW + MINUTE)
    optimizer = optimizer_of(database, NOW + HOUR)
    assert overall_of(optimizer.calculate_cost_efficiency()) == (1, 1, 1_000)
    assert overall_of(optimizer.calculate_cost_efficiency(NOW)) == (1, 1, 100)


def test_reading_keeps_categories_apart(database: Database) -> None:
    rain = put_forecasts(database, {"a": 0.5, "b": 0.5})
    put_forecasts(database, {"a": 0.5}, ticker="GAME-1", event="GAME", category="Sports")
    with database.connection() as connection:
        put_call(connection, rain, "a", attempt=2, cost=500)
    found = optimizer_of(database).calculate_cost_efficiency()
    assert [(it.model_id, it.category, it.calls, it.cost_micro_usd) for it in found.rows] == [
        ("a", "*", 3, 700),
        ("a", "Climate", 2, 600),
        ("a", "Sports", 1, 100),
        ("b", "*", 1, 100),
        ("b", "Climate", 1, 100),
    ]
    # over all 700 / 3; (600 + 20 · 233.33) / 22 and (100 + 20 · 233.33) / 21
    assert found.by_place["a", "Climate"].cost_per_answer_usd == pytest.approx((600 + 14_000 / 3) / 22 / 1e6)
    assert found.by_place["a", "Sports"].cost_per_answer_usd == pytest.approx((100 + 14_000 / 3) / 21 / 1e6)


def test_reading_rests_on_the_ranking_in_force_then_and_on_none_that_came_later(database: Database) -> None:
    put_forecasts(database, {"a": 0.5})
    with database.connection() as connection:
        for at, skill, level in ((NOW - DAY, 0.0, 0.3), (NOW - HOUR, -0.02, 0.1), (NOW + HOUR, 0.05, 0.2)):
            levels = [PanelLevel("*", level, 0.03, 50), PanelLevel("Climate", level + 0.05, 0.03, 50)]
            rankings.save_ranking(
                connection, at, [ranked_of("a", skill)], {}, (), [strength_of("a", skill - 0.01)], levels
            )
    optimizer = optimizer_of(database, NOW + 2 * HOUR)
    for at, ranking, gains in ((NOW, 2, (0.12, 0.18)), (NOW + 2 * HOUR, 3, (0.15, 0.21))):
        found = optimizer.calculate_cost_efficiency(at)
        assert found.ranking_id == ranking
        assert [found.by_place["a", category].gain for category in ("*", "Climate")] == pytest.approx(gains)
        # the answer cost 100 micro-dollars
        assert found.by_place["a", "*"].gain_per_usd == pytest.approx(gains[0] / 100e-6)


def test_reading_of_a_history_gives_each_model_the_level_less_its_skill(database: Database) -> None:
    for number in range(12):
        at, outcome = NOW + number * HOUR, number % 3 != 0
        said = {"a": 0.8, "b": 0.6} if outcome else {"a": 0.3, "b": 0.4}
        category = ("Climate", "Sports")[number % 2]
        put_forecasts(database, said, ticker=f"M-{number}", event=f"E{number}", category=category, at=at)
        settle(database, f"M-{number}", outcome, resolved_at=at + MINUTE)
    instance = instance_of(settings_of("a", "b"), database, SteppedClock(NOW + DAY))
    tracker = PerformanceTracker(instance)
    tracker.record_prediction_result()
    ranking = tracker.rank()
    found = CostOptimizer(instance).calculate_cost_efficiency()
    assert found.ranking_id == ranking.ranking_id
    with database.connection() as connection:
        levels = {it.category: it.gain for it in rankings.levels_of(connection, ranking.ranking_id)}
        strengths = rankings.strengths_of(connection, ranking.ranking_id)
    assert levels.keys() == {"*", "Climate", "Sports"}
    skills = {(it.model_id, it.segment): it.skill for it in strengths if it.dimension == "category"}
    skills |= {(name, "*"): row.skill for name, row in ranking.by_name.items()}
    assert found.by_place.keys() == skills.keys()
    for (name, category), line in found.by_place.items():
        assert line.gain == pytest.approx(levels[category] - skills[name, category])
        # 12 questions, half of them in each category, 100 micro-dollars each
        assert line.answers == line.calls == (12 if category == "*" else 6)
        assert line.cost_per_answer_usd == pytest.approx(100e-6)


def test_readings_are_appended_and_none_is_changed(database: Database) -> None:
    snapshot = put_forecasts(database, {"a": 0.5})
    optimizer = optimizer_of(database)
    first = optimizer.calculate_cost_efficiency()
    with database.connection() as connection:
        put_call(connection, snapshot, "a", attempt=2, cost=300)
    second = optimizer.calculate_cost_efficiency()
    assert first.efficiency_id < second.efficiency_id
    assert (overall_of(first), overall_of(second)) == ((1, 1, 100), (2, 2, 400))
    with database.connection() as connection:
        assert stored.efficiency_by_id(connection, first.efficiency_id) == first
        assert stored.efficiency_by_id(connection, second.efficiency_id) == second
        assert stored.efficiency_by_id(connection, 99) is None


def test_reading_in_force_is_the_newest_as_of_an_instant_and_the_first_is_made(database: Database) -> None:
    put_forecasts(database, {"a": 0.5})
    optimizer = optimizer_of(database, NOW + 3 * HOUR)
    made = optimizer.get_cost_efficiency(NOW)
    assert made.as_of == NOW
    assert overall_of(made) == (1, 1, 100)
    assert optimizer.get_cost_efficiency(NOW) == made
    later = optimizer.calculate_cost_efficiency(NOW + 2 * HOUR)
    again = optimizer.calculate_cost_efficiency(NOW + 2 * HOUR)
    assert optimizer.get_cost_efficiency(NOW + 2 * HOUR - SECOND) == made
    # of two of the same instant the one that came last
    assert later != again == optimizer.get_cost_efficiency(NOW + 2 * HOUR) == optimizer.get_cost_efficiency()
    assert len(table(database, "cost_efficiencies", "efficiency_id")) == 3


def test_reading_in_force_of_an_empty_database_is_made_and_says_nothing(database: Database) -> None:
    found = optimizer_of(database).get_cost_efficiency()
    assert found.share_of_worst_case == 1
    assert [(it.model_id, it.category, it.calls, it.gain) for it in found.rows] == [
        ("a", "*", 0, None),
        ("b", "*", 0, None),
    ]


def test_reading_comes_back_to_the_bit(database: Database) -> None:
    whole = CostEfficiency("a", "*", 3, 2, 2**40, 1 / 3, 1e-17, -0.1 + 1e-17, 0.1 + 0.2, -1e300, -1e301, 5e-324)
    empty = CostEfficiency("a", "Climate", 0, 0, 0, None, None, None, None, None, None, None)
    with database.connection() as connection:
        save_models(connection, "a")
        ranking = rankings.save_ranking(connection, NOW, (), {})
        saved = stored.save_efficiency(connection, NOW, ranking.ranking_id, 0.1 + 0.2, [whole, empty])
        assert (saved.as_of, saved.ranking_id, saved.share_of_worst_case) == (NOW, ranking.ranking_id, 0.1 + 0.2)
        assert saved.rows == (whole, empty)
        assert stored.efficiency_by_id(connection, saved.efficiency_id) == saved
        assert stored.latest_efficiency(connection, NOW) == saved
        assert stored.latest_efficiency(connection, NOW - SECOND) is None
