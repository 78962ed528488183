"""How the models answer, and what that leaves the system."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from ensemble_pipeline.pipeline.assets.markets import FORECAST_LOG
from ensemble_pipeline.pipeline.resources import EnsembleResource
from ensemble_pipeline.pipeline.tables import markdown_table

if TYPE_CHECKING:
    from ensemble_pipeline.ensemble.instance import Instance
    from ensemble_pipeline.store.database import Row
    from ensemble_pipeline.store.health import ModelHealth

_HISTORY = timedelta(days=7)


@dg.asset(
    deps=[FORECAST_LOG],
    group_name="health",
    kinds={"postgres"},
    description=(
        "How each model answered over the last day, from its real calls: success, response times, unreadable answers, "
        "refusals; the state of its breaker and its provider's, with every change of the last week and its cause. "
        "Providers that had no traffic are probed. A model whose breaker is open is not asked until one call may try. "
        "The operating mode is reviewed by what is found."
    ),
)
async def model_health(ensemble: EnsembleResource) -> dg.MaterializeResult[None]:
    """Read and keep every model's health, and look for what is wrong with it; review the operating mode."""
    from ensemble_pipeline.ensemble.fallback import FallbackManager
    from ensemble_pipeline.ensemble.health_alerts import watch_health
    from ensemble_pipeline.store.breakers import transitions_since

    instance = ensemble.instance()
    manager = FallbackManager(instance)
    readings = await manager.record_health()
    mode = manager.review_mode({it.model_name: it for it in readings})
    change = watch_health(instance)
    now = instance.clock.now()
    with instance.database.connection() as connection:
        # a breaker may have been opened before what is shown
        changes = transitions_since(connection, now - 2 * _HISTORY)
    return dg.MaterializeResult(
        metadata={
            "operating_mode": str(mode.mode),
            "operating_mode_cause": mode.cause,
            "unavailable": sum(not reading.is_available for reading in readings),
            "breakers": _history(instance, readings, changes, now),
            "models": markdown_table([asdict(reading) for reading in readings]),
            "changes": markdown_table([row for row in reversed(changes) if row["at"] >= now - _HISTORY]),
            "alerts_raised": change.raised,
            "alerts_resolved": change.resolved,
        }
    )


def _history(
    instance: "Instance", readings: "Sequence[ModelHealth]", changes: "Sequence[Row]", now: datetime
) -> dg.MarkdownMetadataValue:
    from ensemble_pipeline.pipeline.plots import HealthStrip, health_history
    from ensemble_pipeline.store.breakers import PROVIDER

    by_breaker: dict[tuple[str, str], list[tuple[datetime, str]]] = {}
    for row in changes:
        by_breaker.setdefault((row["provider"], row["model_id"]), []).append((row["at"], row["to_state"]))
    providers = {member.name: member.provider for member in instance.settings.enabled_members}
    strips = [
        HealthStrip(
            it.model_name,
            by_breaker.get((providers[it.model_name], it.model_name), []),
            it.calls,
            it.success_share,
            it.p95_response_time_ms,
        )
        for it in readings
    ]
    of_providers = [
        HealthStrip(f"{name} (provider)", by_breaker[name, PROVIDER])
        for name in sorted(set(providers.values()))
        if (name, PROVIDER) in by_breaker
    ]
    return health_history([*strips, *of_providers], now - _HISTORY, now)
