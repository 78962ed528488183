"""Whether an answer to one market is ever given for another, over real HTTP."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ensemble_pipeline.domain import Listing
from ensemble_pipeline.ensemble.cache_evidence import bounds_of
from ensemble_pipeline.ensemble.performance import PerformanceTracker
from ensemble_pipeline.sandbox.world import WorldAnswer
from ensemble_pipeline.store import markets
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.test_answer_reuse import ask, calls, later, uses
from ensemble_pipeline_tests.ensemble.venue import Play, playing
from ensemble_pipeline_tests.sandbox.small_world import HOUR, START, make_market
from ensemble_pipeline_tests.store.rows import quote_of

FED = (
    "Will the Federal Reserve cut rates in December 2026?",
    "Resolves YES if the upper bound of the federal funds target range is lower after the December 2026 meeting.",
)
FED_AGAIN = (
    "Will Federal Reserve cut rates in Dec 2026?",
    "The market resolves YES if the upper bound of the federal funds target range is lower after the Dec 2026 meeting.",
)
LOOK_ALIKES = {
    "senate race": (
        "Will the Democrats win the Senate in November 2026?",
        "Resolves YES if Democrats hold 51 seats or more after the November 2026 election.",
    ),
    "opposite wording": (FED[0].replace("cut", "raise"), FED[1].replace("lower", "higher")),
    "opposite in the rules alone": (FED[0], FED[1].replace("Resolves YES if", "Resolves YES unless")),
    "next meeting": (FED[0].replace("December", "January"), FED[1].replace("December", "January")),
    "next year": (FED[0].replace("2026", "2027"), FED[1].replace("2026", "2027")),
    "other bank": (FED[0].replace("Federal Reserve", "Bank of England"), FED[1]),
}
SHARING: dict[str, Any] = {
    "ensemble": {"exploration_share": 0},
    "gates": {"cooldown_hours": 0, "analyses_per_day": 1000},
    "cache": {"shadow_share": 0, "max_brier_loss": 0.05},
}


def word(play: Play, ticker: str, text: tuple[str, str]) -> None:
    """Let a market be listed with another question and other rules."""
    now = play.clock.now()
    with play.instance.database.connection() as connection:
        market = markets.market_by_id(connection, f"kalshi:{ticker}")
        assert market is not None
        changed = replace(market, question=text[0], rules=text[1])
        markets.save_listings(connection, [Listing(changed, quote_of(at=now))], now)


@pytest.fixture
def play(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """A market about the Fed that five models answered, and another one nobody was asked about."""
    with playing(database, monkeypatch, "A-1", "B-1", **SHARING) as made:
        made.scan()
        word(made, "A-1", FED)
        ask(made, "A-1")
        assert calls(made) == 5
        yield made


def prove_harmless(play: Play, events: int = 120) -> None:
    """Shadow pairs of similar markets that settled and lost nothing to speak of."""
    with play.instance.database.connection() as connection:
        connection.execute(
            "insert into market_events (event_id, venue, series, category) select 'kalshi:E' || n, 'kalshi', 'E',"
            " 'Politics' from generate_series(1, %(n)s) n",
            {"n": events},
        )
        connection.execute(
            "insert into markets (market_id, event_id, venue, ticker, question, rules, opened_at, closes_at, status,"
            " first_seen_at) select 'kalshi:E' || n, 'kalshi:E' || n, 'kalshi', 'E' || n, 'E' || n, '', %(at)s,"
            " %(end)s, 'settled', %(at)s from generate_series(1, %(n)s) n",
            {"n": events, "at": START, "end": START + HOUR},
        )
        connection.execute(
            "with s as (insert into market_snapshots (market_id, observed_at, status, reason, volatility_regime)"
            " select 'kalshi:E' || n, %(at)s, 'active', 'new', 'calm' from generate_series(1, %(n)s) n"
            " returning snapshot_id, market_id), b as (insert into budget_reservations (snapshot_id, market_id,"
            " provider, model_id, budget_day, state, held_micro_usd, booked_micro_usd, reserved_at, closed_at)"
            " select snapshot_id, market_id, 'local', 'local-model', %(at)s, 'settled', 0, 0, %(at)s, %(at)s from s"
            " returning reservation_id, snapshot_id, market_id), q as (insert into llm_queries (reservation_id,"
            " snapshot_id, model_id, attempt, prompt_hash, prompt, requested_at, latency_ms, status, response,"
            " cost_micro_usd, cost_source) select reservation_id, snapshot_id, 'local-model', 1, (select prompt_hash"
            " from prompts limit 1), '', %(at)s, 1, 'answered', '{}', 0, 'settings' from b"
            " returning query_id, snapshot_id), f as (insert into forecasts (query_id, snapshot_id, market_id,"
            " model_id, asked_at, p_yes, confidence, reasoning, volatility_regime, expiry_bucket)"
            " select q.query_id, q.snapshot_id, s.market_id, 'local-model', %(at)s,"
            " 0.7 + (q.snapshot_id %% 3 - 1) * 0.001, 0.9, '', 'calm', '0-24h' from q join s using (snapshot_id)"
            " returning snapshot_id)"
            " insert into cache_uses (snapshot_id, model_id, source_forecast_id, kind, outcome, cause, bounds,"
            " closes_at, age_s, similarity, used_at) select snapshot_id, 'local-model',"
            " (select forecast_id from answer_cache where model_id = 'local-model' limit 1), 'similar', 'shadow',"
            " 'unproven', %(bounds)s, %(end)s, 1, 1, %(at)s from f",
            {"n": events, "at": START, "end": START + HOUR / 2, "bounds": bounds_of(play.instance.settings.cache)},
        )
        connection.execute(
            "insert into resolutions (market_id, version, outcome, resolved_at, known_at)"
            " select market_id, 1, 1, %(at)s, %(at)s from markets where ticker like 'E%%'",
            {"at": START + HOUR / 2},
        )


def test_market_that_asks_the_same_is_asked_for_real_until_the_loss_is_known(play: Play) -> None:
    word(play, "B-1", FED_AGAIN)
    later(play)
    ask(play, "B-1")
    assert calls(play) == 10
    assert uses(play) == [("similar", "shadow", "unproven")] * 5


def test_market_that_asks_the_same_shares_answers_once_the_loss_is_shown_to_be_small(play: Play) -> None:
    prove_harmless(play)
    word(play, "B-1", FED_AGAIN)
    later(play)
    before = calls(play)
    decision = ask(play, "B-1")
    assert calls(play) == before
    assert len(decision.models_consulted) == 5
    assert uses(play)[-5:] == [("similar", "hit", "unchanged")] * 5
    markets_of = play.rows("select distinct market_id from forecasts where reused_from is not null")
    assert markets_of == [{"market_id": "kalshi:B-1"}]


@pytest.mark.parametrize("text", LOOK_ALIKES)
def test_look_alike_never_gets_the_answer_of_another_though_sharing_is_allowed(play: Play, text: str) -> None:
    prove_harmless(play)
    word(play, "B-1", LOOK_ALIKES[text])
    later(play)
    before = calls(play)
    ask(play, "B-1")
    assert calls(play) == before + 5
    assert all(cause == "unproven" for _, _, cause in uses(play))


@pytest.mark.parametrize("bid", ["0.36", "0.44"])
def test_market_that_asks_the_same_at_another_price_is_asked_for_real(play: Play, bid: str) -> None:
    prove_harmless(play)
    word(play, "B-1", FED_AGAIN)
    later(play)
    play.price("B-1", bid, f"{float(bid) + 0.02:.2f}")
    ask(play, "B-1")
    assert uses(play)[-5:] == [("similar", "miss", "price_moved")] * 5


def test_neighbouring_strikes_of_one_series_never_share(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1", "A-2", **SHARING) as play:
        play.scan()
        for ticker in ("A-1", "A-2"):
            word(play, ticker, FED)
        ask(play, "A-1")
        prove_harmless(play)
        later(play)
        before = calls(play)
        ask(play, "A-2")
        assert calls(play) == before + 5


def test_shared_answer_is_scored_for_the_market_it_was_asked_about_alone(play: Play) -> None:
    prove_harmless(play)
    word(play, "B-1", FED_AGAIN)
    later(play)
    ask(play, "B-1")
    # what one model says of the twin now is no business of the others
    play.world.answers["xai-model"] = WorldAnswer(p_yes=0.1, confidence=0.9)
    later(play, 31)
    ask(play, "B-1")
    own = play.rows("select p_yes from forecasts where model_id = 'xai-model' and query_id is not null order by 1")
    assert [row["p_yes"] for row in own] == [0.1, 0.7]
    play.put(make_market("B-1", "B", opens=0, closes=3, settles=4))
    play.clock.advance_to(START + timedelta(hours=5))
    play.bring()
    PerformanceTracker(play.instance).record_prediction_result()
    scored = play.rows(
        "select distinct model_id, p_yes from scored_forecasts where market_id = 'kalshi:B-1' order by 1"
    )
    assert {row["model_id"]: row["p_yes"] for row in scored}["xai-model"] == 0.1
    assert len(scored) == 5
