"""The sandbox in a process of its own: what it does is no work of those that are measured."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from multiprocessing.queues import Queue

import httpx

from benchmarks._parts.processes import CONTEXT
from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.sandbox.app import create_app
from ensemble_pipeline.sandbox.serve import HOST, bind, create_server
from ensemble_pipeline.sandbox.synthetic import SyntheticWorld
from ensemble_pipeline.sandbox.synthetic_models import SyntheticModel
from ensemble_pipeline.sandbox.world import WorldModel

# all markets of the first day have opened, and none has closed
_AFTER = timedelta(hours=19)
_COMPLETIONS = "/chat/completions"


def _model(name: str, provider: str) -> SyntheticModel:
    return SyntheticModel(WorldModel(name, provider, name, Decimal(2), Decimal(10)), noise_sd=0.2, failure_rate=0)


PRIMARY, SECOND = "primary-model", "second-model"
# they fail where a fault says so, and nowhere else
MODELS = (_model(PRIMARY, "xai"), _model(SECOND, "openai"))


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox, whose world stands still at `now`."""

    url: str
    now: datetime
    tickers: tuple[str, ...]

    def fault(self, target: str, kind: str, **more: object) -> None:
        """Let calls to a provider go wrong until `mend`."""
        body = {"target": target, "kind": kind, "count": None, **more}
        httpx.post(f"{self.url}/faults", json=body, trust_env=False).raise_for_status()

    def mend(self) -> None:
        """Let nothing go wrong any more."""
        httpx.delete(f"{self.url}/faults", trust_env=False).raise_for_status()

    def reached(self, provider: str, kind: str | None = None) -> int:
        """Completions that a provider was asked for so far, or those of them that a fault of `kind` struck."""
        requests = httpx.get(f"{self.url}/calls", trust_env=False).json()["requests"]
        found = [it for it in requests if it["target"] == provider and it["path"].endswith(_COMPLETIONS)]
        return sum(it["count"] if kind is None else it["faults"].get(kind, 0) for it in found)


@contextmanager
def running_sandbox(markets: int) -> Iterator[Sandbox]:
    """A sandbox with so many open markets and two models; it ends with the block."""
    ports: Queue[int] = CONTEXT.Queue()
    process = CONTEXT.Process(target=_serve, args=(markets, ports), daemon=True)
    process.start()
    try:
        world = _world(markets)
        yield Sandbox(f"http://{HOST}:{ports.get(timeout=60)}", world.starts_at + _AFTER, tuple(world.markets))
    finally:
        process.terminate()
        process.join()


def _world(markets: int) -> SyntheticWorld:
    # two days: only the first opens markets
    return SyntheticWorld(days=2, markets_per_day=markets, models=MODELS)


def _serve(markets: int, ports: "Queue[int]") -> None:
    world = _world(markets)
    listener = bind(0)
    server = create_server(create_app(world, SteppedClock(world.starts_at + _AFTER)))
    ports.put(listener.getsockname()[1])
    server.run(sockets=[listener])
