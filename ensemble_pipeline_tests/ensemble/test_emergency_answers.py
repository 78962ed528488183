"""Earlier answers given again in an emergency, over real HTTP: by whom, within which bounds, and what follows."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from ensemble_pipeline.domain import Reason
from ensemble_pipeline.ensemble import decide
from ensemble_pipeline.ensemble.cost_report import cost_report
from ensemble_pipeline.ensemble.explaining import explain
from ensemble_pipeline.ensemble.fallback import FallbackManager
from ensemble_pipeline.ensemble.performance import PerformanceTracker
from ensemble_pipeline.ensemble.xai_client import TradingDecision, XAIClient
from ensemble_pipeline.pipeline.explain import show_explanation
from ensemble_pipeline.replay.decisions import Replayed, replay_all
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.parts import mode_of
from ensemble_pipeline_tests.ensemble.test_answer_reuse import (
    CHANGES,
    NO_COOLDOWN,
    SURE,
    recalibrate,
)
from ensemble_pipeline_tests.ensemble.venue import UNLIMITED, Play, playing
from ensemble_pipeline_tests.sandbox.small_world import HOUR, START, make_market

MINUTE = timedelta(minutes=1)
TAG = "[EMERGENCY: EARLIER ANSWERS] "
PROVIDERS = ("anthropic", "local", "openai", "openrouter", "xai")
ENSEMBLE = {"exploration_share": 0, "market_weight": 0.5, "max_attempts": 1}
# one failure is enough not to be asked for two days
BREAKER = {"failures": 1, "open_s": 180_000, "max_open_s": 180_000}
# a trade of the first look would leave nothing to open later: each member would trade alone, all together would not
SKIP_FIRST: dict[str, Any] = NO_COOLDOWN | dict.fromkeys(("min_edge_high", "min_edge_middle", "min_edge_low"), 0.2)
THEN = NO_COOLDOWN | dict.fromkeys(("min_edge_high", "min_edge_middle", "min_edge_low"), 0.05)


def ask(play: Play, ticker: str = "A-1") -> TradingDecision:
    """Decide about one market now, as somebody who asks for it."""
    return play.with_venue(
        lambda venue: XAIClient(play.instance, venue).get_advanced_ensemble_decision(f"kalshi:{ticker}")
    )


def later(play: Play, hours: float) -> None:
    play.clock.advance_to(play.clock.now() + hours * HOUR)


def lose(play: Play, *providers: str) -> None:
    """Let these providers fail, asked about another market, so that nobody asks them any more."""
    for provider in providers:
        play.fault(provider, "overloaded", count=99)
    play.change(cache=SURE | {"is_enabled": False})
    ask(play, "C-1")
    later(play, 1 / 60)
    play.change(cache=SURE, gates=THEN)
    health = FallbackManager(play.instance).check_provider_health()
    assert {name for name, it in health.items() if not it.is_available} == {f"{it}-model" for it in providers}


def repeats(play: Play) -> dict[str, tuple[float, float]]:
    """By model, the confidence it gave again and the one it had, on the newest snapshot."""
    rows = play.rows(
        "select f.model_id, f.confidence, o.confidence as had from forecasts f join forecasts o"
        " on o.forecast_id = f.reused_from where f.snapshot_id = (select max(snapshot_id) from market_snapshots)"
    )
    return {row["model_id"]: (row["confidence"], row["had"]) for row in rows}


def uses(play: Play) -> set[tuple[str, str, str]]:
    rows = play.rows(
        "select model_id, outcome, cause from cache_uses"
        " where snapshot_id = (select max(snapshot_id) from market_snapshots)"
    )
    return {(row["model_id"], row["outcome"], row["cause"]) for row in rows}


@pytest.fixture
def play(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """A market that five models were asked about an hour ago and nobody traded, and another to fail on."""
    sections: dict[str, Any] = {"ensemble": ENSEMBLE, "breaker": BREAKER, "cache": SURE, "gates": SKIP_FIRST}
    with playing(database, monkeypatch, "A-1", "C-1", **sections) as made:
        made.scan()
        made.decide()
        assert len(made.rows("select from forecasts")) == 10
        later(made, 1)
        yield made


def test_member_that_cannot_be_asked_gives_its_earlier_answer_again_with_less_confidence(play: Play) -> None:
    lose(play, "openai", "xai", "local")
    decision = ask(play)
    assert mode_of(play.instance) == "conservative"
    lost = ("local-model", "openai-model", "xai-model")
    assert repeats(play) == dict.fromkeys(lost, (0.9 * 0.8, 0.9))
    assert {it for it in uses(play) if it[1] == "hit"} == {(name, "hit", "emergency") for name in lost}
    assert decision.models_consulted == tuple(f"{it}-model" for it in PROVIDERS)
    assert decision.reasoning.startswith(TAG)
    # three of five at 0.72, two at 0.9
    assert decision.confidence == pytest.approx(0.6 * 0.72 + 0.4 * 0.9)
    assert decision.terminal_reason is Reason.TRADED


def test_old_answers_do_not_buy_what_got_cheaper_while_others_were_asked(play: Play) -> None:
    lose(play, "openai", "xai", "local")
    play.change(scan={"reassess_hours": 0})
    play.scan()
    context, plans = play.plan()
    asyncio.run(decide.consult(play.instance, context, plans))
    later(play, 1 / 60)
    play.price("A-1", "0.29", "0.31")
    opinions = decide.combine(play.instance, context, plans)
    made = play.with_venue(lambda venue: decide.size(play.instance, venue, context, plans, opinions))
    decide.record(play.instance, context, made)
    # the other market is as dear as it was
    assert [it.terminal_reason for it in made] == [Reason.PRICE_MOVED, Reason.TRADED]
    with play.instance.database.connection() as connection:
        assert all(isinstance(it, Replayed) and it.difference is None for it in replay_all(connection))


def test_decision_from_such_answers_is_explained_and_made_again_to_the_bit(play: Play) -> None:
    lose(play, "openai", "xai", "local")
    decision = ask(play)
    with play.instance.database.connection() as connection:
        shown = show_explanation(explain(connection, decision.decision_id))
        replays = list(replay_all(connection))
    assert "of the same market again in an emergency, confidence 0.72 of 0.90" in shown
    assert all(isinstance(it, Replayed) and it.difference is None for it in replays)


def test_in_the_mode_minimal_one_model_decides_and_where_nobody_can_be_asked_the_youngest_earlier_answer(
    play: Play,
) -> None:
    lose(play, *PROVIDERS[:4])
    play.change(gates=SKIP_FIRST)
    assert ask(play).models_consulted == ("xai-model",)
    assert mode_of(play.instance) == "minimal"
    assert repeats(play) == {}
    later(play, 1)
    lose(play, *PROVIDERS)
    before = len(play.rows("select from llm_queries"))
    decision = ask(play)
    # it answered last, and its answer is the youngest
    assert decision.models_consulted == ("xai-model",)
    assert repeats(play) == {"xai-model": (0.9 * 0.8, 0.9)}
    assert len(play.rows("select from llm_queries")) == before
    assert decision.reasoning.startswith(f"{TAG}single")


def test_in_the_mode_minimal_earlier_answers_decide_where_there_is_no_money(play: Play) -> None:
    FallbackManager(play.instance).enable_emergency_mode("minimal", "drill")
    play.change(budget=UNLIMITED | {"day_soft_usd": "0.0001"})
    before = len(play.rows("select from llm_queries"))
    decision = ask(play)
    assert decision.reasoning.startswith(TAG)
    assert len(decision.models_consulted) == 1
    assert len(play.rows("select from llm_queries")) == before
    FallbackManager(play.instance).enable_emergency_mode("conservative", "drill")
    later(play, 1)
    assert ask(play).terminal_reason is Reason.DAILY_BUDGET


def test_where_enough_members_answer_nobody_gives_an_old_answer_again(play: Play) -> None:
    lose(play, "openai", "xai")
    decision = ask(play)
    assert mode_of(play.instance) == "degraded"
    assert decision.models_consulted == ("anthropic-model", "local-model", "openrouter-model")
    assert repeats(play) == {}
    assert TAG not in decision.reasoning


LIMITS: dict[str, tuple[Callable[[Play], None], bool]] = {
    "more than a day": (lambda play: later(play, 23.1), False),
    "price up": (CHANGES["price up"][0], False),
    # it is applied after the answers are pooled, and is that of today
    "calibration": (recalibrate, True),
}


@pytest.mark.parametrize("change", LIMITS)
def test_old_answer_is_given_again_only_while_nothing_material_changed(play: Play, change: str) -> None:
    lose(play, "openai", "xai", "local")
    FallbackManager(play.instance).enable_emergency_mode("conservative", "drill")
    work, is_given = LIMITS[change]
    work(play)
    ask(play)
    assert (len(repeats(play)) == 3) is is_given
    assert bool(repeats(play)) is is_given


def test_age_and_share_are_settings(play: Play) -> None:
    lose(play, "openai", "xai", "local")
    play.change(modes={"earlier_hours": 12, "earlier_confidence_share": 0.5})
    ask(play)
    assert set(repeats(play).values()) == {(0.45, 0.9)}
    later(play, 11.5)
    FallbackManager(play.instance).enable_emergency_mode("conservative", "drill")
    ask(play)
    assert repeats(play) == {}


def test_old_answers_are_not_given_where_confidence_weighs(play: Play) -> None:
    lose(play, "openai", "xai", "local")
    play.change(ensemble=ENSEMBLE | {"strategy": "confidence_based"})
    assert ask(play).models_consulted == ("anthropic-model", "openrouter-model")
    assert repeats(play) == {}


def test_old_answer_given_again_is_scored_once_saves_nothing_and_starts_no_cooldown(play: Play) -> None:
    lose(play, "openai", "xai", "local")
    saved = cost_report(play.instance)["cache"]["saved_usd"]
    ask(play)
    assert cost_report(play.instance)["cache"]["saved_usd"] == saved
    play.put(make_market("A-1", "A", opens=0, closes=3, settles=4))
    play.clock.advance_to(START + 5 * HOUR)
    play.bring()
    PerformanceTracker(play.instance).record_prediction_result()
    scored = play.rows("select model_id from scored_forecasts join forecasts using (forecast_id, model_id) order by 1")
    # five asked at first, two again
    assert len(scored) == 7
    assert [row["model_id"] for row in scored].count("xai-model") == 1


def again(play: Play) -> list[dict[str, Any]]:
    return play.rows(
        "select snapshot_id, model_id, confidence from forecasts where reused_from is not null order by 1, 2"
    )


def test_run_taken_up_again_gives_an_old_answer_once_and_its_decision_keeps_the_tag(play: Play) -> None:
    lose(play, "openai", "xai", "local")
    play.change(scan={"reassess_hours": 0})
    play.scan()
    context, plans = play.plan()
    assert asyncio.run(decide.consult(play.instance, context, plans)).reused > 0
    given = again(play)
    # by now everybody could be asked again
    with play.instance.database.connection() as connection:
        connection.execute("update breakers set open_until = %s where state <> 'closed'", [play.clock.now()])
    recorded = play.decide()
    assert again(play) == given
    assert len(recorded.decisions) == 2
    assert all(it.reasoning.startswith(TAG) for it in recorded.decisions)
    with play.instance.database.connection() as connection:
        assert all(isinstance(it, Replayed) and it.difference is None for it in replay_all(connection))
