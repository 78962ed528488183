"""What Dagster loads."""

import dagster as dg

from ensemble_pipeline.pipeline.assets.costs import budget_status, cost_efficiency, cost_report
from ensemble_pipeline.pipeline.assets.judgements import calibration_tables, judgements
from ensemble_pipeline.pipeline.assets.markets import EXTERNAL
from ensemble_pipeline.pipeline.assets.monitoring import model_health
from ensemble_pipeline.pipeline.assets.performance import performance_windows, scored_forecasts, skill_cube
from ensemble_pipeline.pipeline.assets.positions import paper_positions
from ensemble_pipeline.pipeline.checks import CHECKS
from ensemble_pipeline.pipeline.decide import IN_MEMORY, ensemble_decisions
from ensemble_pipeline.pipeline.jobs import JOBS
from ensemble_pipeline.pipeline.resources import EnsembleResource
from ensemble_pipeline.pipeline.schedules import SCHEDULES
from ensemble_pipeline.pipeline.sensors import SENSORS

defs = dg.Definitions(
    assets=[
        *EXTERNAL,
        ensemble_decisions,
        paper_positions,
        scored_forecasts,
        skill_cube,
        performance_windows,
        calibration_tables,
        judgements,
        model_health,
        budget_status,
        cost_efficiency,
        cost_report,
    ],
    asset_checks=CHECKS,
    jobs=JOBS,
    sensors=SENSORS,
    schedules=SCHEDULES,
    resources={"ensemble": EnsembleResource(), IN_MEMORY: dg.mem_io_manager},
    executor=dg.in_process_executor,
)
