"""One member asked about one snapshot: each attempt admitted, reserved before it leaves, and booked after it.

Belongs here: what is done for one answer, attempt by attempt. Does not: who is asked and who stands in (consult.py),
when a breaker opens (``store.breakers``), what a budget refuses (``store.budget``).
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import stamina

from ensemble_pipeline.clock import Stopwatch
from ensemble_pipeline.domain import CallStatus, ModelReply
from ensemble_pipeline.ensemble.answer_formats import FormatLadder
from ensemble_pipeline.ensemble.asking import Questions
from ensemble_pipeline.ensemble.breakers import Breakers
from ensemble_pipeline.ensemble.cache import Asked, is_worth_keeping, key_of
from ensemble_pipeline.ensemble.context import BatchContext
from ensemble_pipeline.ensemble.deadline import Deadline
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.plan import Plan
from ensemble_pipeline.errors import (
    BreakerOpenError,
    BudgetRefusedError,
    ContentRefusedError,
    DatabaseLostError,
    DeadlineError,
    FormatRefusedError,
    LimitError,
    ProviderError,
    ProviderTimeoutError,
    SettingsError,
)
from ensemble_pipeline.providers.base import Prompt
from ensemble_pipeline.providers.manager import ProviderManager
from ensemble_pipeline.providers.prices import worst_case_micro_usd
from ensemble_pipeline.settings import MemberSettings
from ensemble_pipeline.store.breakers import Admission, Ask
from ensemble_pipeline.store.budget import BudgetCall, Closing, ClosingState
from ensemble_pipeline.store.calls import Attempts, LLMQuery
from ensemble_pipeline.store.database import AsyncDatabase
from ensemble_pipeline.store.ledger import Booking, Ledger
from ensemble_pipeline.store.locks import SnapshotLocks

_LONGEST_BACKOFF_S = 5.0

Outcome = Literal["answered", "failed", "refused", "not_asked", "resumed", "reused"]


@dataclass(frozen=True, slots=True)
class _Question:
    plan: Plan
    member: MemberSettings
    prompt: Prompt
    deadline: Deadline
    may_be_followed: bool

    @property
    def ask(self) -> Ask:
        return Ask(self.member.provider, self.member.name, self.plan.snapshot.snapshot_id)


@dataclass(frozen=True, slots=True)
class _Call:
    question: _Question
    attempt: int
    reservation_id: int
    leaving: BudgetCall
    worst_case_micro_usd: int

    @property
    def held_micro_usd(self) -> int:
        """Its worst case, or more where its model has billed more before."""
        return self.leaving.amount

    def closing(self, state: ClosingState, booked: int) -> Closing:
        """How its reservation ends."""
        return Closing(self.reservation_id, self.leaving.day, state, booked)


@dataclass(frozen=True, slots=True)
class _NoReply:
    """`is_telling`: whether it says anything about who was asked."""

    error: ProviderError
    elapsed_ms: int
    is_telling: bool = True


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
        self._asked = Asked(instance.settings.policy, context.calibration, context.now)

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
        question = _Question(plan, member, prompt, deadline, may_be_followed)
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

    async def _ask_until_answered(self, question: _Question, number: int, attempts: int) -> Outcome:
        def is_worth_another(error: Exception) -> bool | float:
            if not _can_help(error, question.deadline):
                return False
            return self._patience_s(error) or True

        async for attempt in stamina.retry_context(
            on=is_worth_another,
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

    def _patience_s(self, error: Exception) -> float:
        """How long the provider wants to be left alone, where its breaker does not see to that."""
        if not isinstance(error, ProviderError) or self._breakers.keeps_back(error):
            return 0.0
        return error.retry_after_s or 0.0

    async def _attempt(self, question: _Question, number: int) -> ModelReply:
        async with AsyncExitStack() as held:
            admission = await self._admitted(question, held)
            return await self._call(question, number, admission, held)

    async def _admitted(self, question: _Question, held: AsyncExitStack) -> Admission:
        """Wait until the call may leave and has its provider's turn, both at once."""
        while True:
            admission = await self._breakers.admit(question.ask, question.deadline)
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

    async def _call(self, question: _Question, number: int, admission: Admission, turn: AsyncExitStack) -> ModelReply:
        came: ModelReply | _NoReply | None = None
        try:
            async with turn:
                call = await self._reserve(question, number)
                came = await self._send(call)
                outcome = _told(came)
                # while it has the turn: who has it next may have to be kept back
                await self._breakers.report(question.ask, admission, outcome)
        except DatabaseLostError:
            # what came is paid for, and booked below; the run goes no further, for its locks are lost
            if came is None:
                raise
        finally:
            if came is None:
                await self._breakers.report(question.ask, admission, None)
        return await self._book(call, came)

    async def _book(self, call: _Call, came: ModelReply | _NoReply) -> ModelReply:
        member = call.question.member
        if isinstance(came, _NoReply):
            await self._ledger.book(self._failed(call, came))
            await self._note_form(member, came.error)
            raise came.error
        await self._ledger.book(self._answered(call, came))
        await self._note_form(member, came)
        return came

    async def _note_form(self, member: MemberSettings, of: ModelReply | ProviderError) -> None:
        """Remember whether the server keeps to the form in which answers are asked for."""
        if isinstance(of, FormatRefusedError):
            await self._formats.note_refusal(self._database, self._manager.format_key(member), of)
        elif isinstance(of, ModelReply):
            await self._formats.note_reply(self._database, self._manager.format_key(member), of)

    async def _take_turn(self, question: _Question, held: AsyncExitStack) -> None:
        try:
            async with question.deadline.bounds():
                await held.enter_async_context(self._manager.turn(question.member))
        except TimeoutError:
            raise DeadlineError(
                f"{question.member.name} is not asked: {question.member.provider} was busy until the deadline of the "
                "decision"
            ) from None

    async def _reserve(self, question: _Question, number: int) -> _Call:
        member, snapshot = question.member, question.plan.snapshot
        worst = worst_case_micro_usd(question.prompt, member)
        held, market_id = self._questions.to_hold(member, worst), snapshot.market.market_id
        # its day is that of the moment it leaves: the batch may have been planned, or have waited, before midnight
        leaving = BudgetCall(snapshot.snapshot_id, market_id, member.provider, member.name, held, self._now())
        return _Call(question, number, await self._ledger.reserve(leaving), leaving, worst)

    async def _send(self, call: _Call) -> ModelReply | _NoReply:
        question, watch = call.question, Stopwatch()
        limit_s = question.deadline.for_a_call_s(may_be_followed=question.may_be_followed)
        try:
            async with asyncio.timeout(limit_s):
                return await self._manager.ask(question.member, question.prompt, call.worst_case_micro_usd)
        except ProviderError as error:
            return _NoReply(error, watch.elapsed_ms())
        except TimeoutError:
            is_telling = question.deadline.is_fair(limit_s)
            return _NoReply(_cut_off(question.member, limit_s), watch.elapsed_ms(), is_telling)
        except SettingsError:
            # nothing was sent
            await self._ledger.close(call.closing("released", 0), self._now())
            raise

    def _now(self) -> datetime:
        return self._instance.clock.now()

    def _query(self, call: _Call, **outcome: Any) -> LLMQuery:  # noqa: ANN401 - fields of the record
        question = call.question
        return LLMQuery(
            reservation_id=call.reservation_id,
            snapshot_id=question.plan.snapshot.snapshot_id,
            model_id=question.member.name,
            attempt=call.attempt,
            prompt_hash=question.prompt.prompt_hash,
            prompt=question.prompt.user,
            requested_at=self._context.now,
            **outcome,
        )

    def _failed(self, call: _Call, failure: _NoReply) -> Booking:
        """Nothing is owed where the provider refused; else it may bill the call, and the worst case stands."""
        error = failure.error
        cost = call.held_micro_usd if error.may_be_billed else 0
        query = self._query(
            call,
            latency_ms=failure.elapsed_ms,
            status=_status_of(error),
            cost_micro_usd=cost,
            cost_source="worst_case" if error.may_be_billed else "not_billed",
            http_status=error.http_status,
            # who declines has replied, if with nothing to keep
            response="" if isinstance(error, ContentRefusedError) else None,
            problem=str(error),
            answer_format=error.answer_format if isinstance(error, FormatRefusedError) else None,
        )
        state: ClosingState = "settled" if error.may_be_billed else "released"
        return Booking(query, call.closing(state, cost), self._now())

    def _answered(self, call: _Call, reply: ModelReply) -> Booking:
        cost = call.held_micro_usd if reply.cost_micro_usd is None else reply.cost_micro_usd
        query = self._query(
            call,
            latency_ms=reply.latency_ms,
            status=reply.status,
            cost_micro_usd=cost,
            cost_source="worst_case" if reply.cost_micro_usd is None else reply.cost_source,
            http_status=200,
            response_model=reply.response_model,
            response=reply.text.replace("\x00", ""),
            problem=reply.problem,
            usage=reply.usage,
            answer_format=reply.answer_format,
            sources=reply.sources,
        )
        policy, question = self._instance.settings.policy, call.question
        snapshot, member = question.plan.snapshot, question.member
        self._questions.note_bill(member, reply.cost_micro_usd or 0, call.worst_case_micro_usd)
        key = None
        if is_worth_keeping(policy, member, snapshot, reply):
            key = key_of(self._asked, member, snapshot, self._questions.evidence_on(snapshot))
        return Booking(
            query,
            call.closing("settled", cost),
            self._now(),
            snapshot=snapshot,
            answer=reply.answer,
            key=key,
            worst_case=call.worst_case_micro_usd,
            anomalies=reply.anomalies,
        )


def _status_of(error: ProviderError) -> CallStatus:
    if isinstance(error, ContentRefusedError):
        # whether the model says so or its provider for it
        return CallStatus.REFUSED_BY_MODEL
    return CallStatus.TIMED_OUT if isinstance(error, ProviderTimeoutError) else CallStatus.FAILED


def _can_help(error: Exception, deadline: Deadline) -> bool:
    """Whether to ask again. Not after a time-out: another can answer in the time that is left, and it may be billed."""
    if not isinstance(error, ProviderError) or isinstance(error, ProviderTimeoutError):
        return False
    return error.is_retryable and (error.retry_after_s or 0.0) < deadline.left_s()


def _told(came: ModelReply | _NoReply) -> ModelReply | ProviderError | None:
    """What the breakers hear of it."""
    if isinstance(came, _NoReply):
        return came.error if came.is_telling else None
    return came


def _cut_off(member: MemberSettings, limit_s: float) -> ProviderTimeoutError:
    return ProviderTimeoutError(
        f"{member.provider} gave no complete reply within {limit_s:.1f} s, which is what the decision's deadline left. "
        "If that happens often, choose a faster model or raise ENSEMBLE_ENSEMBLE__DECISION_DEADLINE_S.",
        may_be_billed=True,
    )
