"""The time one decision may take, shared by everything that is done for it.

Belongs here: when it begins to count and how much is left. Does not: what is given up when it ends.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ensemble_pipeline.errors import DeadlineError

# who stands in for a call that hangs needs time too
_SHARE_OF_A_CALL = 2 / 3
# with less of a decision's time left no call is begun: it would be cut off, and may be billed all the same
_LEAST_SHARE = 1 / 10
# who was given less than this of a decision's time and came to no end shows nothing about itself: it is more than one
# call that hangs leaves
_FAIR_SHARE = 0.4


class Deadline:
    """So many seconds from the moment the decision's first call may leave. Lives within one event loop.

    What waits for that moment, for its turn or for a breaker, has no limit yet: a large batch is no reason to hurry.
    """

    def __init__(self, seconds: float) -> None:
        """`seconds` > 0."""
        self._seconds = seconds
        self._ends_at: float | None = None
        self._waiting: set[asyncio.Timeout] = set()

    def begin(self) -> None:
        """Count from now on; later calls change nothing."""
        if self._ends_at is None:
            self._ends_at = asyncio.get_running_loop().time() + self._seconds
            for limit in self._waiting:
                limit.reschedule(self._ends_at)

    def left_s(self) -> float:
        """Seconds left, ≥ 0; all of them before it begins."""
        if self._ends_at is None:
            return self._seconds
        return max(0.0, self._ends_at - asyncio.get_running_loop().time())

    def has_time_for_a_call(self) -> bool:
        """Whether so much is left that a call may begin; true before it begins to count."""
        return self.left_s() >= self._seconds * _LEAST_SHARE

    def is_fair(self, limit_s: float) -> bool:
        """Whether a call that was given `limit_s` seconds had so many that to hang in them was its own fault."""
        return limit_s >= self._seconds * _FAIR_SHARE

    def has_time_to_wait(self, seconds: float, *, may_be_followed: bool) -> bool:
        """Whether a call may be put off for so long: where another could follow, it must keep the time of one."""
        left_s = self.left_s()
        if may_be_followed:
            return seconds <= left_s * (1 - _SHARE_OF_A_CALL)
        return seconds <= left_s - self._seconds * _LEAST_SHARE

    def for_a_call_s(self, *, may_be_followed: bool) -> float:
        """Seconds that one call may take: of what is left two thirds where another could follow one that hangs."""
        return self.left_s() * (_SHARE_OF_A_CALL if may_be_followed else 1.0)

    @asynccontextmanager
    async def bounds(self, model_id: str, why: str) -> AsyncIterator[None]:
        """Give up the block when the time is over, also where it begins to count meanwhile.

        Raises:
            DeadlineError: it is over; the model is not asked, for the reason `why`.
        """
        try:
            async with asyncio.timeout_at(self._ends_at) as limit:
                self._waiting.add(limit)
                try:
                    yield
                finally:
                    self._waiting.discard(limit)
        except TimeoutError:
            raise DeadlineError(f"{model_id} is not asked: {why}") from None
