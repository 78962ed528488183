"""Asking the members: each attempt reserved before it leaves and booked after it, whatever came of it.

What is in the database already is not asked again: a run that died half-way is taken up where it stopped, and pays
for nothing twice. Members that give an earlier answer again are not asked at all.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import stamina

from ensemble_pipeline.clock import Stopwatch
from ensemble_pipeline.domain import CallStatus, EarlierAnswer, ModelReply, Strategy
from ensemble_pipeline.ensemble.asking import Questions, read_questions
from ensemble_pipeline.ensemble.cache import Asked, is_worth_keeping, key_of
from ensemble_pipeline.ensemble.cache_evidence import bounds_of
from ensemble_pipeline.ensemble.context import BatchContext
from ensemble_pipeline.ensemble.fallback import FallbackManager
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.opinions import engine_of, question_of
from ensemble_pipeline.ensemble.plan import Plan
from ensemble_pipeline.errors import BudgetRefusedError, ProviderError, ProviderTimeoutError, SettingsError
from ensemble_pipeline.providers.base import Prompt
from ensemble_pipeline.providers.manager import ProviderManager
from ensemble_pipeline.providers.prices import worst_case_micro_usd
from ensemble_pipeline.providers.prompts import prompt_wording
from ensemble_pipeline.settings import MemberSettings
from ensemble_pipeline.store import answer_cache, budget, calls
from ensemble_pipeline.store.answer_cache import CacheUse, UseOutcome
from ensemble_pipeline.store.budget import BudgetCall, Closing, ClosingState
from ensemble_pipeline.store.calls import Attempts, LLMQuery
from ensemble_pipeline.store.database import AsyncDatabase
from ensemble_pipeline.store.ledger import Booking, Ledger

_MAX_WAIT_S = 5.0

Outcome = Literal["answered", "failed", "refused", "resumed", "reused"]


@dataclass(frozen=True, slots=True)
class Consultation:
    """How the asking of a batch went."""

    answered: int
    failed: int
    refused_by_budget: int
    resumed: int
    expired_reservations: int
    reused: int = 0


@dataclass(frozen=True, slots=True)
class _Question:
    plan: Plan
    member: MemberSettings
    prompt: Prompt


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
    error: ProviderError
    elapsed_ms: int


async def consult(instance: Instance, context: BatchContext, plans: Sequence[Plan]) -> Consultation:
    """Ask every planned member about its snapshot, all at once within the providers' concurrency."""
    snapshot_ids = [plan.snapshot.snapshot_id for plan in plans if plan.members]
    if not snapshot_ids:
        return Consultation(0, 0, 0, 0, 0)
    # the locks belong to this session: they fall when it ends, however it ends
    with instance.database.session() as lock_session:
        calls.lock_snapshots(lock_session, snapshot_ids)
        with instance.database.connection() as connection:
            expired = budget.expire_left_over(connection, snapshot_ids, instance.clock.now())
            made = calls.attempts_made(connection, snapshot_ids)
            questions = read_questions(
                connection, instance.settings.ensemble, [plan.snapshot for plan in plans], context.now
            )
            for role in sorted({member.role for plan in plans for member in (*plan.members, *plan.standby)}):
                calls.save_prompt(connection, prompt_wording(role), context.now)
        async with (
            instance.database.async_pool() as database,
            ProviderManager(instance.settings, os.environ) as manager,
        ):
            asking = _Asking(instance, context, questions, database, manager, made)
            outcomes = await asyncio.gather(*(asking.ask_all(plan) for plan in plans if plan.members))
    counts = Counter(outcome for of_plan in outcomes for outcome in of_plan)
    return Consultation(
        counts["answered"], counts["failed"], counts["refused"], counts["resumed"], expired, counts["reused"]
    )


class _Asking:
    def __init__(
        self,
        instance: Instance,
        context: BatchContext,
        questions: Questions,
        database: AsyncDatabase,
        manager: ProviderManager,
        made: dict[tuple[int, str], Attempts],
    ) -> None:
        self._instance = instance
        self._context = context
        self._questions = questions
        self._database = database
        self._manager = manager
        self._made = made
        self._ledger = Ledger(database, instance.limits)
        self._fallback = FallbackManager(instance)
        self._engine = engine_of(instance.settings.policy, context)
        self._bounds = bounds_of(instance.settings.cache)
        self._asked = Asked(instance.settings.policy, context.calibration, context.now)

    async def ask_all(self, plan: Plan) -> list[Outcome]:
        """Ask the plan's members; where one fails and a stand-by is available, ask that one instead."""
        if plan.strategy is Strategy.CASCADING:
            cascade, *others = await asyncio.gather(
                self._cascade(plan), *(self._ask(plan, member) for member in plan.explored)
            )
            return [*cascade, *others]
        results = list(await asyncio.gather(*(self._ask(plan, member) for member in plan.members)))
        consulted = [member.name for member in plan.members]
        for result in list(results):
            # who failed, or could not be paid any more, makes room for another, who may cost less
            if result not in ("failed", "refused"):
                continue
            substitute = self._fallback.initiate_failover(plan.standby, consulted, dict(self._context.health))
            if substitute is None:
                break
            consulted.append(substitute.name)
            results.append(await self._ask(plan, substitute))
        return results

    async def _cascade(self, plan: Plan) -> list[Outcome]:
        """Ask one after the other until one more answer is not worth its price; who fails makes room for the next."""
        results: list[Outcome] = []
        names = {member.name for member in plan.cascade_order}
        for member in plan.cascade_order:
            async with self._database.connection() as connection:
                answers = await calls.answers_on(connection, plan.snapshot.snapshot_id)
            heard = [answer for answer in answers if answer.model_id in names]
            is_enough = len(heard) >= len(plan.chosen)
            if is_enough or not self._engine.is_worth_asking(member.name, question_of(plan), heard):
                break
            results.append(await self._ask(plan, member))
        return results

    async def _ask(self, plan: Plan, member: MemberSettings) -> Outcome:
        if (earlier := plan.reuse.given.get(member.name)) is not None:
            return await self._give_again(plan, member, earlier)
        outcome = await self._ask_for_real(plan, member)
        await self._note_look(plan, member, outcome)
        return outcome

    async def _give_again(self, plan: Plan, member: MemberSettings, earlier: EarlierAnswer) -> Outcome:
        snapshot = plan.snapshot
        async with self._database.connection() as connection:
            is_new = await answer_cache.give_again(connection, snapshot, member.name, earlier.forecast_id)
            if is_new:
                # where nobody would have been asked, nothing was saved
                cause = "nobody_asked" if plan.reuse.is_only else "unchanged"
                await answer_cache.note_use(
                    connection, CacheUse(snapshot, member.name, earlier, "hit", cause, self._bounds), self._now()
                )
        return "reused" if is_new else "resumed"

    async def _note_look(self, plan: Plan, member: MemberSettings, outcome: Outcome) -> None:
        """Keep why an earlier answer was not given again, or that it is to be compared with the new one."""
        earlier = plan.standing.earlier.get(member.name)
        if earlier is None or outcome in ("resumed", "refused"):
            return
        is_compared = member.name in plan.reuse.shadowed and outcome == "answered"
        cause = earlier.refusal or ("sampled" if is_compared else "not_answered")
        outcome_of_look: UseOutcome = "shadow" if is_compared else "miss"
        use = CacheUse(plan.snapshot, member.name, earlier, outcome_of_look, cause, self._bounds)
        async with self._database.connection() as connection:
            await answer_cache.note_use(connection, use, self._now())

    async def _ask_for_real(self, plan: Plan, member: MemberSettings) -> Outcome:
        made = self._made.get((plan.snapshot.snapshot_id, member.name), Attempts(0, is_answered=False, is_final=False))
        left = self._instance.settings.ensemble.max_attempts - made.count
        if made.is_answered:
            return "resumed"
        if made.is_final or left <= 0:
            return "failed"
        question = _Question(plan, member, self._questions.prompt(member, plan.snapshot, self._context.now))
        number = made.count
        try:
            async for attempt in stamina.retry_context(
                on=_wait_before_retry,
                attempts=left,
                timeout=None,
                wait_initial=0.1,
                wait_jitter=0.2,
                wait_max=_MAX_WAIT_S,
            ):
                number += 1
                with attempt:
                    reply = await self._attempt(question, number)
        except BudgetRefusedError:
            return "refused"
        except ProviderError:
            # booked with its cause in llm_queries by `_attempt`
            return "failed"
        return "answered" if reply.answer is not None else "failed"

    async def _attempt(self, question: _Question, number: int) -> ModelReply:
        member, market = question.member, question.plan.snapshot.market
        worst = worst_case_micro_usd(question.prompt, member)
        async with self._manager.turn(member):
            # its day is that of the moment it leaves: the batch may have been planned, or have waited, before midnight
            held, snapshot_id = self._questions.to_hold(member, worst), question.plan.snapshot.snapshot_id
            leaving = BudgetCall(snapshot_id, market.market_id, member.provider, member.name, held, self._now())
            call = _Call(question, number, await self._ledger.reserve(leaving), leaving, worst)
            reply = await self._send(call)
        if isinstance(reply, _NoReply):
            await self._ledger.book(self._failed(call, reply))
            raise reply.error
        await self._ledger.book(self._answered(call, reply))
        return reply

    async def _send(self, call: _Call) -> ModelReply | _NoReply:
        question, watch = call.question, Stopwatch()
        try:
            return await self._manager.ask(question.member, question.prompt, call.worst_case_micro_usd)
        except ProviderError as error:
            return _NoReply(error, watch.elapsed_ms())
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
            status=CallStatus.TIMED_OUT if isinstance(error, ProviderTimeoutError) else CallStatus.FAILED,
            cost_micro_usd=cost,
            cost_source="worst_case" if error.may_be_billed else "not_billed",
            http_status=error.http_status,
            problem=str(error),
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


def _wait_before_retry(error: Exception) -> bool | float:
    """Whether asking again can help, or for how many seconds to wait before it, where the provider said so."""
    if not isinstance(error, ProviderError) or not error.is_retryable:
        return False
    return True if error.retry_after_s is None else min(error.retry_after_s, _MAX_WAIT_S)
