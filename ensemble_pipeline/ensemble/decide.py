"""The decision of a batch in its six steps: load, plan, consult, combine, size, record.

Each step is one function and one op of the pipeline. Everything a step needs to be taken up again after a crash is
in the database; a decision is idempotent on its snapshot.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ensemble_pipeline.domain import Quote, Snapshot
from ensemble_pipeline.ensemble.conclude import after, conclude
from ensemble_pipeline.ensemble.consult import consult
from ensemble_pipeline.ensemble.engine import Consensus, EnsembleEngine
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.plan import BatchContext, Plan, Planner
from ensemble_pipeline.store import calls, decisions, markets
from ensemble_pipeline.store.decisions import EnsembleDecision
from ensemble_pipeline.venues.base import Venue

__all__ = ["Recorded", "combine", "consult", "load", "plan", "record", "size"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What came of a batch; `already_decided` snapshots had been decided by another run meanwhile."""

    decision_ids: tuple[int, ...]
    reasons: dict[str, int]
    already_decided: int


def load(instance: Instance, batch_id: int | None) -> tuple[int, list[Snapshot]]:
    """The snapshots of a batch that still wait for a decision; for ``None`` all that wait, as a batch of their own."""
    with instance.database.connection() as connection:
        waiting = markets.undecided_snapshots(connection, batch_id)
        if batch_id is None:
            ids = [snapshot.snapshot_id for snapshot in waiting]
            batch_id = markets.open_batch(connection, ids, instance.clock.now())
    return batch_id, waiting


def plan(
    instance: Instance, snapshots: Sequence[Snapshot], batch_id: int, run_id: str
) -> tuple[BatchContext, list[Plan]]:
    """Read what the batch rests on, and plan each snapshot."""
    planner = Planner(instance, batch_id, run_id)
    return planner.context, planner.plan(snapshots)


def combine(instance: Instance, context: BatchContext, plans: Sequence[Plan]) -> list[Consensus | None]:
    """One consensus for each plan, from what its members answered; ``None`` where nobody did."""
    engine = EnsembleEngine(instance.settings.ensemble, context.ranking, context.calibration)
    with instance.database.connection() as connection:
        heard = calls.forecasts_on(connection, [it.snapshot.snapshot_id for it in plans])
    return [
        engine.weighted_consensus(
            [member.name for member in it.members],
            heard[it.snapshot.snapshot_id],
            it.snapshot.quote.mid,
            it.snapshot.market.category,
        )
        if it.snapshot.snapshot_id in heard
        else None
        for it in plans
    ]


async def size(
    instance: Instance,
    venue: Venue,
    context: BatchContext,
    plans: Sequence[Plan],
    opinions: Sequence[Consensus | None],
) -> list[EnsembleDecision]:
    """Pass each plan through the remaining gates, one after the other, each on the portfolio the last one leaves.

    Paper orders fill on the book as it stands after the models were heard; a market gone from the venue has no quote.
    """
    pairs = list(zip(plans, opinions, strict=True))
    wanted = [it.snapshot.market.ticker for it, heard in pairs if heard is not None and it.refusal is None]
    quotes = await venue.order_books(wanted) if wanted else {}
    with instance.database.connection() as connection:
        held = decisions.portfolio(connection, instance.bankroll_micro_usd, context.now)
    made = []
    for it, consensus in pairs:
        quote = quotes.get(it.snapshot.market.ticker, Quote(context.now, None, None, None, None))
        decision = conclude(instance, context, it, consensus, quote, held)
        held = after(decision, it.snapshot.market.event_id, held)
        made.append(decision)
    return made


def record(instance: Instance, made: Sequence[EnsembleDecision]) -> Recorded:
    """Record the decisions, each once; paper positions open with them."""
    with instance.database.connection() as connection:
        saved = [decisions.save_decision(connection, decision) for decision in made]
    fresh = tuple(decision_id for decision_id in saved if decision_id is not None)
    reasons = Counter(str(d.terminal_reason) for d, saved_id in zip(made, saved, strict=True) if saved_id is not None)
    return Recorded(fresh, dict(reasons), len(made) - len(fresh))
