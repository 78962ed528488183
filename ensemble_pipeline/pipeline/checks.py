"""What must hold of the assets. Each check says what it compared, so that a failure names its cause."""

from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from ensemble_pipeline.pipeline.resources import EnsembleResource
from ensemble_pipeline.pipeline.tables import markdown_table

if TYPE_CHECKING:
    from ensemble_pipeline.store.health import ModelHealth


@dg.asset_check(
    asset="budget_status",
    description="Spent and held stay below 80% of every limit: of the day, soft and hard, of providers and of models.",
)
def budgets_below_80_percent(ensemble: EnsembleResource) -> dg.AssetCheckResult:
    """Warn of limits that are nearly used up."""
    return _limits_used(ensemble, 0.80, dg.AssetCheckSeverity.WARN)


@dg.asset_check(asset="budget_status", description="Spent and held stay below 95% of every limit.")
def budgets_below_95_percent(ensemble: EnsembleResource) -> dg.AssetCheckResult:
    """Show limits that are all but used up."""
    return _limits_used(ensemble, 0.95, dg.AssetCheckSeverity.ERROR)


@dg.asset_check(
    asset="budget_status", description="No limit is used up, and none was lowered below what is spent already."
)
def no_budget_used_up(ensemble: EnsembleResource) -> dg.AssetCheckResult:
    """Show limits that let nothing pass any more."""
    return _limits_used(ensemble, 1.00, dg.AssetCheckSeverity.ERROR)


def _limits_used(ensemble: EnsembleResource, share: float, severity: dg.AssetCheckSeverity) -> dg.AssetCheckResult:
    from ensemble_pipeline.ensemble.cost import CostOptimizer
    from ensemble_pipeline.pipeline.assets.costs import limit_rows

    status = CostOptimizer(ensemble.instance()).monitor_spend()
    reached = sum(use.alert_share >= share for use in status.uses)
    return dg.AssetCheckResult(
        passed=not reached,
        severity=severity,
        metadata={"limits_reached": reached, "limits": markdown_table(limit_rows(status))},
    )


@dg.asset_check(
    asset="budget_status",
    description="No bill is in dispute: no provider claimed a cost that nobody can believe and nobody decided about.",
)
def no_bill_in_dispute(ensemble: EnsembleResource) -> dg.AssetCheckResult:
    """Show the bills that closed their models."""
    from ensemble_pipeline.store.anomalies import open_disputes

    with ensemble.instance().database.connection() as connection:
        disputes = open_disputes(connection)
    return dg.AssetCheckResult(
        passed=not disputes, metadata={"disputes": markdown_table([asdict(it) for it in disputes])}
    )


@dg.asset_check(
    asset="budget_status",
    blocking=True,
    description="The ledger equals the sum of the calls; nothing is booked twice. Reports of cost wait for it.",
)
def ledger_equals_calls(ensemble: EnsembleResource) -> dg.AssetCheckResult:
    """Compare the ledger's accounts with reservations, and reservations with calls, of the last month."""
    from ensemble_pipeline.ensemble.cost_alerts import AUDITED
    from ensemble_pipeline.store import audit

    instance = ensemble.instance()
    first = instance.clock.now().date() - AUDITED
    with instance.database.connection() as connection:
        off = {
            "accounts_off": audit.ledger_differences(connection, first),
            "days_off": audit.call_differences(connection, first),
        }
    return dg.AssetCheckResult(
        passed=not any(off.values()), metadata={name: markdown_table(rows[:20]) for name, rows in off.items()}
    )


@dg.asset_check(
    asset="model_health", description="The operating mode is normal; warns of one that is not, fails where suspended."
)
def operating_mode_is_normal(ensemble: EnsembleResource) -> dg.AssetCheckResult:
    """Show the mode in force, with its cause."""
    from ensemble_pipeline.domain import Mode
    from ensemble_pipeline.ensemble.operating import mode_in_force

    instance = ensemble.instance()
    with instance.database.connection() as connection:
        found = mode_in_force(connection, instance.clock.now())
    is_suspended = found.mode is Mode.SUSPENDED
    return dg.AssetCheckResult(
        passed=found.mode is Mode.NORMAL,
        severity=dg.AssetCheckSeverity.ERROR if is_suspended else dg.AssetCheckSeverity.WARN,
        metadata={name: str(value) for name, value in found.as_json().items()},
    )


@dg.asset_check(
    asset="model_health",
    description="Every model may be asked: no breaker is open, neither of a model nor of its provider.",
)
def no_breaker_open(ensemble: EnsembleResource) -> dg.AssetCheckResult:
    """Show the models that are left alone, and why."""
    closed_off = [it for it in _health(ensemble) if not it.is_available]
    return dg.AssetCheckResult(
        passed=not closed_off,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"models": markdown_table([{"model": it.model_name, "cause": it.cause} for it in closed_off])},
    )


@dg.asset_check(
    asset="model_health",
    description="As many models may be asked as a full ensemble needs answers; with fewer the trading is restricted.",
)
def enough_models_available(ensemble: EnsembleResource) -> dg.AssetCheckResult:
    """Compare the models that may be asked with what a full ensemble demands."""
    readings, options = _health(ensemble), ensemble.instance().settings.ensemble
    available = sum(it.is_available for it in readings)
    demanded = min(options.min_answers, len(readings))
    return dg.AssetCheckResult(
        passed=available >= demanded, metadata={"available": available, "demanded": demanded, "enabled": len(readings)}
    )


@dg.asset_check(
    asset="model_health",
    description="Of each model 95% of the answers came within the time that a decision may take.",
)
def answers_come_in_time(ensemble: EnsembleResource) -> dg.AssetCheckResult:
    """Compare response times with the deadline of decisions."""
    deadline_ms = ensemble.instance().settings.ensemble.decision_deadline_s * 1000
    slow = [
        {"model": it.model_name, "p95_response_time_ms": it.p95_response_time_ms, "timed_out": it.timed_out}
        for it in _health(ensemble)
        if it.timed_out or (it.p95_response_time_ms or 0) > deadline_ms
    ]
    return dg.AssetCheckResult(
        passed=not slow,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"deadline_ms": deadline_ms, "slow": markdown_table(slow)},
    )


def _health(ensemble: EnsembleResource) -> "list[ModelHealth]":
    from ensemble_pipeline.ensemble.fallback import FallbackManager

    return list(FallbackManager(ensemble.instance()).check_provider_health().values())


@dg.asset_check(
    asset="performance_windows",
    blocking=True,
    description="The windows reach up to the clock, less two hours and two ticks of their schedule.",
)
def windows_are_fresh(ensemble: EnsembleResource) -> dg.AssetCheckResult:
    """Compare the newest materialised hour with the clock; a world that runs fast gains hours between two ticks."""
    from ensemble_pipeline.ensemble.performance import PerformanceTracker
    from ensemble_pipeline.store.scores import last_score_id
    from ensemble_pipeline.store.world_clock import StoredClock

    instance = ensemble.instance()
    now = instance.clock.now()
    allowed = timedelta(hours=2) + timedelta(minutes=2) * StoredClock(instance.database).speed()
    as_of = PerformanceTracker(instance).learnt_until()
    with instance.database.connection() as connection:
        scored = last_score_id(connection)
    return dg.AssetCheckResult(
        # before the first run of learning there is nothing yet that could be stale
        passed=not scored if as_of is None else now - as_of <= allowed,
        metadata={"as_of": str(as_of), "now": now.isoformat(), "allowed_hours": allowed / timedelta(hours=1)},
    )


@dg.asset_check(
    asset="performance_windows",
    blocking=True,
    description="The newest windows count what the ledger counts, by model and in each dimension; so does each cube.",
)
def counts_equal_ledger(ensemble: EnsembleResource) -> dg.AssetCheckResult:
    """Count the newest windows and the cubes against the ledger."""
    from ensemble_pipeline.store import audit

    with ensemble.instance().database.connection() as connection:
        off = {
            "windows_off": audit.window_differences(connection),
            "segments_off": audit.segment_differences(connection),
            "cubes_off": audit.cube_differences(connection),
        }
    metadata = {name: markdown_table(rows) for name, rows in off.items()}
    return dg.AssetCheckResult(passed=not any(off.values()), metadata=metadata)


@dg.asset_check(
    asset="performance_windows",
    blocking=True,
    description="Windows of hours spread over the history hold what was known then, and no later settlement.",
)
def windows_saw_nothing_later(ensemble: EnsembleResource) -> dg.AssetCheckResult:
    """Count windows of several hours against the ledger as it was known at each."""
    from ensemble_pipeline.store import audit

    with ensemble.instance().database.connection() as connection:
        off = audit.anachronisms(connection, hours=8)
    return dg.AssetCheckResult(passed=not off, metadata={"windows_off": markdown_table(off)})


@dg.asset_check(
    asset="scored_forecasts",
    description="No row was refused: neither a forecast, nor a settlement, nor a market; each refusal says why.",
)
def no_row_refused(ensemble: EnsembleResource) -> dg.AssetCheckResult:
    """Show the newest refused rows."""
    from ensemble_pipeline.store.markets import rejected_rows

    with ensemble.instance().database.connection() as connection:
        rows = rejected_rows(connection, most=20)
    return dg.AssetCheckResult(
        passed=not rows,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"refused": rows[0]["total"] if rows else 0, "newest": markdown_table(rows)},
    )


@dg.asset_check(
    asset="scored_forecasts", blocking=True, description="Brier scores lie in [0, 1] and equal (p - outcome)²."
)
def scores_in_range(ensemble: EnsembleResource) -> dg.AssetCheckResult:
    """Look for scores out of range or unlike what they are computed from."""
    from ensemble_pipeline.store import audit

    with ensemble.instance().database.connection() as connection:
        bad = audit.implausible_scores(connection)
    return dg.AssetCheckResult(passed=bad == 0, metadata={"implausible_scores": bad})


@dg.asset_check(
    asset="model_rankings",
    blocking=True,
    description="Weights sum to 1, and each model's sample size equals its 30-day window's count.",
)
def ranking_agrees_with_windows(ensemble: EnsembleResource) -> dg.AssetCheckResult:
    """Compare the newest ranking with the window row of the same hour."""
    from ensemble_pipeline.ensemble.performance import PerformanceTracker
    from ensemble_pipeline.store import audit

    ranking = PerformanceTracker(ensemble.instance()).get_model_ranking()
    with ensemble.instance().database.connection() as connection:
        off = audit.ranking_differences(connection, ranking)
    total = sum(row.weight for row in ranking.rows)
    return dg.AssetCheckResult(
        passed=not off and (not ranking.rows or abs(total - 1.0) < 1e-9),
        metadata={"sum_of_weights": total, "counts_off": str(off)},
    )


@dg.asset_check(
    asset="model_rankings",
    description="No model does worse than its own past, by a CUSUM on paired differences.",
)
def no_model_degraded(ensemble: EnsembleResource) -> dg.AssetCheckResult:
    """Show the models whose CUSUM passed its threshold."""
    from ensemble_pipeline.ensemble.performance import PerformanceTracker

    tracker = PerformanceTracker(ensemble.instance())
    trends = tracker.get_trends(tracker.get_model_ranking())
    degraded = [asdict(trend) for trend in trends.values() if trend.is_degraded]
    return dg.AssetCheckResult(
        passed=not degraded, severity=dg.AssetCheckSeverity.WARN, metadata={"degraded": markdown_table(degraded)}
    )


CHECKS = [
    no_breaker_open,
    enough_models_available,
    answers_come_in_time,
    budgets_below_80_percent,
    budgets_below_95_percent,
    no_budget_used_up,
    no_bill_in_dispute,
    ledger_equals_calls,
    operating_mode_is_normal,
    windows_are_fresh,
    counts_equal_ledger,
    windows_saw_nothing_later,
    no_row_refused,
    no_model_degraded,
    scores_in_range,
    ranking_agrees_with_windows,
]
