"""What the system learnt and what it cost, as pictures that a person can read in the UI.

Belongs here: the names of the pictures. Does not: how each is drawn (a file for each), how SVG gets into
the UI (svg.py).
"""

from ensemble_pipeline.pipeline.plots.day_so_far import SpendReading, day_so_far
from ensemble_pipeline.pipeline.plots.efficiency import Bought, efficiency_plot
from ensemble_pipeline.pipeline.plots.health import HealthStrip, health_history
from ensemble_pipeline.pipeline.plots.heat_map import STRENGTH, WEAKNESS, heat_map
from ensemble_pipeline.pipeline.plots.ranking import RankedModel, ranking_plot
from ensemble_pipeline.pipeline.plots.reliability import reliability_diagram
from ensemble_pipeline.pipeline.plots.spend_by_day import DayCost, spend_by_day

__all__ = [
    "STRENGTH",
    "WEAKNESS",
    "Bought",
    "DayCost",
    "HealthStrip",
    "RankedModel",
    "SpendReading",
    "day_so_far",
    "efficiency_plot",
    "health_history",
    "heat_map",
    "ranking_plot",
    "reliability_diagram",
    "spend_by_day",
]
