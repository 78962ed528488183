"""The reliability diagram as a picture.

Belongs here: how the diagram is drawn. Does not: its numbers (forecasting/reliability.py), how SVG is written
(svg.py), pictures of models side by side (plots.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from ensemble_pipeline.pipeline.plots.svg import (
    BAD,
    GOOD,
    GRID,
    MARGIN,
    MUTED,
    NULL,
    PAPER,
    UNDECIDED,
    Drawing,
    drawing,
    element,
    heading,
    no_data,
    paragraph,
    shown,
    text,
    text_width,
)

_SIDE, _LEFT, _TOP = 360, 66, 40
_RIGHT, _BOTTOM = _LEFT + _SIDE, _TOP + _SIDE
_BARS_HEIGHT = 44
_BARS_FOOT = _BOTTOM + _BARS_HEIGHT + 22
_QUESTION = "Does it come true as often as it is said?"


def reliability_diagram(
    lower: Sequence[float],
    upper: Sequence[float],
    n: Sequence[int],
    mean_p: Sequence[float],
    mean_outcome: Sequence[float],
    band_low: Sequence[float],
    band_high: Sequence[float],
    band_level: float = 0.90,
) -> dg.MarkdownMetadataValue:
    """Whether forecasts come true as often as they say, what chance alone may show, and how many there were.

    Args:
        lower: Lower edge of each bin, in [0, 1]; all arguments have one element per bin.
        upper: Upper edges.
        n: Forecasts in each bin; bins without any are left out.
        mean_p: Mean forecast, in [0, 1], NaN for empty bins.
        mean_outcome: Share that came true, in [0, 1], NaN for empty bins.
        band_low: Lower end of what a perfect forecaster shows by chance; NaN for bins without a band.
        band_high: Upper end, see `reliability.null_band`.
        band_level: Chance of a perfect forecaster to lie within the band of a bin.
    """
    columns = zip(lower, upper, n, mean_p, mean_outcome, band_low, band_high, strict=True)
    drawn = reliability_drawing([Bin(*column) for column in columns], band_level)
    return no_data() if drawn is None else shown(drawn)


def reliability_drawing(table: Sequence["Bin"], band_level: float = 0.90, words: str = _QUESTION) -> Drawing | None:
    """The diagram itself, with `words` above it; ``None`` where all bins are empty."""
    bins = [each for each in table if each.n > 0 and math.isfinite(each.said + each.came_true)]
    if not bins:
        return None
    most, total = max(each.n for each in bins), sum(each.n for each in bins)
    finding = f"{sum(each.is_outside for each in bins)} of {len(bins)} bins lie outside the band"
    caption, bottom = paragraph(
        _BARS_FOOT + 54,
        _RIGHT + 2 * MARGIN,
        f"Shaded band: where a perfect forecaster who said the same would lie by chance, {band_level:.0%} of the time "
        f"in each bin. {finding} (orange squares). Bars count forecasts, {total:,} in all; larger marks mean more.",
    )
    marks = [part for each in bins for part in (each.mark(most), each.bar(most))]
    parts = [heading(words), *(each.band() for each in bins), _axes(), *marks]
    title = f"Reliability diagram of {total} forecasts: {finding}"
    return drawing(_RIGHT + 2 * MARGIN, bottom, title, [*parts, caption])


@dataclass(frozen=True, slots=True)
class Bin:
    """A bin of forecasts: its edges, how many, mean forecast, share that came true, and its band; NaN is not known."""

    lower: float
    upper: float
    n: int
    said: float
    came_true: float
    low: float
    high: float

    @property
    def is_outside(self) -> bool:
        """Whether chance alone would seldom show this."""
        return self.came_true < self.low or self.came_true > self.high

    def band(self) -> str:
        """What chance alone may show; nothing where there is no band."""
        if not math.isfinite(self.low + self.high):
            return ""
        height = max(2.0, (self.high - self.low) * _SIDE)
        return element("rect", x=_x(self.lower), y=_y(self.high), width=self._width, height=height, fill=NULL)

    def mark(self, most: int) -> str:
        """What was said and what came true, beside a fullest bin of `most` forecasts."""
        x, y, radius = _x(self.said), _y(self.came_true), 3 + 5 * math.sqrt(self.n / most)
        if self.is_outside:
            return element(
                "rect", x=x - radius, y=y - radius, width=2 * radius, height=2 * radius, fill=BAD, stroke=PAPER
            )
        return element("circle", cx=x, cy=y, r=radius, fill=GOOD, stroke=PAPER)

    def bar(self, most: int) -> str:
        """How many there were, with their number where it fits."""
        height, count = max(1.0, self.n / most * _BARS_HEIGHT), f"{self.n:,}"
        top, width = _BARS_FOOT - height, max(1.0, self._width - 2)
        drawn = element("rect", x=_x(self.lower) + 1, y=top, width=width, height=height, fill=UNDECIDED)
        if text_width(count, 10) > self._width:
            return drawn
        middle = _x((self.lower + self.upper) / 2)
        return drawn + text(middle, top - 3, count, text_anchor="middle", font_size=10, fill=MUTED)

    @property
    def _width(self) -> float:
        return (self.upper - self.lower) * _SIDE


def _x(p: float) -> float:
    return _LEFT + p * _SIDE


def _y(p: float) -> float:
    return _TOP + (1 - p) * _SIDE


def _axes() -> str:
    fifths = [k / 5 for k in range(6)]
    grid = "".join(f"M{_LEFT} {_y(p):g}H{_RIGHT}M{_x(p):g} {_TOP}V{_BOTTOM}" for p in fifths)
    bold_middle: dict[str, str | float] = {"text_anchor": "middle", "font_weight": "bold"}
    return "".join(
        [
            element("path", d=grid, stroke=GRID),
            element("path", d=f"M{_LEFT} {_BOTTOM}L{_RIGHT} {_TOP}M{_LEFT} {_BARS_FOOT}H{_RIGHT}", stroke=MUTED),
            *(text(_LEFT - 6, _y(p) + 4, f"{p:.0%}", text_anchor="end") for p in fifths),
            *(text(_x(p), _BARS_FOOT + 15, f"{p:.0%}", text_anchor="middle") for p in fifths),
            text(_LEFT + 8, _TOP + 16, "came true more often than said", fill=MUTED),
            text(_RIGHT - 8, _BOTTOM - 8, "came true less often than said", fill=MUTED, text_anchor="end"),
            text(_x(0.5), _BARS_FOOT + 33, "said: forecast probability of YES", **bold_middle),
            text(-_y(0.5), 22, "came true: share of YES", transform="rotate(-90)", **bold_middle),
        ]
    )
