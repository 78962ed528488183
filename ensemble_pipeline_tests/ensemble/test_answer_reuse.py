"""Earlier answers given again, over real HTTP: when they are, when they are not, and what follows."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from ensemble_pipeline.domain import Evidence, Listing, Reason
from ensemble_pipeline.ensemble.consult import consult
from ensemble_pipeline.ensemble.cost_report import cost_report
from ensemble_pipeline.ensemble.explaining import explain
from ensemble_pipeline.ensemble.performance import PerformanceTracker
from ensemble_pipeline.ensemble.xai_client import TradingDecision, XAIClient
from ensemble_pipeline.pipeline.explain import show_explanation
from ensemble_pipeline.replay.decisions import Replayed, replay_all
from ensemble_pipeline.sandbox.asking import Completion, Desk, Question, Refusal
from ensemble_pipeline.sandbox.world import WorldAnswer
from ensemble_pipeline.store import budget, calibrations, markets
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.evidence import save_evidence
from ensemble_pipeline_tests.ensemble.venue import UNLIMITED, Play, playing
from ensemble_pipeline_tests.sandbox.small_world import HOUR, MODELS, START, make_market
from ensemble_pipeline_tests.store.rows import quote_of

MINUTE = timedelta(minutes=1)
NO_COOLDOWN = {"cooldown_hours": 0, "analyses_per_day": 1000}
SURE = {"shadow_share": 0}
ASKED = sorted(model.name for model in MODELS)


def ask(play: Play, ticker: str = "A-1") -> TradingDecision:
    """Decide about one market now, as somebody who asks for it."""
    return play.with_venue(
        lambda venue: XAIClient(play.instance, venue).get_advanced_ensemble_decision(f"kalshi:{ticker}")
    )


def later(play: Play, minutes: float = 10) -> None:
    play.clock.advance_to(play.clock.now() + minutes * MINUTE)


def calls(play: Play) -> int:
    return len(play.rows("select from llm_queries"))


def uses(play: Play) -> list[tuple[str, str, str]]:
    rows = play.rows("select kind, outcome, cause from cache_uses order by use_id")
    return [(row["kind"], row["outcome"], row["cause"]) for row in rows]


@pytest.fixture
def play(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """One market that five models were asked about: each would buy YES at 0.42 for 0.70."""
    sections: dict[str, Any] = {"ensemble": {"exploration_share": 0}, "cache": SURE, "gates": NO_COOLDOWN}
    with playing(database, monkeypatch, "A-1", **sections) as made:
        made.scan()
        assert len(made.decide().decision_ids) == 1
        assert calls(made) == 5
        yield made


def test_unchanged_market_is_decided_again_from_the_same_answers_and_nobody_is_asked_or_paid(play: Play) -> None:
    later(play)
    spent = play.rows("select sum(spent_micro_usd)::bigint as n from ledger")
    decision = ask(play)
    assert calls(play) == 5
    assert play.rows("select sum(spent_micro_usd)::bigint as n from ledger") == spent
    assert decision.models_consulted == tuple(ASKED)
    assert decision.p_yes is not None
    repeated = play.rows(
        "select f.model_id, f.p_yes, o.p_yes as said, f.confidence, o.confidence as sure from forecasts f"
        " join forecasts o on o.forecast_id = f.reused_from and o.model_id = f.model_id order by 1"
    )
    assert [row["model_id"] for row in repeated] == ASKED
    assert all((row["p_yes"], row["confidence"]) == (row["said"], row["sure"]) for row in repeated)
    assert uses(play) == [("same", "hit", "unchanged")] * 5


def test_decision_from_earlier_answers_is_explained_and_made_again_to_the_bit(play: Play) -> None:
    later(play)
    decision = ask(play)
    with play.instance.database.connection() as connection:
        found = explain(connection, decision.decision_id)
        replays = list(replay_all(connection))
    assert [it["repeats"]["decision_id"] for it in found["answers"]] == [1] * 5
    assert "of the same market again, 600 s old" in show_explanation(found)
    assert all(isinstance(it, Replayed) and it.difference is None for it in replays)
    assert len(replays) == 2


def test_decision_from_earlier_answers_is_no_analysis_and_starts_no_cooldown(play: Play) -> None:
    later(play)
    ask(play)
    play.change(gates={"cooldown_hours": 2}, cache=SURE | {"is_enabled": False})
    play.clock.advance_to(START + HOUR + timedelta(hours=2))
    assert ask(play).terminal_reason is not Reason.COOLDOWN


def test_repeated_answer_is_scored_once(play: Play) -> None:
    later(play)
    ask(play)
    play.put(make_market("A-1", "A", opens=0, closes=3, settles=4))
    play.clock.advance_to(START + 5 * HOUR)
    play.bring()
    PerformanceTracker(play.instance).record_prediction_result()
    assert len(play.rows("select from scored_forecasts")) == 5


def change_rules(play: Play) -> None:
    with play.instance.database.connection() as connection:
        market = markets.market_by_id(connection, "kalshi:A-1")
        assert market is not None
        changed = replace(market, rules=f"{market.rules} Noon counts.")
        quote = quote_of(at=play.clock.now())
        markets.save_listings(connection, [Listing(changed, quote)], play.clock.now())


def add_news(play: Play) -> None:
    now = play.clock.now()
    with play.instance.database.connection() as connection:
        save_evidence(connection, "kalshi:A-1", [Evidence(now - MINUTE, "Wire", "It rains.")], now)


def change_prompts(play: Play) -> None:
    members = [member.model_dump() | {"role": "base_rate"} for member in play.instance.settings.members]
    play.change(members=members)


def recalibrate(play: Play) -> None:
    with play.instance.database.connection() as connection:
        known = calibrations.latest_calibration(connection, play.clock.now())
        assert known is not None
        calibrations.save_calibration(connection, replace(known, as_of=play.clock.now(), slope=1.1))


def show_price(play: Play) -> None:
    play.change(ensemble={"exploration_share": 0, "show_market_price": True})


CHANGES: dict[str, tuple[Callable[[Play], None], str]] = {
    "price up": (lambda play: play.price("A-1", "0.43", "0.45"), "price_moved"),
    "price down": (lambda play: play.price("A-1", "0.37", "0.39"), "price_moved"),
    "rules": (change_rules, "rules_changed"),
    "news": (add_news, "news_changed"),
    "prompt": (change_prompts, "prompt_changed"),
    "price shown": (show_price, "prompt_changed"),
    "calibration": (recalibrate, "calibration_changed"),
    "age": (lambda play: later(play, 20.1), "too_old"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_market_of_which_something_material_changed_is_asked_about_anew(play: Play, change: str) -> None:
    later(play)
    work, cause = CHANGES[change]
    work(play)
    ask(play)
    assert calls(play) == 10
    assert uses(play) == [("same", "miss", cause)] * 5


def test_price_that_moved_less_than_the_distance_and_a_calibration_that_says_the_same_change_nothing(
    play: Play,
) -> None:
    later(play, 30)
    play.price("A-1", "0.42", "0.43")
    with play.instance.database.connection() as connection:
        known = calibrations.latest_calibration(connection, play.clock.now())
        assert known is not None
        calibrations.save_calibration(connection, replace(known, as_of=play.clock.now()))
    ask(play)
    assert calls(play) == 5


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (WorldAnswer(p_yes=0.42, confidence=0.9), "by it the model would do nothing"),
        (WorldAnswer(p_yes=0.7, confidence=0.49), "it is not sure"),
    ],
)
def test_answer_that_skips_or_is_not_sure_is_asked_for_anew_every_time(
    play: Play, answer: WorldAnswer, why: str
) -> None:
    assert why
    play.world.answers = dict.fromkeys(play.world.answers, answer)
    play.change(cache=SURE | {"max_age_minutes": 0})
    later(play)
    ask(play)
    play.change(cache=SURE | {"max_age_minutes": 5})
    later(play, 3)
    before = calls(play)
    ask(play)
    assert calls(play) == before + 5
    assert len(play.rows("select from answer_cache")) == 5


def test_answer_of_a_wildly_moving_market_is_neither_kept_nor_given_again(play: Play) -> None:
    for number in range(12):
        play.clock.advance_to(play.clock.now() + 3 * HOUR)
        play.price("A-1", *(("0.10", "0.12") if number % 2 else ("0.80", "0.82")))
        ask(play)
    [snapshot] = play.rows("select volatility_regime as regime from market_snapshots order by snapshot_id desc limit 1")
    assert snapshot["regime"] == "volatile"
    kept = len(play.rows("select from answer_cache"))
    later(play, 5)
    before = calls(play)
    ask(play)
    assert calls(play) == before + 5
    assert len(play.rows("select from answer_cache")) == kept


def test_answer_of_a_model_that_stood_in_for_another_is_not_kept_under_its_name(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Desk.ask

    def fall_back(desk: Desk, provider: str, question: Question, at: datetime) -> Completion | Refusal:
        said = answer(desk, provider, question, at)
        is_routed = provider == "openrouter" and isinstance(said, Completion)
        return replace(said, model="another/model") if is_routed and isinstance(said, Completion) else said

    monkeypatch.setattr(Desk, "ask", fall_back)
    later(play, 40)
    ask(play)
    assert calls(play) == 10
    newest = "select model_id from answer_cache where answered_at = (select max(answered_at) from answer_cache)"
    assert sorted(row["model_id"] for row in play.rows(newest)) == [it for it in ASKED if it != "openrouter-model"]
    later(play, 5)
    ask(play)
    # the others give their answers again; the one whose answers come from elsewhere is asked
    assert calls(play) == 11
    assert [
        row["model_id"] for row in play.rows("select model_id from llm_queries order by query_id desc limit 1")
    ] == ["openrouter-model"]


def test_hits_that_are_drawn_are_asked_for_real_and_their_loss_is_told_once_they_settle(play: Play) -> None:
    play.change(cache={"shadow_share": 1})
    # what is asked for real is worse by now
    play.world.answers = dict.fromkeys(play.world.answers, WorldAnswer(p_yes=0.6, confidence=0.9))
    later(play)
    ask(play)
    assert calls(play) == 10
    assert uses(play) == [("same", "shadow", "sampled")] * 5
    play.put(make_market("A-1", "A", opens=0, closes=3, settles=4))
    play.clock.advance_to(START + 5 * HOUR)
    play.bring()
    # it settled before it was to close, as what comes true may: it counts from its close on
    assert cost_report(play.instance)["cache"]["by_kind"][0]["settled_pairs"] == 0
    [closes] = play.rows("select distinct closes_at from cache_uses")
    play.clock.advance_to(closes["closes_at"])
    [same, similar] = cost_report(play.instance)["cache"]["by_kind"]
    assert (same["kind"], same["asked_to_compare"], same["settled_pairs"], same["settled_events"]) == ("same", 5, 5, 1)
    # it came true: 0.3² said again against 0.4² asked for
    assert same["brier_lost_per_answer"] == pytest.approx(0.09 - 0.16)
    assert same["is_used"]
    assert (similar["is_used"], similar["why_not"], similar["brier_lost_per_answer"]) == (False, "unproven", None)


def test_cost_report_tells_hits_misses_and_what_was_saved(play: Play) -> None:
    paid = play.rows("select sum(spent_micro_usd)::bigint as n from ledger")[0]["n"]
    later(play)
    ask(play)
    later(play, 25)
    ask(play)
    found = cost_report(play.instance)["cache"]
    assert (found["hits"], found["misses"], found["hit_share"]) == (5, 10, pytest.approx(1 / 3))
    assert found["saved_usd"] == pytest.approx(paid / 1e6)
    assert found["misses_by_cause"] == [{"kind": "same", "cause": "too_old", "times": 5}]


def test_correction_of_what_an_answer_cost_corrects_what_giving_it_again_saved(play: Play) -> None:
    later(play)
    ask(play)
    before = cost_report(play.instance)["cache"]["saved_usd"]
    with play.instance.database.connection() as connection:
        budget.correct(connection, 1, 500, "the bill", play.clock.now())
    assert cost_report(play.instance)["cache"]["saved_usd"] == pytest.approx(before + 500 / 1e6)


def test_decision_from_earlier_answers_alone_counts_in_the_cost_report_with_its_trade(play: Play) -> None:
    before = cost_report(play.instance)["periods"]["today"]
    assert (before["decisions"], before["trades"]) == (1, 0)
    # the same answers, and less asked of a trade
    play.change(gates=NO_COOLDOWN | {"min_edge_high": 0.02})
    later(play)
    assert ask(play).terminal_reason is Reason.TRADED
    assert calls(play) == 5
    report = cost_report(play.instance)
    for sums in (report["periods"]["today"], report["by_category"][0]):
        assert (sums["decisions"], sums["trades"]) == (2, 1)
        assert sums["cost_usd"] == before["cost_usd"]
        assert sums["usd_per_decision"] == pytest.approx(before["cost_usd"] / 2)


def test_market_that_is_skipped_before_anybody_is_heard_is_no_decision_of_the_cost_report(play: Play) -> None:
    play.change(gates={"cooldown_hours": 2}, cache={"is_enabled": False})
    later(play)
    assert ask(play).terminal_reason is Reason.COOLDOWN
    assert cost_report(play.instance)["periods"]["today"]["decisions"] == 1


def test_reuse_that_is_switched_off_asks_every_time(play: Play) -> None:
    play.change(cache={"is_enabled": False})
    later(play)
    ask(play)
    assert calls(play) == 10
    assert len(play.rows("select from answer_cache")) == 5
    assert uses(play) == []


def test_run_taken_up_again_gives_an_answer_once(play: Play) -> None:
    later(play)
    play.change(scan={"reassess_hours": 0})
    play.scan()
    context, plans = play.plan()
    first, again = (asyncio.run(consult(play.instance, context, plans)) for _ in range(2))
    assert (first.reused, first.resumed) == (5, 0)
    assert (again.reused, again.resumed) == (0, 5)
    assert calls(play) == 5
    assert len(play.rows("select from forecasts where reused_from is not null")) == 5


def test_above_the_soft_limit_earlier_answers_decide_and_without_them_the_market_is_skipped(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", "C-1", ensemble={"exploration_share": 0}, cache=SURE) as play:
        play.scan()
        ask(play)
        play.change(budget=UNLIMITED | {"day_soft_usd": "0.0001"})
        later(play)
        known = ask(play)
        assert known.models_consulted == tuple(ASKED)
        [gate] = play.rows(
            "select g from decisions, jsonb_array_elements(gates) g where g ->> 'gate' = 'daily_budget'"
            " and (g -> 'numbers' ->> 'earlier_answers')::int = 5"
        )
        assert gate["g"]["is_passed"]
        assert ask(play, "C-1").terminal_reason is Reason.DAILY_BUDGET
        assert calls(play) == 5


def test_during_the_cooldown_earlier_answers_decide_and_save_nothing(play: Play) -> None:
    play.change(gates={"cooldown_hours": 2, "analyses_per_day": 1}, cache=SURE)
    later(play)
    assert ask(play).models_consulted == tuple(ASKED)
    assert calls(play) == 5
    assert uses(play) == [("same", "hit", "nobody_asked")] * 5
    assert cost_report(play.instance)["cache"]["saved_usd"] == 0
    later(play, 25)
    assert ask(play).terminal_reason is Reason.COOLDOWN
    assert calls(play) == 5


def test_during_the_cooldown_hits_that_are_drawn_are_asked_for_real_which_is_no_analysis(play: Play) -> None:
    play.change(gates={"cooldown_hours": 1, "analyses_per_day": 1000}, cache={"shadow_share": 1})
    later(play)
    assert ask(play).models_consulted == tuple(ASKED)
    assert calls(play) == 10
    assert uses(play) == [("same", "shadow", "sampled")] * 5
    play.change(gates={"cooldown_hours": 1, "analyses_per_day": 1000}, cache={"is_enabled": False})
    later(play, 49)
    assert ask(play).terminal_reason is Reason.COOLDOWN
    later(play, 1)
    assert ask(play).terminal_reason is not Reason.COOLDOWN
    assert calls(play) == 15


def test_answer_is_not_given_again_after_its_model_has_answered_otherwise(play: Play) -> None:
    said = play.world.answers
    play.world.answers = dict.fromkeys(said, WorldAnswer(p_yes=0.41, confidence=0.3))
    play.change(cache=SURE | {"is_enabled": False})
    later(play)
    ask(play)
    assert calls(play) == 10
    play.change(cache=SURE)
    later(play, 5)
    ask(play)
    assert calls(play) == 15
    assert uses(play) == [("same", "miss", "superseded")] * 5


def test_run_cut_off_after_answers_were_given_again_ends_without_asking_whatever_changed_since(play: Play) -> None:
    later(play)
    play.change(scan={"reassess_hours": 0})
    play.scan()
    context, plans = play.plan()
    assert asyncio.run(consult(play.instance, context, plans)).reused == 5
    # by now the answers are too old to be given again
    later(play, 31)
    context, plans = play.plan()
    again = asyncio.run(consult(play.instance, context, plans))
    assert (again.reused, again.resumed, again.failed) == (0, 5, 0)
    assert calls(play) == 5


def test_price_seen_long_ago_does_not_tell_that_it_has_not_moved(play: Play) -> None:
    play.change(scan={"reassess_hours": 0})
    later(play)
    play.scan()
    later(play, 6)
    context, plans = play.plan()
    assert asyncio.run(consult(play.instance, context, plans)).reused == 0
    assert uses(play) == [("same", "miss", "price_old")] * 5
