"""Bars on a scale around zero, for pictures of differences and their intervals.

Belongs here: how far the scale goes and a bar on it. Does not: the axis, rows and words (ranking.py, differences.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from ensemble_pipeline.pipeline.plots.svg import element

Interval = tuple[float, float]

_SMALLEST_LIMIT = 0.01  # Brier points: the scale does not end below, or noise would look like news


def scale_limit(points: Sequence[float], bars: Sequence[Interval | None]) -> float:
    """Half the width of the scale: all points, and the bars unless a few are much longer than the others."""
    known = [bar for bar in bars if bar is not None]
    reaches = [max(ends) for bar in known if (ends := [abs(end) for end in bar if math.isfinite(end)])]
    usual = min(max(reaches), 2 * median(reaches)) if reaches else 0.0
    return 1.08 * max([_SMALLEST_LIMIT, usual, *(abs(point) for point in points if math.isfinite(point))])


@dataclass(frozen=True, slots=True)
class Scale:
    """Where zero is and how many pixels the scale has on either side of it."""

    zero: float
    half: float

    def x(self, value: float, limit: float) -> float:
        """Where a value is on a scale that goes to `limit`."""
        return self.zero + value / limit * self.half

    def bar(self, y: float, ends: Interval | None, limit: float, colour: str, thickness: float) -> str:
        """A bar with an arrow where it goes on beyond the scale; nothing where neither end is known."""
        if ends is None or any(math.isnan(end) for end in ends) or all(math.isinf(end) for end in ends):
            return ""
        low, high = (self.zero + min(1.0, max(-1.0, end / limit)) * self.half for end in ends)
        drawn = element("path", d=f"M{low:.1f} {y:g}H{high:.1f}", stroke=colour, stroke_width=thickness)
        if ends[0] < -limit:
            drawn += element("path", d=f"M{low - 6:.1f} {y:g}l6-5v10z", fill=colour)
        if ends[1] > limit:
            drawn += element("path", d=f"M{high + 6:.1f} {y:g}l-6-5v10z", fill=colour)
        return drawn
