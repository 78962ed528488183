"""What the sandbox's models find on the web, in each provider's own words, and servers with ways of their own."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.domain import Source
from ensemble_pipeline.providers.sources import problem_with
from ensemble_pipeline.sandbox.searching import count_searches, find_pages
from ensemble_pipeline.sandbox.world import WorldAnswer
from ensemble_pipeline_tests.sandbox.running import ask_anthropic, ask_openai, prompt_about, running_sandbox
from ensemble_pipeline_tests.sandbox.small_world import HOUR, START, SmallWorld, make_market

TOOL = {"type": "web_search"}
SCHEMA = {"type": "json_schema", "name": "answer", "strict": True, "schema": {"type": "object"}}
TOLD = 'It must fit {"additionalProperties": false}.\n'


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    world = SmallWorld({"A-1": make_market("A-1", "A", opens=0, closes=300, settles=None)})
    world.answers = {
        model.wire_model: WorldAnswer(p_yes=0.7, output_tokens=200, input_tokens=900, cost_usd=Decimal("0.002"))
        for model in world.models
    }
    with running_sandbox(world, SteppedClock(START + HOUR)) as made:
        yield made


def respond(client: httpx.Client, provider: str, *, key: str = "sandbox", **body: Any) -> httpx.Response:
    content = {
        "model": f"{provider}-model",
        "input": [{"role": "system", "content": "Judge."}, {"role": "user", "content": prompt_about("A-1")}],
        "text": {"format": SCHEMA},
        **body,
    }
    return client.post(f"/providers/{provider}/v1/responses", json=content, headers={"authorization": f"Bearer {key}"})


def test_openai_lists_each_search_with_what_it_looked_at(client: httpx.Client) -> None:
    body = respond(client, "openai", tools=[TOOL], max_tool_calls=2).raise_for_status().json()
    *calls, message = body["output"]
    searches = [it for it in calls if it["action"]["type"] == "search"]
    assert {it["type"] for it in calls} == {"web_search_call"}
    assert calls[-1]["action"]["type"] == "open_page"
    assert [len(it["action"]["sources"]) for it in searches] == [3] * len(searches)
    assert message["content"][0]["annotations"][0]["url"] == searches[0]["action"]["sources"][0]["url"]
    assert body["usage"]["input_tokens"] == 900 + 1200 * len(searches)
    assert "citations" not in body


def test_xai_counts_searches_and_bills_them_in_ticks(client: httpx.Client) -> None:
    body = respond(client, "xai", tools=[TOOL], max_turns=1).raise_for_status().json()
    usage = body["usage"]
    assert usage["server_side_tool_usage_details"]["web_search_calls"] == 1
    # 0.002 for the answer, 1200 tokens read at 2 dollars per million, a cent for the search
    assert usage["cost_in_usd_ticks"] == 20_000_000 + 24_000_000 + 100_000_000
    assert len(body["citations"]) == 3


def test_anthropic_puts_what_it_found_before_the_answer(client: httpx.Client) -> None:
    tool = {"type": "web_search_20250305", "name": "web_search", "max_uses": 1}
    body = ask_anthropic(client, "anthropic-model", prompt_about("A-1"), tools=[tool]).json()
    assert [it["type"] for it in body["content"]] == ["text", "server_tool_use", "web_search_tool_result", "text"]
    assert body["content"][2]["tool_use_id"] == body["content"][1]["id"]
    assert all(it["page_age"].endswith((", 2025", ", 2026")) for it in body["content"][2]["content"])
    assert body["usage"]["server_tool_use"] == {"web_search_requests": 1}


def test_nobody_searches_without_the_tool(client: httpx.Client) -> None:
    body = respond(client, "openai").raise_for_status().json()
    assert [it["type"] for it in body["output"]] == ["message"]
    body = ask_anthropic(client, "anthropic-model", prompt_about("A-1")).json()
    assert [it["type"] for it in body["content"]] == ["text"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"input": "text"}, "'input'"),
        ({"model": None}, "'model'"),
        ({"max_output_tokens": 4}, "max_output_tokens"),
        ({"tools": [TOOL], "text": {"format": {"type": "json_object"}}}, "JSON mode"),
    ],
)
def test_request_that_makes_no_sense_is_refused(client: httpx.Client, body: dict[str, Any], says: str) -> None:
    refused = respond(client, "openai", **body)
    assert refused.status_code == 400
    assert says in refused.json()["error"]["message"]


def test_wrong_key_is_refused(client: httpx.Client) -> None:
    assert respond(client, "openai", key="wrong").status_code == 401


@given(st.text(max_size=20), st.text(max_size=20), st.integers(0, 100))
def test_model_searches_at_least_once_where_it_may_and_never_more_than_it_may(
    ticker: str, model: str, most: int
) -> None:
    assert min(1, most) <= count_searches(ticker, model, most) <= most


@given(st.text(max_size=20), st.datetimes(timezones=st.just(START.tzinfo)), st.integers(1, 3))
def test_pages_are_the_same_each_time_and_older_than_the_question(ticker: str, at: Any, searches: int) -> None:
    if at.year < 2:
        at += timedelta(days=400)
    pages = find_pages(ticker, at, searches)
    assert pages == find_pages(ticker, at, searches)
    assert problem_with((Source(it.url, it.title, str(it.published_on)) for it in pages), at) is None


def test_server_has_its_ways_until_they_are_taken_back(client: httpx.Client) -> None:
    def put(**manners: Any) -> int:
        return client.post("/manners", json={"provider": "local", **manners}).status_code

    assert put(refuses=["json_schema"]) == 204
    refused = ask_openai(client, "local", "local-model", prompt_about("A-1"))
    assert refused.status_code == 400
    assert "'response_format.type' must be 'json_object' or 'text'" in refused.text
    assert put(ignores=["json_schema"]) == 204
    ignoring = ask_openai(client, "local", "local-model", prompt_about("A-1")).json()
    assert "Probability of YES" in ignoring["choices"][0]["message"]["content"]
    told = ask_openai(client, "local", "local-model", TOLD + prompt_about("A-1")).json()
    assert told["choices"][0]["message"]["content"].startswith("Here is my estimate:\n```json\n{")
    assert [put(refuses=["xml"]), put(dates="never"), put(refuses=5)] == [400, 400, 400]
    assert client.post("/manners", json=[]).status_code == 400
    assert client.delete("/manners").status_code == 204
    usual = ask_openai(client, "local", "local-model", prompt_about("A-1")).json()
    assert usual["choices"][0]["message"]["content"].startswith("{")
