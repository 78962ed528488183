"""What answers cost, and what the day may still spend."""

import dagster as dg

from ensemble_pipeline.domain import MICRO_PER_USD
from ensemble_pipeline.pipeline.assets.markets import FORECAST_LOG
from ensemble_pipeline.pipeline.resources import EnsembleResource
from ensemble_pipeline.pipeline.tables import markdown_table


@dg.asset(
    deps=[FORECAST_LOG],
    group_name="costs",
    kinds={"postgres"},
    description=(
        "What today's model calls spent and hold, against the soft and the hard limit. The limits themselves are kept "
        "by the ledger before each call; this asset shows them and its checks warn."
    ),
)
def budget_status(ensemble: EnsembleResource) -> dg.MaterializeResult[None]:
    """Read and keep the day's budget."""
    from ensemble_pipeline.ensemble.cost import CostOptimizer

    status = CostOptimizer(ensemble.instance()).record_status()
    return dg.MaterializeResult(
        metadata={
            "day": status.spend.day.isoformat(),
            "spent_usd": status.spend.spent / MICRO_PER_USD,
            "held_usd": status.spend.held / MICRO_PER_USD,
            "soft_limit_usd": _usd(status.limits.day_soft),
            "hard_limit_usd": _usd(status.limits.day_hard),
            "alert_share": status.alert_share,
        }
    )


@dg.asset(
    deps=["ensemble_decisions"],
    group_name="costs",
    kinds={"postgres"},
    description="Calls, failures and cost by model, category and day over the last 30 days, from the ledger alone.",
)
def cost_report(ensemble: EnsembleResource) -> dg.MaterializeResult[None]:
    """Rebuild the cost report."""
    from ensemble_pipeline.ensemble.cost import CostOptimizer

    rows = CostOptimizer(ensemble.instance()).calculate_cost_efficiency()
    table = [
        {
            "model": row.model_id,
            "calls": row.calls,
            "failed": row.failed,
            "cost_usd": row.cost_micro_usd / MICRO_PER_USD,
            "usd_per_answer": None
            if row.cost_per_answer_micro_usd is None
            else row.cost_per_answer_micro_usd / MICRO_PER_USD,
        }
        for row in rows
    ]
    total = sum(row.cost_micro_usd for row in rows) / MICRO_PER_USD
    return dg.MaterializeResult(metadata={"cost_usd": total, "by_model": markdown_table(table)})


def _usd(limit: int | None) -> float | str:
    return "unlimited" if limit is None else limit / MICRO_PER_USD
