"""What the system learnt, as pictures that a person can read in the UI.

Belongs here: the names of the pictures. Does not: how each is drawn (reliability.py, ranking.py,
heat_map.py), how SVG gets into the UI (svg.py).
"""

from ensemble_pipeline.pipeline.plots.heat_map import STRENGTH, WEAKNESS, heat_map
from ensemble_pipeline.pipeline.plots.ranking import RankedModel, ranking_plot
from ensemble_pipeline.pipeline.plots.reliability import reliability_diagram

__all__ = ["STRENGTH", "WEAKNESS", "RankedModel", "heat_map", "ranking_plot", "reliability_diagram"]
