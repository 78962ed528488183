"""What each process of the benchmark does: calls through the ledger, calls past a naive check, or bookings alone."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

from benchmarks._parts.sandbox import PRIMARY
from ensemble_pipeline.domain import CallStatus, Market, MarketStatus
from ensemble_pipeline.errors import BudgetRefusedError
from ensemble_pipeline.providers.manager import ProviderManager
from ensemble_pipeline.providers.prices import worst_case_micro_usd
from ensemble_pipeline.providers.prompts import build_prompt
from ensemble_pipeline.settings import MemberSettings, Settings
from ensemble_pipeline.store.budget import BudgetCall, Closing, Limits
from ensemble_pipeline.store.calls import LLMQuery
from ensemble_pipeline.store.database import AsyncDatabase, Database
from ensemble_pipeline.store.ledger import Booking, Ledger

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
UNLIMITED = Limits(10**15, 10**15, 10**15, 10**15, {"xai": 10**15}, {PRIMARY: 10**15})


@dataclass(frozen=True)
class Task:
    """One process: which snapshot and market it asks about, how many calls, how many at once, within which budget."""

    kind: str
    url: str
    sandbox: str
    snapshot_id: int
    ticker: str
    calls: int
    at_once: int
    budget: int | None = None

    @property
    def market_id(self) -> str:
        """The market asked about."""
        return f"kalshi:{self.ticker}"


@dataclass(frozen=True)
class Done:
    """What one process came to: calls that left, seconds from the common start to its end, CPU seconds of its own."""

    left: int
    seconds: float
    cpu_s: float


def work(task: Task, gate: Barrier, results: "Queue[Done]") -> None:
    """Do a task after everybody is ready."""
    os.environ["XAI_API_KEY"] = "sandbox"
    results.put(asyncio.run(_run(task, gate)))


async def _run(task: Task, gate: Barrier) -> Done:
    async with Database(task.url).async_pool(4) as pool, ProviderManager(_settings(task), os.environ) as manager:
        each = _EACH[task.kind](task, pool, manager)
        # connections, price list and certificates are there before time is taken
        await each(-1)
        gate.wait()
        start, cpu = time.perf_counter(), time.process_time()
        turn = asyncio.Semaphore(task.at_once)

        async def one(number: int) -> bool:
            async with turn:
                return await each(number)

        left = sum(await asyncio.gather(*(one(number) for number in range(task.calls))))
        return Done(left, time.perf_counter() - start, time.process_time() - cpu)


Each = Callable[[int], Awaitable[bool]]


def _through_ledger(task: Task, pool: AsyncDatabase, manager: ProviderManager) -> Each:
    """The whole call: worst case, reservation, HTTP, price, record."""
    limits = UNLIMITED if task.budget is None else Limits(None, task.budget, None)
    ledger, member = Ledger(pool, limits), _member()

    async def each(number: int) -> bool:
        prompt = build_prompt("forecaster", _market(task), NOW)
        # counted in calls where the budget is one of calls: each holds 1 and costs 1
        worst = worst_case_micro_usd(prompt, member)
        amount = worst if task.budget is None else 1
        if number < 0:
            return False
        call = BudgetCall(task.snapshot_id, task.market_id, "xai", member.name, amount, NOW)
        try:
            async with manager.turn(member):
                reservation = await ledger.reserve(call)
                reply = await manager.ask(member, prompt, worst)
        except BudgetRefusedError:
            return False
        booked = amount if task.budget is not None else reply.cost_micro_usd or 0
        query = LLMQuery(
            reservation_id=reservation,
            snapshot_id=task.snapshot_id,
            model_id=member.name,
            attempt=number + 1,
            prompt_hash=prompt.prompt_hash,
            prompt=prompt.user,
            requested_at=NOW,
            latency_ms=reply.latency_ms,
            status=CallStatus.FAILED,
            cost_micro_usd=booked,
            cost_source=reply.cost_source,
            response=reply.text,
            problem="not read: the benchmark asks the same again and again",
            usage=reply.usage,
        )
        await ledger.book(Booking(query, Closing(reservation, NOW.date(), "settled", booked), NOW))
        return True

    return each


def _past_naive_check(task: Task, pool: AsyncDatabase, manager: ProviderManager) -> Each:
    """Add up what was spent, call if there is room, then write down what it cost."""
    member = _member()

    async def each(number: int) -> bool:
        if number < 0:
            return False
        async with pool.connection() as connection:
            cursor = await connection.execute("select count(*) as n from naive_spend")
            row = await cursor.fetchone()
        if row is None or row["n"] >= (task.budget or 0):
            return False
        async with manager.turn(member):
            await manager.ask(member, build_prompt("forecaster", _market(task), NOW), 10**6)
        async with pool.connection() as connection:
            await connection.execute("insert into naive_spend (cost) values (1)")
        return True

    return each


def _pairs(task: Task, pool: AsyncDatabase, _: ProviderManager) -> Each:
    """Reserve and settle, and nothing else."""
    ledger = Ledger(pool, UNLIMITED)

    async def each(number: int) -> bool:
        if number >= 0:
            call = BudgetCall(task.snapshot_id, task.market_id, "xai", PRIMARY, 10, NOW)
            await ledger.close(Closing(await ledger.reserve(call), NOW.date(), "settled", 5), NOW)
        return True

    return each


def _naive_pairs(_: Task, pool: AsyncDatabase, __: ProviderManager) -> Each:
    """The same without any guard: add up, insert, update; wrong as soon as two do it at once."""

    async def each(number: int) -> bool:
        if number >= 0:
            async with pool.connection() as connection:
                await connection.execute("select sum(cost) from naive_pairs where day = %s", [NOW.date()])
                cursor = await connection.execute(
                    "insert into naive_pairs (day, cost) values (%s, 10) returning pair_id", [NOW.date()]
                )
                row = await cursor.fetchone()
            async with pool.connection() as connection:
                await connection.execute(
                    "update naive_pairs set cost = 5 where pair_id = %s", [None if row is None else row["pair_id"]]
                )
        return True

    return each


_EACH = {"ledger": _through_ledger, "naive": _past_naive_check, "pairs": _pairs, "naive_pairs": _naive_pairs}


def _settings(task: Task) -> Settings:
    providers = {"xai": {"base_url": f"{task.sandbox}/providers/xai/v1", "max_concurrency": task.at_once}}
    return Settings.model_validate({"providers": providers})


def _member() -> MemberSettings:
    return MemberSettings.model_validate(
        {
            "name": PRIMARY,
            "provider": "xai",
            "model": PRIMARY,
            "input_usd_per_mtok": "2",
            "output_usd_per_mtok": "6",
        }
    )


def _market(task: Task) -> Market:
    return Market(
        task.market_id, "kalshi", task.ticker, "kalshi:E", "S", "Economics", "Will it?", "Rules. " * 100, NOW,
        NOW + timedelta(days=30), MarketStatus.ACTIVE,
    )  # fmt: skip
