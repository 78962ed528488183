"""Members search the web by their providers' tools: booked, kept, explained, and never to know what came later."""

import asyncio
import json
from typing import Any

import pytest

from ensemble_pipeline.ensemble.consult import Consultation, consult
from ensemble_pipeline.ensemble.explaining import explain
from ensemble_pipeline.pipeline.explain import show_explanation
from ensemble_pipeline.store import audit
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.worlds import LIVE, claim_world, is_live
from ensemble_pipeline_tests.ensemble.venue import Play, playing
from ensemble_pipeline_tests.store.rows import DAY

ALL: dict[str, Any] = {"member_policy": "all"}
SEARCHING = ("openai-model", "xai-model", "anthropic-model")


def ask(play: Play) -> Consultation:
    context, plans = play.plan()
    return asyncio.run(consult(play.instance, context, plans))


def let_search(play: Play, *names: str) -> None:
    for name in names:
        play.change_member(name, max_web_searches=2, web_search_usd="0.01")
    play.scan()


def asked(play: Play) -> dict[str, dict[str, Any]]:
    return {row["model_id"]: row for row in play.rows("select * from llm_queries")}


def go_live(play: Play) -> None:
    with play.instance.database.connection() as connection:
        claim_world(connection, LIVE, "live")


def test_live_members_search_and_what_they_found_and_paid_is_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=ALL) as play:
        go_live(play)
        let_search(play, *SEARCHING)
        assert ask(play) == Consultation(5, 0, 0, 0, 0)
        rows = asked(play)
        for name in SEARCHING:
            searches, sources = rows[name]["web_searches"], rows[name]["sources"]
            assert searches in (1, 2)
            assert len(sources) == 3 * searches
            assert {it["url"].partition("/a-1/")[0] for it in sources} == {"https://news.sandbox.example"}
            assert all(bool(it["stated_date"]) is (name == "anthropic-model") for it in sources)
        assert rows["local-model"]["sources"] is rows["openrouter-model"]["sources"] is None
        for name in ("openai-model", "anthropic-model"):
            row = rows[name]
            tokens = 2 * row["input_tokens"] + 10 * row["output_tokens"]
            assert row["cost_micro_usd"] == tokens + 10_000 * row["web_searches"]
            assert row["cost_source"] == "settings"
        grok = rows["xai-model"]
        read = 400 * len(grok["sources"])
        assert grok["cost_source"] == "reported"
        assert grok["cost_micro_usd"] == 1000 + 2 * read + 10_000 * grok["web_searches"]
        assert play.rows("select * from cost_anomalies") == []
        with database.connection() as connection:
            assert audit.ledger_differences(connection, play.clock.now().date() - DAY) == []


def test_replayed_members_search_only_where_pages_are_dated(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=ALL) as play:
        let_search(play, *SEARCHING)
        assert ask(play) == Consultation(5, 0, 0, 0, 0)
        rows = asked(play)
        assert {name for name, row in rows.items() if row["web_searches"]} == {"anthropic-model"}
        assert {name for name, row in rows.items() if row["sources"]} == {"anthropic-model"}
        assert all(it["stated_date"] for it in rows["anthropic-model"]["sources"])


@pytest.mark.parametrize(("dates", "says"), [("later", "may be later than the question"), ("missing", "has no date")])
def test_replayed_answer_from_a_page_that_may_be_later_is_booked_and_is_no_forecast(
    database: Database, monkeypatch: pytest.MonkeyPatch, dates: str, says: str
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=ALL) as play:
        play.manners("anthropic", dates=dates)
        let_search(play, "anthropic-model")
        assert ask(play) == Consultation(4, 1, 0, 0, 0)
        row = asked(play)["anthropic-model"]
        assert (row["status"], row["web_searches"] > 0, row["cost_micro_usd"] > 10_000) == ("unreadable", True, True)
        assert says in row["problem"]
        assert row["problem"].endswith("https://news.sandbox.example/a-1/0-0")
        assert len(row["sources"]) == 3 * row["web_searches"]
        assert play.rows("select * from forecasts where model_id = 'anthropic-model'") == []
        # a server that dates its pages badly keeps to the form all the same
        assert play.rows("select * from answer_formats") == []


def test_live_answer_may_rest_on_any_page(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=ALL) as play:
        go_live(play)
        play.manners("anthropic", dates="missing")
        let_search(play, "anthropic-model")
        assert ask(play).answered == 5


def test_member_that_searches_by_itself_is_recorded_as_not_asked_in_a_replay(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=ALL) as play:
        play.change_member("local-model", max_web_searches=1, has_own_search=True, web_search_usd="0")
        play.scan()
        assert ask(play) == Consultation(4, 1, 0, 0, 0)
        row = asked(play)["local-model"]
        assert (row["status"], row["cost_micro_usd"], row["http_status"]) == ("failed", 0, None)
        assert "searches the web by itself" in row["problem"]


def test_openai_that_refuses_json_with_a_search_is_asked_for_text(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble={**ALL, "max_attempts": 3}) as play:
        go_live(play)
        play.manners("openai", refuses=["json_schema"])
        let_search(play, "openai-model")
        assert ask(play) == Consultation(5, 0, 0, 0, 0)
        rows = play.rows("select * from llm_queries where model_id = 'openai-model' order by attempt")
        assert [it["answer_format"] for it in rows] == ["json_schema", "json_object", "text"]
        assert [it["status"] for it in rows] == ["failed", "failed", "answered"]
        assert rows[-1]["sources"]
        # without a search the same model may well take a schema
        [remembered] = play.rows("select * from answer_formats")
        assert (remembered["provider"], remembered["has_search"]) == ("openai", True)
        assert remembered["base_url"].endswith("/providers/openai/v1")


def test_explanation_shows_the_pages_escaped(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=ALL) as play:
        let_search(play, "anthropic-model")
        play.decide()
        with database.connection() as connection:
            connection.execute(
                "update llm_queries set sources = jsonb_set(sources, '{0,title}', %s) where sources is not null",
                [json.dumps("x\x1b[2J\n\u202eowned")],
            )
            chain = explain(connection, 1)
        [member] = [it for it in chain["answers"] if it["model"] == "anthropic-model"]
        [attempt] = member["attempts"]
        assert attempt["answer_format"] == "json_schema"
        assert attempt["sources"][0]["url"] == "https://news.sandbox.example/a-1/0-0"
        lines = show_explanation(chain).splitlines()
        shown = [line for line in lines if line.lstrip().startswith("found ")]
        assert len(shown) == len(attempt["sources"])
        stated = attempt["sources"][0]["stated_date"]
        assert shown[0] == f"      found x[2J owned ({stated}): https://news.sandbox.example/a-1/0-0"


def test_world_is_live_where_it_is_the_real_one_at_the_machines_time(database: Database) -> None:
    with database.connection() as connection:
        assert not is_live(connection), "nobody said so"
        claim_world(connection, LIVE, "live")
        assert is_live(connection)
        connection.execute("insert into world_clock (mode, world_at) values ('stepped', now())")
        assert not is_live(connection)
        connection.execute("delete from world_clock")
        connection.execute("update world set world_key = 'small'")
        assert not is_live(connection)
