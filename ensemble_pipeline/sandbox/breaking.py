"""What a fault does to a reply on its way: pages of something in between, stalls, broken connections, copies.

Belongs here: what providers and the venue have in common. Does not: errors they word themselves (``misanswering``,
``kalshi_routes``), pages that contradict each other (``venue_breaking``).
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from ensemble_pipeline.sandbox.connection import connection_of
from ensemble_pipeline.sandbox.faults import Fault, FaultKind

Answer = Callable[[], Awaitable[Response]]

# after these nobody has the answer, though it was made and billed
UNDELIVERED = frozenset(
    {
        FaultKind.GATEWAY_TIMEOUT,
        FaultKind.SLOW_DRIP,
        FaultKind.RESET,
        FaultKind.CUT_JSON,
        FaultKind.BODY_TWICE,
    }
)
# closes with RST where the operating system would say goodbye and send what it still holds
_AT_ONCE = struct.pack("ii", 1, 0)
_JSON = "application/json"


async def broken(fault: Fault, request: Request, answer: Answer) -> Response:
    """The response to `request` under `fault`, which is `answer`'s own where the fault breaks nothing on the way."""
    if (instead := _INSTEAD.get(fault.kind)) is not None:
        return instead()
    if fault.kind is FaultKind.HANG:
        await _until_gone(request.receive)
        return Response()
    if fault.kind is FaultKind.STALL:
        await asyncio.sleep(fault.stall_s)
    spoil = _SPOILERS.get(fault.kind)
    whole = await answer()
    return whole if spoil is None else spoil(bytes(whole.body), whole.status_code, fault.stall_s)


def _page(title: str, status: HTTPStatus) -> Response:
    return HTMLResponse(f"<html><body><h1>{title}</h1></body></html>", status)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Drip(Response):
    """A blank now and then, as servers send that keep a connection open while they work; the body never comes."""

    def __init__(self, body: bytes, status: int, pause_s: float) -> None:
        super().__init__(body, status, media_type=_JSON)
        del self.headers["content-length"]
        self._pause_s = pause_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        gone = asyncio.ensure_future(_until_gone(receive))
        try:
            while not gone.done():
                await send({"type": "http.response.body", "body": b" ", "more_body": True})
                await asyncio.wait({gone}, timeout=self._pause_s)
        finally:
            gone.cancel()


class _Reset(Response):
    """Half of the body, and then the connection is gone."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body[: len(self.body) // 2])
        await send({"type": "http.response.body", "body": half, "more_body": True})
        transport = connection_of(scope)
        with _socket_of(transport) as it:
            it.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        transport.abort()
        await _until_gone(receive)


class _Twice(Response):
    """The whole response, and once more on the same connection, where the client's next request looks for its own."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        transport = connection_of(scope)
        with _socket_of(transport) as it:
            # both in one piece: a client that sees the second come by itself drops the connection
            _hold_back(it, is_held=True)
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": bytes(self.body)})
            transport.write(self._raw())
            _hold_back(it, is_held=False)

    def _raw(self) -> bytes:
        head = [f"HTTP/1.1 {self.status_code} {HTTPStatus(self.status_code).phrase}".encode()]
        head += [name + b": " + value for name, value in self.raw_headers]
        return b"\r\n".join(head) + b"\r\n\r\n" + bytes(self.body)


def _hold_back(connection: socket.socket, *, is_held: bool) -> None:
    # Linux alone can; elsewhere the second copy may come by itself
    if hasattr(socket, "TCP_CORK"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, int(is_held))


def _json(body: bytes, status: int) -> Response:
    return Response(body, status, media_type=_JSON)


# what came from a server that was never asked
_INSTEAD: dict[FaultKind, Callable[[], Response]] = {
    FaultKind.HTML: lambda: _page("Sign in", HTTPStatus.OK),
    FaultKind.BAD_GATEWAY: lambda: _page("502 Bad Gateway", HTTPStatus.BAD_GATEWAY),
    FaultKind.UNAVAILABLE: lambda: PlainTextResponse("upstream connect error or disconnect/reset before headers", 503),
}
_SPOILERS: dict[FaultKind, Callable[[bytes, int, float], Response]] = {
    FaultKind.GATEWAY_TIMEOUT: lambda *_: _page("504 Gateway Time-out", HTTPStatus.GATEWAY_TIMEOUT),
    FaultKind.CUT_JSON: lambda body, status, _: _json(body[: len(body) // 2], status),
    FaultKind.BODY_TWICE: lambda body, status, _: _json(body + body, status),
    FaultKind.SLOW_DRIP: _Drip,
    FaultKind.RESET: lambda body, status, _: _Reset(body, status, media_type=_JSON),
    FaultKind.RESPONSE_TWICE: lambda body, status, _: _Twice(body, status, media_type=_JSON),
}


def _socket_of(transport: asyncio.Transport) -> socket.socket:
    # a copy of the descriptor: options belong to the connection, and the loop's own socket refuses to be set
    return socket.socket(fileno=socket.dup(transport.get_extra_info("socket").fileno()))
