import asyncio
from collections.abc import Sequence

import psycopg
import pytest

from ensemble_pipeline.store.coalescing import Coalescer


class Recorder:
    """Doubles what it is given; refuses a batch that holds a 13."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.has_begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, items: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(items))
        self.has_begun.set()
        await self.gate.wait()
        if 13 in items:
            raise ValueError("13 brings bad luck")
        return [2 * item for item in items]


async def settled(coalescer: Coalescer[int, int], items: Sequence[int]) -> list[int | BaseException]:
    return await asyncio.gather(*(coalescer.submit(item) for item in items), return_exceptions=True)


def test_requests_that_wait_together_go_together_in_their_order_and_none_waits_for_more() -> None:
    async def run() -> list[list[int]]:
        flush = Recorder()
        coalescer = Coalescer(flush, most=3)
        flush.gate.clear()
        first = asyncio.create_task(coalescer.submit(1))
        await flush.has_begun.wait()
        rest = [asyncio.create_task(coalescer.submit(item)) for item in range(2, 8)]
        await asyncio.sleep(0)
        flush.gate.set()
        assert await asyncio.gather(first, *rest) == [2, 4, 6, 8, 10, 12, 14]
        assert await coalescer.submit(8) == 16
        return flush.batches

    assert asyncio.run(run()) == [[1], [2, 3, 4], [5, 6, 7], [8]]


def test_one_that_fails_takes_no_other_with_it() -> None:
    async def run() -> tuple[list[int | BaseException], list[list[int]]]:
        flush = Recorder()
        return await settled(Coalescer(flush, most=10), [1, 13, 3]), flush.batches

    results, batches = asyncio.run(run())
    assert (results[0], results[2]) == (2, 6)
    assert isinstance(results[1], ValueError)
    assert batches == [[1, 13, 3], [1], [13], [3]]


def test_where_the_database_does_not_answer_all_fail_and_none_waits_for_it_again() -> None:
    async def away(items: Sequence[int]) -> Sequence[int]:
        batches.append(list(items))
        raise psycopg.OperationalError("the server has gone")

    batches: list[list[int]] = []
    results = asyncio.run(settled(Coalescer(away, most=10), [1, 2, 3]))
    assert [type(it) for it in results] == [psycopg.OperationalError] * 3
    assert batches == [[1, 2, 3]]


def test_whoever_gave_up_waiting_is_left_out_and_the_others_are_served() -> None:
    async def run() -> list[list[int]]:
        flush = Recorder()
        coalescer = Coalescer(flush, most=10)
        flush.gate.clear()
        first = asyncio.create_task(coalescer.submit(1))
        await flush.has_begun.wait()
        given_up, kept = (asyncio.create_task(coalescer.submit(item)) for item in (2, 3))
        await asyncio.sleep(0)
        given_up.cancel()
        first.cancel()
        flush.gate.set()
        assert await kept == 6
        with pytest.raises(asyncio.CancelledError):
            await given_up
        return flush.batches

    assert asyncio.run(run()) == [[1], [3]]
