"""Reads what the decisions of a batch rest on, and keeps it for whoever asks later why they were made."""

from dataclasses import replace

from ensemble_pipeline.ensemble.code_version import code_version
from ensemble_pipeline.ensemble.context import BatchContext, Method
from ensemble_pipeline.ensemble.cost import CostOptimizer
from ensemble_pipeline.ensemble.fallback import FallbackManager
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.performance import PerformanceTracker
from ensemble_pipeline.ensemble.stored import accounts_json, health_json
from ensemble_pipeline.store import calls
from ensemble_pipeline.store.anomalies import open_disputes
from ensemble_pipeline.store.contexts import StoredContext, save_context


def read_context(instance: Instance, batch_id: int, run_id: str, method: Method | None = None) -> BatchContext:
    """The state as of now, kept under an id of its own."""
    now = instance.clock.now()
    settings_hash = instance.settings.digest()
    with instance.database.connection() as connection:
        instance.register_members(connection)
        calls.save_settings(connection, settings_hash, instance.settings.snapshot(), now)
        disputed = frozenset(it.model_id for it in open_disputes(connection))
    tracker, fallback, costs = PerformanceTracker(instance), FallbackManager(instance), CostOptimizer(instance)
    ranking, health = tracker.get_model_ranking(), fallback.check_provider_health()
    context = BatchContext(
        context_id=0,
        now=now,
        batch_id=batch_id,
        run_id=run_id,
        method=Method.allowed(instance.settings.policy, method),
        ranking=ranking,
        strengths=tracker.get_strengths(ranking),
        degraded=frozenset(name for name, trend in tracker.get_trends(ranking).items() if trend.is_degraded),
        calibration=tracker.get_calibration(),
        health=health,
        # an emergency is noticed before money is risked
        operating_mode=fallback.review_mode(health).mode,
        spend=costs.monitor_spend().spend,
        settings_hash=settings_hash,
        code_version=code_version(),
        disputed=disputed,
        efficiency=costs.get_cost_efficiency(),
    )
    with instance.database.connection() as connection:
        return replace(context, context_id=save_context(connection, stored_context(context)))


def stored_context(context: BatchContext) -> StoredContext:
    """A context as its row."""
    return StoredContext(
        batch_id=context.batch_id,
        run_id=context.run_id,
        planned_at=context.now,
        method=context.method,
        ranking_id=context.ranking.ranking_id,
        calibration_id=context.calibration.calibration_id,
        settings_hash=context.settings_hash,
        code_version=context.code_version,
        operating_mode=context.operating_mode,
        budget_day=context.spend.day,
        spent_micro_usd=context.spend.spent,
        held_micro_usd=context.spend.held,
        accounts=accounts_json(context.spend),
        disputed=sorted(context.disputed),
        efficiency_id=None if context.efficiency is None else context.efficiency.efficiency_id,
        health=health_json(dict(context.health)),
    )
