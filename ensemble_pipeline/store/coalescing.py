"""Requests that wait at the same time go together: one statement, one transaction, one flush to disk for all of them.

Belongs here: who waits for which batch. Does not: what a batch does (ledger.py).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import psycopg

from ensemble_pipeline.errors import DatabaseError

Item = TypeVar("Item")
Result = TypeVar("Result")


class Coalescer(Generic[Item, Result]):
    """Hands over what waits, in the order in which it came, one batch at a time. Lives within one event loop.

    Nothing is held back to fill a batch: the first request leaves at once, and those that come while it is under way
    leave together after it. Where a batch fails for what is in it, each of its requests is tried alone, so that one
    does not take the others with it; where the database does not answer, all of them fail.
    """

    def __init__(self, flush: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]], most: int) -> None:
        """`flush` does a batch, all or nothing, with one result an item; `most` items go together."""
        self._flush = flush
        self._most = most
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._draining: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        """Have `item` done; raises what doing it alone raised."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        try:
            while self._waiting:
                taken = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
                # whoever gave up waiting wants nothing any more
                await self._do([(item, future) for item, future in taken if not future.done()])
        finally:
            self._draining = None

    async def _do(self, batch: Sequence[tuple[Item, "asyncio.Future[Result]"]]) -> None:
        if not batch:
            return
        [done] = await asyncio.gather(self._flush([item for item, _ in batch]), return_exceptions=True)
        if not isinstance(done, BaseException):
            for (_, future), result in zip(batch, done, strict=True):
                if not future.done():
                    future.set_result(result)
        elif len(batch) > 1 and not isinstance(done, (DatabaseError, psycopg.OperationalError)):
            for one in batch:
                await self._do([one])
        else:
            for _, future in batch:
                if not future.done():
                    future.set_exception(done)
