"""What faults of providers cost in the ledger, held against what the sandbox says it made and handed out."""

import pytest

from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.venue import Play, playing

ASK_ALL = {"member_policy": "all", "market_weight": 0.5}
# one fault a model: what it makes of the first attempt, and how that is booked
FAULTS = {
    "openai": ("body_twice", "failed", "worst_case"),
    "xai": ("cut_json", "failed", "worst_case"),
    "anthropic": ("overloaded", "failed", "not_billed"),
    "openrouter": ("p_sixty", "unreadable", "reported"),
    "local": ("prose", "answered", "settings"),
}
_QUERIES = (
    "select m.provider, q.attempt, q.status, q.cost_source, q.cost_micro_usd > 0 as is_paid"
    " from llm_queries q join models m using (model_id) order by m.provider, q.attempt"
)


def test_each_fault_is_booked_by_what_may_be_owed_and_nobody_is_asked_twice_for_an_answer_that_came(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=ASK_ALL) as play:
        for provider, (kind, *_) in FAULTS.items():
            play.fault(provider, kind, model=f"{provider}-model")
        play.scan()
        play.decide()
        booked = {(it["provider"], it["attempt"]): it for it in play.rows(_QUERIES)}
        for provider, (_, status, source) in FAULTS.items():
            first = booked[provider, 1]
            assert (first["status"], first["cost_source"]) == (status, source), first
            assert first["is_paid"] is (source != "not_billed")
        # a reply that was lost is asked for again; one that came is not, whatever it says
        assert {it for it in booked if it[1] > 1} == {("openai", 2), ("xai", 2), ("anthropic", 2)}
        assert {it["model_id"] for it in play.rows("select * from forecasts where p_yes = 0.7")} == {
            f"{it}-model" for it in FAULTS if it != "openrouter"
        }
        assert _delivered(play) == dict.fromkeys((f"{it}-model" for it in FAULTS), 1)


def test_answer_to_another_market_is_paid_for_and_not_used(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1", "B-1", ensemble=ASK_ALL) as play:
        play.fault("openai", "reply_again", after=1)
        play.scan()
        play.decide()
        rows = play.rows(
            "select q.status, q.cost_source, q.problem from llm_queries q where model_id = 'openai-model'"
            " order by q.status, q.query_id"
        )
        assert [(it["status"], it["cost_source"]) for it in rows] == [
            ("answered", "settings"),
            ("answered", "settings"),
            ("failed", "worst_case"),
        ]
        assert "another question" in rows[2]["problem"]
        counts = [it for it in play.reached()["completions"] if it["provider"] == "openai"]
        assert sorted((it["billed"], it["delivered"]) for it in counts) == [(1, 1), (2, 1)]
        assert play.rows("select count(*) as n from forecasts where model_id = 'openai-model'") == [{"n": 2}]


def test_answer_of_another_model_is_used_and_not_kept_to_be_given_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=ASK_ALL) as play:
        play.fault("openai", "wrong_model", response_model="another")
        play.scan()
        play.decide()
        answered = play.rows("select response_model from llm_queries where model_id = 'openai-model'")
        assert answered == [{"response_model": "another"}]
        assert play.rows("select 1 from forecasts where model_id = 'openai-model'")
        kept = {it["model_id"] for it in play.rows("select model_id from answer_cache")}
        assert kept == {f"{it}-model" for it in FAULTS if it != "openai"}


def _delivered(play: Play) -> dict[str, int]:
    return {it["model"]: it["delivered"] for it in play.reached()["completions"]}
