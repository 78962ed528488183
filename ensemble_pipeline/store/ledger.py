"""The asynchronous side of the budget ledger, for the many calls of one run.

Belongs here: a reservation before each call leaves, and its booking with the record of the call, in one transaction.
Does not: what the ledger decides (budget.py), what a call is (calls.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ensemble_pipeline.domain import Answer, CostAnomaly, Snapshot
from ensemble_pipeline.errors import BudgetRefusedError, DatabaseLostError
from ensemble_pipeline.store import anomalies, budget, calls
from ensemble_pipeline.store.answer_cache import CacheKey
from ensemble_pipeline.store.budget import BudgetCall, Closing, Limits
from ensemble_pipeline.store.calls import LLMQuery
from ensemble_pipeline.store.coalescing import Coalescer
from ensemble_pipeline.store.database import AsyncDatabase
from ensemble_pipeline.store.locks import SnapshotLocks

_MOST_TOGETHER = 64


@dataclass(frozen=True, slots=True)
class Booking:
    """What came of a call: its record, the forecast read from it, how its reservation ends, what was odd.

    With a `key` the forecast may be given again. `worst_case` in micro-dollars is what the anomalies are judged by.
    """

    query: LLMQuery
    closing: Closing
    closed_at: datetime
    snapshot: Snapshot | None = None
    answer: Answer | None = None
    key: CacheKey | None = None
    worst_case: int = 0
    anomalies: tuple[CostAnomaly, ...] = ()


class Ledger:
    """Reserves and books for one event loop; calls that wait at the same time share a statement.

    With the `locks` of a run nothing is reserved once the server has dropped them; what was reserved is booked.
    """

    def __init__(self, database: AsyncDatabase, limits: Limits, locks: SnapshotLocks | None = None) -> None:
        self._database = database
        self._limits = limits
        self._locks = locks
        self._reserving = Coalescer(self._reserve, _MOST_TOGETHER)
        self._booking = Coalescer(self._book, _MOST_TOGETHER)
        self._closing = Coalescer(self._close, _MOST_TOGETHER)

    async def reserve(self, call: BudgetCall) -> int:
        """Hold the worst case of `call` against all its accounts; returns the reservation.

        Raises:
            BudgetRefusedError: it would overshoot one of the limits; nothing is held.
            DatabaseLostError: the server went away, and the locks with it.
        """
        outcome = await self._reserving.submit(call)
        if isinstance(outcome, BudgetRefusedError):
            raise outcome
        return outcome

    async def book(self, booking: Booking) -> None:
        """Record a call and close its reservation, both or neither; once more where the server goes away meanwhile.

        Raises:
            DatabaseLostError: it went away again, or another run closed the reservation before it could be booked.
        """
        await self._booking.submit(booking)

    async def close(self, closing: Closing, now: datetime) -> None:
        """Close a reservation of which no call is to be recorded."""
        await self._closing.submit((closing, now))

    async def _reserve(self, wanted: Sequence[BudgetCall]) -> Sequence[int | BudgetRefusedError]:
        async with self._database.statement() as connection:
            # asked on a connection that stands: a server that went away has dropped the locks before it answers again
            if self._locks is not None:
                self._locks.require_unbroken()
            return await budget.reserve(connection, wanted, self._limits)

    async def _close(self, closings: Sequence[tuple[Closing, datetime]]) -> Sequence[None]:
        async with self._database.statement() as connection:
            await budget.close(connection, [closing for closing, _ in closings], max(at for _, at in closings))
        return [None] * len(closings)

    async def _book(self, bookings: Sequence[Booking]) -> Sequence[None]:
        try:
            await self._book_together(bookings)
        except DatabaseLostError:
            # whether it had taken them before it went away only the server knows
            left = await self._not_booked(bookings)
            if left:
                await self._book_together(left)
        return [None] * len(bookings)

    async def _not_booked(self, bookings: Sequence[Booking]) -> list[Booking]:
        async with self._database.statement() as connection:
            states = await budget.states_of(connection, [it.closing.reservation_id for it in bookings])
        overtaken = [number for number, state in states.items() if state == "expired"]
        if overtaken:
            raise DatabaseLostError(
                f"PostgreSQL went away, and another run closed the reservations {overtaken} as spent before their "
                "answers could be booked: these answers are lost, and nobody is asked for them again"
            )
        return [it for it in bookings if states[it.closing.reservation_id] == "held"]

    async def _book_together(self, bookings: Sequence[Booking]) -> None:
        async with self._database.connection() as connection, connection.pipeline():
            for it in bookings:
                await calls.save_query(connection, it.query, it.snapshot, it.answer, it.key)
                for odd in it.anomalies:
                    await anomalies.save_anomaly(connection, it.query, odd, it.worst_case, it.closed_at)
            await budget.close(connection, [it.closing for it in bookings], max(it.closed_at for it in bookings))
