from typing import Any

import pytest

from ensemble_pipeline.domain import AnomalyKind, CallStatus, Usage
from ensemble_pipeline.errors import BadReplyError
from ensemble_pipeline.providers.wire import MAX_TOKENS_PER_CALL
from ensemble_pipeline_tests.providers.helpers import ANSWER, KEY, MODELS, ask, chat_body, member_of
from ensemble_pipeline_tests.providers.loopback import always, serve


def test_xai_counts_reasoning_and_takes_the_reported_cost() -> None:
    usage = {
        "prompt_tokens": 10120,
        "completion_tokens": 1499,
        "total_tokens": 14428,
        "prompt_tokens_details": {"text_tokens": 10120, "cached_tokens": 128},
        "completion_tokens_details": {"reasoning_tokens": 2809},
        "cost_in_usd_ticks": 232856000,
    }
    with serve(always(chat_body(model="grok-4.3", usage=usage))) as server:
        reply = ask(server.url, "xai")
    assert reply.usage == Usage(10120, 4308, 128, 2809)
    assert (reply.cost_micro_usd, reply.cost_source) == (23286, "reported")
    assert reply.answer is not None
    assert (reply.answer.p_yes, reply.answer.confidence, reply.answer.reasoning) == (0.7, 0.8, "Polls agree.")


def test_xai_without_reported_cost_is_priced_from_the_list_to_the_same_figure() -> None:
    usage = {
        "prompt_tokens": 10120,
        "completion_tokens": 1499,
        "total_tokens": 14428,
        "prompt_tokens_details": {"cached_tokens": 128},
        "completion_tokens_details": {"reasoning_tokens": 2809},
    }
    with serve(always(chat_body(model="grok-4.3", usage=usage))) as server:
        reply = ask(server.url, "xai")
    assert (reply.cost_micro_usd, reply.cost_source) == (23286, "price_list")


def test_openai_counts_reasoning_once() -> None:
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 500,
        "total_tokens": 1500,
        "prompt_tokens_details": {"cached_tokens": 200},
        "completion_tokens_details": {"reasoning_tokens": 300},
    }
    with serve(always(chat_body(usage=usage), headers={"openai-processing-ms": "1234"})) as server:
        reply = ask(server.url, "openai")
    assert reply.usage == Usage(1000, 500, 200, 300)
    # by hand: 800 at 0.75, 200 at 0.075, 500 at 4.50 dollars per million
    assert (reply.cost_micro_usd, reply.cost_source) == (2865, "price_list")
    assert reply.latency_ms == 1234


@pytest.mark.parametrize("header", ["-5", "nan", "1e3", "", "99999999999999999999"])
def test_latency_is_measured_where_the_header_makes_no_sense(header: str) -> None:
    with serve(always(chat_body(), headers={"openai-processing-ms": header})) as server:
        assert 0 <= ask(server.url, "openai").latency_ms < 30_000


UPSTREAM_UNTOLD: list[dict[str, Any]] = [{}, {"upstream_inference_cost": None}, {"upstream_inference_cost": 0}]


@pytest.mark.parametrize(
    ("usage", "micro_usd"),
    [
        ({"cost": 0.0123456789}, 12346),
        ({"cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.02}}, 21000),
        ({"cost": 0.001, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.02}}, 1000),
    ],
)
def test_openrouter_cost_is_taken_as_reported(usage: dict[str, Any], micro_usd: int) -> None:
    body = chat_body(model="x-ai/grok-4.6", usage={"prompt_tokens": 10, "completion_tokens": 5} | usage)
    with serve(always(body)) as server:
        reply = ask(server.url, "openrouter")
    assert (reply.cost_micro_usd, reply.cost_source) == (micro_usd, "reported")


@pytest.mark.parametrize(
    ("changes", "most"),
    [
        # by the list alone, and each price by whichever of list and settings says more
        ({}, {"prompt": 2, "completion": 6}),
        ({"input_usd_per_mtok": "3", "output_usd_per_mtok": "1"}, {"prompt": 3, "completion": 6}),
        ({"model": "own", "input_usd_per_mtok": "0.25", "output_usd_per_mtok": "0"}, {"prompt": 0.25, "completion": 0}),
    ],
)
def test_openrouter_is_told_the_highest_price_that_the_worst_case_reckons_with(
    changes: dict[str, Any], most: dict[str, float]
) -> None:
    body = chat_body(model="x-ai/grok-4.6", usage={"prompt_tokens": 10, "completion_tokens": 5, "cost": 0.001})
    with serve(always(body)) as server:
        ask(server.url, "openrouter", member_of("openrouter", **changes))
    assert server.seen[0].body["provider"] == {"require_parameters": True, "max_price": most}


@pytest.mark.parametrize("provider", ["openai", "xai", "local"])
def test_nobody_else_is_told_a_price(provider: str) -> None:
    with serve(always(chat_body(model=MODELS[provider]))) as server:
        ask(server.url, provider)
    assert "provider" not in server.seen[0].body


@pytest.mark.parametrize("details", [{}, {"cost_details": None}, *({"cost_details": it} for it in UPSTREAM_UNTOLD)])
@pytest.mark.parametrize("fee", [0, 0.001])
def test_fee_for_ones_own_key_is_not_the_cost_where_the_hosts_own_bill_is_not_told(
    details: dict[str, Any], fee: float
) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "cost": fee, "is_byok": True}
    with serve(always(chat_body(model="x-ai/grok-4.6", usage=usage | details))) as server:
        reply = ask(server.url, "openrouter")
    # 1000 in and 100 out at 2 and 6 dollars per million
    assert (reply.cost_micro_usd, reply.cost_source, reply.anomalies) == (2600, "price_list", ())


@pytest.mark.parametrize(
    ("provider", "cost", "listed"),
    [
        ("openrouter", {"cost": 0}, 2600),
        ("openrouter", {"cost": 0.0}, 2600),
        ("xai", {"cost_in_usd_ticks": 0}, 1500),
    ],
)
def test_reported_cost_of_nothing_is_told_and_the_list_asked(provider: str, cost: dict[str, Any], listed: int) -> None:
    body = chat_body(model=MODELS[provider], usage={"prompt_tokens": 1000, "completion_tokens": 100} | cost)
    with serve(always(body)) as server:
        reply = ask(server.url, provider)
    assert reply.answer is not None
    assert (reply.cost_micro_usd, reply.cost_source) == (listed, "price_list")
    [anomaly] = reply.anomalies
    assert (anomaly.kind, anomaly.claimed_micro_usd) == (AnomalyKind.ZERO_COST, 0)
    assert anomaly.claim.startswith("reported says 0 micro-dollars")


@pytest.mark.parametrize("provider", ["openai", "openrouter", "xai"])
def test_answer_that_used_no_tokens_is_told_and_its_cost_unknown(provider: str) -> None:
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    with serve(always(chat_body(model=MODELS[provider], usage=usage))) as server:
        reply = ask(server.url, provider)
    assert reply.answer is not None
    assert (reply.cost_micro_usd, reply.cost_source) == (None, "unknown")
    assert [it.kind for it in reply.anomalies] == [AnomalyKind.ZERO_COST]


@pytest.mark.parametrize(
    ("provider", "cost"),
    [
        ("openrouter", {"cost": -0.01}),
        ("openrouter", {"cost": 1e300}),
        ("openrouter", {"cost": "0.01"}),
        ("openrouter", {"cost": True}),
        ("openrouter", {"cost": -(10**400)}),
        ("openrouter", {"cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": -1}}),
        ("xai", {"cost_in_usd_ticks": -1}),
        ("xai", {"cost_in_usd_ticks": 10**40}),
    ],
)
def test_reported_cost_that_is_no_amount_is_told_and_the_list_asked_and_the_answer_kept(
    provider: str, cost: dict[str, Any]
) -> None:
    models = {"openrouter": "x-ai/grok-4.6", "xai": "grok-4.3"}
    body = chat_body(model=models[provider], usage={"prompt_tokens": 1000, "completion_tokens": 100} | cost)
    with serve(always(body)) as server:
        reply = ask(server.url, provider)
    assert reply.answer is not None
    # 1000 in and 100 out at 2 and 6, and at 1.25 and 2.50 dollars per million
    assert (reply.cost_micro_usd, reply.cost_source) == ({"openrouter": 2600, "xai": 1500}[provider], "price_list")
    [anomaly] = reply.anomalies
    assert (anomaly.kind, anomaly.claimed_micro_usd) == (AnomalyKind.UNUSABLE_REPORT, None)
    assert anomaly.claim.startswith("usage.cost")
    assert len(anomaly.claim) < 200


@pytest.mark.parametrize("number", ["NaN", "Infinity"])
def test_number_that_is_no_json_makes_the_whole_reply_bad(number: str) -> None:
    body = chat_body(usage={"prompt_tokens": 10, "completion_tokens": 5, "cost": float(number.lower())})
    with serve(always(body)) as server, pytest.raises(BadReplyError) as caught:
        ask(server.url, "openrouter")
    assert caught.value.may_be_billed


def test_cost_beyond_belief_is_told_and_the_list_asked() -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "cost": 50}
    with serve(always(chat_body(model="x-ai/grok-4.6", usage=usage))) as server:
        reply = ask(server.url, "openrouter")
    assert (reply.cost_micro_usd, reply.cost_source) == (2600, "price_list")
    [anomaly] = reply.anomalies
    assert (anomaly.kind, anomaly.claimed_micro_usd) == (AnomalyKind.ABSURD_COST, 50_000_000)


def test_cost_above_the_worst_case_is_believed_and_told() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "cost": 0.05}
    with serve(always(chat_body(model="x-ai/grok-4.6", usage=usage))) as server:
        reply = ask(server.url, "openrouter")
    assert (reply.cost_micro_usd, reply.cost_source) == (50_000, "reported")
    assert [it.kind for it in reply.anomalies] == [AnomalyKind.OVERRUN]


def test_web_searches_are_paid_for_at_the_list_price() -> None:
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 200,
        "total_tokens": 1200,
        "server_tool_use": {"web_search_requests": 1},
    }
    with serve(always(chat_body(usage=usage))) as server:
        reply = ask(server.url, "openai")
    # 750 + 900 for tokens, a cent for the search
    assert (reply.usage, reply.cost_micro_usd) == (Usage(1000, 200, web_searches=1), 11_650)


def test_request_carries_schema_bound_and_key() -> None:
    with serve(always(chat_body())) as server:
        ask(server.url + "/v1", "openai")
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("POST", "/v1/chat/completions")
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.body["max_completion_tokens"] == 1024
    assert "temperature" not in seen.body
    assert "max_tokens" not in seen.body
    schema = seen.body["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert sorted(schema["schema"]["required"]) == sorted(schema["schema"]["properties"])
    assert [message["role"] for message in seen.body["messages"]] == ["system", "user"]


def test_local_server_gets_no_key_and_both_names_of_the_bound_and_is_free() -> None:
    with serve(always(chat_body(model="llama3.2"))) as server:
        reply = ask(server.url, "local", environ={})
    assert "authorization" not in server.seen[0].headers
    assert server.seen[0].body["max_tokens"] == server.seen[0].body["max_completion_tokens"] == 1024
    assert (reply.cost_micro_usd, reply.cost_source) == (0, "settings")


@pytest.mark.parametrize(
    ("changes", "status", "word"),
    [
        ({"refusal": "I cannot help with that."}, CallStatus.REFUSED_BY_MODEL, "refused"),
        ({"finish_reason": "content_filter"}, CallStatus.REFUSED_BY_MODEL, "filter"),
        ({"finish_reason": "length"}, CallStatus.UNREADABLE, "1024"),
        ({"finish_reason": "error"}, CallStatus.UNREADABLE, "broke the answer off"),
        ({"text": None}, CallStatus.UNREADABLE, "no text"),
        ({"text": "About 60%."}, CallStatus.UNREADABLE, "no JSON object"),
    ],
)
def test_reply_without_an_answer_is_billed_and_says_why(changes: dict[str, Any], status: CallStatus, word: str) -> None:
    with serve(always(chat_body(**changes))) as server:
        reply = ask(server.url, "openai")
    assert reply.status is status
    assert reply.answer is None
    assert reply.problem is not None
    assert word in reply.problem
    assert reply.cost_micro_usd == 1650


def test_model_that_answered_is_priced_not_the_one_asked() -> None:
    with serve(always(chat_body(model="gpt-4.1-mini"))) as server:
        reply = ask(server.url, "openai")
    assert reply.response_model == "gpt-4.1-mini"
    assert reply.cost_micro_usd == 720


def test_reply_of_a_model_without_price_is_kept_with_its_cost_unknown() -> None:
    with serve(always(chat_body(model="never-heard-of"))) as server:
        reply = ask(server.url, "openai")
    assert reply.status is CallStatus.ANSWERED
    assert (reply.cost_micro_usd, reply.cost_source) == (None, "unknown")
    [anomaly] = reply.anomalies
    assert anomaly.kind is AnomalyKind.PRICE_UNKNOWN
    assert "never-heard-of" in anomaly.claim
    assert "`input_usd_per_mtok`" in anomaly.claim


@pytest.mark.parametrize(
    "body",
    [
        chat_body(choices=[]),
        chat_body(choices=None),
        chat_body(choices=["text"]),
        chat_body(choices=[{"message": "text"}]),
        ["not", "an", "object"],
        None,
    ],
)
def test_reply_that_breaks_the_wire_format_is_a_bad_reply(body: Any) -> None:
    with serve(always(body)) as server, pytest.raises(BadReplyError) as caught:
        ask(server.url, "openai")
    assert caught.value.may_be_billed
    assert caught.value.is_retryable


@pytest.mark.parametrize(
    "usage",
    [
        None,
        "many",
        [],
        {"prompt_tokens": -1, "completion_tokens": 1},
        {"prompt_tokens": True, "completion_tokens": 1},
        {"prompt_tokens": 1.5, "completion_tokens": 1},
        {"prompt_tokens": 10**12, "completion_tokens": 1},
        {"prompt_tokens": MAX_TOKENS_PER_CALL + 1, "completion_tokens": 1},
        {"prompt_tokens": MAX_TOKENS_PER_CALL, "completion_tokens": 1},
        {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": MAX_TOKENS_PER_CALL + 1},
        {"prompt_tokens": 1, "completion_tokens_details": []},
    ],
)
@pytest.mark.parametrize("provider", ["openai", "openrouter", "xai"])
def test_usage_that_cannot_be_read_leaves_the_cost_unknown_and_keeps_the_answer(provider: str, usage: Any) -> None:
    with serve(always(chat_body(model=MODELS[provider], usage=usage))) as server:
        reply = ask(server.url, provider)
    assert reply.answer is not None
    assert (reply.usage, reply.cost_micro_usd, reply.cost_source) == (None, None, "unknown")
    assert [it.kind for it in reply.anomalies] == [AnomalyKind.USAGE_MISSING]


def test_usage_at_the_bound_is_read() -> None:
    usage = {"prompt_tokens": MAX_TOKENS_PER_CALL - 1, "completion_tokens": 1, "total_tokens": MAX_TOKENS_PER_CALL}
    with serve(always(chat_body(usage=usage))) as server:
        assert ask(server.url, "openai").usage == Usage(MAX_TOKENS_PER_CALL - 1, 1)


def test_free_model_without_usage_is_free_and_nothing_is_odd() -> None:
    with serve(always(chat_body(model="llama3.2", usage=None))) as server:
        reply = ask(server.url, "local")
    assert (reply.usage, reply.cost_micro_usd, reply.cost_source, reply.anomalies) == (None, 0, "settings", ())


def test_text_that_a_database_cannot_hold_is_cleaned() -> None:
    with serve(always(chat_body(text="\x00\ud800" + ANSWER))) as server:
        reply = ask(server.url, "openai")
    assert reply.text == "?" + ANSWER
    assert reply.status is CallStatus.ANSWERED
