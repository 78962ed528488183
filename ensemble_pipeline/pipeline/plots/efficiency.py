"""What a dollar spent on each model buys, as a picture.

Belongs here: how skill per dollar is drawn. Does not: its numbers (forecasting/efficiency.py), what was spent when
(spend.py), how SVG is written (svg.py). NaN, infinity and None mean "not known" and are never drawn as numbers.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import dagster as dg

from ensemble_pipeline.pipeline.plots.dollars import usd
from ensemble_pipeline.pipeline.plots.svg import (
    BAD,
    GOOD,
    GRID,
    INK,
    MARGIN,
    MUTED,
    PAPER,
    UNDECIDED,
    element,
    fit,
    heading,
    no_data,
    paragraph,
    picture,
    signed,
    text,
    text_width,
)

_NAME_WIDTH = 225
_ROW = 24
_TOP = 62
_EDGE = MARGIN + _NAME_WIDTH + 16  # where points and arrows stand that no decade holds
_LEFT, _PLOT = _EDGE + 36, 290
_RIGHT = _LEFT + _PLOT
_WIDE_DECADE = 50
_OVER = 5  # pixels that a bar goes on beyond the scale, so that no point hides its arrow
_COLUMNS = (_RIGHT + 104, _RIGHT + 164, _RIGHT + 244, _RIGHT + 329, _RIGHT + 394)  # right edges
_HEADERS = ("gain per USD", "calls", "cost", "per answer", "gain")
_WIDTH = _COLUMNS[-1] + MARGIN
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Bought:
    """What the answers of a model cost and by how many Brier points they beat the base rate.

    `gain_per_usd` is the gain divided by `usd_per_answer`, and `low` and `high` are the ends of its 95% interval, None
    where it has none. Answers that cost 0 are free, and nothing is divided by that.
    """

    model: str
    calls: int
    cost_usd: float
    usd_per_answer: float | None
    gain: float | None
    gain_per_usd: float | None
    low: float | None
    high: float | None

    @property
    def is_free(self) -> bool:
        """Whether its answers cost nothing."""
        return self.usd_per_answer == 0

    @property
    def ratio(self) -> float | None:
        """The gain per dollar, where it is known and the model is not free."""
        return self.gain_per_usd if not self.is_free and _is_known(self.gain_per_usd) else None

    @property
    def rank(self) -> tuple[int, float, str]:
        """What rows are sorted by: free models first, then the best buy, last those of which it is not known."""
        if self.is_free:
            return 0, -self.gain if _is_known(self.gain) else math.inf, self.model
        return (2, 0.0, self.model) if self.ratio is None else (1, -self.ratio, self.model)


def efficiency_plot(rows: Sequence[Bought]) -> dg.MarkdownMetadataValue:
    """How much skill a dollar buys from each model, and how sure that is; the best buy first."""
    if not rows:
        return no_data()
    ordered = sorted(rows, key=lambda row: row.rank)
    scale = _decades(ordered)
    foot = _TOP + len(ordered) * _ROW
    caption, bottom = paragraph(
        foot + 58,
        _WIDTH,
        "Gain: by how many Brier points the model beats the base rate. Point: gain divided by USD per answer. Bar: "
        "Fieller's 95% interval, blue where all of it is above zero, orange where none is; where two intervals overlap "
        "nobody is shown to be the better buy. Arrow: it goes on, at the left edge to zero or below. A point at the "
        "left edge is zero or below.",
    )
    parts = [
        heading("Skill bought per dollar"),
        _axes(scale, foot),
        *(_row(row, _TOP + (index + 0.5) * _ROW, scale) for index, row in enumerate(ordered)),
        caption,
    ]
    free, known = sum(row.is_free for row in ordered), sum(row.ratio is not None for row in ordered)
    counts = f"{known} known, {free} free, {len(ordered) - known - free} not known yet"
    return picture(_WIDTH, bottom, f"Skill bought per dollar from {len(ordered)} models: {counts}", parts)


@dataclass(frozen=True, slots=True)
class _Decades:
    """A logarithmic scale from 10**first to 10**last."""

    first: int
    last: int

    @property
    def width(self) -> float:
        """Pixels of a decade."""
        return _PLOT / (self.last - self.first)

    def x(self, value: float) -> float:
        """Where a value is; one beyond the scale is at its end, one that has no logarithm at the left edge."""
        return _EDGE if value <= 0 else _LEFT + min(1.0, max(0.0, self._share(value))) * _PLOT

    def bar(self, y: float, low: float, high: float, colour: str) -> str:
        """A bar with an arrow where it goes on beyond the scale."""
        goes_left, goes_right = self._share(low) < 0, self._share(high) > 1
        left, right = self.x(low) - goes_left * _OVER, self.x(high) + goes_right * _OVER
        drawn = element("path", d=f"M{left:.1f} {y:g}H{right:.1f}", stroke=colour, stroke_width=6)
        if goes_left:
            drawn += element("path", d=f"M{left - 6:.1f} {y:g}l6-5v10z", fill=colour)
        if goes_right:
            drawn += element("path", d=f"M{right + 6:.1f} {y:g}l-6-5v10z", fill=colour)
        return drawn

    def labels(self) -> Iterator[tuple[float, str]]:
        """Where powers of ten are, and their names, as many as do not touch."""
        names = {power: _power_of_ten(power) for power in range(self.first, self.last + 1)}
        apart = math.ceil((max(text_width(name) for name in names.values()) + 8) / self.width)
        yield from ((_LEFT + (power - self.first) * self.width, names[power]) for power in list(names)[::apart])

    def between(self) -> list[float]:
        """Where the multiples of the powers of ten are; none where they would stand too close."""
        shares = [math.log10(digit) for digit in range(2, 10)] if self.width >= _WIDE_DECADE else []
        return [_LEFT + (k + share) * self.width for k in range(self.last - self.first) for share in shares]

    def _share(self, value: float) -> float:
        """Of the way from the first to the last power of ten."""
        return (_log(value) - self.first) / (self.last - self.first)


def _decades(rows: Sequence[Bought]) -> _Decades:
    """Powers of ten around all points above zero, and around the intervals unless they go on for a decade more."""
    known = [row for row in rows if row.ratio is not None]
    points = [_log(row.ratio) for row in known if row.ratio is not None and row.ratio > 0]
    ends = [_log(end) for row in known for end in (row.low, row.high) if _is_known(end) and end > 0]
    anchors = points or ends or [0.0]
    least, most = min(anchors) - 1, max(anchors) + 1
    reached = [*anchors, *(min(most, max(least, end)) for end in ends)]
    first = math.floor(min(reached))
    return _Decades(first, max(first + 1, math.ceil(max(reached))))


def _axes(scale: _Decades, foot: int) -> str:
    labels = list(scale.labels())
    rules = "".join(f"M{MARGIN} {y}H{_COLUMNS[-1]}" for y in range(_TOP, foot + 1, _ROW))
    grid = "".join(f"M{x:.1f} {_TOP}V{foot}" for x, _ in labels)
    marks = "".join(f"M{x:.1f} {foot}v-4" for x in scale.between())
    above = _TOP - 8
    return "".join(
        [
            element("path", d=rules + grid, stroke=GRID),
            element("path", d=marks, stroke=UNDECIDED),
            element("path", d=f"M{_EDGE} {_TOP}V{foot}", stroke=MUTED, stroke_dasharray="1 3"),
            text(MARGIN, above, "model", font_weight="bold"),
            *(
                text(right, above, name, text_anchor="end", font_weight="bold")
                for right, name in zip(_COLUMNS, _HEADERS, strict=True)
            ),
            *(text(x, foot + 15, label, text_anchor="middle") for x, label in [(_EDGE, "≤ 0"), *labels]),
            text(_LEFT + _PLOT / 2, foot + 33, "Brier points per USD", text_anchor="middle", font_weight="bold"),
        ]
    )


def _row(row: Bought, y: float, scale: _Decades) -> str:
    cells = (
        "–" if row.ratio is None else _three_digits(row.ratio),
        f"{row.calls:,}",
        usd(row.cost_usd) if _is_known(row.cost_usd) else "–",
        usd(row.usd_per_answer) if _is_known(row.usd_per_answer) else "–",
        signed(row.gain, 4) if _is_known(row.gain) else "–",
    )
    return "".join(
        [
            text(MARGIN, y + 4, fit(row.model, _NAME_WIDTH)),
            *_bought(row, y, scale),
            *(text(right, y + 4, words, text_anchor="end") for right, words in zip(_COLUMNS, cells, strict=True)),
        ]
    )


def _bought(row: Bought, y: float, scale: _Decades) -> Iterator[str]:
    """Point and interval of a row, or the word that stands in their place."""
    if row.is_free:
        yield text(_LEFT + 8, y + 4, "free", fill=GOOD, font_weight="bold")
    elif row.ratio is None:
        yield text(_LEFT + 8, y + 4, "not known yet", fill=MUTED, stroke=PAPER, stroke_width=3, paint_order="stroke")
    else:
        low = row.low if _is_known(row.low) else -math.inf
        high = row.high if _is_known(row.high) else math.inf
        yield scale.bar(y, low, high, GOOD if low > 0 else BAD if high < 0 else UNDECIDED)
        yield element("circle", cx=scale.x(row.ratio), cy=y, r=4.5, fill=INK, stroke=PAPER)


def _is_known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _log(value: float) -> float:
    return math.log10(value) if value > 0 else -math.inf


def _power_of_ten(power: int) -> str:
    """The number where it is short.

    >>> _power_of_ten(3), _power_of_ten(-2), _power_of_ten(6), _power_of_ten(-12)
    ('1,000', '0.01', '10⁶', '10⁻¹²')
    """
    return f"{10.0**power:,.{max(0, -power)}f}" if -3 <= power <= 5 else f"10{str(power).translate(_SUPERSCRIPT)}"


def _three_digits(value: float) -> str:
    """A number with its first three digits, or more where they stand before the point.

    >>> _three_digits(1234.5), _three_digits(0.05), _three_digits(-2), _three_digits(3e9)
    ('1,234', '0.0500', '−2.00', '3.00e+09')
    """
    size, sign = abs(value), "−" if value < 0 else ""
    if size and not 1e-3 <= size < 1e6:
        return f"{sign}{size:.2e}"
    decimals = max(0, 2 - math.floor(math.log10(size))) if size else 0
    return f"{sign}{size:,.{decimals}f}"
