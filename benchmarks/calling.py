"""CPU of a model call with everything around it, 500 at once, against `httpx` with pydantic validation.

Ours is the real `consult` on 500 snapshots: breaker, reservation, HTTP, checked answer, price, row of the log. Counted
are this process and PostgreSQL's; the sandbox answers from a process of its own and is counted on neither side. The
alternative is what one writes first: one `httpx.AsyncClient` with room for 500 connections, the same prompts, pydantic
models for the reply and the answer, and nothing kept. It is measured a second time with the calls spread over small
pools as ours are, which is not what one writes first: with many connections in it a pool of httpx costs more than all
the rest.
"""

import asyncio
import statistics
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

from benchmarks._parts import bare
from benchmarks._parts.asking import instance_on, look, open_batch
from benchmarks._parts.sandbox import PRIMARY, running_sandbox
from benchmarks._parts.server import Server, running_server
from ensemble_pipeline.ensemble import decide
from ensemble_pipeline.ensemble.context import BatchContext
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.plan import Plan

CALLS, ROUNDS = 500, 5
_SMALL_POOL = 16
_WANTED = 2.0


def run() -> str:
    """Alternate the three, each round on markets that nobody was asked about, and compare the medians."""
    with running_sandbox(CALLS * (ROUNDS + 1)) as sandbox, running_server() as server:
        instance = instance_on(server.migrated("calling"), sandbox, 1, at_once=CALLS)
        snapshots = look(instance)
        # the first round connects, compiles and is forgotten
        rounds = [
            _round(instance, server, sandbox.url, snapshots[start : start + CALLS])
            for start in range(0, CALLS * (ROUNDS + 1), CALLS)
        ][1:]
        instance.database.close()
    ours, postgres, one_pool, small_pools = (statistics.median(column) for column in zip(*rounds, strict=True))
    whole = ours + postgres
    return (
        f"calling: {CALLS} calls at once, {whole:.2f} CPU ms each with breaker, ledger and log row (PostgreSQL's "
        f"{postgres:.2f} included), {one_pool:.2f} with bare httpx and pydantic, ratio {whole / one_pool:.2f}; at most "
        f"{_WANTED:.0f} is wanted\n"
        f"calling: the same against httpx in pools of {_SMALL_POOL}, {small_pools:.2f} CPU ms, ratio "
        f"{whole / small_pools:.2f}"
    )


def _round(instance: Instance, server: Server, url: str, snapshots: list[int]) -> tuple[float, float, float, float]:
    """CPU ms of one call: our process, PostgreSQL, bare in one pool, bare in small pools."""
    batch_id, waiting = decide.load(instance, open_batch(instance, snapshots))
    context, plans = decide.plan(instance, waiting, batch_id, "bench")
    messages = bare.messages_on(waiting, context.now)
    before = server.cpu_s()
    ours = _cpu_ms(_asked(instance, context, plans))
    postgres = (server.cpu_s() - before) / CALLS * 1000
    one = _cpu_ms(_bare(url, messages, CALLS))
    small = _cpu_ms(_bare(url, messages, _SMALL_POOL))
    return ours, postgres, one, small


async def _asked(instance: Instance, context: BatchContext, plans: list[Plan]) -> None:
    done = await decide.consult(instance, context, plans)
    assert done.answered == CALLS, done


async def _bare(url: str, messages: list[bare.Messages], connections: int) -> None:
    async with AsyncExitStack() as opened:
        clients = [
            await opened.enter_async_context(bare.client(url, connections)) for _ in range(-(-CALLS // connections))
        ]
        asked = (bare.ask(clients[place % len(clients)], PRIMARY, it) for place, it in enumerate(messages))
        await asyncio.gather(*asked)


def _cpu_ms(work: Coroutine[Any, Any, None]) -> float:
    """CPU milliseconds of this process for one call."""
    start = time.process_time()
    asyncio.run(work)
    return (time.process_time() - start) / CALLS * 1000
