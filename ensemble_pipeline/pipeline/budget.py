"""`ensemble budget` and `ensemble costs`: what may still be spent, bills in dispute, and the cost report as text."""

from collections.abc import Sequence
from typing import Any

from ensemble_pipeline.domain import MICRO_PER_USD
from ensemble_pipeline.ensemble.cost import CostOptimizer
from ensemble_pipeline.ensemble.cost_report import cost_report
from ensemble_pipeline.ensemble.disputes import decide_dispute
from ensemble_pipeline.ensemble.spend import SpendStatus
from ensemble_pipeline.pipeline.worlds import current_instance
from ensemble_pipeline.store import alerts, anomalies
from ensemble_pipeline.store.anomalies import Dispute, Resolution
from ensemble_pipeline.store.database import Row


def read_budget() -> tuple[SpendStatus, list[Row]]:
    """The day's accounts against their limits, and the alerts that are open."""
    with current_instance() as instance:
        status = CostOptimizer(instance).monitor_spend()
        with instance.database.connection() as connection:
            return status, alerts.open_alerts(connection)


def show_budget(status: SpendStatus, open_alerts: Sequence[Row]) -> str:
    """The limits as text, one a line, then what is wrong."""
    spend = status.spend
    lines = [f"{spend.day}  {_usd(spend.spent)} spent, {_usd(spend.held)} held"]
    lines += [f"{use.name:<24} {_usd(use.committed)} of {_usd(use.limit)}, {use.share:.0%}" for use in status.uses]
    others = {"per decision": status.limits.decision, "per market and day": status.limits.market_day}
    lines += [f"{name:<24} {'unlimited' if it is None else _usd(it)}" for name, it in others.items()]
    for row in open_alerts:
        lines.append(f"{row['severity'].upper()} since {row['raised_at']:%Y-%m-%d %H:%M}: {row['cause']}")
        lines.append(f"  {row['action']}")
    return "\n".join(lines)


def budget_json(status: SpendStatus, open_alerts: Sequence[Row]) -> dict[str, Any]:
    """The same as JSON values."""
    return {
        "day": status.spend.day.isoformat(),
        "spent_usd": status.spend.spent / MICRO_PER_USD,
        "held_usd": status.spend.held / MICRO_PER_USD,
        "limits": [
            {
                "limit": use.name,
                "committed_usd": use.committed / MICRO_PER_USD,
                "limit_usd": use.limit / MICRO_PER_USD,
                "share": use.share,
            }
            for use in status.uses
        ],
        "alerts": open_alerts,
    }


def read_disputes() -> list[Dispute]:
    """Bills that nobody can believe, and that nobody decided about yet."""
    with current_instance() as instance, instance.database.connection() as connection:
        return anomalies.open_disputes(connection)


def show_disputes(disputes: Sequence[Dispute]) -> str:
    """The same as text."""
    if not disputes:
        return "no bill is in dispute"
    return "\n".join(
        f"{it.anomaly_id}  {it.noticed_at:%Y-%m-%d %H:%M}  {it.model_id}: {_usd(it.claimed_micro_usd)} claimed, "
        f"{_usd(it.held_micro_usd)} were held, {_usd(it.booked_micro_usd)} are booked"
        for it in disputes
    )


def decide(number: int, resolution: Resolution, cause: str) -> str:
    """Accept or reject a disputed bill; returns what follows from it.

    Raises:
        InputError: no dispute of this number is open, or the cause is empty.
    """
    with current_instance() as instance:
        it = decide_dispute(instance, number, resolution, cause)
    booked = it.claimed_micro_usd if resolution == "accepted" else it.booked_micro_usd
    return f"dispute {number} is {resolution}: {_usd(booked)} are booked, and {it.model_id} may be asked again"


def read_costs() -> dict[str, Any]:
    """The cost report, made anew from the ledger."""
    with current_instance() as instance:
        return cost_report(instance)


def show_costs(report: dict[str, Any]) -> str:
    """The report as text: periods, models, where the day is heading, advice."""
    lines = []
    for name, it in report["periods"].items():
        roi = "–" if it["roi"] is None else f"{it['roi']:+.2f}"
        lines.append(
            f"{name:<10} ${it['cost_usd']:.4f} for {it['calls']} calls ({it['failed']} failed) and "
            f"{it['decisions']} decisions; {it['trades']} trades, paper ${it['net_profit_usd']:+.2f}, ROI {roi}"
        )
    for it in report["by_model"]:
        bought = "not known yet" if it["gain_per_usd"] is None else f"{it['gain_per_usd']:.3g} Brier points per dollar"
        lines.append(f"{it['model']:<24} ${it['cost_usd']:.4f} for {it['calls']} calls, {bought}")
    heading = report["projection"]
    lines.append(
        f"by midnight UTC ${heading['expected_at_midnight_usd']:.4f} are expected, at "
        f"${heading['rate_usd_per_hour']:.4f} an hour"
    )
    return "\n".join([*lines, *(f"advice: {it['text']}" for it in report["recommendations"])])


def _usd(micro_usd: int) -> str:
    return f"${micro_usd / MICRO_PER_USD:.4f}"
