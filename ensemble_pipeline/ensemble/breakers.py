"""Asks the shared circuit breakers before each call of a run leaves, and tells them what came of it.

Belongs here: which outcome an error is, who waits and for how long. Does not: when a breaker opens or lets one call try
(``store.breakers``).
"""

import asyncio
import contextlib
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from ensemble_pipeline.domain import CallStatus, ModelReply
from ensemble_pipeline.ensemble.deadline import Deadline
from ensemble_pipeline.errors import (
    BadReplyError,
    BreakerOpenError,
    CredentialsError,
    CutShortError,
    DeadlineError,
    FormatRefusedError,
    ModelGoneError,
    OutOfCreditError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
)
from ensemble_pipeline.settings import BreakerSettings
from ensemble_pipeline.store import breakers
from ensemble_pipeline.store.breakers import Admission, Ask, Outcome, Report, Rules
from ensemble_pipeline.store.coalescing import Coalescer
from ensemble_pipeline.store.database import AsyncDatabase

_MOST_TOGETHER = 64
# so long a verdict holds within a process, and a process waits before it asks whether another one knows more
_HOLDS_S = 0.1
_FORBIDDEN = 403
_Key = tuple[str, str]
T = TypeVar("T")


class Breakers:
    """The breakers for one event loop; calls that ask at the same time share a statement."""

    def __init__(
        self, database: AsyncDatabase, options: BreakerSettings, now: Callable[[], datetime], *, is_heeded: bool = True
    ) -> None:
        """Breakers that are not heeded let every call leave, and learn what came of it all the same."""
        self._is_heeded = is_heeded
        self._database = database
        self._rules = rules_of(options)
        self._now = now
        self._admitting = Coalescer(self._admit, _MOST_TOGETHER)
        self._verdicts: dict[_Key, tuple[float, Admission]] = {}
        self._vouched: dict[_Key, datetime] = {}
        self._queues: defaultdict[_Key, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._news: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def admit(self, ask: Ask, deadline: Deadline, *, may_be_followed: bool) -> Admission:
        """Wait until a call may leave; the admission goes with its report.

        Raises:
            BreakerOpenError: it may not; nothing is to be reported.
            DeadlineError: it may not before the deadline, or before another could be asked in time; the same.
        """
        if not self._is_heeded:
            return _TRUSTED
        said = await self._ask(ask)
        if said.verdict == "wait":
            async with deadline.bounds(ask.model_id, _UNKNOWN):
                await self._queues[_key(ask)].acquire()
            try:
                said = await self._wait(ask, deadline, may_be_followed=may_be_followed)
            finally:
                self._queues[_key(ask)].release()
        if said.verdict == "open":
            raise BreakerOpenError(f"{ask.model_id} is not asked: its breaker is open ({said.said})")
        return said

    async def renew(self, ask: Ask, admission: Admission) -> Admission | None:
        """The admission of a call that has waited since, as it stands now; ``None`` where it has to wait again.

        Raises:
            BreakerOpenError: the breaker has opened meanwhile; nothing is to be reported.
        """
        if admission.trial_id is not None or not self._is_heeded:
            return admission
        said = await self._ask(ask)
        if said.verdict == "open":
            raise BreakerOpenError(f"{ask.model_id} is not asked: its breaker has opened meanwhile ({said.said})")
        return None if said.verdict == "wait" else said

    async def report(self, ask: Ask, admission: Admission, of: ModelReply | ProviderError | None) -> None:
        """Tell what came of an admitted call; ``None``: it never left."""
        report = report_of(ask, admission.trial_id, of)
        now = self._now()
        if not self._is_worth_telling(report, now):
            return
        async with self._database.statement() as connection:
            await breakers.report(connection, report, now, self._rules)
        if report.tells_of_trouble:
            # the next answer of any of its models is news again
            _forget(self._vouched, ask.provider)
        elif report.of_model == "success":
            self._vouched[_key(ask)] = now
        _forget(self._verdicts, ask.provider)
        self._news.pop(ask.provider, asyncio.Event()).set()

    def keeps_back(self, error: ProviderError) -> bool:
        """Whether the next call will wait here for as long as the provider asked in `error`."""
        return self._is_heeded and isinstance(error, RateLimitedError)

    async def note_not_made(self, ask: Ask, cause: str) -> None:
        """Keep why a member was not asked."""
        async with self._database.statement() as connection:
            await breakers.note_not_made(connection, ask, cause, self._now())

    async def _wait(self, ask: Ask, deadline: Deadline, *, may_be_followed: bool) -> Admission:
        """Ask again until there is more to be said than that one has to wait; one call of a model at a time does."""
        while (said := await self._ask(ask)).verdict == "wait":
            wait_s = said.wait_s
            if wait_s is not None and not deadline.has_time_to_wait(wait_s, may_be_followed=may_be_followed):
                raise DeadlineError(
                    f"{ask.model_id} is not asked: {ask.provider} wants {wait_s:.1f} s of patience, and the "
                    f"decision has {deadline.left_s():.1f} s left ({said.said})"
                )
            # only this is cut off: a question under way may come back with a trial, which somebody has to end
            async with deadline.bounds(ask.model_id, _UNKNOWN):
                await self._pause(ask.provider, wait_s)
        return said

    async def _pause(self, provider: str, wait_s: float | None) -> None:
        if wait_s is not None:
            await asyncio.sleep(wait_s)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news[provider].wait(), _HOLDS_S)

    async def _ask(self, ask: Ask) -> Admission:
        at = asyncio.get_running_loop().time()
        heard_at, said = self._verdicts.get(_key(ask), (-math.inf, _UNHEARD))
        if at - heard_at <= _HOLDS_S:
            return said
        said = await self._admitting.submit(ask)
        if said.verdict in ("trusted", "open"):
            self._verdicts[_key(ask)] = (at, said)
        return said

    def _is_worth_telling(self, report: Report, now: datetime) -> bool:
        """A success among successes changes nothing, but for its being the last one known."""
        if report.trial_id is not None or report.tells_of_trouble:
            return True
        vouched = self._vouched.get((report.provider, report.model_id))
        return report.of_model == "success" and (vouched is None or now - vouched >= self._rules.trusted / 3)

    async def _admit(self, asks: Sequence[Ask]) -> Sequence[Admission]:
        now = self._now()
        async with self._database.statement() as connection:
            trusted = await breakers.trusted(connection, {_key(ask) for ask in asks}, now, self._rules)
            return [
                _TRUSTED if _key(ask) in trusted else await breakers.admit(connection, ask, now, self._rules)
                for ask in asks
            ]


_TRUSTED = Admission("trusted")
_UNHEARD = Admission("wait")
_UNKNOWN = "calls to it that are under way had no outcome before the deadline"


def _forget(known: dict[_Key, T], provider: str) -> None:
    for key in [key for key in known if key[0] == provider]:
        del known[key]


def _key(ask: Ask) -> _Key:
    return ask.provider, ask.model_id


def rules_of(options: BreakerSettings) -> Rules:
    """The rules that the settings describe."""
    return Rules(
        failures=options.failures,
        open_s=options.open_s,
        max_open_s=options.max_open_s,
        long_open_s=options.long_open_s,
        trusted=timedelta(minutes=options.trusted_minutes),
    )


def report_of(ask: Ask, trial_id: int | None, of: ModelReply | ProviderError | None) -> Report:
    """What an outcome says of a provider and of its model.

    A reply says that the provider works, whatever the model wrote. An empty account and a wrong key concern all models
    of the provider, and nobody mends them in a minute; nor a model that is gone, or that the key may not use.
    """
    if of is None:
        return Report(ask.provider, ask.model_id, trial_id, "none", "none")
    if isinstance(of, ModelReply):
        is_answer = of.status is CallStatus.ANSWERED
        cause = of.problem or ""
        return Report(ask.provider, ask.model_id, trial_id, "success", "success" if is_answer else "failure", cause)
    of_provider, of_model = _outcomes(of)
    return Report(ask.provider, ask.model_id, trial_id, of_provider, of_model, str(of), of.retry_after_s)


def _outcomes(error: ProviderError) -> tuple[Outcome, Outcome]:
    if isinstance(error, CredentialsError) and error.http_status == _FORBIDDEN:
        # the key is good for other models
        return "none", "shut"
    for kind, outcomes in _BY_KIND:
        if isinstance(error, kind):
            return outcomes
    # it works and has refused this very request; without a status it was never sent
    return "none", "none" if error.http_status is None else "failure"


# of its provider and of its model; the first that fits counts
_BY_KIND: tuple[tuple[type[ProviderError], tuple[Outcome, Outcome]], ...] = (
    (RateLimitedError, ("none", "slow_down")),
    # it works, and is asked in another form next
    (FormatRefusedError, ("success", "none")),
    (ModelGoneError, ("none", "shut")),
    (OutOfCreditError, ("shut", "none")),
    (CredentialsError, ("shut", "none")),
    (CutShortError, ("cut_short", "cut_short")),
    (ProviderUnavailableError, ("failure", "failure")),
    (BadReplyError, ("failure", "failure")),
)
