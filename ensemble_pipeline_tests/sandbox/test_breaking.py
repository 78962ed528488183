"""What a client sees on the wire of the faults that break it; what the package makes of them is tested there."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.sandbox.world import WorldAnswer
from ensemble_pipeline_tests.sandbox.running import ask_anthropic, ask_openai, prompt_about, running_sandbox
from ensemble_pipeline_tests.sandbox.small_world import MODELS, START, SmallWorld, make_market

ABOUT, OTHER = prompt_about("A-1"), prompt_about("B-1")
CHAT = "/providers/openai/v1/chat/completions"
BODY = {"model": "openai-model", "messages": [{"role": "user", "content": ABOUT}]}
HEADERS = {"authorization": "Bearer sandbox"}
DECLINING = {"openai": ("stop", None), "xai": ("content_filter", ""), "openrouter": ("content_filter", "")}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    tickers = ("A-1", "B-1")
    world = SmallWorld({it: make_market(it, it[0], opens=0, closes=30, settles=31) for it in tickers})
    world.answers = {model.wire_model: WorldAnswer(p_yes=0.5) for model in MODELS}
    with running_sandbox(world, SteppedClock(START)) as client:
        yield client


@pytest.fixture(autouse=True)
def _clear(client: httpx.Client) -> Iterator[None]:
    yield
    client.delete("/faults").raise_for_status()


def put(client: httpx.Client, kind: str, target: str = "openai", **more: Any) -> None:
    client.post("/faults", json={"target": target, "kind": kind, **more}).raise_for_status()


def ask(client: httpx.Client, prompt: str = ABOUT, provider: str = "openai") -> httpx.Response:
    return ask_openai(client, provider, f"{provider}-model", prompt)


def said(response: httpx.Response) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(response.json()["choices"][0]["message"]["content"])
    return fields


def test_hang_says_nothing_until_the_client_gives_up(client: httpx.Client) -> None:
    put(client, "hang")
    with pytest.raises(httpx.ReadTimeout):
        client.post(CHAT, json=BODY, headers=HEADERS, timeout=0.2)
    assert ask(client).status_code == 200


def test_slow_drip_keeps_every_read_short_and_never_ends(client: httpx.Client) -> None:
    put(client, "slow_drip", stall_s=0.01)
    with client.stream("POST", CHAT, json=BODY, headers=HEADERS, timeout=1) as response:
        pieces = response.iter_raw()
        assert {next(pieces) for _ in range(30)} == {b" "}
    assert ask(client).status_code == 200


def test_reset_breaks_the_connection_in_the_middle_of_the_body(client: httpx.Client) -> None:
    put(client, "reset")
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=5) as raw:
        raw.sendall(_request())
        with pytest.raises(ConnectionResetError):
            read_to_the_end(raw)
    put(client, "reset")
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        ask(client)
    assert ask(client).status_code == 200


def read_to_the_end(raw: socket.socket) -> None:
    while raw.recv(65536):
        pass


def test_response_twice_stands_where_the_next_response_is_looked_for(client: httpx.Client) -> None:
    put(client, "response_twice")
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=5) as raw:
        raw.sendall(_request())
        read = b""
        while read.count(b"chatcmpl-") < 2:
            read += raw.recv(65536)
    first, second = read.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert first.partition(b"\r\n\r\n")[2] == second.partition(b"\r\n\r\n")[2]


def _request() -> bytes:
    body = json.dumps(BODY).encode()
    head = [f"POST {CHAT} HTTP/1.1", "host: x", "authorization: Bearer sandbox", f"content-length: {len(body)}"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def test_body_twice_is_two_objects_one_after_the_other(client: httpx.Client) -> None:
    put(client, "body_twice")
    body = ask(client).content
    half = len(body) // 2
    assert body[:half] == body[half:]
    assert json.loads(body[:half])["object"] == "chat.completion"


@pytest.mark.parametrize(("kind", "status"), [("html", 200), ("bad_gateway", 502), ("gateway_timeout", 504)])
@pytest.mark.parametrize("target", ["openai", "kalshi"])
def test_pages_of_something_in_between_are_html(client: httpx.Client, kind: str, status: int, target: str) -> None:
    put(client, kind, target)
    reply = ask(client) if target == "openai" else client.get("/trade-api/v2/markets")
    assert (reply.status_code, reply.text[:6]) == (status, "<html>")


def test_reply_again_is_the_last_one_byte_for_byte(client: httpx.Client) -> None:
    first = ask(client)
    put(client, "reply_again")
    assert ask(client, OTHER).content == first.content
    assert ask(client, OTHER).json()["id"] != first.json()["id"]


@pytest.mark.parametrize(
    ("kind", "stated"),
    [("p_percent", "60%"), ("p_sixty", 60), ("p_above_one", 1.2), ("p_missing", None)],
)
def test_probability_is_misstated(client: httpx.Client, kind: str, stated: object) -> None:
    put(client, kind)
    assert said(ask(client)).get("p_yes") == stated
    assert said(ask(client))["p_yes"] == 0.5


def test_probability_that_is_no_number_is_written_as_python_does(client: httpx.Client) -> None:
    put(client, "p_nan")
    assert '\\"p_yes\\": NaN' in ask(client).text


def test_prose_holds_the_answer_and_other_numbers(client: httpx.Client) -> None:
    put(client, "prose")
    text = ask(client).json()["choices"][0]["message"]["content"]
    assert text.startswith("About 35%")
    assert json.loads(text.partition("```json\n")[2].partition("\n```")[0])["p_yes"] == 0.5


def test_each_dialect_declines_in_its_own_way(client: httpx.Client) -> None:
    for provider in ("openai", "xai", "openrouter", "local", "anthropic"):
        put(client, "refusal", provider)
    for provider, (finish, content) in DECLINING.items():
        choice = ask(client, provider=provider).json()["choices"][0]
        assert (choice["finish_reason"], choice["message"]["content"]) == (finish, content)
        assert bool(choice["message"]["refusal"]) is (provider == "openai")
    local = ask(client, provider="local").json()["choices"][0]
    assert local["finish_reason"] == "stop"
    assert local["message"]["content"].startswith("I'm sorry")
    message = ask_anthropic(client, "anthropic-model", ABOUT).json()
    assert (message["stop_reason"], message["content"]) == ("refusal", [])
    assert message["usage"]["output_tokens"] > 0


def test_wrong_model_answers_under_its_own_name(client: httpx.Client) -> None:
    put(client, "wrong_model", response_model="openai-model-mini")
    assert ask(client).json()["model"] == "openai-model-mini"


def test_wrong_key_is_shown_by_its_ends_and_an_echo_shows_it_whole(client: httpx.Client) -> None:
    key = "sk-planted-0123456789abcdef"
    put(client, "wrong_key")
    assert (
        ask_openai(client, "openai", "openai-model", ABOUT, key=key)
        .json()["error"]["message"]
        .endswith("sk-plant***cdef.")
    )
    for provider in ("openai", "anthropic"):
        put(client, "key_echo", provider)
    assert key in ask_openai(client, "openai", "openai-model", ABOUT, key=key).text
    assert key in ask_anthropic(client, "anthropic-model", ABOUT, key=key).text


def test_question_is_declined_in_each_ones_shape(client: httpx.Client) -> None:
    for provider in ("openai", "xai", "openrouter", "anthropic"):
        put(client, "flagged", provider)
    said = ask(client)
    assert (said.status_code, said.json()["error"]["code"]) == (400, "invalid_prompt")
    said = ask(client, provider="xai")
    assert said.status_code == 403
    assert "Failed check: SAFETY_CHECK_TYPE_" in said.json()["error"]
    said = ask(client, provider="openrouter")
    assert said.status_code == 403
    assert said.json()["error"]["metadata"]["reasons"] == ["violence"]
    said = ask_anthropic(client, "anthropic-model", ABOUT)
    assert (said.status_code, said.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(("seconds", "told"), [(None, None), (7, "7"), (0.25, "0.25")])
def test_waiting_time_of_a_rate_limit_is_told_or_not(
    client: httpx.Client, seconds: float | None, told: str | None
) -> None:
    for target in ("xai", "anthropic", "kalshi"):
        put(client, "rate_limited", target, retry_after_s=seconds)
    for reply in (ask(client, provider="xai"), ask_anthropic(client, "anthropic-model", ABOUT)):
        assert (reply.status_code, reply.headers.get("retry-after")) == (429, told)
    assert "retry-after" not in client.get("/trade-api/v2/markets").headers
