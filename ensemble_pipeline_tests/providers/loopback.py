"""A real HTTP server on a free loopback port, for tests of clients; it says what the test tells it to."""

import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

Handler = Callable[[Request], Awaitable[Response]]


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Loopback:
    """A running server: `url` to reach it, `seen` what it was asked."""

    url: str
    seen: list[Seen] = field(default_factory=list)


class _Server:
    """A server on a port of its own that outlives the handlers it serves one after the other."""

    def __init__(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.app: ASGIApp = Starlette()
        config = uvicorn.Config(self, log_level="critical", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        # starting and ending one for each test took longer than most tests; it ends with the process
        threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


_free: list[_Server] = []


@contextmanager
def serve(handler: Handler) -> Iterator[Loopback]:
    """Serve `handler` for every path until the block ends."""
    server = _free.pop() if _free else _Server()
    loopback = Loopback(server.url)

    async def answer(request: Request) -> Response:
        raw = await request.body()
        seen = Seen(
            request.method,
            request.url.path,
            dict(request.query_params),
            dict(request.headers),
            json.loads(raw) if raw else None,
        )
        loopback.seen.append(seen)
        return await handler(request)

    # the socket listens already, so the first request waits for the server by itself
    server.app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])
    try:
        yield loopback
    finally:
        _free.append(server)


def json_response(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON reply; NaN and big numbers pass, so that a test can send what no server should."""
    return Response(json.dumps(body), status, dict(headers or {}), "application/json")


def always(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Handler:
    """A handler that says the same to everyone: JSON, or the text itself where `body` is a string."""

    async def handler(_: Request) -> Response:
        if isinstance(body, str):
            return Response(body, status, dict(headers or {}), "text/html")
        return json_response(body, status, headers)

    return handler
