"""How the models answer."""

from dataclasses import asdict

import dagster as dg

from ensemble_pipeline.pipeline.assets.markets import FORECAST_LOG
from ensemble_pipeline.pipeline.resources import EnsembleResource
from ensemble_pipeline.pipeline.tables import markdown_table


@dg.asset(
    deps=[FORECAST_LOG],
    group_name="health",
    kinds={"postgres"},
    description=(
        "Availability, failures in a row, latency and breaker state of each model over the last day, from its real "
        "calls. A model with an open breaker is not asked until its rest is over."
    ),
)
async def model_health(ensemble: EnsembleResource) -> dg.MaterializeResult[None]:
    """Read and keep every model's health."""
    from ensemble_pipeline.ensemble.fallback import FallbackManager

    readings = await FallbackManager(ensemble.instance()).record_health()
    return dg.MaterializeResult(
        metadata={
            "unavailable": sum(not reading.is_available for reading in readings),
            "models": markdown_table([asdict(reading) for reading in readings]),
        }
    )
