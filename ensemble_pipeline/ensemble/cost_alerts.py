"""What is wrong with money: limits that are nearly used up, costs that are odd, prices that nobody knows.

Belongs here: which conditions raise an alert, with what words. Does not: keeping them (store/alerts.py).
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from ensemble_pipeline.domain import MICRO_PER_USD, AnomalyKind
from ensemble_pipeline.ensemble.cost import CostOptimizer
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.spend import LimitUse, SpendStatus
from ensemble_pipeline.errors import UnknownPriceError
from ensemble_pipeline.providers.base import Prompt
from ensemble_pipeline.providers.prices import worst_case_micro_usd
from ensemble_pipeline.settings import MemberSettings
from ensemble_pipeline.store import alerts, anomalies, audit, costs
from ensemble_pipeline.store.alerts import Alert, AlertChange
from ensemble_pipeline.store.anomalies import Dispute
from ensemble_pipeline.store.database import Row

KINDS = ("budget", "limit_below_spent", "cost_dispute", "odd_cost", "price_unknown", "unconfirmed_spend", "ledger")
AUDITED = timedelta(days=31)
_ODD_FOR = timedelta(hours=24)

_ODD = {
    AnomalyKind.UNUSABLE_REPORT: "reports costs that are no amount of money; the price list stands for them",
    AnomalyKind.ZERO_COST: "is told to cost nothing, and is not free; the price list or the worst case stands for it",
    AnomalyKind.OVERRUN: "costs more than the worst case that was held; what it says is booked",
    AnomalyKind.USAGE_MISSING: "tells no usage that can be read; the worst case is booked for each such call",
    AnomalyKind.PRICE_UNKNOWN: "answers as a model whose price nobody knows; the worst case is booked for each",
}
_ODD_ACTIONS = {
    AnomalyKind.UNUSABLE_REPORT: "Compare the provider's bill with the ledger.",
    AnomalyKind.ZERO_COST: "Compare the provider's bill with the ledger; set the member's prices to 0 if it is free.",
    AnomalyKind.OVERRUN: "Set max_web_searches if it searches, or the member's prices if the list is out of date.",
    AnomalyKind.USAGE_MISSING: "Ask the provider for usage in replies, or accept that it counts dearer than it is.",
    AnomalyKind.PRICE_UNKNOWN: "Set input_usd_per_mtok and output_usd_per_mtok of the member.",
}


def watch_costs(instance: Instance) -> AlertChange:
    """Look at everything that may be wrong with money, and bring the alerts up to date."""
    now = instance.clock.now()
    status = CostOptimizer(instance).monitor_spend()
    with instance.database.connection() as connection:
        found = [
            *limit_alerts(status),
            *(_dispute(it) for it in anomalies.open_disputes(connection)),
            *_odd_costs(anomalies.anomalies_since(connection, now - _ODD_FOR)),
            *_unknown_prices(instance.settings.enabled_members),
            *_unconfirmed(costs.unconfirmed(connection, now.date())),
            *_ledger(audit.ledger_differences(connection, now.date() - AUDITED)),
        ]
        return alerts.update_alerts(connection, KINDS, found, now)


def limit_alerts(status: SpendStatus) -> Iterator[Alert]:
    """A warning from 80% of a limit on, an error from 95%, and one where more is spent than a limit allows."""
    for use in status.uses:
        if use.alert_share:
            yield Alert(
                kind="budget",
                subject=use.name,
                severity="warning" if use.alert_share < 0.95 else "error",
                cause=f"{_usd(use.committed)} of the limit {_usd(use.limit)} ({use.name}) are spent and held",
                action=_what_happens(use),
                evidence={"committed_usd": use.committed / MICRO_PER_USD, "limit_usd": use.limit / MICRO_PER_USD},
            )
        if use.committed > use.limit and use.scope != "day_soft":
            yield Alert(
                kind="limit_below_spent",
                subject=use.name,
                severity="error",
                cause=f"{_usd(use.committed)} are spent and held where {_usd(use.limit)} are allowed ({use.name}): the "
                "limit was lowered since, or calls cost more than their worst case",
                action="Nothing that costs leaves on this account before midnight UTC. Raise the limit if that is not "
                "meant.",
                evidence={"committed_usd": use.committed / MICRO_PER_USD, "limit_usd": use.limit / MICRO_PER_USD},
            )


def _what_happens(use: LimitUse) -> str:
    if use.scope == "day_soft":
        return "At the limit new analyses are answered from earlier answers or skipped. Raise it, or let it stop them."
    if use.scope == "day":
        return "At the limit no call leaves before midnight UTC. See cost_report for what costs, or raise it."
    return f"At the limit this {use.scope} is not asked before midnight UTC; others are. Raise it if that is not meant."


def _dispute(it: Dispute) -> Alert:
    return Alert(
        kind="cost_dispute",
        subject=f"{it.model_id} #{it.anomaly_id}",
        severity="error",
        cause=f"{it.model_id}: {it.claim}; {_usd(it.booked_micro_usd)} are booked, and the model is not asked",
        action=f"Look at the provider's bill, then `ensemble budget accept {it.anomaly_id}` or "
        f"`ensemble budget reject {it.anomaly_id}`.",
        evidence={"claimed_usd": it.claimed_micro_usd / MICRO_PER_USD, "reservation_id": it.reservation_id},
    )


def _odd_costs(rows: Sequence[Row]) -> Iterator[Alert]:
    for row in rows:
        kind = AnomalyKind(row["kind"])
        if kind in _ODD:
            yield Alert(
                kind="odd_cost",
                subject=f"{row['model_id']}: {kind}",
                severity="warning",
                cause=f"{row['model_id']} {_ODD[kind]}: {row['n']} times in 24 hours, last {row['claim']}",
                action=_ODD_ACTIONS[kind],
                evidence={"times": row["n"], "last_at": row["last_at"].isoformat()},
            )


def _unknown_prices(members: Sequence[MemberSettings]) -> Iterator[Alert]:
    for member in members:
        try:
            worst_case_micro_usd(_EMPTY, member)
        except UnknownPriceError as error:
            yield Alert(
                kind="price_unknown",
                subject=member.name,
                severity="warning",
                cause=f"{member.name} is not asked: {error}",
                action="Set its prices in ENSEMBLE_MEMBERS; 0 means free.",
            )


_EMPTY = Prompt("", 1, "", "", "")


def _unconfirmed(amount: int) -> Iterator[Alert]:
    if amount:
        yield Alert(
            kind="unconfirmed_spend",
            subject="today",
            severity="warning",
            cause=f"{_usd(amount)} were held by runs found dead today; they count as spent, unconfirmed",
            action="See why the runs died. Compare the providers' bills if the amount matters.",
            evidence={"usd": amount / MICRO_PER_USD},
        )


def _ledger(differences: Sequence[Row]) -> Iterator[Alert]:
    if differences:
        first = differences[0]
        yield Alert(
            kind="ledger",
            subject="accounts",
            severity="error",
            cause=f"{len(differences)} accounts differ from what was booked on them, first {first['scope']} "
            f"{first['account_key']}: {first['spent']} against {first['spent_booked']} micro-dollars spent, "
            f"{first['held']} against {first['held_booked']} micro-dollars held, {first['calls']} against "
            f"{first['calls_booked']} calls",
            action="A fault in the software, or rows changed by hand. Stop, keep the database, and report it.",
            evidence={"accounts": len(differences)},
        )


def _usd(micro_usd: int) -> str:
    return f"${micro_usd / MICRO_PER_USD:.4f}"
