from typing import Any

import pytest

from ensemble_pipeline.domain import CallStatus, Source, Usage
from ensemble_pipeline.errors import BadReplyError, ProviderUnavailableError
from ensemble_pipeline_tests.providers.helpers import ANSWER, KEY, ask, chat_body, member_of, response_body
from ensemble_pipeline_tests.providers.loopback import always, serve

SEARCHING = member_of("openai", max_web_searches=3)
GROK = member_of("xai", max_web_searches=3, web_search_usd="0.005")


def test_openai_searches_by_its_tool_at_responses_and_is_told_how_often() -> None:
    with serve(always(response_body())) as server:
        reply = ask(server.url + "/v1", "openai", SEARCHING)
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.headers["authorization"]) == ("POST", "/v1/responses", f"Bearer {KEY}")
    assert seen.body["tools"] == [{"type": "web_search"}]
    assert (seen.body["max_tool_calls"], seen.body["max_output_tokens"], seen.body["store"]) == (3, 1024, False)
    assert seen.body["include"] == ["web_search_call.action.sources"]
    assert [it["role"] for it in seen.body["input"]] == ["system", "user"]
    assert reply.answer is not None
    assert (reply.answer.p_yes, reply.response_model) == (0.7, "gpt-5.4-mini")


def test_searches_are_counted_priced_and_their_pages_kept() -> None:
    with serve(always(response_body())) as server:
        reply = ask(server.url, "openai", SEARCHING)
    # a page that was opened is no search
    assert reply.usage == Usage(9000, 500, 1000, 300, web_searches=2)
    # by hand: 8000 at 0.75, 1000 at 0.075, 500 at 4.50 dollars per million, two searches at a cent
    assert (reply.cost_micro_usd, reply.cost_source, reply.anomalies) == (6000 + 75 + 2250 + 20_000, "price_list", ())
    assert reply.sources == (Source("https://a.org/rain", "Rain ahead"), Source("https://b.org/sun"))


def test_xai_bounds_turns_counts_in_its_usage_and_lists_pages_at_the_top() -> None:
    usage = {
        "input_tokens": 9000,
        "output_tokens": 500,
        "num_server_side_tools_used": 4,
        "server_side_tool_usage_details": {"web_search_calls": 1, "x_search_calls": 0},
        "cost_in_usd_ticks": 292331500,
    }
    body = response_body(model="grok-4.3", usage=usage, citations=["https://c.org/snow", 5, "https://a.org/rain"])
    with serve(always(body)) as server:
        reply = ask(server.url, "xai", GROK)
    sent = server.seen[0].body
    assert (sent["max_turns"], sent["parallel_tool_calls"]) == (3, False)
    assert "max_tool_calls" not in sent
    assert reply.usage == Usage(9000, 500, web_searches=1)
    assert (reply.cost_micro_usd, reply.cost_source) == (29_234, "reported")
    assert [it.url for it in reply.sources] == ["https://a.org/rain", "https://b.org/sun", "https://c.org/snow"]


@pytest.mark.parametrize("counted", [-1, 10**9, True])
def test_calls_are_counted_where_the_usage_tells_no_number_of_searches(counted: Any) -> None:
    usage = response_body()["usage"] | {"server_side_tool_usage_details": {"web_search_calls": counted}}
    with serve(always(response_body(model="grok-4.3", usage=usage))) as server:
        reply = ask(server.url, "xai", GROK)
    assert reply.usage is not None
    assert reply.usage.web_searches == 2


def test_member_without_searches_is_asked_at_chat_completions() -> None:
    with serve(always(chat_body())) as server:
        ask(server.url, "openai")
    assert server.seen[0].path == "/chat/completions"
    assert "tools" not in server.seen[0].body


def message(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": list(parts)}


WORDS = {"type": "output_text", "text": ANSWER, "annotations": []}
REFUSAL = {"type": "refusal", "refusal": "I cannot."}


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        ({"output": [message(REFUSAL)]}, CallStatus.REFUSED_BY_MODEL, "refused"),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            CallStatus.UNREADABLE,
            "1024 output tokens",
        ),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            CallStatus.REFUSED_BY_MODEL,
            "content filter",
        ),
        ({"status": "incomplete", "incomplete_details": "odd"}, CallStatus.UNREADABLE, "incomplete"),
        ({"status": "in_progress"}, CallStatus.UNREADABLE, "in_progress"),
        ({"output": []}, CallStatus.UNREADABLE, "no text"),
        ({"output": [message()]}, CallStatus.UNREADABLE, "no text"),
        ({"output": [{"type": "message", "content": "text"}]}, CallStatus.UNREADABLE, "no text"),
    ],
)
def test_answer_that_is_none_is_billed_and_says_why(changes: dict[str, Any], status: CallStatus, says: str) -> None:
    with serve(always(response_body(**changes))) as server:
        reply = ask(server.url, "openai", SEARCHING)
    assert (reply.status, reply.answer) == (status, None)
    assert says in (reply.problem or "")
    assert reply.cost_micro_usd is not None
    assert reply.cost_micro_usd > 0


def test_answer_is_the_last_message() -> None:
    early = message({"type": "output_text", "text": 'I think {"p_yes": 0.1}, but let me look.'})
    with serve(always(response_body(output=[early, message(WORDS)]))) as server:
        reply = ask(server.url, "openai", SEARCHING)
    assert reply.answer is not None
    assert reply.answer.p_yes == 0.7


@pytest.mark.parametrize("usage", [None, "many", {"input_tokens": -1, "output_tokens": 1}])
def test_answer_without_usage_is_kept_and_its_cost_unknown(usage: Any) -> None:
    with serve(always(response_body(usage=usage))) as server:
        reply = ask(server.url, "openai", SEARCHING)
    assert reply.answer is not None
    assert (reply.usage, reply.cost_micro_usd) == (None, None)


@pytest.mark.parametrize("output", [None, [1]])
def test_reply_without_output_is_a_bad_reply(output: Any) -> None:
    with serve(always(response_body(output=output))) as server, pytest.raises(BadReplyError):
        ask(server.url, "openai", SEARCHING)


@pytest.mark.parametrize(("usage", "may_be_billed"), [(None, False), ({"input_tokens": 9, "output_tokens": 0}, True)])
def test_response_that_failed_is_an_error_and_may_be_billed_where_it_used_something(
    usage: Any, *, may_be_billed: bool
) -> None:
    body = response_body(status="failed", error={"code": "server_error", "message": "Broke."}, output=[], usage=usage)
    with serve(always(body)) as server, pytest.raises(ProviderUnavailableError) as caught:
        ask(server.url, "openai", SEARCHING)
    assert caught.value.may_be_billed is may_be_billed
