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


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()


@contextmanager
def serve(handler: Handler) -> Iterator[Loopback]:
    """Serve `handler` for every path until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    loopback = Loopback(f"http://127.0.0.1:{listener.getsockname()[1]}")

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

    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])
    config = uvicorn.Config(app, log_level="critical", lifespan="off", ws="none", timeout_graceful_shutdown=1)
    server = _Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        assert server.is_up.wait(20)
        yield loopback
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


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
