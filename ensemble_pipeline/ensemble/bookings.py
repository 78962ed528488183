"""What is booked of a call that left: its record, how its reservation ends, the answer that is kept with it.

Belongs here: what becomes of a reply, or of none, in the books. Does not: sending calls (calling.py), writing the books
(``store.ledger``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ensemble_pipeline.domain import CallStatus, ModelReply
from ensemble_pipeline.ensemble.asking import Questions
from ensemble_pipeline.ensemble.cache import Asked, is_worth_keeping, key_of
from ensemble_pipeline.ensemble.context import BatchContext
from ensemble_pipeline.ensemble.deadline import Deadline
from ensemble_pipeline.ensemble.plan import Plan
from ensemble_pipeline.errors import (
    ContentRefusedError,
    FormatRefusedError,
    ProviderError,
    ProviderTimeoutError,
)
from ensemble_pipeline.providers.base import Prompt
from ensemble_pipeline.settings import MemberSettings, Policy
from ensemble_pipeline.store.breakers import Ask
from ensemble_pipeline.store.budget import BudgetCall, Closing, ClosingState
from ensemble_pipeline.store.calls import LLMQuery
from ensemble_pipeline.store.ledger import Booking


@dataclass(frozen=True, slots=True)
class Question:
    """One member's question about one snapshot; where it `may_be_followed` by another in its place, it leaves time."""

    plan: Plan
    member: MemberSettings
    prompt: Prompt
    deadline: Deadline
    may_be_followed: bool

    @property
    def ask(self) -> Ask:
        """As breakers know it."""
        return Ask(self.member.provider, self.member.name, self.plan.snapshot.snapshot_id)


@dataclass(frozen=True, slots=True)
class Call:
    """An attempt that leaves, held at `leaving.amount` micro-dollars."""

    question: Question
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
class NoReply:
    """An attempt that came to nothing."""

    error: ProviderError
    elapsed_ms: int


class Bookings:
    """Makes the bookings of one batch; nothing is written here."""

    def __init__(
        self, policy: Policy, context: BatchContext, questions: Questions, now: Callable[[], datetime]
    ) -> None:
        self._policy = policy
        self._asked_at = context.now
        self._questions = questions
        self._now = now
        self._asked = Asked(policy, context.calibration, context.now)

    def failed(self, call: Call, failure: NoReply) -> Booking:
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

    def answered(self, call: Call, reply: ModelReply) -> Booking:
        """What it cost, else its worst case; with a key where its answer may be given again."""
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
        snapshot, member = call.question.plan.snapshot, call.question.member
        self._questions.note_bill(member, reply.cost_micro_usd or 0, call.worst_case_micro_usd)
        key = None
        if is_worth_keeping(self._policy, member, snapshot, reply):
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

    def _query(self, call: Call, **outcome: Any) -> LLMQuery:  # noqa: ANN401 - fields of the record
        question = call.question
        return LLMQuery(
            reservation_id=call.reservation_id,
            snapshot_id=question.plan.snapshot.snapshot_id,
            model_id=question.member.name,
            attempt=call.attempt,
            prompt_hash=question.prompt.prompt_hash,
            prompt=question.prompt.user,
            requested_at=self._asked_at,
            **outcome,
        )


def _status_of(error: ProviderError) -> CallStatus:
    if isinstance(error, ContentRefusedError):
        # whether the model says so or its provider for it
        return CallStatus.REFUSED_BY_MODEL
    return CallStatus.TIMED_OUT if isinstance(error, ProviderTimeoutError) else CallStatus.FAILED
