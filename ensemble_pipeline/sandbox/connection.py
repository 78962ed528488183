"""The way from a request to the TCP connection it came on, for replies that break it.

Belongs here: handing the connection on, from the server to the application. Does not: what is done to it
(``breaking``).
"""

import asyncio

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

_EXTENSION = "ensemble.connections"


class WithConnections:
    """An application whose requests can name the connection they came on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.server: uvicorn.Server | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        scope.setdefault("extensions", {})[_EXTENSION] = self.server
        await self._app(scope, receive, send)


def connection_of(scope: Scope) -> asyncio.Transport:
    """The connection a request came on.

    Raises:
        RuntimeError: the server was not made by ``serve.create_server``, or the connection is gone.
    """
    server = scope.get("extensions", {}).get(_EXTENSION)
    if server is not None:
        for protocol in server.server_state.connections:
            if protocol.client == tuple(scope["client"]):
                transport: asyncio.Transport = protocol.transport
                return transport
    raise RuntimeError("the connection of this request is not known: serve the sandbox with create_server")
