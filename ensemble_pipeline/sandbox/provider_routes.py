"""The providers' paths: one way for every completion, whatever its dialect, with faults and counts on it.

Belongs here: key, fault, question, answer, bill, in that order. Does not: wire formats (``dialects``), what a fault
does (``misanswering``, ``breaking``), what a model answers (``asking``).
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from itertools import count
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ensemble_pipeline.clock import Clock
from ensemble_pipeline.sandbox.asking import SANDBOX_KEY, Completion, Desk, Question, Refusal, find_ticker
from ensemble_pipeline.sandbox.breaking import UNDELIVERED, broken
from ensemble_pipeline.sandbox.counting import Calls
from ensemble_pipeline.sandbox.dialects import ChatDialect, Dialect, MessagesDialect, ResponsesDialect
from ensemble_pipeline.sandbox.faults import PROVIDERS, Call, Fault, FaultKind, Faults
from ensemble_pipeline.sandbox.manners import Manners
from ensemble_pipeline.sandbox.misanswering import altered, refusal_for
from ensemble_pipeline.sandbox.openai_wire import Reply
from ensemble_pipeline.sandbox.world import World

Endpoint = Callable[[Request], Awaitable[Response]]

_SEARCHING = ("openai", "xai")
_NOT_THE_OWN_REPLY = UNDELIVERED | {FaultKind.REPLY_AGAIN}


def provider_routes(
    world: World,
    clock: Clock,
    faults: Faults,
    calls: Calls,
    manners: Mapping[str, Manners],
    keys: Mapping[str, str] | None = None,
) -> list[Route]:
    """The routes below ``/providers/{name}/v1``; `keys` by provider where one accepts another than ``sandbox``."""
    reception, accepted = _Reception(world, clock, faults, calls, manners), keys or {}
    routes = []
    for provider in PROVIDERS:
        key, base = accepted.get(provider, SANDBOX_KEY), f"/providers/{provider}/v1"
        if provider == "anthropic":
            dialect: Dialect = MessagesDialect(key)
            routes.append(Route(f"{base}/messages", reception.completion(dialect), methods=["POST"]))
        else:
            dialect = ChatDialect(provider, key)
            routes.append(Route(f"{base}/chat/completions", reception.completion(dialect), methods=["POST"]))
        if provider in _SEARCHING:
            searching = ResponsesDialect(provider, key)
            routes.append(Route(f"{base}/responses", reception.completion(searching), methods=["POST"]))
        routes.append(Route(f"{base}/models", reception.models(dialect)))
    return routes


class _Reception:
    """Where requests are handed in and replies handed out."""

    def __init__(
        self, world: World, clock: Clock, faults: Faults, calls: Calls, manners: Mapping[str, Manners]
    ) -> None:
        self._desk = Desk(world)
        self._clock = clock
        self._faults = faults
        self._calls = calls
        self._manners = manners
        self._numbers = count(1)
        self._last: dict[str, Response] = {}

    def completion(self, dialect: Dialect) -> Endpoint:
        """The endpoint of a path that completes prompts in `dialect`."""

        async def answer(request: Request) -> Response:
            asked = parse(await request.body())
            call = Call(dialect.provider, request.url.path, _model_in(asked), is_completion=True)

            async def reply(fault: Fault | None) -> Response:
                return self._complete(dialect, request, asked, fault)

            return await self._answer(dialect, request, call, reply)

        return answer

    def models(self, dialect: Dialect) -> Endpoint:
        """The endpoint of a path that lists models."""

        async def reply(request: Request) -> Response:
            # OpenRouter lists its models to anybody
            refusal = None if dialect.provider == "openrouter" else dialect.check(request.headers)
            if refusal is not None:
                return respond(dialect.refuse(next(self._numbers), refusal))
            return respond(dialect.list_models(self._clock.now(), self._desk.models_of(dialect.provider)))

        async def answer(request: Request) -> Response:
            call = Call(dialect.provider, request.url.path)
            return await self._answer(dialect, request, call, lambda _: reply(request))

        return answer

    async def _answer(
        self, dialect: Dialect, request: Request, call: Call, reply: Callable[[Fault | None], Awaitable[Response]]
    ) -> Response:
        fault = self._faults.take(call)
        self._calls.note(call, fault)
        if fault is None:
            return await reply(None)
        refusal = refusal_for(fault, dialect.key_in(request.headers), call.model)
        if refusal is not None:
            return respond(dialect.refuse(next(self._numbers), refusal))
        return await broken(fault, request, lambda: reply(fault))

    def _complete(self, dialect: Dialect, request: Request, asked: object, fault: Fault | None) -> Response:
        at, number = self._clock.now(), next(self._numbers)
        question = dialect.check(request.headers) or dialect.parse(asked, request.headers)
        if isinstance(question, Refusal):
            return respond(dialect.refuse(number, question))
        result = self._ask(dialect.provider, question, at)
        if isinstance(result, Refusal):
            return respond(dialect.refuse(number, result))
        is_delivered = fault is None or fault.kind not in _NOT_THE_OWN_REPLY
        ticker = find_ticker(question.prompt) or ""
        self._calls.bill(dialect.provider, question.model, ticker, at, is_delivered=is_delivered)
        said = result if fault is None else altered(result, fault)
        return self._hand_out(dialect, dialect.write(number, at, said), fault)

    def _ask(self, provider: str, question: Question, at: datetime) -> Completion | Refusal:
        manners = self._manners.get(provider, Manners())
        understood = manners.take(question)
        result = understood if isinstance(understood, Refusal) else self._desk.ask(provider, understood, at)
        return result if isinstance(result, Refusal) else manners.date(result, at)

    def _hand_out(self, dialect: Dialect, reply: Reply, fault: Fault | None) -> Response:
        status, body, headers = reply
        if fault is not None and fault.kind is FaultKind.NO_USAGE:
            body = {name: value for name, value in body.items() if name != "usage"}
        own = respond((status, body, headers))
        before, self._last[dialect.provider] = self._last.get(dialect.provider), own
        return before if fault is not None and fault.kind is FaultKind.REPLY_AGAIN and before is not None else own


def _model_in(asked: object) -> str | None:
    model = asked.get("model") if isinstance(asked, dict) else None
    return model if isinstance(model, str) else None


def parse(body: bytes) -> Any:  # noqa: ANN401 - JSON as it came
    """A request's JSON; ``None`` where it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def respond(reply: Reply) -> Response:
    """A reply as a JSON response."""
    status, body, headers = reply
    return Response(json.dumps(body), status, headers, "application/json")
