"""How a test or a person steers the sandbox from outside: ``/faults``, ``/calls`` and ``/manners``.

Belongs here: reading such requests. Does not: what a fault is and does (``faults``), what is counted (``counting``).
"""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.sandbox.counting import Calls
from ensemble_pipeline.sandbox.faults import Fault, Faults, read_fault
from ensemble_pipeline.sandbox.manners import Manners, manners_of


def control_routes(faults: Faults, calls: Calls, manners: dict[str, Manners]) -> list[Route]:
    """``POST /faults`` with one fault or a list of them, ``GET`` and ``DELETE /faults``; ``GET`` and ``DELETE /calls``.

    ``POST /manners`` with ``{"provider", "refuses", "ignores", "dates"}`` gives a provider manners, ``DELETE`` takes
    all of them away.

    A request that holds no fault, or a list with one that is none, is refused with 400, and nothing of it is taken.
    """
    return [
        Route("/faults", _faults(faults), methods=["GET", "POST", "DELETE"]),
        Route("/calls", _calls(calls), methods=["GET", "DELETE"]),
        Route("/manners", _manners(manners), methods=["POST", "DELETE"]),
    ]


def read_script(path: Path) -> tuple[Fault, ...]:
    """The faults in a JSON file: a list, in the order in which they are to strike.

    Raises:
        InputError: the file cannot be read or holds something else; the message names the entry and the field.
    """
    try:
        asked = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from None
    if not isinstance(asked, list):
        raise InputError(f"{path} must hold a list of faults; docs/examples/faults.json is one")
    try:
        return _read_all(asked)
    except InputError as error:
        raise InputError(f"{path}: {error}. docs/operations.md lists all kinds and fields.") from None


def _read_all(asked: list[Any]) -> tuple[Fault, ...]:
    found = []
    for number, one in enumerate(asked, start=1):
        try:
            found.append(read_fault(one))
        except InputError as error:
            raise InputError(f"fault {number}: {error}") from None
    return tuple(found)


def _faults(faults: Faults) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse(faults.as_json())
        if request.method == "DELETE":
            faults.clear()
            return Response(status_code=204)
        try:
            asked = json.loads(await request.body())
        except (ValueError, RecursionError):
            return JSONResponse({"error": "the body is not JSON"}, 400)
        try:
            found = _read_all(asked) if isinstance(asked, list) else (read_fault(asked),)
            if not found:
                raise InputError("the list holds no fault")
        except InputError as error:
            return JSONResponse({"error": str(error)}, 400)
        for fault in found:
            faults.add(fault)
        return Response(status_code=204)

    return answer


def _calls(calls: Calls) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse(calls.as_json())
        calls.clear()
        return Response(status_code=204)

    return answer


def _manners(manners: dict[str, Manners]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        if request.method == "DELETE":
            manners.clear()
            return Response(status_code=204)
        try:
            asked = json.loads(await request.body())
            manners[str(asked["provider"])] = manners_of(asked)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            return JSONResponse({"error": f"manners need a provider, forms and dates: {error}"}, 400)
        return Response(status_code=204)

    return answer
