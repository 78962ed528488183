"""Scores, the skill cube and the performance windows."""

from dataclasses import asdict

import dagster as dg

from ensemble_pipeline.pipeline.assets.markets import FORECAST_LOG, RESOLUTIONS
from ensemble_pipeline.pipeline.partitions import DAYS, span_of
from ensemble_pipeline.pipeline.resources import EnsembleResource
from ensemble_pipeline.pipeline.tables import markdown_table

_LOOK_BACK_DAYS = 30


@dg.asset(
    deps=[FORECAST_LOG, RESOLUTIONS],
    group_name="learning",
    kinds={"postgres", "numpy"},
    description=(
        "The append-only ledger of scored forecasts: Brier score, log loss and conditions of each forecast whose "
        "market settled. Materialise it again at any time: what is scored is not scored twice."
    ),
)
def scored_forecasts(ensemble: EnsembleResource) -> dg.MaterializeResult[None]:
    """Score what settled."""
    from ensemble_pipeline.ensemble.performance import PerformanceTracker

    rows = PerformanceTracker(ensemble.instance()).record_prediction_result()
    return dg.MaterializeResult(metadata={"dagster/row_count": rows})


@dg.asset(
    partitions_def=DAYS,
    deps=[scored_forecasts],
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="learning",
    kinds={"postgres", "numpy"},
    description=(
        "Additive sums per hour, model and category, in int64 fixed point: what every window is a difference of. "
        "Derived from the ledger; any range can be rebuilt."
    ),
)
def skill_cube(context: dg.AssetExecutionContext, ensemble: EnsembleResource) -> dg.MaterializeResult[None]:
    """Rebuild the hourly sums of the run's days."""
    from ensemble_pipeline.ensemble.performance import PerformanceTracker

    cells = PerformanceTracker(ensemble.instance()).update_skill_cube(*span_of(context))
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
    description=(
        "Performance over 1h, 6h, 24h, 7d and 30d as of each hour of the day, by model and by model and category. "
        "Any range backfills in a single run and gives the same rows as hour-by-hour materialisation did."
    ),
)
def performance_windows(context: dg.AssetExecutionContext, ensemble: EnsembleResource) -> dg.MaterializeResult[None]:
    """Materialise the hourly as-of rows of the run's days."""
    from ensemble_pipeline.ensemble.performance import PerformanceTracker

    tracker = PerformanceTracker(ensemble.instance())
    learnt = tracker.update_rolling_windows(*span_of(context))
    rows = tracker.calculate_accuracy(learnt.as_of)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": learnt.rows,
            "as_of": learnt.as_of.isoformat(),
            "newest_windows": markdown_table(rows),
        }
    )


@dg.asset(
    deps=[performance_windows, scored_forecasts],
    group_name="learning",
    kinds={"postgres", "numpy"},
    description=(
        "The temperature applied to every pooled forecast, fitted with a ridge towards 1 on settled decisions. "
        "A slope above 1 says that the pool was too timid, below 1 that it was too bold."
    ),
)
def calibration_tables(ensemble: EnsembleResource) -> dg.MaterializeResult[None]:
    """Fit and record the calibration."""
    from ensemble_pipeline.ensemble.performance import PerformanceTracker

    tracker = PerformanceTracker(ensemble.instance())
    table = tracker.calibrate()
    diagram, error = tracker.reliability()
    rows = [
        {"from": float(low), "to": float(high), "n": int(n), "mean_p": float(said), "outcome": float(came)}
        for low, high, n, said, came in zip(
            diagram.lower, diagram.upper, diagram.n, diagram.mean_p, diagram.mean_outcome, strict=True
        )
    ]
    return dg.MaterializeResult(
        metadata={
            "reliability": markdown_table(rows),
            "expected_calibration_error": error if table.n else "no settled decision yet",
            "calibration_id": table.calibration_id,
            "as_of": table.as_of.isoformat(),
            "slope": table.slope,
            "settled_decisions": table.n,
            "effective_n": table.effective_n,
        }
    )


@dg.asset(
    deps=[performance_windows, scored_forecasts],
    group_name="learning",
    kinds={"postgres", "numpy"},
    description=(
        "Whom to trust: each model's skill against the panel, shrunk towards the panel where evidence is thin, and the "
        "weight that follows from it. Every decision records which ranking it used."
    ),
)
def model_rankings(ensemble: EnsembleResource) -> dg.MaterializeResult[None]:
    """Rank the models and record the ranking."""
    from ensemble_pipeline.ensemble.performance import PerformanceTracker

    ranking = PerformanceTracker(ensemble.instance()).rank()
    return dg.MaterializeResult(
        metadata={
            "ranking_id": ranking.ranking_id,
            "as_of": ranking.as_of.isoformat(),
            "partition": ranking.as_of.date().isoformat(),
            "ranking": markdown_table([asdict(row) for row in ranking.rows]),
        }
    )
