"""A key is opened for the request that carries it, and nowhere else."""

import asyncio
import socket

import httpx
import pytest
from pydantic import SecretStr

from ensemble_pipeline.errors import ProviderError
from ensemble_pipeline.providers.endpoint import Endpoint, read_key
from ensemble_pipeline.providers.manager import ProviderManager
from ensemble_pipeline_tests.providers.helpers import (
    ENVIRON,
    KEY,
    ask,
    chat_body,
    member_of,
    messages_body,
    settings_at,
)
from ensemble_pipeline_tests.providers.loopback import always, serve


def test_key_is_a_secret_from_the_moment_it_is_read() -> None:
    key = read_key("openai", "OPENAI_API_KEY", ENVIRON)
    assert isinstance(key, SecretStr)
    endpoint = Endpoint("openai", "http://x", 1.0, "OPENAI_API_KEY", key)
    assert KEY not in f"{key!r} {key!s} {endpoint!r}"


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_no_error_and_no_client_keeps_the_key(provider: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ProviderError) as caught:
        ask(f"http://127.0.0.1:{port}/v1", provider)
    cause = caught.value.__cause__
    assert isinstance(cause, httpx.RequestError)
    assert KEY not in repr(cause.request.headers.multi_items())
    assert KEY not in f"{caught.value!r} {cause!r}"


@pytest.mark.parametrize(("provider", "header"), [("openai", "authorization"), ("anthropic", "x-api-key")])
def test_request_carries_the_key_only_while_it_is_under_way(provider: str, header: str) -> None:
    requests: list[httpx.Request] = []

    async def run(url: str) -> None:
        async with ProviderManager(settings_at(url), ENVIRON) as manager:
            member = member_of(provider)
            await manager.probe(member.provider)
            (client,) = manager._clients.values()
            wire = client._wire  # type: ignore[attr-defined]
            for pool in wire._connections._pools:
                pool.client.event_hooks["response"] = [keep]
                assert KEY not in repr(pool.client.headers.multi_items())
            await manager.probe(member.provider)

    async def keep(response: httpx.Response) -> None:
        requests.append(response.request)

    body = {"data": [{"id": "a"}]}
    with serve(always(body)) as server:
        asyncio.run(run(server.url))
    assert KEY in server.seen[1].headers[header]
    assert header not in requests[0].headers


@pytest.mark.parametrize("provider", ["openai", "local"])
def test_user_and_password_of_an_address_are_sent_as_before(provider: str) -> None:
    with serve(always(chat_body(model=member_of(provider).model))) as server:
        ask(server.url.replace("http://", "http://ann:secret@"), provider)
    assert server.seen[0].headers["authorization"] == "Basic YW5uOnNlY3JldA=="


def test_gateway_with_a_password_of_its_own_gets_it_beside_the_key() -> None:
    with serve(always(messages_body())) as server:
        ask(server.url.replace("http://", "http://ann:secret@"), "anthropic")
    headers = server.seen[0].headers
    assert (headers["authorization"], headers["x-api-key"]) == ("Basic YW5uOnNlY3JldA==", KEY)
