"""The alternative: a retry loop around each call, as most programs have it. Nobody knows what another call heard."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

import httpx
import stamina

from benchmarks._failover.ours import be_quiet
from benchmarks._parts import bare
from benchmarks._parts.bare import Answer, Messages

# as many as a member of ours has
ATTEMPTS = 2
_CONNECTIONS = 100


@dataclass(frozen=True)
class Task:
    """Questions that one process asks at once: of the first model that answers, or where `is_each` of each."""

    url: str
    models: tuple[str, ...]
    questions: Sequence[Messages]
    is_each: bool = False
    timeout_s: float = 60.0


def work(task: Task, gate: Barrier, results: "Queue[float]") -> None:
    """Ask what the task holds, once everybody is ready; the result is how long it took, in seconds."""
    be_quiet()
    gate.wait()
    results.put(asked_in_s(task))


def asked_in_s(task: Task) -> float:
    """Seconds until every question has its answers."""
    start = time.perf_counter()
    asyncio.run(_ask_all(task))
    return time.perf_counter() - start


async def _ask_all(task: Task) -> None:
    async with bare.client(task.url, _CONNECTIONS, task.timeout_s) as sender:
        if task.is_each:
            await asyncio.gather(*(_ask(sender, model, it) for model in task.models for it in task.questions))
        else:
            await asyncio.gather(*(_ask_in_turn(sender, task.models, it) for it in task.questions))


async def _ask_in_turn(sender: httpx.AsyncClient, models: Sequence[str], question: Messages) -> Answer:
    for model in models[:-1]:
        try:
            return await _ask(sender, model, question)
        except httpx.HTTPError:
            continue
    return await _ask(sender, models[-1], question)


async def _ask(sender: httpx.AsyncClient, model: str, question: Messages) -> Answer:
    async for attempt in stamina.retry_context(on=_patience, attempts=ATTEMPTS, timeout=None):
        with attempt:
            return await bare.ask(sender, model, question)
    raise AssertionError("the loop ends with an answer or an error")


def _patience(error: Exception) -> bool | float:
    """Whether to ask again; where the provider says when, that many seconds."""
    if not isinstance(error, httpx.HTTPStatusError):
        return isinstance(error, httpx.TransportError)
    if error.response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        return float(error.response.headers.get("retry-after", "1"))
    return error.response.is_server_error
