"""The decision ops and the graph asset they form: load, plan, consult, combine, size, record."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import dagster as dg

from ensemble_pipeline.pipeline.resources import EnsembleResource, open_venue
from ensemble_pipeline.pipeline.tables import markdown_table

if TYPE_CHECKING:
    from ensemble_pipeline.domain import Snapshot
    from ensemble_pipeline.ensemble.context import BatchContext
    from ensemble_pipeline.ensemble.decide import Recorded
    from ensemble_pipeline.ensemble.engine import Consensus
    from ensemble_pipeline.ensemble.instance import Instance
    from ensemble_pipeline.ensemble.plan import Plan
    from ensemble_pipeline.store.decisions import EnsembleDecision

IN_MEMORY = "in_memory"
_PARTITIONED = ("performance_windows",)
_OUT = dg.Out(io_manager_key=IN_MEMORY)


class BatchConfig(dg.Config):
    """Which batch a run decides."""

    batch_id: int | None = None
    """The batch; without one the run decides everything that waits."""


@dataclass(frozen=True)
class Loaded:
    """The snapshots of a run, and the batch their decisions are booked under."""

    batch_id: int
    snapshots: "list[Snapshot]"


@dataclass(frozen=True)
class Planned:
    """What a run is going to do."""

    context: "BatchContext"
    plans: "list[Plan]"


@dataclass(frozen=True)
class Opinions:
    """What the members said together, one entry for each plan."""

    planned: Planned
    opinions: "list[Consensus | None]"


@dataclass(frozen=True)
class Made:
    """The decisions of a run, not recorded yet."""

    context: "BatchContext"
    decisions: "list[EnsembleDecision]"


@dg.op(ins={"upstream": dg.In(dg.Nothing)}, out=_OUT, description="Reads the batch's undecided snapshots.")
def load(context: dg.OpExecutionContext, config: BatchConfig, ensemble: EnsembleResource) -> Loaded:
    """Read what waits for a decision."""
    from ensemble_pipeline.ensemble import decide

    batch_id, snapshots = decide.load(ensemble.instance(), config.batch_id)
    context.log.info("%d snapshots wait for a decision", len(snapshots))
    return Loaded(batch_id, snapshots)


@dg.op(out=_OUT, description="Passes the early gates, routes by trade value and chooses the members to ask.")
def plan(context: dg.OpExecutionContext, loaded: Loaded, ensemble: EnsembleResource) -> Planned:
    """Plan every snapshot."""
    from ensemble_pipeline.ensemble import decide

    read, plans = decide.plan(ensemble.instance(), loaded.snapshots, loaded.batch_id, context.run_id)
    refused = Counter(str(it.refusal) for it in plans if it.refusal is not None)
    context.log.info("%d plans, refused early: %s", len(plans), dict(refused))
    return Planned(read, plans)


@dg.op(out=_OUT, description="Asks all members about all markets, each call reserved in the budget before it leaves.")
async def consult(context: dg.OpExecutionContext, planned: Planned, ensemble: EnsembleResource) -> Planned:
    """Ask the members; what another run has decided meanwhile is left to it."""
    from ensemble_pipeline.ensemble import decide

    asked = await decide.consult(ensemble.instance(), planned.context, planned.plans)
    context.log.info("%s", asked)
    return Planned(planned.context, asked.still_open(planned.plans))


@dg.op(
    out=_OUT, description="Pools the answers in log-odds with the ranking's weights, calibrates, anchors to the price."
)
def combine(planned: Planned, ensemble: EnsembleResource) -> Opinions:
    """Form one consensus per market."""
    from ensemble_pipeline.ensemble import decide

    return Opinions(planned, decide.combine(ensemble.instance(), planned.context, planned.plans))


@dg.op(out=_OUT, description="Passes the late gates and sizes the paper order: a quarter of Kelly, within every cap.")
async def size(combined: Opinions, ensemble: EnsembleResource) -> Made:
    """Turn consensus into decisions."""
    from ensemble_pipeline.ensemble import decide

    planned = combined.planned
    async with open_venue(ensemble.instance()) as venue:
        made = await decide.size(ensemble.instance(), venue, planned.context, planned.plans, combined.opinions)
    return Made(planned.context, made)


@dg.op(out=_OUT, description="Writes the decisions, each once, with everything they rested on.")
def record(context: dg.OpExecutionContext, made: Made, ensemble: EnsembleResource) -> dg.Output[None]:
    """Record the decisions."""
    from ensemble_pipeline.ensemble import decide

    recorded = decide.record(ensemble.instance(), made.context, made.decisions)
    for snapshot_id, decision_id in recorded.already_decided.items():
        context.log.info("snapshot %d was decided by another run: decision %d", snapshot_id, decision_id)
    forecasts = sum(member.p_yes is not None for decision in made.decisions for member in decision.members)
    context.log_event(
        dg.AssetMaterialization("forecast_log", metadata={"dagster/row_count": forecasts}, partition=None)
    )
    metadata: dict[str, Any] = {
        "dagster/row_count": len(recorded.decision_ids),
        "already_decided": dg.MetadataValue.json(
            [{"snapshot": snapshot, "decision": decision} for snapshot, decision in recorded.already_decided.items()]
        ),
        "by_terminal_reason": recorded.reasons,
        "ranking_ids": sorted({decision.ranking_id for decision in made.decisions}),
        "decisions": _table(recorded),
        "why": _explanations(ensemble.instance(), recorded),
    }
    return dg.Output(None, metadata=metadata)


def _table(recorded: "Recorded") -> dg.MarkdownMetadataValue:
    return markdown_table(
        [
            {
                "decision": decision_id,
                "market": decision.market_id,
                "came to": decision.final_decision,
                "strategy": decision.strategy,
                "p_final": decision.p_final,
                "p_market": decision.p_market,
                "disagreement": decision.disagreement_level,
                "models_consulted": ", ".join(decision.models_consulted),
                "ranking": decision.ranking_id,
            }
            for decision_id, decision in zip(recorded.decision_ids, recorded.decisions, strict=True)
        ]
    )


def _explanations(instance: "Instance", recorded: "Recorded") -> dg.MarkdownMetadataValue:
    """The chain behind each decision, with links to the assets it rested on."""
    from ensemble_pipeline.ensemble.explaining import explain
    from ensemble_pipeline.pipeline.explain import show_explanation

    with instance.database.connection() as connection:
        chains = [explain(connection, decision_id) for decision_id in recorded.decision_ids]
    return dg.MetadataValue.md("\n\n".join(_explained(it, show_explanation(it)) for it in chains) or "nothing decided")


def _explained(chain: dict[str, Any], text: str) -> str:
    partition = (chain["ranking"] or {}).get("partition", "")
    links = ", ".join(
        f"[{name}](/assets/{name}{f'?partition={partition}' if name in _PARTITIONED else ''})"
        for name in ("performance_windows", "model_rankings", "calibration_tables", "forecast_log")
    )
    # market and model wrote parts of it: a fence longer than any run of backticks in it cannot be left
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 3)
    return f"rests on {links}\n\n{fence}text\n{text}\n{fence}"


def _nothing() -> dg.AssetIn:
    return dg.AssetIn(dagster_type=dg.Nothing)


@dg.graph_asset(
    ins={
        "markets": _nothing(),
        "model_rankings": _nothing(),
        "calibration_tables": _nothing(),
        "model_health": _nothing(),
        "budget_status": _nothing(),
        "cost_efficiency": _nothing(),
    },
    group_name="decisions",
    kinds={"postgres"},
    description=(
        "One batch of markets decided: gates, answers, consensus, size. Each decision records the ranking, "
        "calibration, settings and code it rested on. If a run fails, retry it: what is answered is not asked again."
    ),
)
def ensemble_decisions(
    markets: None,
    model_rankings: None,
    calibration_tables: None,
    model_health: None,
    budget_status: None,
    cost_efficiency: None,
) -> None:
    """Decide one batch of markets."""
    upstream = [markets, model_rankings, calibration_tables, model_health, budget_status, cost_efficiency]
    return cast("None", record(size(combine(consult(plan(load(upstream)))))))
