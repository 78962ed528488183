"""The sandbox's web application: Kalshi's reads below ``/trade-api/v2``, models below ``/providers/{name}/v1``.

Belongs here: putting the dialects on their paths and faults in their way. Does not: the dialects themselves.
The world is shown as of the clock's present time, never later.
"""

from collections.abc import Iterable, Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ensemble_pipeline.clock import Clock
from ensemble_pipeline.sandbox.control import control_routes
from ensemble_pipeline.sandbox.counting import Calls
from ensemble_pipeline.sandbox.faults import Fault, Faults
from ensemble_pipeline.sandbox.kalshi_routes import kalshi_error, kalshi_routes
from ensemble_pipeline.sandbox.manners import Manners
from ensemble_pipeline.sandbox.provider_routes import Endpoint, provider_routes, respond
from ensemble_pipeline.sandbox.venue_breaking import VenueFaults
from ensemble_pipeline.sandbox.world import World


def create_app(
    world: World,
    clock: Clock,
    faults: Iterable[Fault] = (),
    keys: Mapping[str, str] | None = None,
    manners: Mapping[str, Manners] | None = None,
) -> Starlette:
    """An application that plays `world` as of `clock`.

    `faults` strike in their order from the first call on; more can be put in over HTTP (``control``). `keys` by
    provider, where one is to accept another key than ``sandbox``; `manners` by provider, where one has its own.
    """
    standing, calls, behaving = Faults(), Calls(), dict(manners or {})
    for fault in faults:
        standing.add(fault)
    venue = VenueFaults(standing, calls)
    routes = [
        *provider_routes(world, clock, standing, calls, behaving, keys),
        *(Route(route.path, venue.around(route.endpoint)) for route in kalshi_routes(world, clock)),
        Route("/", _describe(world, clock)),
        *control_routes(standing, calls, behaving),
    ]
    return Starlette(routes=routes, exception_handlers={404: _unknown_path})


def _describe(world: World, clock: Clock) -> Endpoint:
    fixed = {
        "world": world.key,
        "kind": world.kind,
        "starts_at": world.starts_at.isoformat(),
        "ends_at": world.ends_at.isoformat(),
        "markets": len(world.markets),
        "models": [model.name for model in world.models],
    }

    async def answer(_: Request) -> Response:
        return respond((200, {**fixed, "now": clock.now().isoformat()}, {}))

    return answer


async def _unknown_path(request: Request, _: Exception) -> Response:
    return kalshi_error(404, "not_found", f"no such path: {request.url.path}")
