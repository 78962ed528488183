"""The sandbox's web application: Kalshi's reads below ``/trade-api/v2``, models below ``/providers/{name}/v1``.

Belongs here: putting the dialects on their paths and faults in their way. Does not: the dialects themselves.
The world is shown as of the clock's present time, never later.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from itertools import count
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ensemble_pipeline.clock import Clock
from ensemble_pipeline.sandbox import anthropic_wire, openai_wire
from ensemble_pipeline.sandbox.asking import Desk, Refusal, RefusalKind
from ensemble_pipeline.sandbox.faults import Fault, FaultKind, Faults
from ensemble_pipeline.sandbox.kalshi_routes import kalshi_error, kalshi_routes
from ensemble_pipeline.sandbox.kalshi_wire import write_time
from ensemble_pipeline.sandbox.openai_wire import Reply
from ensemble_pipeline.sandbox.world import World

Endpoint = Callable[[Request], Awaitable[Response]]

VENUE = "kalshi"
_OPENAI_SHAPED = ("openai", "xai", "openrouter", "local")
_WORDED_FAULTS = {
    FaultKind.OVERLOADED: Refusal(RefusalKind.OVERLOADED, "The service is overloaded. Try again later."),
    FaultKind.RATE_LIMITED: Refusal(RefusalKind.RATE_LIMITED, ""),
    FaultKind.OUT_OF_CREDIT: Refusal(RefusalKind.OUT_OF_CREDIT, ""),
    FaultKind.WRONG_KEY: Refusal(RefusalKind.WRONG_KEY, "sa***ox"),
}
_VENUE_FAULTS = {
    FaultKind.OVERLOADED: (503, "service_unavailable"),
    FaultKind.RATE_LIMITED: (429, "too_many_requests"),
    FaultKind.OUT_OF_CREDIT: (403, "permission_denied"),
    FaultKind.WRONG_KEY: (401, "authentication_error"),
}


def create_app(world: World, clock: Clock, faults: Faults | None = None) -> Starlette:
    """An application that plays `world` as of `clock`.

    Faults can be put in `faults`, or over HTTP: ``POST /faults`` with ``{"target", "kind", "count", "stall_s"}``
    and ``DELETE /faults``.
    """
    pending = faults or Faults()
    providers = _Providers(world, clock, pending)
    routes = [
        *(
            Route(f"/providers/{name}/v1/chat/completions", providers.chat(name), methods=["POST"])
            for name in _OPENAI_SHAPED
        ),
        Route("/providers/anthropic/v1/messages", providers.messages, methods=["POST"]),
        *(Route(f"/providers/{name}/v1/models", providers.models(name)) for name in (*_OPENAI_SHAPED, "anthropic")),
        *(Route(route.path, _with_venue_faults(route.endpoint, pending)) for route in kalshi_routes(world, clock)),
        Route("/", _describe(world, clock)),
        Route("/faults", _control(pending), methods=["POST", "DELETE"]),
    ]
    return Starlette(routes=routes, exception_handlers={404: _unknown_path})


class _Providers:
    def __init__(self, world: World, clock: Clock, faults: Faults) -> None:
        self._desk = Desk(world)
        self._clock = clock
        self._faults = faults
        self._numbers = count(1)

    def chat(self, provider: str) -> Endpoint:
        def refuse(refusal: Refusal) -> Reply:
            return openai_wire.write_refusal(provider, refusal)

        async def answer(request: Request) -> Response:
            body = await request.body()
            return await self._answer(provider, lambda: self._chat(provider, request, body), refuse)

        return answer

    async def messages(self, request: Request) -> Response:
        def refuse(refusal: Refusal) -> Reply:
            return anthropic_wire.write_refusal(next(self._numbers), refusal)

        body = await request.body()
        return await self._answer("anthropic", lambda: self._messages(request, body), refuse)

    def models(self, provider: str) -> Endpoint:
        async def answer(request: Request) -> Response:
            return _respond(self._list_models(provider, request))

        return answer

    async def _answer(self, provider: str, reply: Callable[[], Reply], refuse: Callable[[Refusal], Reply]) -> Response:
        fault = self._faults.take(provider)
        if fault is None:
            return _respond(reply())
        if fault.kind in _WORDED_FAULTS:
            return _respond(refuse(_WORDED_FAULTS[fault.kind]))
        return await _break(fault, lambda: _respond(reply()))

    def _chat(self, provider: str, request: Request, body: bytes) -> Reply:
        at = self._clock.now()
        refusal = openai_wire.check_key(provider, request.headers.get("authorization"))
        question = refusal or openai_wire.parse_request(_parse(body))
        result = question if isinstance(question, Refusal) else self._desk.ask(provider, question, at)
        if isinstance(result, Refusal):
            return openai_wire.write_refusal(provider, result)
        return openai_wire.write_completion(provider, next(self._numbers), int(at.timestamp()), result)

    def _messages(self, request: Request, body: bytes) -> Reply:
        at = self._clock.now()
        refusal = anthropic_wire.check_headers(request.headers)
        version = request.headers.get("anthropic-version", "")
        question = refusal or anthropic_wire.parse_request(_parse(body), version)
        result = question if isinstance(question, Refusal) else self._desk.ask("anthropic", question, at)
        if isinstance(result, Refusal):
            return anthropic_wire.write_refusal(next(self._numbers), result)
        return anthropic_wire.write_completion(next(self._numbers), result)

    def _list_models(self, provider: str, request: Request) -> Reply:
        at = self._clock.now()
        models = self._desk.models_of(provider)
        if provider == "anthropic":
            if refusal := anthropic_wire.check_headers(request.headers):
                return anthropic_wire.write_refusal(next(self._numbers), refusal)
            return 200, anthropic_wire.write_models(models, write_time(at)), {}
        # OpenRouter lists its models to anybody
        if provider != "openrouter" and (
            refusal := openai_wire.check_key(provider, request.headers.get("authorization"))
        ):
            return openai_wire.write_refusal(provider, refusal)
        return 200, openai_wire.write_models(models, int(at.timestamp())), {}


def _parse(body: bytes) -> Any:  # noqa: ANN401 - JSON as it came
    try:
        return json.loads(body)
    except ValueError:
        return None


def _respond(reply: Reply) -> Response:
    status, body, headers = reply
    return Response(json.dumps(body), status, headers, "application/json")


async def _break(fault: Fault, reply: Callable[[], Response]) -> Response:
    if fault.kind is FaultKind.HTML:
        return Response("<html><body><h1>502 Bad Gateway</h1></body></html>", 200, media_type="text/html")
    if fault.kind is FaultKind.STALL:
        await asyncio.sleep(fault.stall_s)
        return reply()
    whole = bytes(reply().body)
    if fault.kind is FaultKind.GATEWAY_TIMEOUT:
        return Response("<html><body><h1>504 Gateway Time-out</h1></body></html>", 504, media_type="text/html")
    if fault.kind is FaultKind.NO_USAGE:
        kept = {name: value for name, value in json.loads(whole).items() if name != "usage"}
        return _respond((200, kept, {}))
    return Response(whole[: len(whole) // 2], 200, media_type="application/json")


def _with_venue_faults(endpoint: Endpoint, faults: Faults) -> Endpoint:
    async def answer(request: Request) -> Response:
        fault = faults.take(VENUE)
        if fault is None:
            return await endpoint(request)
        if fault.kind in _VENUE_FAULTS:
            return kalshi_error(*_VENUE_FAULTS[fault.kind], "fault on request")
        response = await endpoint(request)
        return await _break(fault, lambda: response)

    return answer


def _describe(world: World, clock: Clock) -> Endpoint:
    fixed = {
        "world": world.key,
        "kind": world.kind,
        "starts_at": _iso(world.starts_at),
        "ends_at": _iso(world.ends_at),
        "markets": len(world.markets),
        "models": [model.name for model in world.models],
    }

    async def answer(_: Request) -> Response:
        return _respond((200, {**fixed, "now": _iso(clock.now())}, {}))

    return answer


def _iso(at: datetime) -> str:
    return at.isoformat()


def _control(faults: Faults) -> Endpoint:
    async def answer(request: Request) -> Response:
        if request.method == "DELETE":
            faults.clear()
            return Response(status_code=204)
        asked = _parse(await request.body())
        try:
            fault = Fault(
                target=str(asked["target"]),
                kind=FaultKind(asked["kind"]),
                count=int(asked.get("count", 1)),
                stall_s=float(asked.get("stall_s", 1.0)),
            )
        except (KeyError, TypeError, ValueError) as error:
            return _respond((400, {"error": f"a fault needs target and kind: {error}"}, {}))
        faults.add(fault)
        return Response(status_code=204)

    return answer


async def _unknown_path(request: Request, _: Exception) -> Response:
    return kalshi_error(404, "not_found", f"no such path: {request.url.path}")
