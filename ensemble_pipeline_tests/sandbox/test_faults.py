from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.sandbox.world import WorldAnswer
from ensemble_pipeline_tests.sandbox.running import ask_anthropic, ask_openai, prompt_about, running_sandbox
from ensemble_pipeline_tests.sandbox.small_world import MODELS, START, SmallWorld, make_market

ABOUT = prompt_about("A-1")


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    world = SmallWorld({"A-1": make_market("A-1", "A", opens=0, closes=30, settles=31)})
    world.answers = {model.wire_model: WorldAnswer(p_yes=0.5) for model in MODELS}
    with running_sandbox(world, SteppedClock(START)) as client:
        yield client


def request_fault(client: httpx.Client, **fault: Any) -> None:
    client.post("/faults", json=fault).raise_for_status()


@pytest.mark.parametrize(
    ("kind", "openai_status", "anthropic_status", "venue_status"),
    [
        ("overloaded", 503, 529, 503),
        ("rate_limited", 429, 429, 429),
        ("out_of_credit", 429, 402, 403),
        ("wrong_key", 401, 401, 401),
    ],
)
def test_worded_fault_strikes_once_with_each_ones_status(
    client: httpx.Client, kind: str, openai_status: int, anthropic_status: int, venue_status: int
) -> None:
    for target in ("openai", "anthropic", "kalshi"):
        request_fault(client, target=target, kind=kind)
    assert ask_openai(client, "openai", "openai-model", ABOUT).status_code == openai_status
    assert ask_anthropic(client, "anthropic-model", ABOUT).status_code == anthropic_status
    assert client.get("/trade-api/v2/markets").status_code == venue_status
    assert ask_openai(client, "openai", "openai-model", ABOUT).status_code == 200
    assert ask_anthropic(client, "anthropic-model", ABOUT).status_code == 200
    assert client.get("/trade-api/v2/markets").status_code == 200


def test_rate_limit_says_when_to_come_back(client: httpx.Client) -> None:
    request_fault(client, target="xai", kind="rate_limited", count=2)
    replies = [ask_openai(client, "xai", "xai-model", ABOUT) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [429, 429, 200]
    assert replies[0].headers["retry-after"] == "1"


def test_broken_wire_formats_are_no_json(client: httpx.Client) -> None:
    request_fault(client, target="openai", kind="html")
    assert ask_openai(client, "openai", "openai-model", ABOUT).text.startswith("<html>")
    for target in ("openai", "kalshi"):
        request_fault(client, target=target, kind="cut_json")
    for response in (ask_openai(client, "openai", "openai-model", ABOUT), client.get("/trade-api/v2/markets/A-1")):
        assert response.status_code == 200
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            response.json()


def test_gateway_that_gives_up_hides_the_answer(client: httpx.Client) -> None:
    request_fault(client, target="openai", kind="gateway_timeout")
    reply = ask_openai(client, "openai", "openai-model", ABOUT)
    assert (reply.status_code, reply.text[:6]) == (504, "<html>")


def test_stalled_call_outlasts_an_impatient_client(client: httpx.Client) -> None:
    request_fault(client, target="kalshi", kind="stall", stall_s=30)
    with pytest.raises(httpx.ReadTimeout):
        client.get("/trade-api/v2/exchange/status", timeout=0.2)


def test_cleared_faults_do_not_strike(client: httpx.Client) -> None:
    request_fault(client, target="kalshi", kind="overloaded", count=100)
    client.delete("/faults").raise_for_status()
    assert client.get("/trade-api/v2/exchange/status").status_code == 200


@pytest.mark.parametrize("body", [[], {"kind": "html"}, {"target": "xai", "kind": "gremlins"}])
def test_unknown_fault_is_refused(client: httpx.Client, body: object) -> None:
    assert client.post("/faults", json=body).status_code == 400
