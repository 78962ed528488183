"""Requests spread over pools of connections."""

import asyncio
from collections import Counter
from collections.abc import Callable

import httpx
import pytest

from ensemble_pipeline.providers.connections import Connections


class Counting(httpx.AsyncBaseTransport):
    """Answers when told to, and knows how many wait for that."""

    def __init__(self, size: int, seen: Counter[int], gate: asyncio.Event, on_arrival: Callable[[], None]) -> None:
        self.size, self.waiting, self._seen, self._gate, self._on_arrival = size, 0, seen, gate, on_arrival

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.waiting += 1
        self._seen[id(self)] = max(self._seen[id(self)], self.waiting)
        self._on_arrival()
        await self._gate.wait()
        self.waiting -= 1
        return httpx.Response(200, request=request)


@pytest.mark.parametrize(("most", "sizes"), [(1, [1]), (16, [16]), (17, [16, 1]), (40, [16, 16, 8])])
def test_as_many_requests_as_there_are_connections_find_one_each(most: int, sizes: list[int]) -> None:
    async def run() -> None:
        seen: Counter[int] = Counter()
        gate, all_wait = asyncio.Event(), asyncio.Event()
        made: list[Counting] = []

        def count() -> None:
            if sum(it.waiting for it in made) == most:
                all_wait.set()

        def connect(size: int) -> httpx.AsyncClient:
            made.append(Counting(size, seen, gate, count))
            return httpx.AsyncClient(transport=made[-1], base_url="http://127.0.0.1")

        connections = Connections(connect, most)
        requests = [connections.build_request("GET", "/", None, None) for _ in range(most)]
        under_way = [asyncio.create_task(connections.send(request)) for request in requests]
        await all_wait.wait()
        assert [it.size for it in made] == sizes
        assert [seen[id(it)] for it in made] == sizes
        gate.set()
        assert {it.status_code for it in await asyncio.gather(*under_way)} == {200}
        await connections.aclose()

    asyncio.run(run())


def test_connection_of_a_request_that_failed_is_free_again() -> None:
    async def run() -> None:
        def refuse(request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("no", request=request)

        connections = Connections(lambda _: httpx.AsyncClient(transport=httpx.MockTransport(refuse)), 1)
        for _ in range(3):
            with pytest.raises(httpx.ConnectError):
                await connections.send(httpx.Request("GET", "http://127.0.0.1"))
        assert connections._pools[0].free == 1

    asyncio.run(run())
