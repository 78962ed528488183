"""Calls that a run had reserved when it died: they may have been billed, so nobody is asked for these answers again."""

import pytest

from ensemble_pipeline.ensemble.explaining import explain
from ensemble_pipeline.ensemble.monitor import EnsembleMonitor
from ensemble_pipeline.pipeline.explain import show_explanation
from ensemble_pipeline.replay.decisions import replay
from ensemble_pipeline.store import calls, chain, decisions
from ensemble_pipeline.store.budget import BudgetCall
from ensemble_pipeline.store.calls import Attempts
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.venue import Play, playing
from ensemble_pipeline_tests.sandbox.small_world import HOUR, MODELS
from ensemble_pipeline_tests.store.rows import hold

SELECTED = {"max_members": 2, "exploration_share": 0}
HELD = 7_000


def die_while_asking(play: Play, *models: str, ticker: str = "A-1") -> None:
    """What a run leaves that was killed with calls to these models under way."""
    (snapshot,) = play.rows(f"select snapshot_id from market_snapshots where market_id = 'kalshi:{ticker}'")
    with play.instance.database.connection() as connection:
        play.instance.register_members(connection)
        for model in models:
            provider = model.removesuffix("-model")
            call = BudgetCall(snapshot["snapshot_id"], f"kalshi:{ticker}", provider, model, HELD, play.clock.now())
            assert hold(connection, call) is not None


def asked(play: Play) -> list[str]:
    return [row["model_id"] for row in play.rows("select model_id from llm_queries order by 1")]


def test_stand_in_answers_in_place_of_a_member_that_was_cut_off(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=SELECTED) as play:
        play.scan()
        _, [plan] = play.plan(1)
        lost, kept = (member.name for member in plan.members)
        die_while_asking(play, lost)
        play.decide(1)
        assert asked(play) == sorted([kept, plan.standby[0].name])
        (heard,) = play.rows("select count(*) as n from decision_members where p_yes is not null")
        assert heard["n"] == 2
        with database.connection() as connection:
            assert replay(connection, chain.decision_on(connection, 1)).difference is None


def test_decision_whose_members_were_all_cut_off_is_made_without_an_answer_and_counts_as_an_analysis(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble={"member_policy": "all"}) as play:
        play.scan()
        die_while_asking(play, *(model.name for model in MODELS))
        assert play.decide(1).reasons == {"no_answer": 1}
        assert asked(play) == []
        # what was asked was paid: the market rests like after any other analysis
        with database.connection() as connection:
            later = play.clock.now() + HOUR
            assert decisions.analyses_of(connection, ["kalshi:A-1"], later)["kalshi:A-1"].today == 1


def test_attempts_cut_off_count_after_those_on_record_and_are_final(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble={"member_policy": "all", "max_attempts": 2}) as play:
        play.scan()
        play.fault("xai", "overloaded", count=2)
        play.decide(1)
        die_while_asking(play, "xai-model")
        with database.connection() as connection:
            connection.execute("select budget_close(array[budget_day], array[reservation_id], array['expired'],"
                               " array[0], now()) from budget_reservations where state = 'held'")  # fmt: skip
            made = calls.attempts_made(connection, [1])
            assert made[1, "xai-model"] == Attempts(3, is_answered=False, is_final=True)
            assert made[1, "local-model"] == Attempts(1, is_answered=True, is_final=True)


def test_call_that_timed_out_is_final_as_it_may_be_billed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"member_policy": "all", "max_attempts": 2, "decision_deadline_s": 0.5}
    with playing(database, monkeypatch, "A-1", ensemble=options) as play:
        play.scan()
        play.fault("xai", "hang")
        play.decide(1)
        with database.connection() as connection:
            made = calls.attempts_made(connection, [1])
        assert made[1, "xai-model"] == Attempts(1, is_answered=False, is_final=True)


def test_explanation_and_report_tell_what_was_cut_off(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=SELECTED) as play:
        play.scan()
        _, [plan] = play.plan(1)
        lost = plan.members[0].name
        die_while_asking(play, lost, plan.standby[1].name)
        play.decide(1)
        with database.connection() as connection:
            found = explain(connection, chain.decision_on(connection, 1))
        cut_off = {answer["model"]: answer["cut_off"] for answer in found["answers"] if answer["cut_off"]}
        assert set(cut_off) == {lost, plan.standby[1].name}
        assert [it["cost_usd"] for it in cut_off[lost]] == [HELD / 1e6]
        text = show_explanation(found)
        assert f"  {lost}: no answer" in text
        assert text.count("attempt cut off: reserved 2026-01-05") == 2
        report = EnsembleMonitor(play.instance).generate_reports()
        assert report["model_calls"] == {"total": 4, "by_status": {"answered": 2, "cut_off": 2}}
        assert report["forecasts"]["asked"] == 4
        assert report["forecasts"]["failed_by_model"] == {lost: 1, plan.standby[1].name: 1}
        assert report["spend"]["unconfirmed_after_crash_usd"] == 2 * HELD / 1e6
