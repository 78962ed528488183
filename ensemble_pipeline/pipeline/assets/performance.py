"""Scores, the skill cube and the performance windows."""

import dagster as dg

from ensemble_pipeline.pipeline.assets.markets import FORECAST_LOG, RESOLUTIONS
from ensemble_pipeline.pipeline.partitions import DAYS, is_restatement, span_of
from ensemble_pipeline.pipeline.resources import EnsembleResource
from ensemble_pipeline.pipeline.table_schemas import schema_of
from ensemble_pipeline.pipeline.tables import markdown_table

_LOOK_BACK_DAYS = 30


@dg.asset(
    deps=[FORECAST_LOG, RESOLUTIONS],
    group_name="learning",
    kinds={"postgres", "numpy"},
    metadata=schema_of("scored_forecasts"),
    description=(
        "The append-only ledger of scored forecasts: Brier score, log loss and conditions of each forecast whose "
        "market settled. Materialise it again at any time: what is scored is not scored twice. A row that makes no "
        "sense is refused and shown by the check `no_row_refused`."
    ),
)
def scored_forecasts(ensemble: EnsembleResource) -> dg.MaterializeResult[None]:
    """Score what settled."""
    from ensemble_pipeline.ensemble.performance import PerformanceTracker

    scored = PerformanceTracker(ensemble.instance()).record_prediction_result()
    return dg.MaterializeResult(metadata={"dagster/row_count": scored.appended, "refused": scored.refused})


@dg.asset(
    partitions_def=DAYS,
    deps=[scored_forecasts],
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="learning",
    kinds={"postgres", "numpy"},
    metadata=schema_of("skill_cube"),
    description=(
        "Additive sums per hour, model and segment, in int64 fixed point: what every window is a difference of. One "
        "cube each over categories, volatility regimes, expiry buckets, bins of probability and buckets of latency. "
        "Derived from the ledger; any range can be rebuilt."
    ),
)
def skill_cube(context: dg.AssetExecutionContext, ensemble: EnsembleResource) -> dg.MaterializeResult[None]:
    """Rebuild the hourly sums of the run's days, or add to the cube what came late."""
    from ensemble_pipeline.ensemble.performance import PerformanceTracker

    tracker = PerformanceTracker(ensemble.instance())
    cells = tracker.update_skill_cube(*span_of(context), is_restatement=is_restatement(context))
    return dg.MaterializeResult(metadata={"dagster/row_count": cells})


@dg.asset(
    partitions_def=DAYS,
    deps=[
        dg.AssetDep(
            skill_cube,
            partition_mapping=dg.TimeWindowPartitionMapping(
                start_offset=-_LOOK_BACK_DAYS, allow_nonexistent_upstream_partitions=True
            ),
        )
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="learning",
    kinds={"postgres", "numpy"},
    metadata=schema_of("performance_windows"),
    description=(
        "Performance over 1h, 6h, 24h, 7d and 30d as of each hour of the day, by model, and by model and category, "
        "volatility regime and expiry bucket. Any range backfills in a single run (here, or `ensemble backfill`) and "
        "gives the same rows as hour-by-hour materialisation did; late settlements are added to the days they touch."
    ),
)
def performance_windows(context: dg.AssetExecutionContext, ensemble: EnsembleResource) -> dg.MaterializeResult[None]:
    """Materialise the hourly as-of rows of the run's days, or add to them what came late."""
    from ensemble_pipeline.ensemble.performance import PerformanceTracker

    tracker = PerformanceTracker(ensemble.instance())
    restates = is_restatement(context)
    learnt = tracker.update_rolling_windows(*span_of(context), is_restatement=restates)
    rows = tracker.calculate_accuracy(learnt.as_of)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": learnt.rows,
            "is_restatement": restates,
            "as_of": learnt.as_of.isoformat(),
            "newest_windows": markdown_table(rows),
        }
    )
