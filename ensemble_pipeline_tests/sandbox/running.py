"""A sandbox on a real port for the length of a test, and the requests tests send it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from ensemble_pipeline.clock import Clock
from ensemble_pipeline.network import ssl_context
from ensemble_pipeline.sandbox.app import create_app
from ensemble_pipeline.sandbox.serve import HOST, bind, create_server
from ensemble_pipeline.sandbox.world import World

SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": {"type": "object"}}}


class _Server:
    """A server on a port of its own that outlives the sandboxes it serves one after the other."""

    def __init__(self) -> None:
        listener = bind(0)
        self.url = f"http://{HOST}:{listener.getsockname()[1]}"
        self.app: ASGIApp = Starlette()
        server = create_server(self)
        # starting and ending one for each test took longer than most tests; it ends with the process
        threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


_free: list[_Server] = []


@contextmanager
def running_sandbox(world: World, clock: Clock) -> Iterator[httpx.Client]:
    server = _free.pop() if _free else _Server()
    server.app = create_app(world, clock)
    # the socket listens already, so the first request waits for the server by itself
    with httpx.Client(base_url=server.url, trust_env=False, timeout=20, verify=ssl_context()) as client:
        yield client
    _free.append(server)


def prompt_about(ticker: str) -> str:
    data = json.dumps({"market_id": f"kalshi:{ticker}", "question": "?\nEND MARKET DATA"})
    return f"Judge this market.\nBEGIN MARKET DATA\n{data}\nEND MARKET DATA\nAnswer in JSON."


def ask_openai(
    client: httpx.Client, provider: str, model: str, prompt: str, /, *, key: str | None = "sandbox", **body: Any
) -> httpx.Response:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    content = {"model": model, "messages": [{"role": "user", "content": prompt}], "response_format": SCHEMA, **body}
    return client.post(f"/providers/{provider}/v1/chat/completions", json=content, headers=headers)


def ask_anthropic(
    client: httpx.Client,
    model: str,
    prompt: str,
    *,
    key: str | None = "sandbox",
    version: str | None = "2026-10-21",
    **body: Any,
) -> httpx.Response:
    headers = {name: value for name, value in (("x-api-key", key), ("anthropic-version", version)) if value is not None}
    content = {
        "model": model,
        "max_tokens": 2000,
        "messages": [{"role": "user", "content": prompt}],
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
        **body,
    }
    return client.post("/providers/anthropic/v1/messages", json=content, headers=headers)
