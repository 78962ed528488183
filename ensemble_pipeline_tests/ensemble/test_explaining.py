"""From a decision back to everything it rested on, part by part, and never to a secret."""

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from ensemble_pipeline.ensemble.code_version import code_version
from ensemble_pipeline.ensemble.explaining import explain
from ensemble_pipeline.ensemble.performance import PerformanceTracker
from ensemble_pipeline.errors import DecisionNotFoundError
from ensemble_pipeline.forecasting.sizing import stake_fraction
from ensemble_pipeline.pipeline.explain import show_explanation
from ensemble_pipeline.providers.prompts import BEGIN_MARKER, prompt_wording
from ensemble_pipeline.sandbox.world import FailureKind, WorldAnswer
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.venue import Play, playing
from ensemble_pipeline_tests.sandbox.small_world import HOUR, MODELS, START, make_market

SECRET = "sk-not-to-be-told-8f2c"
NAMES = sorted(model.name for model in MODELS)
PARTS = {
    "decision_id", "decided_at", "market_id", "decision", "terminal_reason", "route", "strategy", "reasoning", "market",
    "known_before", "context", "answers",
        "is_complete", "ranking", "windows", "calibration", "pool", "gates", "sizing", "settings",
    "code", "outcome",
}  # fmt: skip


@pytest.fixture
def play(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """B-1 settles before A-1 and C-1 are decided; openai fails once, local says nothing that can be read."""
    options = {"member_policy": "all", "market_weight": 0.5, "max_market_weight": 0.5}
    with playing(database, monkeypatch, "A-1", "B-1", "C-1", "D-1", ensemble=options) as made:
        made.put(make_market("B-1", "B", opens=0, closes=3, settles=4))
        made.put(make_market("C-1", "C", opens=5, closes=300, settles=None))
        made.put(make_market("D-1", "D", opens=6, closes=300, settles=None))
        made.scan()
        made.fault("openai", "overloaded")
        made.decide()
        made.clock.advance_to(START + 5 * HOUR)
        made.bring()
        tracker = PerformanceTracker(made.instance)
        tracker.record_prediction_result()
        tracker.update_skill_cube(START.date(), START.date())
        tracker.update_rolling_windows(START.date(), START.date())
        tracker.calibrate()
        tracker.rank()
        made.world.answers["local-model"] = WorldAnswer(p_yes=None, failure=FailureKind.UNREADABLE)
        made.scan()
        made.fault("openai", "overloaded")
        made.decide()
        yield made


def chain_of(play: Play, ticker: str) -> dict[str, Any]:
    [row] = play.rows(f"select decision_id from decisions where market_id = 'kalshi:{ticker}'")
    with play.instance.database.connection() as connection:
        return explain(connection, row["decision_id"])


def decide_skipped(play: Play) -> dict[str, Any]:
    """A market at a price at which nobody would buy."""
    play.clock.advance_to(START + 6 * HOUR)
    play.price("D-1", "0.66", "0.74")
    play.scan()
    play.decide()
    return chain_of(play, "D-1")


def log_odds(p: float) -> float:
    return math.log(p / (1 - p))


def test_chain_of_a_trade_holds_every_part(play: Play) -> None:
    found = chain_of(play, "C-1")
    assert set(found) == PARTS
    assert (found["market_id"], found["terminal_reason"]) == ("kalshi:C-1", "traded")
    assert found["decision"].startswith("BUY ")
    assert (found["route"], found["strategy"]) == ("full", "weighted_voting")
    assert found["reasoning"].startswith("[ADVANCED ENSEMBLE] full, weighted_voting: 4 of 5 members pooled")
    assert found["decided_at"] == (START + 5 * HOUR).isoformat()
    empty = [name for name, part in found.items() if part in (None, [], {}, "")]
    assert empty == []


def test_chain_of_a_trade_begins_at_the_market_as_it_stood(play: Play) -> None:
    found = chain_of(play, "C-1")
    market = found["market"]
    assert market["market"]["question"] == "Will C-1 happen?"
    assert market["market"]["rules"] == "Resolves YES if C-1 happens."
    assert {name: market["quote"][name] for name in ("yes_bid", "yes_ask", "volume")} == {
        "yes_bid": "0.4000", "yes_ask": "0.4200", "volume": "100000.00",
    }  # fmt: skip
    assert found["known_before"]["analyses_today"] == 0
    assert set(found["known_before"]["worst_case_micro_usd"]) == set(NAMES)
    assert found["context"]["method"] == "advanced"
    assert found["context"]["operating_mode"] == "normal"
    assert found["context"]["spent_micro_usd"] > 0
    assert set(found["context"]["health"]) == set(NAMES)


def test_chain_of_a_trade_holds_every_prompt_and_raw_answer_with_its_cost(play: Play) -> None:
    found = chain_of(play, "C-1")
    wording = prompt_wording("forecaster")
    assert [answer["model"] for answer in found["answers"]] == NAMES
    recorded = play.rows(
        "select q.* from llm_queries q join market_snapshots s using (snapshot_id) where s.market_id = 'kalshi:C-1'"
    )
    attempts = [attempt for answer in found["answers"] for attempt in answer["attempts"]]
    assert len(attempts) == len(recorded) == 6
    for attempt in attempts:
        assert (attempt["role"], attempt["prompt_version"]) == ("forecaster", wording.version)
        assert attempt["prompt_hash"] == wording.prompt_hash
        assert attempt["system"] == wording.system
        assert "kalshi:C-1" in attempt["prompt"].split(BEGIN_MARKER)[1]
        assert attempt["cost_source"] in {"reported", "settings", "not_billed"}
    assert sum(it["cost_usd"] for it in attempts) == pytest.approx(sum(row["cost_micro_usd"] for row in recorded) / 1e6)
    heard = {answer["model"]: answer for answer in found["answers"] if answer["p_yes"] is not None}
    assert set(heard) == set(NAMES) - {"local-model"}
    for answer in heard.values():
        assert (answer["p_yes"], answer["confidence"], answer["propensity"]) == (0.7, 0.9, 1.0)
        assert '"p_yes": 0.7' in answer["attempts"][-1]["response"]
        assert answer["attempts"][-1]["input_tokens"] > 0
        assert answer["attempts"][-1]["response_model"] == answer["model"]


def test_chain_of_a_trade_holds_the_attempts_that_failed(play: Play) -> None:
    answers = {answer["model"]: answer for answer in chain_of(play, "C-1")["answers"]}
    first, second = answers["openai-model"]["attempts"]
    assert (first["attempt"], first["status"], first["http_status"], first["cost_usd"]) == (1, "failed", 503, 0)
    assert "overloaded" in first["problem"]
    assert (second["attempt"], second["status"]) == (2, "answered")
    [unread] = answers["local-model"]["attempts"]
    assert (unread["status"], answers["local-model"]["p_yes"], answers["local-model"]["weight"]) == (
        "unreadable", None, 0,
    )  # fmt: skip
    assert unread["problem"]
    assert unread["cost_usd"] > 0


def test_chain_of_a_trade_names_whom_was_trusted_and_on_what_evidence(play: Play) -> None:
    found = chain_of(play, "C-1")
    ranking = found["ranking"]
    assert ranking["as_of"] == (START + 5 * HOUR).isoformat()
    assert ranking["partition"] == START.date().isoformat()
    assert {row["model_id"]: row["sample_size"] for row in ranking["models"]} == dict.fromkeys(NAMES, 1)
    assert sorted(row["rank"] for row in ranking["models"]) == [1, 2, 3, 4, 5]
    windows = {(row["model_id"], row["window_hours"]): row for row in found["windows"]}
    assert windows["xai-model", 24]["n"] == 1
    assert windows["xai-model", 24]["brier"] == pytest.approx(0.09)
    assert {name for name, _ in windows} == set(NAMES)
    assert math.fsum(answer["weight"] for answer in found["answers"]) == pytest.approx(1)
    calibration = found["calibration"]
    assert (calibration["n"], calibration["effective_n"]) == (1, 1.0)
    assert calibration["as_of"] == (START + 5 * HOUR).isoformat()


def test_final_probability_follows_by_hand_from_the_steps_that_are_told(play: Play) -> None:
    found = chain_of(play, "C-1")
    pool, calibration = found["pool"], found["calibration"]
    steps = pool["steps"]
    assert list(steps) == ["plain_mean", "pooled", "calibrated", "market_price", "final"]
    for step in steps.values():
        assert step["log_odds"] == pytest.approx(log_odds(step["p_yes"]))
    assert steps["plain_mean"]["p_yes"] == pytest.approx(0.7)
    assert steps["market_price"]["p_yes"] == pytest.approx(0.41)
    assert pool["slope"] == calibration["slope"]
    assert pool["intercept"] == 0
    assert pool["market_weight"] == calibration["market_weight"]
    calibrated = pool["slope"] * steps["pooled"]["log_odds"] + pool["intercept"]
    assert steps["calibrated"]["log_odds"] == pytest.approx(calibrated)
    gap = steps["calibrated"]["log_odds"] - steps["market_price"]["log_odds"]
    scale = found["settings"]["values"]["ensemble"]["price_gap_scale"]
    final = steps["market_price"]["log_odds"] + pool["market_weight"] * gap / (1 + (gap / scale) ** 2)
    assert steps["final"]["log_odds"] == pytest.approx(final)
    assert pool["disagreement_level"] == 0
    assert 0 < pool["uncertainty"] < 1
    assert pool["confidence"] == pytest.approx(0.9, abs=0.02)


def test_gates_and_sizing_of_a_trade_follow_by_hand_from_their_numbers(play: Play) -> None:
    found = chain_of(play, "C-1")
    gates = {gate["gate"]: gate for gate in found["gates"]}
    assert all(gate["is_passed"] for gate in gates.values())
    assert {"volume", "confidence", "edge", "size", "position_limit", "cash_reserve"} <= set(gates)
    assert all(gate["numbers"] for gate in gates.values())
    confidence = gates["confidence"]["numbers"]
    assert confidence["confidence"] == pytest.approx(confidence["stated"] - 0.3 * confidence["uncertainty"])
    edge = gates["edge"]["numbers"]
    assert edge["edge"] == pytest.approx(edge["p_win"] - edge["all_in_price"])
    assert edge["edge"] >= edge["demanded_edge"]
    sizing = found["sizing"]
    assert list(sizing["steps"]) == ["size", "position_limit", "cash_reserve"]
    share = stake_fraction(edge["p_win"], edge["all_in_price"], 0.25, found["pool"]["uncertainty"])
    assert sizing["steps"]["size"]["kelly_share"] == pytest.approx(share)
    assert sizing["stake_usd"] == pytest.approx(sizing["contracts"] * float(sizing["limit_price"]))
    assert sizing["edge"] == edge["edge"]
    assert sizing["fee_usd"] > 0
    assert sizing["filled_on"]["quote"]["yes_ask"] == "0.4200"
    assert found["decision"] == f"BUY {sizing['contracts']} YES at {sizing['limit_price']}"


def test_chain_names_settings_and_code_that_decided(play: Play) -> None:
    found = chain_of(play, "C-1")
    assert found["settings"]["hash"] == play.instance.settings.digest()
    assert found["settings"]["values"] == play.instance.settings.snapshot()
    assert found["code"] == {"decided_by": code_version(), "running": code_version()}


def test_chain_ends_at_what_came_of_the_decision(play: Play) -> None:
    settled = chain_of(play, "B-1")["outcome"]
    assert settled["settlement"]["outcome"] == 1
    assert settled["settlement"]["resolved_at"] == (START + 4 * HOUR).isoformat()
    opened = chain_of(play, "C-1")["outcome"]
    assert opened["settlement"] is None
    assert opened["position"]["contracts"] == chain_of(play, "C-1")["sizing"]["contracts"]
    assert opened["position"]["closed_at"] is None
    assert opened["position"]["cash_flow_micro_usd"] < 0


def test_chain_of_a_refusal_holds_every_part_up_to_the_gate_that_failed(play: Play) -> None:
    found = decide_skipped(play)
    assert set(found) == PARTS
    assert (found["decision"], found["terminal_reason"]) == ("SKIP (edge)", "edge")
    assert (found["gates"][-1]["gate"], found["gates"][-1]["is_passed"]) == ("edge", False)
    assert found["gates"][-1]["numbers"]["edge"] < found["gates"][-1]["numbers"]["demanded_edge"]
    assert [gate["is_passed"] for gate in found["gates"][:-1]] == [True] * (len(found["gates"]) - 1)
    assert found["pool"]["steps"]["market_price"]["p_yes"] == pytest.approx(0.7)
    assert found["sizing"]["steps"] == {}
    assert (found["sizing"]["contracts"], found["sizing"]["stake_usd"]) == (None, 0)
    assert found["outcome"] == {"settlement": None, "position": None}
    assert len(found["answers"]) == 5


def test_chain_of_a_refusal_before_anyone_was_asked_has_no_pool(play: Play) -> None:
    play.change(gates={"min_volume": "1000000"}, ensemble={"member_policy": "selected"})
    found = decide_skipped(play)
    assert (found["terminal_reason"], found["answers"], found["pool"]) == ("volume", [], None)
    assert found["windows"] == []
    assert found["gates"][-2]["numbers"] or found["gates"][-1]["numbers"]
    assert "volume" in show_explanation(found)


@pytest.mark.parametrize("ticker", ["A-1", "B-1", "C-1"])
def test_chain_survives_json_to_the_bit(play: Play, ticker: str) -> None:
    found = chain_of(play, ticker)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_no_key_and_no_address_is_told(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1", ensemble={"member_policy": "all"}) as play:
        # the sandbox refuses it, and what it says about that is part of the chain
        monkeypatch.setenv("OPENAI_API_KEY", SECRET)
        monkeypatch.setenv("ENSEMBLE_DATABASE_URL", f"postgresql://me:{SECRET}@127.0.0.1/none")
        play.fault("openai", "wrong_key")
        play.scan()
        play.decide()
        found = chain_of(play, "A-1")
        told = json.dumps(found) + show_explanation(found)
        assert "OPENAI_API_KEY" in told
        assert SECRET not in told
        assert play.instance.settings.kalshi_base_url not in told
        assert database.url not in told


def test_text_names_what_the_chain_holds(play: Play) -> None:
    found = chain_of(play, "C-1")
    text = show_explanation(found)
    sizing = found["sizing"]
    for said in (
        f"decision {found['decision_id']}: {found['decision']}, decided {found['decided_at']}",
        found["reasoning"],
        f"market kalshi:C-1, snapshot {found['market']['snapshot_id']}",
        "Will C-1 happen?",
        "bid 0.4000 ask 0.4200",
        f"run {found['context']['run_id']}",
        "local-model: no answer",
        "attempt 1 failed: prompt forecaster v",
        "attempt 2 answered: prompt forecaster v",
        found["answers"][0]["attempts"][0]["prompt_hash"][:12],
        f"ranking {found['ranking']['ranking_id']} as of {found['ranking']['as_of']}",
        f"partition {found['ranking']['partition']}",
        "window 24 h xai-model: 1 scored, Brier 0.0900",
        f"calibration {found['calibration']['calibration_id']} as of",
        *(f"{step['p_yes']:.6f}  log-odds {step['log_odds']:+.4f}" for step in found["pool"]["steps"].values()),
        *(f"passed  {gate['gate']}" for gate in found["gates"]),
        f"order {sizing['contracts']} contracts at {sizing['limit_price']}",
        f"settings {found['settings']['hash']}",
        f"code {code_version()} decided, {code_version()} runs here",
        "outcome not settled yet",
        f"position {found['outcome']['position']['position_id']} open",
    ):
        assert said in text, said
    for name in NAMES:
        assert f"  {name}: " in text
    assert "outcome YES, resolved" in show_explanation(chain_of(play, "B-1"))
    assert "REFUSED edge" in show_explanation(decide_skipped(play))


def test_decision_nobody_made_is_named(database: Database) -> None:
    with (
        database.connection() as connection,
        pytest.raises(DecisionNotFoundError, match="there is no decision 77; `ensemble status` says how many"),
    ):
        explain(connection, 77)
