from typing import Any

import pytest

from ensemble_pipeline.domain import CallStatus, Usage
from ensemble_pipeline.errors import BadReplyError
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
    assert reply.usage == Usage(2000, 200, 600, 50)
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


def test_reply_without_usage_is_a_bad_reply() -> None:
    with serve(always(messages_body() | {"usage": None})) as server, pytest.raises(BadReplyError, match="usage"):
        ask(server.url, "anthropic")
