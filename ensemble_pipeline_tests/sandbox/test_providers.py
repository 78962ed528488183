import json
from collections.abc import Iterator
from decimal import Decimal

import httpx
import pytest

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.sandbox.world import FailureKind, WorldAnswer
from ensemble_pipeline_tests.sandbox.running import ask_anthropic, ask_openai, prompt_about, running_sandbox
from ensemble_pipeline_tests.sandbox.small_world import HOUR, MODELS, START, SmallWorld, make_market

ANSWER = WorldAnswer(p_yes=0.25, confidence=0.6, latency_ms=1234, input_tokens=1000, output_tokens=300)
ABOUT = prompt_about("A-1")
OPENAI_SHAPED = ("openai", "xai", "openrouter", "local")


@pytest.fixture(scope="module")
def world() -> SmallWorld:
    return SmallWorld({"A-1": make_market("A-1", "A", opens=0, closes=30, settles=31)})


@pytest.fixture(scope="module")
def sandbox(world: SmallWorld) -> Iterator[httpx.Client]:
    with running_sandbox(world, SteppedClock(START + HOUR)) as client:
        yield client


@pytest.fixture
def client(world: SmallWorld, sandbox: httpx.Client) -> httpx.Client:
    world.answers = {model.wire_model: ANSWER for model in MODELS}
    return sandbox


@pytest.mark.parametrize("provider", OPENAI_SHAPED)
def test_chat_answers_with_the_worlds_probability(client: httpx.Client, provider: str) -> None:
    body = ask_openai(client, provider, f"{provider}-model", ABOUT).raise_for_status().json()
    answer = json.loads(body["choices"][0]["message"]["content"])
    assert (answer["p_yes"], answer["confidence"]) == (0.25, 0.6)
    assert answer["reasoning"]
    assert (body["model"], body["choices"][0]["finish_reason"]) == (f"{provider}-model", "stop")


def test_chat_of_openai_counts_reasoning_in_and_tells_its_time(client: httpx.Client) -> None:
    response = ask_openai(client, "openai", "openai-model", ABOUT)
    usage = response.json()["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (1000, 300, 1300)
    assert 0 < usage["completion_tokens_details"]["reasoning_tokens"] < 300
    assert response.headers["openai-processing-ms"] == "1234"
    assert "cost" not in usage


def test_chat_of_xai_leaves_reasoning_out_and_bills_in_ticks(client: httpx.Client) -> None:
    usage = ask_openai(client, "xai", "xai-model", ABOUT).json()["usage"]
    reasoning = usage["completion_tokens_details"]["reasoning_tokens"]
    assert usage["completion_tokens"] + reasoning == 300
    assert usage["total_tokens"] == 1300
    # 1000 tokens at $2 and 300 at $10 per million are $0.005
    assert usage["cost_in_usd_ticks"] == 50_000_000


def test_chat_of_openrouter_tells_its_cost_in_usd(client: httpx.Client) -> None:
    assert ask_openai(client, "openrouter", "openrouter-model", ABOUT).json()["usage"]["cost"] == 0.005


def test_chat_of_a_local_server_wants_no_key_and_tells_tokens_only(client: httpx.Client) -> None:
    usage = ask_openai(client, "local", "local-model", ABOUT, key=None).raise_for_status().json()["usage"]
    assert set(usage) == {"prompt_tokens", "completion_tokens", "total_tokens"}


def test_archived_cost_goes_before_the_price_list(world: SmallWorld, client: httpx.Client) -> None:
    world.answers["xai-model"] = WorldAnswer(p_yes=0.5, cost_usd=Decimal("0.0232856"))
    usage = ask_openai(client, "xai", "xai-model", ABOUT).json()["usage"]
    assert usage["cost_in_usd_ticks"] == 232_856_000


def test_messages_answer_with_the_worlds_probability(client: httpx.Client) -> None:
    body = ask_anthropic(client, "anthropic-model", ABOUT).raise_for_status().json()
    (block,) = body["content"]
    assert json.loads(block["text"])["p_yes"] == 0.25
    assert (body["type"], body["stop_reason"]) == ("message", "end_turn")
    assert (body["usage"]["input_tokens"], body["usage"]["output_tokens"]) == (1000, 300)


def test_unknown_tokens_and_confidence_are_derived(world: SmallWorld, client: httpx.Client) -> None:
    world.answers["openai-model"] = WorldAnswer(p_yes=0.2)
    body = ask_openai(client, "openai", "openai-model", ABOUT).json()
    text = body["choices"][0]["message"]["content"]
    assert json.loads(text)["confidence"] == 0.8
    assert body["usage"]["prompt_tokens"] == len(ABOUT) // 4
    assert body["usage"]["completion_tokens"] == len(text) // 4


def test_without_structured_output_the_answer_is_prose(client: httpx.Client) -> None:
    body = ask_openai(client, "openai", "openai-model", ABOUT, response_format=None).json()
    assert "Probability of YES: 0.25" in body["choices"][0]["message"]["content"]


def test_token_limit_cuts_the_text_and_the_bill(client: httpx.Client) -> None:
    body = ask_openai(client, "openai", "openai-model", ABOUT, max_completion_tokens=280).json()
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 280
    message = ask_anthropic(client, "anthropic-model", ABOUT, max_tokens=16).json()
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("max_tokens", 16)


@pytest.mark.parametrize(
    ("provider", "key", "status"),
    [
        ("openai", None, 401),
        ("openai", "wrong", 401),
        ("xai", None, 401),
        ("xai", "wrong", 400),
        ("openrouter", None, 401),
        ("openrouter", "wrong", 401),
    ],
)
def test_chat_with_missing_or_wrong_key_is_refused(
    client: httpx.Client, provider: str, key: str | None, status: int
) -> None:
    response = ask_openai(client, provider, f"{provider}-model", ABOUT, key=key)
    assert response.status_code == status
    assert response.json()["error"]


def test_refusals_of_a_wrong_key_have_each_providers_shape(client: httpx.Client) -> None:
    openai = ask_openai(client, "openai", "openai-model", ABOUT, key="wrong").json()["error"]
    assert (openai["type"], openai["code"]) == ("invalid_request_error", "invalid_api_key")
    xai = ask_openai(client, "xai", "xai-model", ABOUT, key="wrong").json()
    assert xai["error"].startswith("Incorrect API key provided")
    assert ask_openai(client, "openrouter", "openrouter-model", ABOUT, key="wrong").json()["error"]["code"] == 401


@pytest.mark.parametrize(
    ("key", "version", "status", "kind"),
    [
        (None, "2026-10-21", 401, "authentication_error"),
        ("wrong", "2026-10-21", 401, "authentication_error"),
        ("sandbox", None, 400, "invalid_request_error"),
    ],
)
def test_messages_without_their_headers_are_refused(
    client: httpx.Client, key: str | None, version: str | None, status: int, kind: str
) -> None:
    response = ask_anthropic(client, "anthropic-model", ABOUT, key=key, version=version)
    assert (response.status_code, response.json()["error"]["type"]) == (status, kind)
    assert response.json()["request_id"] == response.headers["request-id"]


def test_messages_with_temperature_are_refused_by_the_present_version_only(client: httpx.Client) -> None:
    assert ask_anthropic(client, "anthropic-model", ABOUT, temperature=0).status_code == 400
    assert ask_anthropic(client, "anthropic-model", ABOUT, version="2023-06-01", temperature=0).status_code == 200


def test_unknown_model_is_404_in_each_providers_shape(client: httpx.Client) -> None:
    for provider in OPENAI_SHAPED:
        assert ask_openai(client, provider, "anthropic-model", ABOUT).status_code == 404
    assert ask_openai(client, "openai", "gone", ABOUT).json()["error"]["code"] == "model_not_found"
    response = ask_anthropic(client, "gone", ABOUT)
    assert (response.status_code, response.json()["error"]["type"]) == (404, "not_found_error")


@pytest.mark.parametrize(
    "prompt",
    [
        "no market at all",
        prompt_about("NONE"),
        "BEGIN MARKET DATA\nnot json\nEND MARKET DATA",
        "BEGIN MARKET DATA\n[1]\nEND MARKET DATA",
        'BEGIN MARKET DATA\n{"market_id": "other:A-1"}\nEND MARKET DATA',
        'BEGIN MARKET DATA\n{"market_id": "kalshi:A-1"}',
    ],
)
def test_prompt_without_a_known_market_is_400(client: httpx.Client, prompt: str) -> None:
    assert ask_openai(client, "openai", "openai-model", prompt).status_code == 400
    assert ask_anthropic(client, "anthropic-model", prompt).json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"model": "openai-model", "messages": "hello"}'])
def test_body_that_is_no_request_is_400(client: httpx.Client, content: bytes) -> None:
    headers = {"authorization": "Bearer sandbox"}
    assert client.post("/providers/openai/v1/chat/completions", content=content, headers=headers).status_code == 400


@pytest.mark.parametrize("answer", [None, WorldAnswer(p_yes=None, failure=FailureKind.UNAVAILABLE)])
def test_unavailable_model_is_overloaded(world: SmallWorld, client: httpx.Client, answer: WorldAnswer | None) -> None:
    world.answers = {model.wire_model: answer for model in MODELS}
    response = ask_openai(client, "openai", "openai-model", ABOUT)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "server_is_overloaded")
    assert ask_openai(client, "xai", "xai-model", ABOUT).status_code == 503
    message = ask_anthropic(client, "anthropic-model", ABOUT)
    assert (message.status_code, message.json()["error"]["type"]) == (529, "overloaded_error")


def test_unreadable_answer_is_billed_and_holds_no_number(world: SmallWorld, client: httpx.Client) -> None:
    world.answers["openai-model"] = WorldAnswer(p_yes=None, failure=FailureKind.UNREADABLE)
    body = ask_openai(client, "openai", "openai-model", ABOUT).raise_for_status().json()
    assert not any(char.isdigit() for char in body["choices"][0]["message"]["content"])
    assert body["usage"]["total_tokens"] > 0


def test_models_are_listed_by_provider(client: httpx.Client) -> None:
    headers = {"authorization": "Bearer sandbox", "x-api-key": "sandbox", "anthropic-version": "2026-10-21"}
    for model in MODELS:
        listing = client.get(f"/providers/{model.provider}/v1/models", headers=headers).raise_for_status().json()
        assert [row["id"] for row in listing["data"]] == [model.wire_model]
    assert client.get("/providers/openai/v1/models").status_code == 401
    assert client.get("/providers/openrouter/v1/models").status_code == 200


def test_root_says_what_is_played(client: httpx.Client) -> None:
    said = client.get("/").json()
    assert (said["world"], said["kind"], said["now"]) == ("small", "synthetic", "2026-01-05T01:00:00+00:00")


@pytest.mark.parametrize(
    ("most", "status"),
    [
        ({"prompt": 2, "completion": 10}, 200),
        ({"prompt": 2.5}, 200),
        ({"prompt": 1.99, "completion": 10}, 404),
        ({"prompt": 2, "completion": 9.99}, 404),
    ],
)
def test_openrouter_finds_no_host_above_the_highest_price_it_is_told(
    client: httpx.Client, most: dict[str, float], status: int
) -> None:
    reply = ask_openai(client, "openrouter", "openrouter-model", ABOUT, provider={"max_price": most})
    assert reply.status_code == status
    if status == 404:
        assert reply.json()["error"]["message"] == "No endpoints found for openrouter-model."
