"""The cost report: spending by period, model, category and market, what it brought, where it is heading, what to do.

Belongs here: what the report says, as JSON values. Does not: the sums (store/costs.py), advice (advice.py), pictures
and tables (pipeline).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from ensemble_pipeline.domain import MICRO_PER_USD, CacheKind
from ensemble_pipeline.ensemble.advice import advise
from ensemble_pipeline.ensemble.cache_evidence import CacheEvidence, read_evidence
from ensemble_pipeline.ensemble.cost import CostOptimizer
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.spend import SpendStatus
from ensemble_pipeline.store import answer_cache, costs
from ensemble_pipeline.store.database import Connection, Row
from ensemble_pipeline.store.efficiency import Efficiency

DAYS = 30
_MOST_MARKETS = 10
_PERIODS = {"today": 1, "7 days": 7, "30 days": DAYS}
_RATE_OVER = timedelta(hours=24)
_LEAST_SPAN = timedelta(hours=1)
_OUTCOMES = ("hit", "shadow", "miss")


@dataclass(frozen=True, slots=True)
class _Read:
    """The sums of the days of a report, ending `today`."""

    today: date
    calls: Sequence[Row]
    decisions: Sequence[Row]
    paper: Sequence[Row]


def cost_report(instance: Instance) -> dict[str, Any]:
    """Rebuild the report of the last 30 UTC days from the ledger, keep it, and return it as JSON values."""
    now = instance.clock.now()
    today = now.date()
    first = today - timedelta(days=DAYS - 1)
    optimizer = CostOptimizer(instance)
    efficiency, status = optimizer.get_cost_efficiency(), optimizer.monitor_spend()
    start, end = (datetime.combine(day, time(), UTC) for day in (first, today + timedelta(days=1)))
    with instance.database.connection() as connection:
        read = _Read(
            today,
            costs.rebuild(connection, first, today),
            costs.decisions_by_category(connection, start, end),
            costs.paper_by_category(connection, start, end),
        )
        markets = costs.dearest_markets(connection, first, today, _MOST_MARKETS)
        report = {
            "as_of": now.isoformat(),
            "first_day": first.isoformat(),
            "last_day": today.isoformat(),
            "periods": {name: _period(read, days) for name, days in _PERIODS.items()},
            "by_day": _by_day(read),
            "by_model": _by_model(read, efficiency),
            "by_category": _by_category(read),
            "by_model_and_category": [asdict(line) for line in efficiency.rows if not line.is_overall],
            "dearest_markets": [_market(row) for row in markets],
            "projection": projection(connection, status, now),
            "cache": _cache(
                answer_cache.uses_by_kind(connection, start, now),
                read_evidence(connection, instance.settings.cache, now),
                costs.questions_asked(connection, first, today),
            ),
            "refused_calls_today": costs.refused_calls(connection, today),
            "unconfirmed_usd": costs.unconfirmed(connection, first) / MICRO_PER_USD,
        }
        report["recommendations"] = advise(report)
        costs.save_report(connection, now, report)
    return report


def projection(connection: Connection, status: SpendStatus, now: datetime) -> dict[str, Any]:
    """Where the day's spending is heading by the ledger, at the rate of the 24 hours before `now`; see `project`."""
    return project(status, now, costs.spent_between(connection, now - _RATE_OVER, now), _span(connection, now))


def project(status: SpendStatus, now: datetime, spent_lately: int, span: timedelta) -> dict[str, Any]:
    """Where the day's spending is heading, at the rate of the hours before.

    `expected_at_midnight_usd` stops at the day's hard limit, as the ledger does, or at what is spent and held where
    that is more already. `demand_by_midnight_usd` is what the rate alone comes to: what the limit would have to be.

    Args:
        status: The day's accounts.
        now: The instant, UTC.
        spent_lately: What the calls within `span` before it cost, in micro-dollars.
        span: At most a day, > 0.
    """
    left = datetime.combine(now.date() + timedelta(days=1), time(), UTC) - now
    rate = spent_lately / (span / timedelta(hours=1))
    demand = status.committed + rate * (left / timedelta(hours=1))
    return {
        "spent_usd": status.spend.spent / MICRO_PER_USD,
        "held_usd": status.spend.held / MICRO_PER_USD,
        "rate_usd_per_hour": rate / MICRO_PER_USD,
        "rate_over_hours": span / timedelta(hours=1),
        "expected_at_midnight_usd": _within(status, demand) / MICRO_PER_USD,
        "demand_by_midnight_usd": demand / MICRO_PER_USD,
        "soft_limit_usd": _limit(status.limits.day_soft),
        "hard_limit_usd": _limit(status.limits.day_hard),
        "soft_limit_reached_at": _reached(status.limits.day_soft, status.committed, rate, now, left),
        "hard_limit_reached_at": _reached(status.limits.day_hard, status.committed, rate, now, left),
    }


def _within(status: SpendStatus, demand: float) -> float:
    """What of the demand the day's hard limit lets pass; what is spent and held already stays."""
    limit = status.limits.day_hard
    return demand if limit is None else min(demand, max(limit, status.committed))


def _reached(limit: int | None, committed: int, rate: float, now: datetime, left: timedelta) -> str | None:
    """When the day's spending comes to a limit, if it does before midnight."""
    if limit is None:
        return None
    if committed >= limit:
        return now.isoformat()
    if committed + rate * (left / timedelta(hours=1)) < limit:
        return None
    return (now + timedelta(hours=(limit - committed) / rate)).isoformat()


def _span(connection: Connection, now: datetime) -> timedelta:
    """How far back the rate looks: a day, or since the first call where that is less, an hour at least."""
    first = costs.first_call_at(connection, now - _RATE_OVER)
    return _RATE_OVER if first is None else min(_RATE_OVER, max(_LEAST_SPAN, now - first))


def _period(read: _Read, days: int) -> dict[str, Any]:
    since = read.today - timedelta(days=days - 1)
    calls, decisions, paper = (
        [row for row in rows if row["day"] >= since] for rows in (read.calls, read.decisions, read.paper)
    )
    return {"days": days, **_sums(calls), **_outcome(decisions, paper, _total(calls, "cost_micro_usd"))}


def _sums(calls: Iterable[Row]) -> dict[str, Any]:
    """Calls, failures, tokens and cost of some rows."""
    rows = list(calls)
    return {
        "calls": _total(rows, "calls"),
        "failed": _total(rows, "failed"),
        "input_tokens": _total(rows, "input_tokens"),
        "output_tokens": _total(rows, "output_tokens"),
        "cost_usd": _total(rows, "cost_micro_usd") / MICRO_PER_USD,
    }


def _outcome(decisions: Iterable[Row], paper: Iterable[Row], cost: int) -> dict[str, Any]:
    """What the money led to: decisions, trades, and the paper profit of what closed, before and per dollar of calls.

    `roi` is net profit less the cost of calls, per dollar of calls; ``None`` where nothing was spent.
    """
    decided, closed = list(decisions), list(paper)
    profit, made = _total(closed, "net_profit_micro_usd"), _total(decided, "decisions")
    return {
        "decisions": made,
        "trades": _total(decided, "trades"),
        "usd_per_decision": cost / MICRO_PER_USD / made if made else None,
        "closed_positions": _total(closed, "closed"),
        "net_profit_usd": profit / MICRO_PER_USD,
        "roi": (profit - cost) / cost if cost else None,
    }


def _by_day(read: _Read) -> list[dict[str, Any]]:
    days = sorted({row["day"] for row in read.calls})
    return [
        {
            "day": day.isoformat(),
            **_sums(rows := [row for row in read.calls if row["day"] == day]),
            "by_model": {
                name: cost / MICRO_PER_USD for name, cost in _grouped(rows, "model_id", "cost_micro_usd").items()
            },
        }
        for day in days
    ]


def _by_model(read: _Read, efficiency: Efficiency) -> list[dict[str, Any]]:
    """Dearest first; what a dollar buys is that of the reading in force."""
    bought = {line.model_id: line for line in efficiency.rows if line.is_overall}
    total = _total(read.calls, "cost_micro_usd")
    found = []
    for name in sorted({row["model_id"] for row in read.calls}):
        rows = [row for row in read.calls if row["model_id"] == name]
        sums, line = _sums(rows), bought.get(name)
        answered = sums["calls"] - sums["failed"]
        found.append(
            {
                "model": name,
                "provider": rows[0]["provider"],
                **sums,
                "share_of_cost": _total(rows, "cost_micro_usd") / total if total else None,
                "usd_per_answer": sums["cost_usd"] / answered if answered else None,
                "gain": None if line is None else line.gain,
                "gain_per_usd": None if line is None else line.gain_per_usd,
                "gain_per_usd_low": None if line is None else line.low,
                "gain_per_usd_high": None if line is None else line.high,
            }
        )
    return sorted(found, key=lambda it: (-it["cost_usd"], it["model"]))


def _by_category(read: _Read) -> list[dict[str, Any]]:
    names = sorted({row["category"] for row in read.calls})
    found = []
    for name in names:
        calls, decisions, paper = (
            [row for row in rows if row["category"] == name] for rows in (read.calls, read.decisions, read.paper)
        )
        cost = _total(calls, "cost_micro_usd")
        found.append({"category": name, **_sums(calls), **_outcome(decisions, paper, cost)})
    return sorted(found, key=lambda it: (-it["cost_usd"], it["category"]))


def _cache(uses: Sequence[Row], evidence: Mapping[CacheKind, CacheEvidence], asked: int) -> dict[str, Any]:
    """What giving earlier answers again saved, and what it lost.

    Saved is what the calls that gave the same answers cost by the ledger. Lost is the loss that the shadow sample
    showed per answer, times the answers given again; ``None`` where no pair has settled.
    """
    by_kind: list[dict[str, Any]] = []
    for kind, it in evidence.items():
        mine = [row for row in uses if row["kind"] == kind]
        count = {name: _total([row for row in mine if row["outcome"] == name], "n") for name in _OUTCOMES}
        by_kind.append(
            {
                "kind": str(kind),
                "hits": count["hit"],
                "asked_to_compare": count["shadow"],
                "found_and_refused": count["miss"],
                "saved_usd": _total(mine, "micro_usd") / MICRO_PER_USD,
                "settled_pairs": it.pairs,
                "settled_events": it.events,
                "brier_lost_per_answer": it.loss,
                "evidence_for_use": it.for_use,
                "evidence_against_use": it.against_use,
                "brier_lost": None if it.loss is None else it.loss * count["hit"],
                "is_used": not it.refusal,
                "why_not": it.refusal,
            }
        )
    hits = sum(it["hits"] for it in by_kind)
    return {
        "hits": hits,
        "misses": asked,
        "hit_share": hits / (hits + asked) if hits + asked else None,
        "saved_usd": sum(it["saved_usd"] for it in by_kind),
        "by_kind": by_kind,
        "misses_by_cause": [
            {"kind": row["kind"], "cause": row["cause"], "times": row["n"]} for row in uses if row["outcome"] == "miss"
        ],
    }


def _market(row: Row) -> dict[str, Any]:
    profit = row["net_profit_micro_usd"]
    return {
        "market": row["market_id"],
        "question": row["question"],
        "category": row["category"],
        "analyses": row["analyses"],
        "calls": row["calls"],
        "cost_usd": row["cost_micro_usd"] / MICRO_PER_USD,
        "trades": row["trades"],
        "net_profit_usd": None if profit is None else profit / MICRO_PER_USD,
    }


def _total(rows: Iterable[Mapping[str, Any]], column: str) -> int:
    return sum(int(row[column]) for row in rows)


def _grouped(rows: Iterable[Row], by: str, column: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows:
        found[row[by]] = found.get(row[by], 0) + int(row[column])
    return found


def _limit(micro_usd: int | None) -> float | str:
    return "unlimited" if micro_usd is None else micro_usd / MICRO_PER_USD
