"""What is concluded from the scores: the calibration of the pool, whom to trust, and who is good at what."""

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import dagster as dg

from ensemble_pipeline.domain import ExpiryBucket, VolatilityRegime
from ensemble_pipeline.pipeline.assets.performance import performance_windows, scored_forecasts
from ensemble_pipeline.pipeline.resources import EnsembleResource
from ensemble_pipeline.pipeline.table_schemas import schema_of
from ensemble_pipeline.pipeline.tables import markdown_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ensemble_pipeline.domain import Ranking
    from ensemble_pipeline.ensemble.calibrating import Reliability
    from ensemble_pipeline.store.rankings import ModelStrength, ModelTrend


@dg.asset(
    deps=[performance_windows, scored_forecasts],
    group_name="learning",
    kinds={"postgres", "numpy"},
    metadata=schema_of("calibration_tables"),
    description=(
        "The temperature applied to every pooled forecast, fitted with a ridge towards 1 on settled decisions, and "
        "intercepts of the categories that have enough of them. A slope above 1 says that the pool was too timid, "
        "below 1 that it was too bold. Read the calibration error beside what chance alone could show."
    ),
)
def calibration_tables(ensemble: EnsembleResource) -> dg.MaterializeResult[None]:
    """Fit and record the calibration."""
    from ensemble_pipeline.ensemble.performance import PerformanceTracker

    tracker = PerformanceTracker(ensemble.instance())
    table = tracker.calibrate()
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": 1,
            "calibration_id": table.calibration_id,
            "as_of": table.as_of.isoformat(),
            "slope": table.slope,
            "settled_decisions": table.n,
            "settled_events": table.effective_n,
            "weight_against_price": table.market_weight,
            "settled_events_with_price": table.market_events,
            "intercepts": markdown_table([asdict(it) for it in table.intercepts]),
            **_shown_reliability(tracker.reliability()),
        }
    )


def _shown_reliability(found: "Reliability") -> dict[str, Any]:
    from ensemble_pipeline.pipeline.plots import reliability_diagram

    if found.score is None:
        return {"reliability": "no settled decision yet"}
    bins, band = found.bins, found.band
    columns = [
        column.tolist()
        for column in (bins.lower, bins.upper, bins.n, bins.mean_p, bins.mean_outcome, band.low, band.high)
    ]
    names = ("from", "to", "n", "said", "came_true", "by_chance_from", "by_chance_to")
    rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    return {
        "reliability_diagram": reliability_diagram(*columns),
        "reliability": markdown_table([row for row in rows if row["n"]]),
        "expected_calibration_error": found.calibration_error,
        "calibration_error_by_chance": band.calibration_error,
        "brier": found.score.brier,
        "miscalibration": found.score.miscalibration,
        "discrimination": found.score.discrimination,
        "uncertainty": found.score.uncertainty,
    }


@dg.multi_asset(
    name="judgements",
    specs=[
        dg.AssetSpec(
            "model_rankings",
            deps=[performance_windows, scored_forecasts],
            group_name="learning",
            kinds={"postgres", "numpy"},
            metadata=schema_of("model_ranking_rows"),
            description=(
                "Whom to trust: each model's skill against the panel over 30 days, shrunk towards the panel where "
                "evidence is thin, with intervals, and the weight that follows from it. Tied: the anytime-valid "
                "sequence covers zero. Every decision records which ranking it used."
            ),
        ),
        dg.AssetSpec(
            "model_strengths",
            deps=[performance_windows, scored_forecasts],
            group_name="learning",
            kinds={"postgres", "numpy"},
            metadata=schema_of("model_strengths"),
            description=(
                "What each model is good and bad at: its skill by category, volatility regime and time to expiry, "
                "shrunk towards its skill overall. A verdict needs 20 events and stands against all other cells "
                "together; `not_enough_evidence` is an answer. Selection reads it."
            ),
        ),
    ],
)
def judgements(ensemble: EnsembleResource) -> tuple[dg.MaterializeResult[None], dg.MaterializeResult[None]]:
    """Judge the models and record ranking, trends and strengths together."""
    from ensemble_pipeline.ensemble.performance import PerformanceTracker

    tracker = PerformanceTracker(ensemble.instance())
    ranking = tracker.rank()
    known_by: dict[str, Any] = {"ranking_id": ranking.ranking_id, "as_of": ranking.as_of.isoformat()}
    return (
        dg.MaterializeResult(
            asset_key="model_rankings", metadata=known_by | _shown_ranking(ranking, tracker.get_trends(ranking))
        ),
        dg.MaterializeResult(
            asset_key="model_strengths", metadata=known_by | _shown_strengths(tracker.get_strengths(ranking))
        ),
    )


def _shown_ranking(ranking: "Ranking", trends: "Mapping[str, ModelTrend]") -> dict[str, Any]:
    from ensemble_pipeline.pipeline.plots import RankedModel, ranking_plot

    rows = [
        {**asdict(row), "is_tied": row.is_tied, "trend": trends[row.model_id].direction if trends else None}
        for row in ranking.rows
    ]
    return {
        "dagster/row_count": len(rows),
        "partition": ranking.as_of.date().isoformat(),
        "ranking_plot": ranking_plot(
            [
                RankedModel(
                    name=row.model_id,
                    skill=row.skill,
                    interval=_limits(row.interval_low, row.interval_high),
                    sequence=None if row.sequence_low is None else _limits(row.sequence_low, row.sequence_high),
                    weight=row.weight,
                    n_events=row.events,
                )
                for row in ranking.rows
            ]
        ),
        "ranking": markdown_table(rows),
        "trends": markdown_table([asdict(trend) for trend in trends.values()]),
        "most_alike": markdown_table(_most_alike(ranking)),
    }


def _most_alike(ranking: "Ranking") -> list[dict[str, Any]]:
    """Pairs of models by how alike they deviate from the panel; the more, the less each weighs."""
    pairs = sorted(ranking.correlations.items(), key=lambda it: (-it[1], it[0]))
    return [{"model": a, "and": b, "correlation": rho} for (a, b), rho in pairs[:_PAIRS_SHOWN]]


def _limits(low: float | None, high: float | None) -> tuple[float, float]:
    return -math.inf if low is None else low, math.inf if high is None else high


_PAIRS_SHOWN = 10
_IN_ORDER: list[str] = [*VolatilityRegime, *ExpiryBucket]


def _place(column: tuple[str, str]) -> tuple[str, int, str]:
    """Categories by name, the values of the other dimensions in their own order."""
    dimension, segment = column
    return dimension, _IN_ORDER.index(segment) if segment in _IN_ORDER else -1, segment


def _shown_strengths(strengths: "Sequence[ModelStrength]") -> dict[str, Any]:
    from ensemble_pipeline.pipeline.plots import STRENGTH, WEAKNESS, heat_map

    models = sorted({it.model_id for it in strengths})
    columns = sorted({(it.dimension, it.segment) for it in strengths}, key=_place)
    cell = {(it.model_id, it.dimension, it.segment): it for it in strengths}
    found = [[cell.get((model, *column)) for column in columns] for model in models]
    marks = {"strength": STRENGTH, "weakness": WEAKNESS}
    decided = [it for it in strengths if it.verdict in marks]
    return {
        "dagster/row_count": len(strengths),
        "heat_map": heat_map(
            models,
            columns,
            [[it.skill if it and it.verdict != "not_enough_evidence" else None for it in row] for row in found],
            [[marks.get(it.verdict, "") if it else "" for it in row] for row in found],
        ),
        "strengths_and_weaknesses": markdown_table([asdict(it) for it in decided]),
        "with_enough_evidence": sum(it.verdict != "not_enough_evidence" for it in strengths),
    }
