"""One member asked about one snapshot: each attempt admitted, reserved before it leaves, and booked after it.

Belongs here: what is done for one answer, attempt by attempt. Does not: who is asked and who stands in (consult.py),
what is booked of a call (bookings.py), when a breaker opens (``store.breakers``), what a budget refuses
(``store.budget``).
"""

import asyncio
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Literal

import stamina

from ensemble_pipeline.clock import Stopwatch
from ensemble_pipeline.domain import ModelReply
from ensemble_pipeline.ensemble.answer_formats import FormatLadder
from ensemble_pipeline.ensemble.asking import Questions
from ensemble_pipeline.ensemble.bookings import Bookings, Call, NoReply, Question
from ensemble_pipeline.ensemble.breakers import Breakers
from ensemble_pipeline.ensemble.context import BatchContext
from ensemble_pipeline.ensemble.deadline import Deadline
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.plan import Plan
from ensemble_pipeline.errors import (
    BreakerOpenError,
    BudgetRefusedError,
    CutShortError,
    DatabaseLostError,
    DeadlineError,
    FormatRefusedError,
    LimitError,
    ProviderError,
    ProviderTimeoutError,
    SettingsError,
)
from ensemble_pipeline.providers.manager import ProviderManager
from ensemble_pipeline.providers.prices import worst_case_micro_usd
from ensemble_pipeline.settings import MemberSettings
from ensemble_pipeline.store.breakers import Admission
from ensemble_pipeline.store.budget import BudgetCall
from ensemble_pipeline.store.calls import Attempts
from ensemble_pipeline.store.database import AsyncDatabase
from ensemble_pipeline.store.ledger import Ledger
from ensemble_pipeline.store.locks import SnapshotLocks

_LONGEST_BACKOFF_S = 5.0

Outcome = Literal["answered", "failed", "refused", "not_asked", "resumed", "reused"]


class Caller:
    """Asks for the answers of one batch. Lives within one event loop."""

    def __init__(
        self,
        instance: Instance,
        context: BatchContext,
        questions: Questions,
        database: AsyncDatabase,
        manager: ProviderManager,
        formats: FormatLadder,
        locks: SnapshotLocks,
    ) -> None:
        options = instance.settings.ensemble
        self._instance = instance
        self._database = database
        self._formats = formats
        self._context = context
        self._questions = questions
        self._manager = manager
        self._attempts = options.max_attempts
        self._ledger = Ledger(database, instance.limits, locks)
        # a breaker is one of the gates that who asks everybody does not heed
        is_heeded = options.member_policy == "selected"
        self._breakers = Breakers(database, instance.settings.breaker, self._now, is_heeded=is_heeded)
        self._bookings = Bookings(instance.settings.policy, context, questions, self._now)

    async def ask(
        self, plan: Plan, member: MemberSettings, made: Attempts, deadline: Deadline, *, may_be_followed: bool
    ) -> Outcome:
        """The member's answer about the plan's snapshot, booked with all attempts it took; says what came of it.

        Where it `may_be_followed` by another in its place, it leaves time for that.
        """
        left = self._attempts - made.count
        if made.is_answered:
            return "resumed"
        if made.is_final or left <= 0:
            return "failed"
        prompt = self._questions.prompt(member, plan.snapshot, self._context.now)
        question = Question(plan, member, prompt, deadline, may_be_followed)
        try:
            return await self._ask_until_answered(question, made.count, left)
        except BudgetRefusedError:
            return "refused"
        except (BreakerOpenError, DeadlineError) as error:
            await self._breakers.note_not_made(question.ask, str(error))
            return "not_asked"
        except ProviderError:
            # booked with its cause in llm_queries by `_attempt`
            return "failed"

    async def _ask_until_answered(self, question: Question, number: int, attempts: int) -> Outcome:
        async for attempt in stamina.retry_context(
            on=lambda error: self._when_to_ask_again(error, question),
            attempts=attempts,
            timeout=None,
            wait_initial=0.1,
            wait_jitter=0.2,
            wait_max=_LONGEST_BACKOFF_S,
        ):
            number += 1
            with attempt:
                reply = await self._attempt(question, number)
        return "answered" if reply.answer is not None else "failed"

    def _when_to_ask_again(self, error: Exception, question: Question) -> bool | float:
        """Whether to, or after how many seconds, where the provider says so and its breaker does not see to that.

        Not after a time-out: another can answer in the time that is left, and it may be billed.
        """
        if not isinstance(error, ProviderError) or isinstance(error, ProviderTimeoutError) or not error.is_retryable:
            return False
        wait_s = error.retry_after_s or 0.0
        if not question.deadline.has_time_to_wait(wait_s, may_be_followed=question.may_be_followed):
            return False
        return self._breakers.keeps_back(error) or wait_s or True

    async def _attempt(self, question: Question, number: int) -> ModelReply:
        async with AsyncExitStack() as held:
            admission = await self._admitted(question, held)
            return await self._call(question, number, admission, held)

    async def _admitted(self, question: Question, held: AsyncExitStack) -> Admission:
        """Wait until the call may leave and has its provider's turn, both at once."""
        while True:
            admission = await self._breakers.admit(
                question.ask, question.deadline, may_be_followed=question.may_be_followed
            )
            try:
                await self._take_turn(question, held)
                if not question.deadline.has_time_for_a_call():
                    raise DeadlineError(f"{question.member.name} is not asked: the decision's time is all but over")
                # those that had the turn before may have failed meanwhile
                renewed = await self._breakers.renew(question.ask, admission)
            except LimitError:
                await self._breakers.report(question.ask, admission, None)
                raise
            if renewed is not None:
                question.deadline.begin()
                return renewed
            await held.aclose()

    async def _call(self, question: Question, number: int, admission: Admission, turn: AsyncExitStack) -> ModelReply:
        came: ModelReply | NoReply | None = None
        try:
            async with turn:
                call = await self._reserve(question, number)
                came = await self._send(call)
                outcome = came.error if isinstance(came, NoReply) else came
                # while it has the turn: who has it next may have to be kept back
                await self._breakers.report(question.ask, admission, outcome)
        except DatabaseLostError:
            # what came is paid for, and booked below; nothing more is reserved once the locks are lost
            if came is None:
                raise
        finally:
            if came is None:
                await self._breakers.report(question.ask, admission, None)
        return await self._book(call, came)

    async def _book(self, call: Call, came: ModelReply | NoReply) -> ModelReply:
        member = call.question.member
        if isinstance(came, NoReply):
            await self._ledger.book(self._bookings.failed(call, came))
            await self._note_form(member, came.error)
            raise came.error
        await self._ledger.book(self._bookings.answered(call, came))
        await self._note_form(member, came)
        return came

    async def _note_form(self, member: MemberSettings, of: ModelReply | ProviderError) -> None:
        """Remember whether the server keeps to the form in which answers are asked for."""
        if isinstance(of, FormatRefusedError):
            await self._formats.note_refusal(self._database, self._manager.format_key(member), of)
        elif isinstance(of, ModelReply):
            await self._formats.note_reply(self._database, self._manager.format_key(member), of)

    async def _take_turn(self, question: Question, held: AsyncExitStack) -> None:
        member = question.member
        why = f"{member.provider} was busy until the deadline of the decision"
        async with question.deadline.bounds(member.name, why):
            await held.enter_async_context(self._manager.turn(member))

    async def _reserve(self, question: Question, number: int) -> Call:
        member, snapshot = question.member, question.plan.snapshot
        worst = worst_case_micro_usd(question.prompt, member)
        held, market_id = self._questions.to_hold(member, worst), snapshot.market.market_id
        # its day is that of the moment it leaves: the batch may have been planned, or have waited, before midnight
        leaving = BudgetCall(snapshot.snapshot_id, market_id, member.provider, member.name, held, self._now())
        return Call(question, number, await self._ledger.reserve(leaving), leaving, worst)

    async def _send(self, call: Call) -> ModelReply | NoReply:
        question, watch = call.question, Stopwatch()
        limit_s = question.deadline.for_a_call_s(may_be_followed=question.may_be_followed)
        try:
            async with asyncio.timeout(limit_s):
                return await self._manager.ask(question.member, question.prompt, call.worst_case_micro_usd)
        except ProviderError as error:
            return NoReply(error, watch.elapsed_ms())
        except TimeoutError:
            is_fair = question.deadline.is_fair(limit_s)
            return NoReply(_cut_off(question.member, limit_s, is_fair=is_fair), watch.elapsed_ms())
        except SettingsError:
            # nothing was sent
            await self._ledger.close(call.closing("released", 0), self._now())
            raise

    def _now(self) -> datetime:
        return self._instance.clock.now()


def _cut_off(member: MemberSettings, limit_s: float, *, is_fair: bool) -> ProviderTimeoutError:
    kind = ProviderTimeoutError if is_fair else CutShortError
    return kind(
        f"{member.provider} gave no complete reply within {limit_s:.1f} s, which is what the decision's deadline left. "
        "If that happens often, choose a faster model or raise ENSEMBLE_ENSEMBLE__DECISION_DEADLINE_S.",
        may_be_billed=True,
    )
