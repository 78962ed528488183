"""The decision of a batch in its six steps: load, plan, consult, combine, size, record.

Each step is one function and one op of the pipeline. Everything a step needs to be taken up again after a crash is
in the database; a decision is idempotent on its snapshot. What is decided, and how, is in plan.py, engine.py and
conclude.py; here it is read and written.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from ensemble_pipeline.domain import Action, Quote, Snapshot
from ensemble_pipeline.ensemble.asking import Questions, read_questions
from ensemble_pipeline.ensemble.cache import Asked, Memory
from ensemble_pipeline.ensemble.cache_evidence import read_evidence, refusals
from ensemble_pipeline.ensemble.conclude import conclude
from ensemble_pipeline.ensemble.consult import consult
from ensemble_pipeline.ensemble.context import BatchContext, Filling, Method, Standing
from ensemble_pipeline.ensemble.engine import Consensus
from ensemble_pipeline.ensemble.holdings import Holdings
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.modes import row_of
from ensemble_pipeline.ensemble.opinions import engine_of, opinion_on
from ensemble_pipeline.ensemble.plan import Plan, Planner
from ensemble_pipeline.ensemble.reading import read_context
from ensemble_pipeline.ensemble.stored import read_inputs
from ensemble_pipeline.errors import UnknownPriceError
from ensemble_pipeline.providers.prices import worst_case_micro_usd
from ensemble_pipeline.settings import Policy
from ensemble_pipeline.store import answer_cache, calls, decisions, markets
from ensemble_pipeline.store.budget import market_spend, refusals_on
from ensemble_pipeline.store.database import Connection
from ensemble_pipeline.store.decisions import Analyses, EnsembleDecision
from ensemble_pipeline.store.operating_modes import lock_modes
from ensemble_pipeline.venues.base import Venue

__all__ = ["Recorded", "combine", "consult", "load", "plan", "record", "size"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What came of a batch: the recorded decisions by id, and which of those made were recorded, in the same order.

    `already_decided` are the batch's snapshots that another run had decided, each with that decision.
    """

    decision_ids: tuple[int, ...]
    decisions: tuple[EnsembleDecision, ...]
    reasons: dict[str, int]
    already_decided: Mapping[int, int]


def load(instance: Instance, batch_id: int | None) -> tuple[int, list[Snapshot]]:
    """The snapshots of a batch that still wait for a decision; for ``None`` all that wait, as a batch of their own."""
    with instance.database.connection() as connection:
        waiting = markets.undecided_snapshots(connection, batch_id)
        if batch_id is None:
            ids = [snapshot.snapshot_id for snapshot in waiting]
            batch_id = markets.open_batch(connection, ids, instance.clock.now())
    return batch_id, waiting


def plan(
    instance: Instance, snapshots: Sequence[Snapshot], batch_id: int, run_id: str, method: Method | None = None
) -> tuple[BatchContext, list[Plan]]:
    """Read and keep what the batch rests on, and plan each snapshot."""
    context = read_context(instance, batch_id, run_id, method)
    planner = Planner(instance.settings.policy, context)
    ids = [snapshot.market.market_id for snapshot in snapshots]
    with instance.database.connection() as connection:
        history = decisions.analyses_of(connection, ids, context.now)
        held = decisions.portfolio(connection, instance.bankroll_micro_usd, context.now)
        committed = market_spend(connection, ids, context.now.date())
        questions = read_questions(connection, instance.settings.ensemble, snapshots, context.now)
        heard = calls.forecasts_on(connection, [snapshot.snapshot_id for snapshot in snapshots])
        late = answer_cache.given_in_emergency(connection, [snapshot.snapshot_id for snapshot in snapshots])
        memory = _memory(connection, instance.settings.policy, context, snapshots)
    nothing, members = Analyses(0, None), instance.settings.enabled_members
    oldest = timedelta(hours=row_of(context.operating_mode, instance.settings.modes).earlier_hours)
    plans = []
    for snapshot in snapshots:
        before = history.get(snapshot.market.market_id, nothing)
        answered = tuple(it.model_id for it in heard.get(snapshot.snapshot_id, []))
        standing = Standing(
            analyses_today=before.today,
            last_analysis_at=before.last_at,
            cash_micro_usd=held.cash,
            worst_case_micro_usd=_worst_cases(instance, questions, snapshot, context) | dict.fromkeys(answered, 0),
            committed_micro_usd=committed.get(snapshot.market.market_id, 0),
            earlier=memory.earlier(snapshot, members, questions.evidence_on(snapshot)),
            heard=answered,
            is_held=snapshot.market.market_id in held.staked_by_market,
            emergency=memory.in_emergency(snapshot, members, questions.evidence_on(snapshot), oldest),
            heard_in_emergency=late.get(snapshot.snapshot_id, ()),
        )
        plans.append(planner.plan(snapshot, standing))
    return context, plans


def _memory(connection: Connection, policy: Policy, context: BatchContext, snapshots: Sequence[Snapshot]) -> Memory:
    """Earlier answers as of the batch, and of which kinds the shadow sample lets them be given again."""
    evidence = read_evidence(connection, policy.cache, context.now)
    return Memory.read(connection, Asked(policy, context.calibration, context.now), snapshots, refusals(evidence))


def _worst_cases(instance: Instance, questions: Questions, snapshot: Snapshot, context: BatchContext) -> dict[str, int]:
    found: dict[str, int] = {}
    for member in instance.settings.enabled_members:
        try:
            worst_case = worst_case_micro_usd(questions.prompt(member, snapshot, context.now), member)
            found[member.name] = questions.to_hold(member, worst_case)
        except UnknownPriceError:
            # a model whose price nobody knows is not asked; `ensemble doctor` names it
            continue
    return found


def combine(instance: Instance, context: BatchContext, plans: Sequence[Plan]) -> list[Consensus | None]:
    """One consensus for each plan, from what its members answered; ``None`` where nobody did."""
    with instance.database.connection() as connection:
        return _opinions(connection, instance.settings.policy, context, plans)


def _opinions(
    connection: Connection, policy: Policy, context: BatchContext, plans: Sequence[Plan]
) -> list[Consensus | None]:
    ids = [it.snapshot.snapshot_id for it in plans]
    heard, consulted = calls.forecasts_on(connection, ids), calls.consulted_on(connection, ids)
    engine = engine_of(policy, context)
    return [
        opinion_on(engine, it, heard.get(key, []), consulted=consulted.get(key, ()))
        for it, key in zip(plans, ids, strict=True)
    ]


async def size(
    instance: Instance,
    venue: Venue,
    context: BatchContext,
    plans: Sequence[Plan],
    opinions: Sequence[Consensus | None],
) -> list[EnsembleDecision]:
    """Pass each plan through the remaining gates, one after the other, each on the portfolio the last one leaves.

    Paper orders fill on the book as it stands after the models were heard, and in the mode in force by then where that
    is more careful; a market gone from the venue has no quote.
    """
    pairs = list(zip(plans, opinions, strict=True))
    wanted = [it.snapshot.market.ticker for it, heard in pairs if heard is not None and it.refusal is None]
    quotes = await venue.order_books(wanted) if wanted else {}
    now = instance.clock.now()
    with instance.database.connection() as connection:
        held = Holdings.read(connection, instance, context, now)
        refused = refusals_on(connection, [it.snapshot.snapshot_id for it in plans])
    made = []
    for it, consensus in pairs:
        market = it.snapshot.market
        quote = quotes.get(market.ticker, Quote(now, None, None, None, None))
        exposure, unpaid = held.portfolio.seen_from(market), refused.get(it.snapshot.snapshot_id, ())
        filling = Filling(now, quote, exposure, unpaid, held.mode)
        decision = conclude(instance.settings.policy, context, it, consensus, filling)
        held = held.after(market, decision)
        made.append(decision)
    return made


def record(instance: Instance, context: BatchContext, made: Sequence[EnsembleDecision]) -> Recorded:
    """Record the decisions, each once; paper positions open with them.

    What would trade is sized anew where the mode, the cash or the positions are others by now.
    """
    fresh, now = [], instance.clock.now()
    with instance.database.connection() as connection:
        # until this is written, nobody else puts a mode in force or opens positions
        lock_modes(connection)
        held = Holdings.read(connection, instance, context, now)
        for decision in made:
            fitting, held_then = _as_it_fits(connection, instance.settings.policy, context, decision, held)
            decision_id = decisions.save_decision(connection, fitting)
            if decision_id is not None:
                held = held_then
                fresh.append((decision_id, fitting))
        others = decisions.decided_by_others(connection, context.batch_id, context.run_id)
    return Recorded(
        decision_ids=tuple(decision_id for decision_id, _ in fresh),
        decisions=tuple(it for _, it in fresh),
        reasons=dict(Counter(str(it.terminal_reason) for _, it in fresh)),
        already_decided=others,
    )


def _as_it_fits(
    connection: Connection, policy: Policy, context: BatchContext, decision: EnsembleDecision, held: Holdings
) -> tuple[EnsembleDecision, Holdings]:
    """The decision, one to trade as it comes out on what is held by now, and what is held once it is filled."""
    if decision.action is Action.SKIP:
        return decision, held
    snapshot, standing, sized = read_inputs(decision.inputs)
    filling = replace(sized, exposure=held.portfolio.seen_from(snapshot.market), mode=held.mode)
    if filling == sized:
        return decision, held.after(snapshot.market, decision)
    plan = Planner(policy, context).plan(snapshot, standing)
    [consensus] = _opinions(connection, policy, context, [plan])
    fitting = conclude(policy, context, plan, consensus, filling)
    return fitting, held.after(snapshot.market, fitting)
