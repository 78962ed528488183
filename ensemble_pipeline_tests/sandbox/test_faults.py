from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.sandbox.faults import Call, Fault, FaultKind, Faults
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


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ([], "holds no fault"),
        ("html", "valid dictionary"),
        ({"kind": "html"}, "target: Field required"),
        ({"target": "xai"}, "kind: Field required"),
        ({"target": "xai", "kind": "gremlins"}, "kind: Input should be 'rate_limited'"),
        ({"target": "nobody", "kind": "html"}, "target 'nobody' is unknown; known: openai, xai"),
        ({"target": "kalshi", "kind": "prose"}, "one of providers"),
        ({"target": "xai", "kind": "one_sided"}, "one of the venue"),
        ({"target": "kalshi", "kind": "html", "model": "m"}, "has no models"),
        ({"target": "xai", "kind": "html", "count": 0}, "count: Input should be greater than or equal to 1"),
        ({"target": "xai", "kind": "html", "after": -1}, "after: "),
        ({"target": "xai", "kind": "html", "share": 0}, "share: "),
        ({"target": "xai", "kind": "html", "share": 1.5}, "share: "),
        ({"target": "xai", "kind": "stall", "stall_s": -1}, "stall_s: "),
        ({"target": "xai", "kind": "html", "cuont": 1}, "cuont: Extra inputs are not permitted"),
        ([{"target": "xai", "kind": "html"}, {"target": "xai"}], "fault 2: kind: Field required"),
    ],
)
def test_what_is_no_fault_is_refused_and_nothing_of_it_taken(client: httpx.Client, body: object, why: str) -> None:
    client.delete("/faults")
    reply = client.post("/faults", json=body)
    assert reply.status_code == 400
    assert why in reply.json()["error"]
    assert client.get("/faults").json() == []


def test_body_that_is_not_json_is_refused(client: httpx.Client) -> None:
    reply = client.post("/faults", content=b"{")
    assert (reply.status_code, reply.json()) == (400, {"error": "the body is not JSON"})


def test_script_strikes_in_order_and_tells_where_it_stands(client: httpx.Client) -> None:
    client.delete("/faults")
    script = [
        {"target": "xai", "kind": "rate_limited", "count": 2},
        {"target": "xai", "kind": "out_of_credit"},
        {"target": "xai", "kind": "overloaded", "after": 4, "count": None},
    ]
    client.post("/faults", json=script).raise_for_status()
    statuses = [ask_openai(client, "xai", "xai-model", ABOUT).status_code for _ in range(7)]
    assert statuses == [429, 429, 403, 200, 503, 503, 503]
    standing = client.get("/faults").json()
    assert [(it["kind"], it["concerned"], it["struck"]) for it in standing] == [("overloaded", 7, 3)]
    client.delete("/faults")


def test_fault_of_one_model_leaves_the_others_alone(client: httpx.Client) -> None:
    request_fault(client, target="xai", kind="overloaded", model="xai-other", count=None)
    assert ask_openai(client, "xai", "xai-model", ABOUT).status_code == 200
    assert ask_openai(client, "xai", "xai-other", ABOUT).status_code == 503
    client.delete("/faults")


def test_fault_of_a_path_strikes_lists_of_models_and_the_venues_books(client: httpx.Client) -> None:
    headers = {"authorization": "Bearer sandbox"}
    request_fault(client, target="xai", kind="overloaded")
    assert client.get("/providers/xai/v1/models", headers=headers).status_code == 200
    request_fault(client, target="xai", kind="server_error", path="/models")
    assert client.get("/providers/xai/v1/models", headers=headers).status_code == 500
    request_fault(client, target="kalshi", kind="server_error", path="/orderbook")
    assert client.get("/trade-api/v2/markets").status_code == 200
    assert client.get("/trade-api/v2/markets/A-1/orderbook").status_code == 500
    client.delete("/faults")


def struck_calls(share: float, seed: int) -> list[int]:
    faults = Faults()
    faults.add(Fault(target="xai", kind=FaultKind.OVERLOADED, count=None, share=share, seed=seed))
    call = Call("xai", "/v1/chat/completions", "m", is_completion=True)
    return [number for number in range(2000) if faults.take(call) is not None]


def test_share_strikes_as_many_the_same_again_and_others_for_another_seed() -> None:
    struck = struck_calls(0.25, 1)
    assert struck == struck_calls(0.25, 1) != struck_calls(0.25, 2)
    # four standard deviations
    assert abs(len(struck) - 500) < 4 * (2000 * 0.25 * 0.75) ** 0.5


def test_count_bounds_a_random_fault() -> None:
    faults = Faults()
    faults.add(Fault(target="xai", kind=FaultKind.HTML, count=3, share=0.5, seed=4))
    call = Call("xai", "/v1/chat/completions", "m", is_completion=True)
    assert sum(faults.take(call) is not None for _ in range(100)) == 3
    assert faults.as_json() == []


def test_calls_tell_what_reached_whom_and_what_was_billed(client: httpx.Client) -> None:
    client.delete("/calls").raise_for_status()
    script = [
        {"target": "openai", "kind": "overloaded"},
        {"target": "openai", "kind": "cut_json"},
        {"target": "openai", "kind": "p_percent"},
    ]
    client.post("/faults", json=script).raise_for_status()
    for _ in range(4):
        ask_openai(client, "openai", "openai-model", ABOUT)
    client.get("/trade-api/v2/markets/A-1")
    counts = client.get("/calls").json()
    assert counts["requests"] == [
        {
            "target": "openai",
            "model": "openai-model",
            "path": "/providers/openai/v1/chat/completions",
            "count": 4,
            "faults": {"overloaded": 1, "cut_json": 1, "p_percent": 1},
        },
        {"target": "kalshi", "model": None, "path": "/trade-api/v2/markets/A-1", "count": 1, "faults": {}},
    ]
    # the cut one was billed and nobody has it
    assert counts["completions"] == [
        {
            "provider": "openai",
            "model": "openai-model",
            "ticker": "A-1",
            "at": START.isoformat(),
            "billed": 3,
            "delivered": 2,
        }
    ]
    client.delete("/calls").raise_for_status()
    assert client.get("/calls").json() == {"requests": [], "completions": []}
