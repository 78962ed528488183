"""What a fault does to the venue's pages: rows that come twice or never, one-sided books, statuses going backwards.

Belongs here: pages that are well-formed and wrong. Does not: replies that are no pages (``breaking``), or errors
(``kalshi_routes``).
"""

import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ensemble_pipeline.sandbox.breaking import broken
from ensemble_pipeline.sandbox.counting import Calls
from ensemble_pipeline.sandbox.faults import OF_THE_VENUE, PAGE_KINDS, VENUE, Call, Fault, FaultKind, Faults
from ensemble_pipeline.sandbox.kalshi_routes import kalshi_error

Endpoint = Callable[[Request], Awaitable[Response]]

# the exchange tells no waiting time
_ERRORS = {
    FaultKind.OVERLOADED: (503, "service_unavailable"),
    FaultKind.SERVER_ERROR: (500, "internal_server_error"),
    FaultKind.RATE_LIMITED: (429, "too_many_requests"),
    FaultKind.OUT_OF_CREDIT: (403, "permission_denied"),
    FaultKind.WRONG_KEY: (401, "authentication_error"),
}
_LISTS = ("events", "markets", "orderbooks")
_WORST_BID, _WORST_ASK = "0.0000", "1.0000"
_OTHER = {"yes": "no", "no": "yes"}


class VenueFaults:
    """Puts faults between the venue's endpoints and whoever asks."""

    def __init__(self, faults: Faults, calls: Calls) -> None:
        self._faults = faults
        self._calls = calls
        self._before: dict[str, bytes] = {}

    def around(self, endpoint: Endpoint) -> Endpoint:
        """`endpoint`, as it answers under the faults that stand."""

        async def answer(request: Request) -> Response:
            call = Call(VENUE, request.url.path)
            fault = self._faults.take(call)
            self._calls.note(call, fault)
            if fault is not None and fault.kind in _ERRORS:
                return kalshi_error(*_ERRORS[fault.kind], "fault on request")
            if fault is None:
                return self._shown(request, await endpoint(request), None)
            asked = _without_status(request) if fault.kind is FaultKind.BACKWARDS else request

            async def reply() -> Response:
                return self._shown(request, await endpoint(asked), fault)

            return await broken(fault, request, reply)

        return answer

    def _shown(self, request: Request, response: Response, fault: Fault | None) -> Response:
        if response.status_code != 200:
            return response
        name, body = request.url.path.rpartition("/")[2], bytes(response.body)
        before = self._before.get(name)
        if name in _LISTS:
            self._before[name] = body
        if fault is None or fault.kind not in OF_THE_VENUE:
            return response
        page = json.loads(body)
        if fault.kind in PAGE_KINDS and name in _LISTS:
            earlier = [] if before is None else json.loads(before)[name]
            _rearrange(page, name, fault.kind, earlier, request.query_params.get("cursor", ""))
        elif fault.kind in _MARKET_CHANGES:
            for found in _objects_in(page):
                _MARKET_CHANGES[fault.kind](found)
        return JSONResponse(page)


def _rearrange(page: dict[str, Any], name: str, kind: FaultKind, before: list[Any], cursor: str) -> None:
    rows = page[name]
    match kind:
        case FaultKind.ROWS_TWICE:
            page[name] = [row for row in rows for _ in range(2)]
        case FaultKind.ROWS_SKIPPED:
            page[name] = rows[1::2]
        case FaultKind.PAGE_AGAIN:
            page[name] = before + rows
        case FaultKind.PAGE_SKIPPED:
            page[name] = []
        case FaultKind.CURSOR_AGAIN:
            page["cursor"] = cursor


def _objects_in(value: object) -> Iterator[dict[str, Any]]:
    """All objects of a page, nested ones included."""
    if isinstance(value, dict):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for it in inner:
        yield from _objects_in(it)


def _take_the_ask_away(found: dict[str, Any]) -> None:
    if "yes_ask_dollars" in found:
        found |= {"yes_ask_dollars": _WORST_ASK, "no_bid_dollars": _WORST_BID, "yes_ask_size_fp": "0.00"}
    if "no_dollars" in found:
        found["no_dollars"] = []


def _open_again(found: dict[str, Any]) -> None:
    if found.get("status") == "finalized":
        found |= {"status": "active", "result": "", "settlement_value_dollars": None, "settlement_ts": None}


def _settle_otherwise(found: dict[str, Any]) -> None:
    if found.get("result") in _OTHER:
        value = {"yes": "0.0000", "no": "1.0000"}[found["result"]]
        other = _OTHER[found["result"]]
        found |= {"result": other, "expiration_value": other, "settlement_value_dollars": value}


_MARKET_CHANGES: dict[FaultKind, Callable[[dict[str, Any]], None]] = {
    FaultKind.ONE_SIDED: _take_the_ask_away,
    FaultKind.BACKWARDS: _open_again,
    FaultKind.WRONG_RESULT: _settle_otherwise,
}


def _without_status(request: Request) -> Request:
    """The request without its filter by status, so that settled markets are among the rows."""
    kept = [(name, value) for name, value in parse_qsl(request.url.query) if name != "status"]
    return Request({**request.scope, "query_string": urlencode(kept).encode()}, request.receive)
