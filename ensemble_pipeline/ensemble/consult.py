"""Asking the members: each attempt reserved before it leaves and booked after it, whatever came of it.

What is in the database already is not asked again: a run that died half-way is taken up where it stopped, and pays
for nothing twice.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import stamina

from ensemble_pipeline.clock import Stopwatch
from ensemble_pipeline.domain import CallStatus, ModelReply, Strategy
from ensemble_pipeline.ensemble.asking import Questions, read_questions
from ensemble_pipeline.ensemble.context import BatchContext
from ensemble_pipeline.ensemble.fallback import FallbackManager
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.opinions import engine_of, question_of
from ensemble_pipeline.ensemble.plan import Plan
from ensemble_pipeline.errors import BudgetRefusedError, ProviderError, ProviderTimeoutError
from ensemble_pipeline.providers.base import Prompt
from ensemble_pipeline.providers.manager import ProviderManager
from ensemble_pipeline.providers.prices import worst_case_micro_usd
from ensemble_pipeline.providers.prompts import prompt_wording
from ensemble_pipeline.settings import MemberSettings
from ensemble_pipeline.store import budget, calls
from ensemble_pipeline.store.calls import Attempts, LLMQuery
from ensemble_pipeline.store.database import AsyncDatabase

_MAX_WAIT_S = 5.0

Outcome = Literal["answered", "failed", "refused", "resumed"]


@dataclass(frozen=True, slots=True)
class Consultation:
    """How the asking of a batch went."""

    answered: int
    failed: int
    refused_by_budget: int
    resumed: int
    expired_reservations: int


@dataclass(frozen=True, slots=True)
class _Question:
    plan: Plan
    member: MemberSettings
    prompt: Prompt


async def consult(instance: Instance, context: BatchContext, plans: Sequence[Plan]) -> Consultation:
    """Ask every planned member about its snapshot, all at once within the providers' concurrency."""
    snapshot_ids = [plan.snapshot.snapshot_id for plan in plans if plan.members]
    if not snapshot_ids:
        return Consultation(0, 0, 0, 0, 0)
    # the locks belong to this session: they fall when it ends, however it ends
    with instance.database.session() as lock_session:
        calls.lock_snapshots(lock_session, snapshot_ids)
        with instance.database.connection() as connection:
            expired = budget.expire_left_over(connection, snapshot_ids)
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
    return Consultation(counts["answered"], counts["failed"], counts["refused"], counts["resumed"], expired)


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
        self._fallback = FallbackManager(instance)
        self._engine = engine_of(instance.settings.policy, context)

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
            if result != "failed":
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
        snapshot_id, member = question.plan.snapshot.snapshot_id, question.member
        worst = worst_case_micro_usd(question.prompt, member)
        async with self._database.connection() as connection:
            reservation = await budget.reserve(
                connection, snapshot_id, member.name, worst, self._instance.limits, self._context.now
            )
        watch = Stopwatch()
        try:
            reply = await self._manager.ask(member, question.prompt)
        except ProviderError as error:
            await self._book_failure(question, number, reservation, error, watch.elapsed_ms(), worst)
            raise
        await self._book_reply(question, number, reservation, reply, worst)
        return reply

    def _begun(self, question: _Question, number: int, reservation: int) -> Callable[..., LLMQuery]:
        return partial(
            LLMQuery,
            reservation_id=reservation,
            snapshot_id=question.plan.snapshot.snapshot_id,
            model_id=question.member.name,
            attempt=number,
            prompt_hash=question.prompt.prompt_hash,
            prompt=question.prompt.user,
            requested_at=self._context.now,
        )

    async def _book_failure(
        self, question: _Question, number: int, reservation: int, error: ProviderError, elapsed_ms: int, worst: int
    ) -> None:
        query = self._begun(question, number, reservation)(
            latency_ms=elapsed_ms,
            status=CallStatus.TIMED_OUT if isinstance(error, ProviderTimeoutError) else CallStatus.FAILED,
            cost_micro_usd=worst if error.may_be_billed else 0,
            cost_source="worst_case" if error.may_be_billed else "not_billed",
            http_status=error.http_status,
            problem=str(error),
        )
        async with self._database.connection() as connection:
            await calls.save_query(connection, query)
            await budget.settle(connection, reservation, query.cost_micro_usd)

    async def _book_reply(
        self, question: _Question, number: int, reservation: int, reply: ModelReply, worst: int
    ) -> None:
        query = self._begun(question, number, reservation)(
            latency_ms=reply.latency_ms,
            status=reply.status,
            cost_micro_usd=worst if reply.cost_micro_usd is None else reply.cost_micro_usd,
            cost_source="worst_case" if reply.cost_micro_usd is None else reply.cost_source,
            http_status=200,
            response_model=reply.response_model,
            response=reply.text.replace("\x00", ""),
            problem=reply.problem,
            usage=reply.usage,
        )
        async with self._database.connection() as connection:
            query_id = await calls.save_query(connection, query)
            if reply.answer is not None:
                await calls.save_forecast(
                    connection, query_id, question.member.name, question.plan.snapshot, reply.answer
                )
            await budget.settle(connection, reservation, query.cost_micro_usd)


def _wait_before_retry(error: Exception) -> bool | float:
    """Whether asking again can help, or for how many seconds to wait before it, where the provider said so."""
    if not isinstance(error, ProviderError) or not error.is_retryable:
        return False
    return True if error.retry_after_s is None else min(error.retry_after_s, _MAX_WAIT_S)
