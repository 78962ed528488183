"""The connections to one provider, in pools of a few: what a pool does for each request grows with its connections.

Belongs here: which pool sends a request. Does not: what is sent, what comes back (wire.py).
"""

from collections.abc import Callable, Mapping
from typing import Any

import httpx

_MOST_IN_A_POOL = 16


class _Pool:
    def __init__(self, client: httpx.AsyncClient, size: int) -> None:
        self.client = client
        self.free = size


class Connections:
    """At most so many connections. With 500 in one pool of httpx a request takes some four times the CPU."""

    def __init__(self, connect: Callable[[int], httpx.AsyncClient], most: int) -> None:
        """`connect` makes a client of at most so many connections."""
        whole, rest = divmod(most, _MOST_IN_A_POOL)
        sizes = [_MOST_IN_A_POOL] * whole + [rest] * bool(rest)
        self._pools = [_Pool(connect(size), size) for size in sizes]

    def build_request(
        self, method: str, path: str, body: Mapping[str, Any] | None, params: Mapping[str, str] | None
    ) -> httpx.Request:
        """A request as every pool would send it."""
        return self._pools[0].client.build_request(method, path, json=body, params=params)

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request by the pool that has most to spare; raises as httpx does."""
        pool = max(self._pools, key=lambda it: it.free)
        pool.free -= 1
        try:
            return await pool.client.send(request)
        finally:
            pool.free += 1

    async def aclose(self) -> None:
        """Release them all."""
        for pool in self._pools:
            await pool.client.aclose()
