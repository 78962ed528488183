"""What must hold of the assets. Each check says what it compared, so that a failure names its cause."""

from dataclasses import asdict
from datetime import timedelta

import dagster as dg

from ensemble_pipeline.domain import MICRO_PER_USD
from ensemble_pipeline.pipeline.resources import EnsembleResource
from ensemble_pipeline.pipeline.tables import markdown_table

_AUDITED = timedelta(days=31)


@dg.asset_check(asset="budget_status", description="Spent and held stay within the day's hard limit; warns from 80%.")
def budget_within_limits(ensemble: EnsembleResource) -> dg.AssetCheckResult:
    """Compare the day's account with its hard limit."""
    from ensemble_pipeline.ensemble.cost import CostOptimizer

    status = CostOptimizer(ensemble.instance()).monitor_spend()
    hard = status.limits.day_hard
    return dg.AssetCheckResult(
        passed=status.alert_share < 0.80,
        severity=dg.AssetCheckSeverity.WARN if status.alert_share < 0.95 else dg.AssetCheckSeverity.ERROR,
        metadata={
            "committed_usd": status.committed / MICRO_PER_USD,
            "hard_limit_usd": "unlimited" if hard is None else hard / MICRO_PER_USD,
        },
    )


@dg.asset_check(
    asset="cost_report", blocking=True, description="The ledger equals the sum of the calls; nothing is booked twice."
)
def ledger_equals_calls(ensemble: EnsembleResource) -> dg.AssetCheckResult:
    """Compare the ledger's accounts with reservations, and reservations with calls, of the last month."""
    from ensemble_pipeline.store import audit

    instance = ensemble.instance()
    first = instance.clock.now().date() - _AUDITED
    with instance.database.connection() as connection:
        off = {
            "accounts_off": audit.ledger_differences(connection, first),
            "days_off": audit.call_differences(connection, first),
        }
    return dg.AssetCheckResult(
        passed=not any(off.values()), metadata={name: markdown_table(rows[:20]) for name, rows in off.items()}
    )


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
    budget_within_limits,
    ledger_equals_calls,
    windows_are_fresh,
    counts_equal_ledger,
    windows_saw_nothing_later,
    no_row_refused,
    no_model_degraded,
    scores_in_range,
    ranking_agrees_with_windows,
]
