import asyncio
import json
import socket
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ensemble_pipeline.errors import (
    BadReplyError,
    ContentRefusedError,
    CredentialsError,
    FormatRefusedError,
    ModelGoneError,
    OutOfCreditError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)
from ensemble_pipeline.providers.endpoint import Endpoint
from ensemble_pipeline.providers.http_errors import error_from_response, retry_after_s
from ensemble_pipeline_tests.providers.helpers import KEY, ask
from ensemble_pipeline_tests.providers.loopback import always, serve


def openai_error(code: str | None, kind: str = "invalid_request_error", message: str = "Something.") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def anthropic_error(kind: str, message: str = "Something.", **details: Any) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message, "details": details or None}}


def xai_error(message: str) -> dict[str, Any]:
    return {"code": "Client specified an invalid argument", "error": message}


VLLM = {"object": "error", "param": None, "code": 404}
FLAGGED = "Content violates usage guidelines. API key ID: 0, Failed check: SAFETY_CHECK_TYPE_BIO"
MODERATED = 'The model x/y requires moderation on z. Your input was flagged for "violence". No credits were charged.'
LOADING = {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}

CASES: list[tuple[str, int, Any, type[ProviderError]]] = [
    ("openai", 429, openai_error("rate_limit_exceeded", "requests"), RateLimitedError),
    ("openai", 429, openai_error("slow_down"), RateLimitedError),
    ("openai", 429, "<html>slow down</html>", RateLimitedError),
    ("openai", 429, openai_error(None, "insufficient_quota"), OutOfCreditError),
    ("openai", 429, openai_error("credit_balance_exhausted"), OutOfCreditError),
    ("openai", 429, openai_error("project_spend_limit_exceeded"), OutOfCreditError),
    ("openai", 429, openai_error("organization_spend_limit_exceeded"), OutOfCreditError),
    ("openai", 429, openai_error("organization_usage_limit_exceeded"), OutOfCreditError),
    ("openai", 401, openai_error("invalid_api_key"), CredentialsError),
    ("openai", 403, openai_error(None), CredentialsError),
    ("openai", 404, openai_error("model_not_found"), ModelGoneError),
    ("openai", 404, "<html>nginx: no model here</html>", ProviderError),
    ("openai", 404, {"detail": "Not Found"}, ProviderError),
    ("openai", 400, openai_error("context_length_exceeded"), ProviderError),
    ("openai", 301, "", ProviderError),
    ("openai", 500, openai_error(None, "server_error"), ProviderUnavailableError),
    ("openai", 503, openai_error("server_is_overloaded"), ProviderUnavailableError),
    ("openai", 502, "<html>Bad Gateway</html>", ProviderUnavailableError),
    ("openai", 200, "<html>Sign in</html>", BadReplyError),
    ("openai", 200, '{"choices": [{"mess', BadReplyError),
    ("openai", 200, "[" * 100_000, BadReplyError),
    ("xai", 400, xai_error("Incorrect API key provided: xa***ey. Obtain one at console.x.ai."), CredentialsError),
    ("xai", 400, xai_error("Invalid argument."), ProviderError),
    ("xai", 403, xai_error("Your newly created team doesn't have any credits yet."), OutOfCreditError),
    ("xai", 404, xai_error("The model grok-9 does not exist."), ModelGoneError),
    ("xai", 410, xai_error("Live search is gone."), ProviderError),
    ("xai", 401, {"code": "Unauthenticated", "error": "No API key provided."}, CredentialsError),
    ("xai", 422, xai_error("Failed to deserialize the JSON body."), ProviderError),
    ("xai", 429, {"code": "Some resource has been exhausted", "error": "Too many requests."}, RateLimitedError),
    ("xai", 503, {"code": "The service is currently unavailable", "error": "Overloaded."}, ProviderUnavailableError),
    ("openai", 400, openai_error("invalid_prompt"), ContentRefusedError),
    ("openai", 400, openai_error("content_policy_violation"), ContentRefusedError),
    ("openai", 400, openai_error("content_filter"), ContentRefusedError),
    ("openai", 400, openai_error(None, message="This request has been flagged for a risk."), ContentRefusedError),
    ("openai", 401, openai_error(None, message="Your account was flagged."), CredentialsError),
    ("openai", 403, openai_error(None, message="Your account was closed over content."), CredentialsError),
    ("openai", 200, {"error": {"code": "invalid_prompt", "message": "No."}, "output": []}, ContentRefusedError),
    ("xai", 403, xai_error(FLAGGED), ContentRefusedError),
    ("xai", 400, xai_error(FLAGGED), ContentRefusedError),
    ("anthropic", 400, anthropic_error("x", "Output blocked by content filtering policy"), ContentRefusedError),
    ("openrouter", 403, {"error": {"message": MODERATED, "code": 403}}, ContentRefusedError),
    ("openrouter", 200, {"error": {"message": MODERATED, "code": 403}}, ContentRefusedError),
    ("anthropic", 401, anthropic_error("authentication_error"), CredentialsError),
    ("anthropic", 402, anthropic_error("billing_error"), OutOfCreditError),
    ("anthropic", 400, anthropic_error("invalid_request_error", "Your credit balance is too low."), OutOfCreditError),
    ("anthropic", 404, anthropic_error("not_found_error", "model: claude-9"), ModelGoneError),
    ("anthropic", 429, anthropic_error("rate_limit_error"), RateLimitedError),
    (
        "anthropic",
        429,
        anthropic_error("rate_limit_error", error_code="enforced_spend_limit_reached"),
        OutOfCreditError,
    ),
    ("anthropic", 403, anthropic_error("permission_error"), CredentialsError),
    ("anthropic", 409, anthropic_error("conflict_error"), ProviderError),
    ("anthropic", 413, anthropic_error("request_too_large"), ProviderError),
    ("anthropic", 500, anthropic_error("api_error"), ProviderUnavailableError),
    ("anthropic", 504, anthropic_error("timeout_error"), ProviderUnavailableError),
    ("anthropic", 529, anthropic_error("overloaded_error"), ProviderUnavailableError),
    ("openrouter", 402, {"error": {"message": "Insufficient credits", "code": 402}}, OutOfCreditError),
    ("openrouter", 400, {"error": {"message": "x/y is not a valid model ID", "code": 400}}, ModelGoneError),
    ("openrouter", 404, {"error": {"message": "No endpoints found for x/y.", "code": 404}}, ModelGoneError),
    ("openrouter", 401, {"error": {"message": "User not found.", "code": 401}}, CredentialsError),
    ("openrouter", 429, {"error": {"message": "Rate limit exceeded", "code": 429}}, RateLimitedError),
    ("openrouter", 503, {"error": {"message": "Provider returned error", "code": 503}}, ProviderUnavailableError),
    ("openrouter", 200, {"error": {"message": "Upstream is slow", "code": 429}}, RateLimitedError),
    ("openrouter", 200, {"error": {"message": "Upstream broke", "code": "odd"}}, ProviderUnavailableError),
    # Ollama, then vLLM in its older and its newer shape, then llama.cpp
    ("local", 404, {"error": {"message": 'model "llama" not found, try pulling it first'}}, ModelGoneError),
    (
        "local",
        503,
        {"error": {"message": "server busy, please try again", "type": "api_error"}},
        ProviderUnavailableError,
    ),
    ("local", 404, VLLM | {"message": "The model `llama` does not exist.", "type": "NotFoundError"}, ModelGoneError),
    ("local", 404, {"error": {"message": "The model `llama` does not exist.", "code": 404}}, ModelGoneError),
    ("local", 400, VLLM | {"message": "This model's maximum context length is 8 tokens."}, ProviderError),
    ("local", 401, {"error": "Unauthorized"}, CredentialsError),
    ("local", 503, LOADING, ProviderUnavailableError),
    ("local", 400, {"error": {"code": 400, "message": "the request exceeds the context size"}}, ProviderError),
]


@pytest.mark.parametrize(("provider", "status", "body", "kind"), CASES)
def test_each_failure_becomes_its_error(provider: str, status: int, body: Any, kind: type[ProviderError]) -> None:
    with serve(always(body, status)) as server, pytest.raises(ProviderError) as caught:
        ask(server.url, provider)
    assert type(caught.value) is kind
    assert provider in str(caught.value)
    assert len(str(caught.value)) < 500
    if status != 200:
        assert caught.value.http_status == status
        assert str(status) in str(caught.value)


HTML = "<html>Bad Gateway</html>"
OWN = {
    "openai": openai_error("server_error", "server_error"),
    "xai": {"code": "The service is currently unavailable", "error": "Overloaded."},
    "anthropic": anthropic_error("api_error"),
    "openrouter": {"error": {"message": "Provider returned error", "code": 503}},
}


def error_of(provider: str, status: int, body: Any) -> ProviderError:
    content = body if isinstance(body, str) else json.dumps(body)
    return error_from_response(httpx.Response(status, text=content), Endpoint(provider, "http://x/v1", 1.0))


OURS = "Will an API key of model M be not found in a response_format with json_schema? Models say: any credits?"
ECHOES: list[tuple[str, int, Any]] = [
    ("local", 400, {"received": {"messages": [{"content": OURS}], "response_format": {"type": "json_schema"}}}),
    ("local", 422, {"detail": [{"loc": ["body", "seed"], "msg": "Not a number", "input": {"messages": OURS}}]}),
    ("local", 400, f"cannot read {OURS}"),
    ("local", 422, [OURS]),
    ("local", 404, {"request": OURS}),
    ("xai", 403, {"request": OURS}),
    ("openai", 400, openai_error(None, message=f"Cannot read this: {'x' * 500} {OURS}")),
]


@pytest.mark.parametrize(("provider", "status", "body"), ECHOES)
def test_words_of_a_question_that_a_body_repeats_say_nothing(provider: str, status: int, body: Any) -> None:
    kind = CredentialsError if status == 403 else ProviderError
    assert type(error_of(provider, status, body)) is kind


def test_body_without_a_message_is_shown_all_the_same() -> None:
    assert "too many cooks" in str(error_of("local", 400, "too many cooks"))
    assert "too many cooks" in str(error_of("local", 400, {"reason": "too many cooks"}))


def test_field_that_a_server_does_not_know_is_read_from_its_details() -> None:
    unknown = {"type": "extra_forbidden", "loc": ["body", "response_format"], "msg": "Extra inputs are not permitted"}
    error = error_of("local", 422, {"detail": [unknown, "odd", {"msg": "And more."}]})
    assert type(error) is FormatRefusedError
    assert "body.response_format: Extra inputs are not permitted; And more." in str(error)


@pytest.mark.parametrize("status", [408, 499, 504, 520, 521, 522, 523, 524])
def test_timeout_may_be_billed_whoever_tells_it(status: int) -> None:
    assert error_of("openai", status, HTML).may_be_billed
    for provider, body in OWN.items():
        assert error_of(provider, status, body).may_be_billed, provider


@pytest.mark.parametrize("status", [500, 502, 503, 529])
def test_server_error_is_not_billed_where_the_provider_says_in_its_own_words_that_there_is_no_answer(
    status: int,
) -> None:
    for provider, body in OWN.items():
        assert not error_of(provider, status, body).may_be_billed, provider


@pytest.mark.parametrize("status", [500, 502, 503, 525, 529, 530])
@pytest.mark.parametrize(
    "body",
    [
        "",
        HTML,
        '{"error": {"mess',
        ["error"],
        {},
        {"error": {}},
        {"error": "Bad Gateway", "status": 502},
        {"message": "The upstream server is timing out"},
    ],
    ids=str,
)
def test_server_error_that_is_not_the_providers_own_may_be_billed(status: int, body: Any) -> None:
    assert error_of("openai", status, body).may_be_billed


def test_server_error_whose_code_speaks_of_a_timeout_may_be_billed() -> None:
    assert error_of("anthropic", 500, anthropic_error("timeout_error")).may_be_billed


@pytest.mark.parametrize("status", [301, 400, 401, 402, 403, 404, 409, 410, 413, 422, 429])
@pytest.mark.parametrize("body", [HTML, openai_error(None), xai_error("No.")], ids=["html", "nested", "flat"])
def test_request_that_is_refused_is_not_billed(status: int, body: Any) -> None:
    assert not error_of("openai", status, body).may_be_billed


@pytest.mark.parametrize(
    ("code", "may_be_billed"),
    [(408, True), (504, True), (524, True), ("504", True), ("timeout", True), (403, False), (429, False), (502, False)],
)
def test_error_inside_a_reply_may_be_billed_where_its_code_tells_a_timeout(code: Any, may_be_billed: bool) -> None:
    body = {"error": {"message": "Upstream failed.", "code": code}}
    with serve(always(body)) as server, pytest.raises(ProviderError) as caught:
        ask(server.url, "openrouter")
    assert caught.value.may_be_billed is may_be_billed


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_key_echoed_by_the_provider_is_in_no_error_text(status: int) -> None:
    masked = f"{KEY[:8]}***{KEY[-4:]}"
    message = f"Incorrect API key: {KEY}\x00, {KEY[:9]}\x1b{KEY[9:]}, {masked}; Bearer {KEY}"
    with serve(always(openai_error(None, message=message), status)) as server, pytest.raises(ProviderError) as caught:
        ask(server.url, "openai")
    text = f"{caught.value!s} {caught.value!r} {caught.value.__cause__!r}"
    assert "[key]" in text
    assert KEY[3:8] not in text
    assert KEY[-4:] not in text


def test_excerpt_is_short_and_holds_no_control_characters() -> None:
    body = openai_error(None, message="\x1b[31mred\nEND\u202e" + "x" * 5000)
    with serve(always(body, 500)) as server, pytest.raises(ProviderUnavailableError) as caught:
        ask(server.url, "openai")
    text = str(caught.value)
    assert text.isprintable()
    assert text.count("x") < 200


def test_credentials_error_names_the_variable_to_set() -> None:
    with serve(always(openai_error("invalid_api_key"), 401)) as server, pytest.raises(CredentialsError) as caught:
        ask(server.url, "openai")
    assert "OPENAI_API_KEY" in str(caught.value)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "7", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "86400"}, 86400.0),
        ({"retry-after": "86401"}, None),
        ({"retry-after": "1790000000"}, None),
        ({"retry-after": "1790000000000"}, None),
        ({"retry-after": "7", "retry-after-ms": "1790000000000"}, 7.0),
        ({"retry-after": "7", "retry-after-ms": "-1"}, 7.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT", "date": "Sun, 22 Nov 2026 12:00:00 GMT"}, 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 11:00:00 GMT", "date": "Sun, 22 Nov 2026 12:00:00 GMT"}, 0.0),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:00 GMT", "date": "Sun, 22 Nov 2026 12:00:00 GMT"}, 86400.0),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:01 GMT", "date": "Sun, 22 Nov 2026 12:00:00 GMT"}, None),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT"}, None),
    ],
)
def test_waiting_time_is_read_from_the_headers(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds


def test_model_that_openrouter_has_no_host_for_may_be_too_cheap_by_the_settings() -> None:
    error = error_of("openrouter", 404, {"error": {"message": "No endpoints found for x/y.", "code": 404}})
    assert type(error) is ModelGoneError
    assert "`input_usd_per_mtok`" in str(error)
    assert "ENSEMBLE_MEMBERS" in str(error)


@pytest.mark.parametrize(
    ("provider", "body", "kind", "status"),
    [
        (
            "openai",
            {"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "x"}},
            RateLimitedError,
            429,
        ),
        ("anthropic", anthropic_error("rate_limit_error"), RateLimitedError, 429),
        ("anthropic", anthropic_error("overloaded_error"), ProviderUnavailableError, 529),
        ("openai", {"status": "failed", "error": {"code": "invalid_prompt", "message": "x"}}, ContentRefusedError, 400),
        (
            "openai",
            {"status": "failed", "error": {"code": "server_error", "message": "x"}},
            ProviderUnavailableError,
            502,
        ),
    ],
)
def test_error_inside_a_reply_is_told_by_its_word(
    provider: str, body: Any, kind: type[ProviderError], status: int
) -> None:
    with serve(always(body, 200, {"retry-after": "3"})) as server, pytest.raises(ProviderError) as caught:
        ask(server.url, provider)
    assert (type(caught.value), caught.value.http_status) == (kind, status)
    assert caught.value.retry_after_s == (None if status == 400 else 3.0)


def test_rate_limit_carries_the_waiting_time() -> None:
    body = openai_error("rate_limit_exceeded")
    with (
        serve(always(body, 429, {"retry-after": "12"})) as server,
        pytest.raises(RateLimitedError) as caught,
    ):
        ask(server.url, "openai")
    assert caught.value.retry_after_s == 12.0


def test_nobody_listening_says_where_and_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://user:secret@127.0.0.1:{port}/v1"
    with pytest.raises(ProviderUnavailableError) as caught:
        ask(url, "openai")
    assert f"http://127.0.0.1:{port}/v1" in str(caught.value)
    assert "ENSEMBLE_PROVIDERS__OPENAI__BASE_URL" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not caught.value.may_be_billed


def test_silence_and_trickle_end_at_the_time_limit_and_may_be_billed() -> None:
    async def silent(request: Request) -> Response:
        await request.is_disconnected()
        await asyncio.Event().wait()
        return Response()

    async def trickle(_: Request) -> Response:
        async def drops() -> Any:
            while True:
                yield b" "
                await asyncio.sleep(0.05)

        return StreamingResponse(drops())

    for handler in (silent, trickle):
        with serve(handler) as server, pytest.raises(ProviderTimeoutError) as caught:
            ask(server.url, "openai", timeout_s=0.3)
        assert caught.value.may_be_billed
        assert "ENSEMBLE_PROVIDERS__OPENAI__TIMEOUT_S" in str(caught.value)


def test_broken_connection_may_be_billed() -> None:
    async def breaks(_: Request) -> Response:
        return Response(b"{", headers={"content-length": "100"})

    with serve(breaks) as server, pytest.raises(ProviderUnavailableError) as caught:
        ask(server.url, "openai")
    assert caught.value.may_be_billed


def test_reply_that_cannot_be_decompressed_is_a_bad_reply() -> None:
    with serve(always("no gzip", headers={"content-encoding": "gzip"})) as server, pytest.raises(BadReplyError):
        ask(server.url, "openai")


def error_with(status: int, body: Any, **headers: str) -> ProviderError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = httpx.Response(status, json=body, headers=named)
    return error_from_response(response, Endpoint("openai", "http://x/v1", 1.0))


@pytest.mark.parametrize(
    ("said", "is_retryable"), [("false", False), (" False", False), ("true", True), ("", True), ("maybe", True)]
)
def test_failure_is_not_retried_where_the_provider_says_that_this_is_hopeless(said: str, *, is_retryable: bool) -> None:
    for status, code in ((429, "rate_limit_exceeded"), (503, "server_is_overloaded")):
        assert error_with(status, openai_error(code), x_should_retry=said).is_retryable is is_retryable


def test_failure_that_cannot_pass_is_not_retried_whatever_the_provider_says() -> None:
    assert not error_with(401, openai_error("invalid_api_key"), x_should_retry="true").is_retryable


def test_waiting_time_is_kept_beside_the_word_that_waiting_is_hopeless() -> None:
    error = error_with(429, openai_error("rate_limit_exceeded"), x_should_retry="false", retry_after="900")
    assert (error.is_retryable, error.retry_after_s) == (False, 900.0)


def test_model_that_is_still_being_loaded_is_waited_for_and_owes_nothing() -> None:
    error = error_with(503, LOADING)
    assert (type(error), error.is_retryable, error.may_be_billed) == (ProviderUnavailableError, True, False)


def test_repr_of_an_endpoint_shows_no_key() -> None:
    assert KEY not in repr(Endpoint("openai", "http://x", 1.0, "OPENAI_API_KEY", SecretStr(KEY)))
