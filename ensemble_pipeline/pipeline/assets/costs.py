"""What answers cost, what the day may still spend, and what a dollar buys from whom."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import dagster as dg

from ensemble_pipeline.domain import MICRO_PER_USD
from ensemble_pipeline.pipeline.assets.markets import FORECAST_LOG
from ensemble_pipeline.pipeline.resources import EnsembleResource
from ensemble_pipeline.pipeline.table_schemas import schema_of
from ensemble_pipeline.pipeline.tables import markdown_table

if TYPE_CHECKING:
    from ensemble_pipeline.ensemble.instance import Instance
    from ensemble_pipeline.ensemble.spend import SpendStatus
    from ensemble_pipeline.pipeline.plots import Bought
    from ensemble_pipeline.store.efficiency import CostEfficiency, Efficiency


@dg.asset(
    deps=[FORECAST_LOG],
    group_name="costs",
    kinds={"postgres"},
    metadata=schema_of("budget_status"),
    description=(
        "What today's model calls spent and hold, against every limit: the day's soft and hard one, providers, models. "
        "The limits themselves are kept by the ledger before each call; this asset shows them, raises and resolves "
        "alerts, and closes as spent what runs that died left held. Its checks warn at 80% and fail at 95% and 100%; "
        "where the ledger differs from the calls, neither `cost_efficiency` nor `cost_report` is made in the same run."
    ),
)
def budget_status(ensemble: EnsembleResource) -> dg.MaterializeResult[None]:
    """Read and keep the day's budget, and look for what is wrong with money."""
    from ensemble_pipeline.ensemble.cost import CostOptimizer
    from ensemble_pipeline.ensemble.cost_alerts import watch_costs
    from ensemble_pipeline.store import alerts

    instance = ensemble.instance()
    status = CostOptimizer(instance).record_status()
    change = watch_costs(instance)
    with instance.database.connection() as connection:
        standing = alerts.open_alerts(connection)
    return dg.MaterializeResult(
        metadata={
            "day": status.spend.day.isoformat(),
            "spent_usd": status.spend.spent / MICRO_PER_USD,
            "held_usd": status.spend.held / MICRO_PER_USD,
            "limits": markdown_table(limit_rows(status)),
            "day_so_far": _day_so_far(instance, status),
            "alerts_raised": change.raised,
            "alerts_resolved": change.resolved,
            "alerts": markdown_table([{**row, "evidence": str(row["evidence"])} for row in standing]),
        }
    )


def limit_rows(status: "SpendStatus") -> list[dict[str, object]]:
    """Every limit that is none of "unlimited", with its use."""
    return [
        {
            "limit": use.name,
            "spent_and_held_usd": use.committed / MICRO_PER_USD,
            "limit_usd": use.limit / MICRO_PER_USD,
            "share": use.share,
        }
        for use in status.uses
    ]


def _day_so_far(instance: "Instance", status: "SpendStatus") -> dg.MarkdownMetadataValue:
    from ensemble_pipeline.ensemble.cost_report import projection
    from ensemble_pipeline.pipeline.plots import SpendReading, day_so_far
    from ensemble_pipeline.store import costs

    with instance.database.connection() as connection:
        rows = costs.readings_of(connection, status.spend.day)
        heading = projection(connection, status, instance.clock.now())
    return day_so_far(
        [
            SpendReading(
                row["checked_at"], row["spent_micro_usd"] / MICRO_PER_USD, row["held_micro_usd"] / MICRO_PER_USD
            )
            for row in rows
        ],
        heading["expected_at_midnight_usd"],
        _usd(status.limits.day_soft),
        _usd(status.limits.day_hard),
        status.spend.day,
    )


@dg.asset(
    deps=[FORECAST_LOG, "model_rankings", "model_strengths", budget_status],
    group_name="costs",
    kinds={"postgres"},
    metadata=schema_of("cost_efficiency_rows"),
    description=(
        "What one usable answer of each model costs in each category over the last 30 days, failures included, and by "
        "how many Brier points it beats the base rate: the skill that a dollar buys, with Fieller's 95% interval. "
        "Selection reads it; the scarcer the day's money, the more it weighs. Not made where the check "
        "`ledger_equals_calls` fails: the last sound reading stays."
    ),
)
def cost_efficiency(ensemble: EnsembleResource) -> dg.MaterializeResult[None]:
    """Bring costs from the ledger and skill from the ranking together."""
    from ensemble_pipeline.ensemble.cost import CostOptimizer

    found = CostOptimizer(ensemble.instance()).calculate_cost_efficiency()
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(found.rows),
            "efficiency_id": found.efficiency_id,
            "as_of": found.as_of.isoformat(),
            "ranking_id": found.ranking_id,
            "share_of_worst_case": found.share_of_worst_case,
            "what_a_dollar_buys": _bought(found),
            "by_model": markdown_table([asdict(line) for line in found.rows if line.is_overall]),
            "by_category": markdown_table([asdict(line) for line in found.rows if not line.is_overall]),
        }
    )


def _bought(found: "Efficiency") -> dg.MarkdownMetadataValue:
    from ensemble_pipeline.pipeline.plots import efficiency_plot

    return efficiency_plot([_row(line) for line in found.rows if line.is_overall and line.calls])


def _row(line: "CostEfficiency") -> "Bought":
    from ensemble_pipeline.pipeline.plots import Bought

    return Bought(
        model=line.model_id,
        calls=line.calls,
        cost_usd=line.cost_micro_usd / MICRO_PER_USD,
        usd_per_answer=line.cost_per_answer_usd,
        gain=line.gain,
        gain_per_usd=line.gain_per_usd,
        low=line.low,
        high=line.high,
    )


@dg.asset(
    deps=["ensemble_decisions", budget_status, cost_efficiency],
    group_name="costs",
    kinds={"postgres"},
    metadata=schema_of("cost_report"),
    description=(
        "What calls cost over 30 days, from the ledger alone: by period, model, category and market, with what it "
        "brought (decisions, trades, paper profit per dollar), where the day is heading, what earlier answers saved "
        "and lost, and what to do. Not made where the check `ledger_equals_calls` fails: the last sound one stays."
    ),
)
def cost_report(ensemble: EnsembleResource) -> dg.MaterializeResult[None]:
    """Rebuild the cost report."""
    from ensemble_pipeline.ensemble.cost_report import cost_report as build

    report = build(ensemble.instance())
    return dg.MaterializeResult(
        metadata={
            "as_of": report["as_of"],
            "cost_usd": report["periods"]["30 days"]["cost_usd"],
            "expected_today_usd": report["projection"]["expected_at_midnight_usd"],
            "spend_by_day": _by_day(report),
            "recommendations": markdown_table(
                [{"advice": it["text"], "evidence": str(it["evidence"])} for it in report["recommendations"]]
            ),
            "projection": markdown_table([report["projection"]]),
            "periods": markdown_table([{"period": name, **it} for name, it in report["periods"].items()]),
            "by_model": markdown_table(report["by_model"]),
            "by_category": markdown_table(report["by_category"]),
            "dearest_markets": markdown_table(report["dearest_markets"]),
            "earlier_answers": markdown_table(report["cache"]["by_kind"]),
            "earlier_answers_refused": markdown_table(report["cache"]["misses_by_cause"]),
            "earlier_answers_saved_usd": report["cache"]["saved_usd"],
            "refused_calls_today": report["refused_calls_today"],
            "unconfirmed_usd": report["unconfirmed_usd"],
        }
    )


def _by_day(report: dict[str, Any]) -> dg.MarkdownMetadataValue:
    from datetime import date

    from ensemble_pipeline.pipeline.plots import DayCost, spend_by_day

    days: Sequence[dict[str, Any]] = report["by_day"]
    heading = report["projection"]
    return spend_by_day(
        [DayCost(date.fromisoformat(it["day"]), it["by_model"]) for it in days],
        _number(heading["soft_limit_usd"]),
        _number(heading["hard_limit_usd"]),
    )


def _number(limit: float | str) -> float | None:
    return limit if isinstance(limit, float) else None


def _usd(limit: int | None) -> float | None:
    return None if limit is None else limit / MICRO_PER_USD
