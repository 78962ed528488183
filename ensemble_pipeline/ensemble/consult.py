"""Asking the members of a batch: all at once, stand-ins in the place of who gives no answer, within a deadline each.

What is in the database already is not asked again: a run that died half-way is taken up where it stopped, and pays
for nothing twice. What it had asked when it died may have been billed, so that these members are not asked again
either. Members that give an earlier answer again are not asked at all. How one member is asked, attempt by attempt, is
in calling.py.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import TypeVar

from ensemble_pipeline.domain import EarlierAnswer, Strategy
from ensemble_pipeline.ensemble.answer_formats import FormatLadder
from ensemble_pipeline.ensemble.asking import read_questions
from ensemble_pipeline.ensemble.cache_evidence import bounds_of
from ensemble_pipeline.ensemble.calling import Caller, Outcome
from ensemble_pipeline.ensemble.context import BatchContext
from ensemble_pipeline.ensemble.deadline import Deadline
from ensemble_pipeline.ensemble.fallback import FallbackManager
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.modes import row_of
from ensemble_pipeline.ensemble.opinions import engine_of, question_of
from ensemble_pipeline.ensemble.plan import Plan
from ensemble_pipeline.providers.manager import ProviderManager
from ensemble_pipeline.providers.prompts import prompt_wording
from ensemble_pipeline.settings import MemberSettings
from ensemble_pipeline.store import answer_cache, budget, calls, decisions
from ensemble_pipeline.store.answer_cache import CacheUse, UseOutcome
from ensemble_pipeline.store.calls import Attempts
from ensemble_pipeline.store.database import AsyncDatabase
from ensemble_pipeline.store.locks import locked_snapshots
from ensemble_pipeline.store.worlds import is_live

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Consultation:
    """How the asking of a batch went; `already_decided` are snapshots that another run has decided meanwhile."""

    answered: int
    failed: int
    refused_by_budget: int
    resumed: int
    expired_reservations: int
    reused: int = 0
    not_asked: int = 0
    already_decided: tuple[int, ...] = ()

    def still_open(self, plans: Sequence[Plan]) -> list[Plan]:
        """The plans that nobody else has carried out meanwhile."""
        return [plan for plan in plans if plan.snapshot.snapshot_id not in self.already_decided]


async def consult(instance: Instance, context: BatchContext, plans: Sequence[Plan]) -> Consultation:
    """Ask every planned member about its snapshot, all at once within the providers' concurrency."""
    snapshot_ids = [plan.snapshot.snapshot_id for plan in plans if plan.members]
    if not snapshot_ids:
        return Consultation(0, 0, 0, 0, 0)
    with locked_snapshots(instance.database, snapshot_ids) as locks:
        with instance.database.connection() as connection:
            expired = budget.expire_left_over(connection, snapshot_ids, instance.clock.now())
            decided = decisions.decided_among(connection, snapshot_ids)
            made = calls.attempts_made(connection, snapshot_ids)
            questions = read_questions(
                connection, instance.settings.ensemble, [plan.snapshot for plan in plans], context.now
            )
            for role in sorted({member.role for plan in plans for member in (*plan.members, *plan.standby)}):
                calls.save_prompt(connection, prompt_wording(role), context.now)
            formats = FormatLadder.read(connection, instance.clock)
            as_of = None if is_live(connection) else context.now
        async with (
            instance.database.async_pool() as database,
            ProviderManager(instance.settings, os.environ, formats.in_force, as_of) as manager,
        ):
            caller = Caller(instance, context, questions, database, manager, formats, locks)
            asking = _Asking(instance, context, database, caller, made)
            open_plans = [plan for plan in plans if plan.members and plan.snapshot.snapshot_id not in decided]
            outcomes = await _all_to_their_end(*(asking.ask_all(plan) for plan in open_plans))
    counts = Counter(outcome for of_plan in outcomes for outcome in of_plan)
    return Consultation(
        answered=counts["answered"],
        failed=counts["failed"],
        refused_by_budget=counts["refused"],
        resumed=counts["resumed"],
        expired_reservations=expired,
        reused=counts["reused"],
        not_asked=counts["not_asked"],
        already_decided=tuple(sorted(decided)),
    )


async def _all_to_their_end(*work: Awaitable[T]) -> list[T]:
    """What each comes to. One that fails stops no other, whose answers are paid for; then its error is raised."""
    done = await asyncio.gather(*work, return_exceptions=True)
    for it in done:
        if isinstance(it, BaseException):
            raise it
    return [it for it in done if not isinstance(it, BaseException)]


class _Asking:
    def __init__(
        self,
        instance: Instance,
        context: BatchContext,
        database: AsyncDatabase,
        caller: Caller,
        made: dict[tuple[int, str], Attempts],
    ) -> None:
        self._instance = instance
        self._context = context
        self._database = database
        self._made = made
        self._caller = caller
        self._fallback = FallbackManager(instance)
        self._engine = engine_of(instance.settings.policy, context)
        self._bounds = bounds_of(instance.settings.cache)
        self._mode = row_of(context.operating_mode, instance.settings.modes)

    async def ask_all(self, plan: Plan) -> list[Outcome]:
        """Ask the plan's members, each at once; in the place of one that gives no answer a stand-by is asked."""
        deadline = Deadline(self._instance.settings.ensemble.decision_deadline_s)
        if plan.strategy is Strategy.CASCADING:
            cascade, others = await _all_to_their_end(
                self._cascade(plan, deadline),
                _all_to_their_end(
                    *(self._ask(plan, member, deadline, may_be_followed=False) for member in plan.explored)
                ),
            )
            return [*cascade, *others]
        consulted = [member.name for member in plan.members]
        results = await _all_to_their_end(
            *(self._ask_or_stand_in(plan, member, consulted, deadline) for member in plan.members)
        )
        return list(chain.from_iterable(results))

    async def _ask_or_stand_in(
        self, plan: Plan, member: MemberSettings, consulted: list[str], deadline: Deadline
    ) -> list[Outcome]:
        """Ask a member and, until somebody answers in its place, one stand-by after the other."""
        asked: MemberSettings | None = member
        results: list[Outcome] = []
        while asked is not None:
            may_be_followed = self._stand_in(plan, consulted) is not None
            results.append(await self._ask(plan, asked, deadline, may_be_followed=may_be_followed))
            # who could not be paid makes room too, for one who may cost less
            if results[-1] not in _NO_ANSWER or not deadline.has_time_for_a_call():
                break
            asked = self._stand_in(plan, consulted)
            if asked is not None:
                consulted.append(asked.name)
        return results

    def _stand_in(self, plan: Plan, consulted: Sequence[str]) -> MemberSettings | None:
        return self._fallback.initiate_failover(plan.standby, consulted, self._context.health)

    async def _cascade(self, plan: Plan, deadline: Deadline) -> list[Outcome]:
        """Ask one after the other until one more answer is not worth its price; who fails makes room for the next."""
        results: list[Outcome] = []
        order = plan.cascade_order
        names = {member.name for member in order}
        for member in order:
            async with self._database.connection() as connection:
                answers = await calls.answers_on(connection, plan.snapshot.snapshot_id)
            heard = [answer for answer in answers if answer.model_id in names]
            is_enough = len(heard) >= len(plan.chosen) or not deadline.has_time_for_a_call()
            if is_enough or not self._engine.is_worth_asking(member.name, question_of(plan), heard):
                break
            results.append(await self._ask(plan, member, deadline, may_be_followed=member is not order[-1]))
        return results

    async def _ask(self, plan: Plan, member: MemberSettings, deadline: Deadline, *, may_be_followed: bool) -> Outcome:
        if (earlier := plan.reuse.given.get(member.name)) is not None:
            return await self._give_again(plan, member, earlier)
        made = self._made.get((plan.snapshot.snapshot_id, member.name), _NOTHING_MADE)
        outcome = await self._caller.ask(plan, member, made, deadline, may_be_followed=may_be_followed)
        await self._note_look(plan, member, outcome)
        return outcome

    async def _give_again(self, plan: Plan, member: MemberSettings, earlier: EarlierAnswer) -> Outcome:
        snapshot = plan.snapshot
        is_late = member.name in plan.reuse.emergency
        share = self._mode.earlier_confidence_share if is_late else 1.0
        async with self._database.connection() as connection:
            is_new = await answer_cache.give_again(connection, snapshot, member.name, earlier.forecast_id, share)
            if is_new:
                # where nobody would have been asked, nothing was saved
                asked = "nobody_asked" if plan.reuse.is_only else "unchanged"
                cause = answer_cache.EMERGENCY if is_late else asked
                await answer_cache.note_use(
                    connection, CacheUse(snapshot, member.name, earlier, "hit", cause, self._bounds), self._now()
                )
        return "reused" if is_new else "resumed"

    async def _note_look(self, plan: Plan, member: MemberSettings, outcome: Outcome) -> None:
        """Keep why an earlier answer was not given again, or that it is to be compared with the new one."""
        earlier = plan.standing.earlier.get(member.name)
        if earlier is None or outcome in ("resumed", "refused", "not_asked"):
            return
        is_compared = member.name in plan.reuse.shadowed and outcome == "answered"
        cause = earlier.refusal or ("sampled" if is_compared else "not_answered")
        outcome_of_look: UseOutcome = "shadow" if is_compared else "miss"
        use = CacheUse(plan.snapshot, member.name, earlier, outcome_of_look, cause, self._bounds)
        async with self._database.connection() as connection:
            await answer_cache.note_use(connection, use, self._now())

    def _now(self) -> datetime:
        return self._instance.clock.now()


_NO_ANSWER = ("failed", "refused", "not_asked")
_NOTHING_MADE = Attempts(0, is_answered=False, is_final=False)
