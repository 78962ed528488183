"""What is said of models, from columns made by hand: no database."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ensemble_pipeline.ensemble.calibrating import SettledPools, fit, reliability
from ensemble_pipeline.ensemble.judging import Judgement, judge, rank_models
from ensemble_pipeline.forecasting.ranking import estimate_skill, level_panels, panel_differences
from ensemble_pipeline.store.score_arrays import ScoreArrays
from ensemble_pipeline_tests.ensemble.parts import settings_of
from ensemble_pipeline_tests.store.rows import NOW

OPTIONS = settings_of().ensemble
DAY_S = 86_400
Floats = NDArray[np.float64]


def scores_of(
    said: Floats,
    outcome: NDArray[Any],
    category: NDArray[Any] | None = None,
    confidence: Floats | None = None,
) -> ScoreArrays:
    """One question an event, one event a day; `said` has shape (questions, models), NaN where nobody answered.

    `category` has shape (questions,), `confidence` (models,).
    """
    question, model = np.nonzero(~np.isnan(said))
    known = (100 + question) * DAY_S
    n = len(question)
    nothing = np.zeros(n, dtype=np.int64)
    kind = nothing if category is None else np.asarray(category, dtype=np.int64)[question]
    return ScoreArrays(
        models=tuple("abcdefgh"[: said.shape[1]]),
        names={"category": ("Climate", "Sports"), "regime": ("calm",), "expiry": ("1-7d",)},
        segments={"category": kind, "regime": nothing, "expiry": nothing},
        score_id=np.arange(1, n + 1),
        known_at_s=known,
        window_at_s=known,
        model=model,
        p_yes=said[question, model],
        confidence=np.full(n, 0.9) if confidence is None else confidence[model],
        outcome=np.asarray(outcome, dtype=np.int64)[question],
        market_p=np.full(n, np.nan),
        cost_micro_usd=nothing,
        latency_ms=nothing,
        sign=np.ones(n, dtype=np.int64),
        question=question,
        event=question,
    )


def simulated(n: int, noise: tuple[float, ...], seed: int = 3) -> tuple[Floats, NDArray[np.int64]]:
    """Forecasts of models that see the truth through noise of these sizes."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.1, 0.9, n)
    outcome = (rng.uniform(size=n) < truth).astype(np.int64)
    return np.clip(truth[:, None] + rng.normal(size=(n, len(noise))) * np.array(noise), 0, 1), outcome


def said_of(judgement: Judgement, name: str) -> Any:
    return next(row for row in judgement.ranked if row.model_id == name)


def test_good_and_bad_models_are_told_apart_and_twins_are_tied() -> None:
    said, outcome = simulated(300, (0.05, 0.05, 0.4))
    found = judge(scores_of(said, outcome), "abc", 0, OPTIONS)
    assert [row.model_id for row in found.ranked][-1] == "c"
    assert said_of(found, "c").sequence_low > 0
    assert not said_of(found, "c").is_tied
    assert not said_of(found, "c").is_tied_with_first
    first, second = found.ranked[:2]
    assert first.is_tied_with_first
    assert second.is_tied_with_first
    assert {row.events for row in found.ranked} == {300}


def test_model_that_is_better_than_the_first_over_the_whole_history_is_not_called_beaten_by_it() -> None:
    wobble = np.random.default_rng(6).uniform(-0.05, 0.05, size=(120, 2))
    said = np.array([0.6, 0.9]) + wobble
    # of late the other way round
    said[100:] = said[100:, ::-1]
    found = judge(scores_of(said, np.ones(120)), "ab", (100 + 99) * DAY_S, OPTIONS)
    first, second = found.ranked
    assert (first.model_id, second.model_id) == ("a", "b")
    assert second.sequence_high is not None
    assert second.sequence_high < 0
    assert second.is_tied_with_first


def test_everybody_is_tied_until_fifty_events() -> None:
    wobble = np.random.default_rng(5).uniform(-0.05, 0.05, size=(50, 2))
    said, outcome = np.array([0.9, 0.5]) + wobble, np.ones(50, dtype=np.int64)
    for n, is_tied in ((49, True), (50, False)):
        found = judge(scores_of(said[:n], outcome[:n]), "ab", 0, OPTIONS)
        assert {row.is_tied for row in found.ranked} == {is_tied}
        assert found.ranked[1].is_tied_with_first == is_tied


def test_ranking_knows_the_window_alone_and_sequences_the_whole_history() -> None:
    said, outcome = simulated(120, (0.1, 0.2))
    data = scores_of(said, outcome)
    found = judge(data, "ab", (100 + 79) * DAY_S, OPTIONS)
    assert {(row.sample_size, row.events) for row in found.ranked} == {(40, 120)}
    weights = 2.0 ** (-np.arange(39, -1, -1) / OPTIONS.half_life_resolutions)
    levelled = level_panels(panel_differences(said[80:], outcome[80:]), weights)
    estimate = estimate_skill(levelled, np.arange(40), weights)
    errors = {row.model_id: row.standard_error for row in found.ranked}
    assert [errors["a"], errors["b"]] == pytest.approx(estimate.standard_error.tolist())


def test_strength_is_what_a_segment_adds_to_the_models_level_and_nothing_where_it_adds_nothing() -> None:
    said, outcome = simulated(400, (0.05, 0.25))
    everywhere = judge(scores_of(said, outcome), "ab", 0, OPTIONS)
    overall = {row.model_id: row.skill for row in everywhere.ranked}
    for strength in everywhere.strengths:
        # one segment holds everything, so it says nothing that the overall skill does not
        assert strength.skill == pytest.approx(overall[strength.model_id], abs=1e-12)
        assert strength.verdict == "as_elsewhere"


def test_strengths_and_weaknesses_are_found_where_they_were_planted() -> None:
    good, outcome = simulated(400, (0.05, 0.05))
    category = np.arange(400) % 2
    noise = np.random.default_rng(1).normal(scale=0.4, size=400)
    good[:, 1] = np.where(category == 1, np.clip(good[:, 1] + noise, 0, 1), good[:, 1])
    found = {
        (row.model_id, row.segment): row.verdict
        for row in judge(scores_of(good, outcome, category), "ab", 0, OPTIONS).strengths
        if row.dimension == "category"
    }
    assert found == {
        ("a", "Sports"): "strength",
        ("a", "Climate"): "weakness",
        ("b", "Sports"): "weakness",
        ("b", "Climate"): "strength",
    }


def test_strengths_of_few_events_say_that_there_is_not_enough_evidence() -> None:
    said, outcome = simulated(19, (0.05, 0.4))
    verdicts = {row.verdict for row in judge(scores_of(said, outcome), "ab", 0, OPTIONS).strengths}
    assert verdicts == {"not_enough_evidence"}


def test_model_that_falls_behind_its_own_past_is_degraded_and_since_when_is_said() -> None:
    said, outcome = simulated(300, (0.05, 0.05, 0.05), seed=9)
    rng = np.random.default_rng(2)
    said[200:, 0] = np.clip(said[200:, 0] + rng.choice([-0.45, 0.45], 100), 0, 1)
    trends = {row.model_id: row for row in judge(scores_of(said, outcome), "abc", 0, OPTIONS).trends}
    assert trends["a"].is_degraded
    assert trends["a"].degraded_since is not None
    assert 295 <= trends["a"].degraded_since.timestamp() / DAY_S <= 330
    assert trends["a"].direction == "declining"
    assert not trends["b"].is_degraded


def test_judgement_of_nothing_gives_the_members_equal_weights() -> None:
    empty = scores_of(np.empty((0, 0)), np.empty(0))
    found = judge(empty, "ab", 0, OPTIONS)
    assert [(row.model_id, row.weight, row.sample_size) for row in found.ranked] == [("a", 0.5, 0), ("b", 0.5, 0)]
    assert found.strengths == ()
    assert {trend.direction for trend in found.trends} == {"not_enough_evidence"}


def pool_rows(
    n_events: int, per_event: int, category: str, p: float, share_yes: float, price: float | None = None
) -> list[dict[str, Any]]:
    return [
        {
            "p_pooled": p,
            "p_calibrated": p,
            "p_market": price,
            "outcome": int(event < n_events * share_yes),
            "event_id": f"{category}-{event}",
            "market_id": f"{category}-{event}",
            "category": category,
        }
        for event in range(n_events)
        for _ in range(per_event)
    ]


@pytest.mark.parametrize(("events", "names"), [(199, []), (200, ["Sports"])])
def test_category_gets_an_intercept_from_two_hundred_events_on_however_many_decisions_each_has(
    events: int, names: list[str]
) -> None:
    rows = pool_rows(events, 6, "Sports", 0.5, 0.7) + pool_rows(50, 1, "Climate", 0.5, 0.5)
    found = fit(SettledPools.of(rows), OPTIONS, NOW)
    assert [it.category for it in found.intercepts] == names
    assert found.effective_n == pytest.approx(events + 50)
    assert found.n == 6 * events + 50
    for it in found.intercepts:
        assert 0 < it.intercept < np.log(0.7 / 0.3)
        assert it.events == pytest.approx(events)


def test_reliability_band_counts_a_market_once_however_often_it_was_decided() -> None:
    once = reliability(SettledPools.of(pool_rows(60, 1, "Sports", 0.55, 0.5)))
    often = reliability(SettledPools.of(pool_rows(60, 10, "Sports", 0.55, 0.5)))
    [bin_of_all] = np.flatnonzero(once.bins.n)
    width = [found.band.high[bin_of_all] - found.band.low[bin_of_all] for found in (once, often)]
    assert width[1] == pytest.approx(width[0], abs=0.02)
    assert often.score is not None
    assert often.score.brier == pytest.approx(0.5 * (0.45**2 + 0.55**2))
    assert reliability(SettledPools.of([])).score is None


def test_weight_against_the_price_is_its_prior_without_evidence_and_learned_within_its_cap() -> None:
    nothing = fit(SettledPools.of([]), OPTIONS, NOW)
    assert (nothing.slope, nothing.market_weight, nothing.market_events) == (1.0, OPTIONS.market_weight, 0.0)
    unpriced = fit(SettledPools.of(pool_rows(300, 1, "Sports", 0.7, 0.7)), OPTIONS, NOW)
    assert (unpriced.market_weight, unpriced.market_events) == (OPTIONS.market_weight, 0.0)
    right = fit(SettledPools.of(pool_rows(300, 1, "Sports", 0.8, 0.8, price=0.5)), OPTIONS, NOW)
    wrong = fit(SettledPools.of(pool_rows(300, 1, "Sports", 0.8, 0.5, price=0.5)), OPTIONS, NOW)
    assert 0 <= wrong.market_weight < OPTIONS.market_weight < right.market_weight <= OPTIONS.max_market_weight
    assert right.market_events == pytest.approx(300)


def test_weight_against_the_price_counts_an_event_once_however_often_it_was_decided() -> None:
    once = fit(SettledPools.of(pool_rows(40, 1, "Sports", 0.8, 0.8, price=0.5)), OPTIONS, NOW)
    often = fit(SettledPools.of(pool_rows(40, 7, "Sports", 0.8, 0.8, price=0.5)), OPTIONS, NOW)
    assert often.market_weight == pytest.approx(once.market_weight, abs=1e-9)
    assert often.market_events == pytest.approx(40)


def test_better_model_gets_the_larger_weight_and_no_weight_goes_outside_the_members() -> None:
    said, outcome = simulated(300, (0.05, 0.2, 0.4))
    ranked = {row.model_id: row for row in rank_models(scores_of(said, outcome), "ac", 0, OPTIONS)[0]}
    assert ranked["a"].weight > ranked["c"].weight > 0
    assert ranked["b"].weight == 0
    assert ranked["a"].weight + ranked["c"].weight == pytest.approx(1, abs=1e-12)


def test_ranking_without_sequences_has_the_weights_skills_and_gaps_of_the_whole_judgement() -> None:
    said, outcome = simulated(120, (0.1, 0.2, 0.3))
    data = scores_of(said, outcome)
    whole = judge(data, "abc", (100 + 79) * DAY_S, OPTIONS)
    plain, correlations, _ = rank_models(data, "abc", (100 + 79) * DAY_S, OPTIONS)
    for name in ("model_id", "rank", "weight", "skill", "confidence_gap", "effective_sample_size", "standard_error"):
        assert [getattr(row, name) for row in plain] == [getattr(row, name) for row in whole.ranked]
    assert correlations == whole.correlations


def test_confidence_gap_is_stated_confidence_less_the_share_of_right_answers_shrunk() -> None:
    said = np.array([[0.9, 0.4]] * 50)
    outcome = np.array([1] * 40 + [0] * 10)
    data = scores_of(said, outcome, confidence=np.array([0.9, 0.3]))
    gaps = {row.model_id: row.confidence_gap for row in rank_models(data, "abc", 0, OPTIONS)[0]}
    # 50 events count a third of what 50 and 100 do
    assert gaps["a"] == pytest.approx((0.9 - 0.8) / 3)
    assert gaps["b"] == pytest.approx((0.3 - 0.2) / 3)
    assert gaps["c"] == 0
