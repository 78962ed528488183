from typing import Any

import pytest

from ensemble_pipeline.domain import AnomalyKind, CallStatus, Usage
from ensemble_pipeline.providers.wire import MAX_TOKENS_PER_CALL
from ensemble_pipeline_tests.providers.helpers import KEY, ask, messages_body
from ensemble_pipeline_tests.providers.loopback import always, serve


def test_usage_adds_the_cache_to_the_input() -> None:
    usage: dict[str, Any] = {
        "cache_creation_input_tokens": 400,
        "cache_read_input_tokens": 600,
        "output_tokens_details": {"thinking_tokens": 50},
    }
    with serve(always(messages_body(**usage))) as server:
        reply = ask(server.url, "anthropic")
    assert reply.usage == Usage(2000, 200, 600, 50, cache_write_tokens=400)
    # by hand: 1000 at 0.10, 400 written at 0.125, 600 read at 0.01, 200 at 0.50 dollars per million
    assert (reply.cost_micro_usd, reply.cost_source) == (256, "price_list")


def test_answer_comes_from_text_blocks_alone() -> None:
    with serve(always(messages_body())) as server:
        reply = ask(server.url, "anthropic")
    assert reply.status is CallStatus.ANSWERED
    assert reply.answer is not None
    assert reply.answer.p_yes == 0.7


def test_request_carries_version_schema_and_key_but_no_temperature() -> None:
    with serve(always(messages_body())) as server:
        ask(server.url + "/v1", "anthropic")
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("POST", "/v1/messages")
    assert seen.headers["x-api-key"] == KEY
    assert seen.headers["anthropic-version"] == "2026-10-21"
    assert seen.body["output_config"]["format"]["type"] == "json_schema"
    assert seen.body["output_config"]["format"]["schema"]["additionalProperties"] is False
    assert not {"temperature", "top_p", "top_k"} & seen.body.keys()
    assert seen.body["max_tokens"] == 1024


@pytest.mark.parametrize(
    ("stop_reason", "status", "word"),
    [
        ("refusal", CallStatus.REFUSED_BY_MODEL, "refused"),
        ("max_tokens", CallStatus.UNREADABLE, "1024"),
        ("model_context_window_exceeded", CallStatus.UNREADABLE, "model_context_window_exceeded"),
        ("pause_turn", CallStatus.UNREADABLE, "pause_turn"),
    ],
)
def test_unfinished_answer_is_billed_and_says_why(stop_reason: str, status: CallStatus, word: str) -> None:
    with serve(always(messages_body(stop_reason=stop_reason))) as server:
        reply = ask(server.url, "anthropic")
    assert (reply.status, reply.answer) == (status, None)
    assert word in (reply.problem or "")
    assert reply.cost_micro_usd == 200


def test_cache_for_an_hour_and_web_searches_are_paid_at_their_own_prices() -> None:
    usage: dict[str, Any] = {
        "cache_creation_input_tokens": 400,
        "cache_creation": {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 100},
        "server_tool_use": {"web_search_requests": 1},
    }
    with serve(always(messages_body(**usage))) as server:
        reply = ask(server.url, "anthropic")
    assert reply.usage == Usage(1400, 200, cache_write_tokens=400, cache_write_1h_tokens=100, web_searches=1)
    # 1000 at 0.10, 300 at 0.125, 100 at 0.20, 200 at 0.50 dollars per million, a search at a cent
    assert (reply.cost_micro_usd, reply.cost_source) == (10_258, "price_list")
    # the settings say that this member searches nothing
    assert [it.kind for it in reply.anomalies] == [AnomalyKind.OVERRUN]


MOST = MAX_TOKENS_PER_CALL


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {"input_tokens": 5},
        {"input_tokens": "many", "output_tokens": 1},
        {"input_tokens": MOST + 1, "output_tokens": 1},
        {"input_tokens": 1, "output_tokens": MOST + 1},
        {"input_tokens": MOST, "output_tokens": 1},
        # each can be believed, all together cannot, nor can a database's integer hold them
        {
            "input_tokens": MOST,
            "output_tokens": 1,
            "cache_creation_input_tokens": MOST,
            "cache_read_input_tokens": MOST,
        },
    ],
)
def test_reply_without_usage_keeps_the_answer_and_leaves_the_cost_unknown(usage: Any) -> None:
    with serve(always(messages_body() | {"usage": usage})) as server:
        reply = ask(server.url, "anthropic")
    assert reply.answer is not None
    assert (reply.usage, reply.cost_micro_usd) == (None, None)
    assert [it.kind for it in reply.anomalies] == [AnomalyKind.USAGE_MISSING]


def test_answer_that_used_no_tokens_is_told_and_its_cost_unknown() -> None:
    with serve(always(messages_body(input_tokens=0, output_tokens=0))) as server:
        reply = ask(server.url, "anthropic")
    assert reply.answer is not None
    assert (reply.cost_micro_usd, reply.cost_source) == (None, "unknown")
    assert [it.kind for it in reply.anomalies] == [AnomalyKind.ZERO_COST]


def test_usage_at_the_bound_is_read() -> None:
    usage: dict[str, Any] = {"input_tokens": MOST - 3, "output_tokens": 1, "cache_read_input_tokens": 2}
    with serve(always(messages_body(**usage))) as server:
        assert ask(server.url, "anthropic").usage == Usage(MOST - 1, 1, 2)
