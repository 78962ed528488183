import json
from typing import Any

import httpx
import pytest

from ensemble_pipeline.domain import AnswerFormat, CallStatus
from ensemble_pipeline.errors import FormatRefusedError, ProviderError
from ensemble_pipeline.providers.answers import ANSWER_SCHEMA, keeps_form
from ensemble_pipeline.providers.endpoint import Endpoint
from ensemble_pipeline.providers.http_errors import error_from_response
from ensemble_pipeline.providers.prices import PROMPT_OVERHEAD_TOKENS
from ensemble_pipeline.providers.prompts import with_schema
from ensemble_pipeline_tests.providers.helpers import (
    ANSWER,
    ask,
    chat_body,
    member_of,
    messages_body,
    prompt_of,
    response_body,
)
from ensemble_pipeline_tests.providers.loopback import always, serve

SCHEMA, OBJECT, TEXT = AnswerFormat
CHAT = {
    SCHEMA: {
        "type": "json_schema",
        "json_schema": {"name": "forecast", "strict": True, "schema": ANSWER_SCHEMA},
    },
    OBJECT: {"type": "json_object"},
    TEXT: None,
}
RESPONSES = {
    SCHEMA: {"format": {"type": "json_schema", "name": "forecast", "strict": True, "schema": ANSWER_SCHEMA}},
    OBJECT: {"format": {"type": "json_object"}},
    TEXT: None,
}
MESSAGES = {SCHEMA: {"format": {"type": "json_schema", "schema": ANSWER_SCHEMA}}, OBJECT: None, TEXT: None}


def has_schema(system: str) -> bool:
    return json.dumps(ANSWER_SCHEMA, separators=(",", ":")) in system


@pytest.mark.parametrize("answer_format", AnswerFormat)
def test_chat_is_asked_in_the_form_that_is_remembered(answer_format: AnswerFormat) -> None:
    with serve(always(chat_body(model="llama3.2"))) as server:
        reply = ask(server.url, "local", answer_format=answer_format)
    body = server.seen[0].body
    assert body.get("response_format") == CHAT[answer_format]
    assert has_schema(body["messages"][0]["content"]) is (answer_format is not SCHEMA)
    assert (reply.answer_format, reply.is_format_ignored) == (answer_format, False)
    assert reply.answer is not None


@pytest.mark.parametrize("answer_format", AnswerFormat)
def test_responses_are_asked_for_in_the_form_that_is_remembered(answer_format: AnswerFormat) -> None:
    with serve(always(response_body())) as server:
        ask(server.url, "openai", member_of("openai", max_web_searches=2), answer_format=answer_format)
    body = server.seen[0].body
    assert body.get("text") == RESPONSES[answer_format]
    assert has_schema(body["input"][0]["content"]) is (answer_format is not SCHEMA)


@pytest.mark.parametrize("answer_format", AnswerFormat)
def test_messages_are_asked_for_with_a_schema_or_without_a_form(answer_format: AnswerFormat) -> None:
    with serve(always(messages_body())) as server:
        ask(server.url, "anthropic", answer_format=answer_format)
    body = server.seen[0].body
    assert body.get("output_config") == MESSAGES[answer_format]
    assert has_schema(body["system"]) is (answer_format is not SCHEMA)


REFUSALS = [
    ("local", 400, {"error": "'response_format.type' must be 'json_schema' or 'text'"}),
    ("local", 422, {"detail": "json_schema is not supported by this server"}),
    ("local", 400, {"error": {"code": 400, "message": "Failed to parse grammar", "type": "invalid_request_error"}}),
    ("local", 400, {"object": "error", "message": "Invalid json_schema: too deep", "code": 400}),
    (
        "openai",
        400,
        {
            "error": {
                "message": "Invalid parameter: 'response_format' of type 'json_schema' is not supported.",
                "code": None,
            }
        },
    ),
    ("openai", 400, {"error": {"message": "Web Search cannot be used with JSON mode.", "code": None}}),
    ("xai", 400, {"code": "Client specified an invalid argument", "error": "Structured outputs are not supported."}),
    (
        "anthropic",
        400,
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "output_config.format: not supported by claude-2"},
        },
    ),
    (
        "openrouter",
        404,
        {"error": {"message": "No endpoints found that can handle the requested parameters.", "code": 404}},
    ),
]


@pytest.mark.parametrize(("provider", "status", "body"), REFUSALS)
def test_refusal_of_a_form_is_told_from_other_refusals(provider: str, status: int, body: Any) -> None:
    error = error_from_response(httpx.Response(status, json=body), Endpoint(provider, "http://x/v1", 1.0))
    assert type(error) is FormatRefusedError
    assert not error.may_be_billed


@pytest.mark.parametrize("answer_format", [SCHEMA, OBJECT])
def test_refused_form_says_which_it_was_while_a_plainer_one_is_left(answer_format: AnswerFormat) -> None:
    provider, status, body = REFUSALS[0]
    with serve(always(body, status)) as server, pytest.raises(FormatRefusedError) as caught:
        ask(server.url, provider, answer_format=answer_format)
    assert len(server.seen) == 1
    assert (caught.value.answer_format, caught.value.is_retryable) == (answer_format, True)


def test_server_that_refuses_the_plainest_form_refuses_the_request() -> None:
    provider, status, body = REFUSALS[0]
    with serve(always(body, status)) as server, pytest.raises(ProviderError, match="There is none") as caught:
        ask(server.url, provider, answer_format=TEXT)
    assert type(caught.value) is ProviderError
    assert (caught.value.http_status, caught.value.is_retryable, caught.value.may_be_billed) == (400, False, False)
    assert "'response_format.type' must be" in str(caught.value)
    assert len(server.seen) == 1


def test_refused_form_may_be_asked_for_more_plainly_whatever_the_provider_says_of_the_same_request() -> None:
    body = {"error": {"message": "'response_format' is not supported", "type": "invalid_request_error", "code": None}}
    response = httpx.Response(400, json=body, headers={"x-should-retry": "false"})
    assert error_from_response(response, Endpoint("openai", "http://x/v1", 1.0)).is_retryable


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (ANSWER, {SCHEMA, OBJECT, TEXT}),
        ('{"reasoning": "", "p_yes": 60, "confidence": 1}', {SCHEMA, OBJECT, TEXT}),
        ('{"reasoning": "", "p_yes": "60%", "confidence": 1}', {OBJECT, TEXT}),
        ('{"reasoning": "", "p_yes": true, "confidence": 1}', {OBJECT, TEXT}),
        ('{"reasoning": 1, "p_yes": 0.6, "confidence": 1}', {OBJECT, TEXT}),
        ('{"p_yes": 0.6}', {OBJECT, TEXT}),
        ('{"reasoning": "", "p_yes": 0.6, "confidence": 1, "x": 1}', {OBJECT, TEXT}),
        (f"```json\n{ANSWER}\n```", {TEXT}),
        ("[1]", {TEXT}),
        ("0.6", {TEXT}),
        ("60%", {TEXT}),
        ("[" * 100_000, {TEXT}),
        ("", {TEXT}),
    ],
)
def test_text_keeps_a_form_or_does_not(text: str, kept: set[AnswerFormat]) -> None:
    assert {answer_format for answer_format in AnswerFormat if keeps_form(text, answer_format)} == kept


@pytest.mark.parametrize(
    ("text", "status", "ignored"),
    [
        ("I would say 70%.", CallStatus.UNREADABLE, True),
        (f"Here it is: {ANSWER}", CallStatus.ANSWERED, False),
        ('{"reasoning": "", "p_yes": 70, "confidence": 1}', CallStatus.UNREADABLE, False),
    ],
)
def test_form_counts_as_ignored_only_where_the_answer_cannot_be_read_for_it(
    text: str, status: CallStatus, *, ignored: bool
) -> None:
    with serve(always(chat_body(text, model="llama3.2"))) as server:
        reply = ask(server.url, "local")
    assert (reply.status, reply.is_format_ignored) == (status, ignored)


@pytest.mark.parametrize(
    "changes", [{"finish_reason": "length"}, {"finish_reason": "content_filter"}, {"refusal": "No."}]
)
def test_answer_that_did_not_end_says_nothing_about_the_form(changes: dict[str, Any]) -> None:
    with serve(always(chat_body("I would", model="llama3.2", **changes))) as server:
        assert not ask(server.url, "local").is_format_ignored


def test_what_the_schema_adds_to_a_prompt_is_within_what_a_worst_case_reckons_for_it() -> None:
    plain = prompt_of()
    told = with_schema(plain)
    assert (told.user, told.prompt_hash) == (plain.user, plain.prompt_hash)
    # the rest is for the provider's own framing
    assert len(told.system.encode()) - len(plain.system.encode()) < PROMPT_OVERHEAD_TOKENS * 0.7
