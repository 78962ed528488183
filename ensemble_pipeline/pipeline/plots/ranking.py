"""The ranking of the models as a picture.

Belongs here: how a ranking is drawn. Does not: its numbers (forecasting/ranking.py, forecasting/sequences.py), how SVG
is written (svg.py). NaN and infinity mean "not known" and are never drawn as numbers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from ensemble_pipeline.pipeline.plots.scale import Interval, Scale, scale_limit
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
    text,
    ticks,
)

_NAME_WIDTH = 225
_ROW = 24
_LEFT, _TOP, _HALF = MARGIN + _NAME_WIDTH + 8, 62, 150
_ZERO, _RIGHT = _LEFT + _HALF, _LEFT + 2 * _HALF
_SCALE = Scale(_ZERO, _HALF)
_COLUMNS = (_RIGHT + 60, _RIGHT + 115, _RIGHT + 172)  # right edges


@dataclass(frozen=True, slots=True)
class RankedModel:
    """A row of a ranking: skill in Brier points against the panel, negative is better.

    `interval` is the 95% interval of the skill and `sequence` its confidence sequence, None where there is none; ends
    may be infinite. `weight` is a share of 1. NaN stands for what is not known.
    """

    name: str
    skill: float
    interval: Interval
    sequence: Interval | None
    weight: float
    n_events: int

    @property
    def verdict(self) -> tuple[str, str]:
        """What the confidence sequence shows, and its colour."""
        if self.sequence is None or any(math.isnan(end) for end in self.sequence):
            return "–", UNDECIDED
        low, high = self.sequence
        if low <= 0 <= high:
            return "tied", UNDECIDED
        return ("better", GOOD) if high < 0 else ("worse", BAD)


def ranking_plot(rows: Sequence[RankedModel]) -> dg.MarkdownMetadataValue:
    """Who is better than the panel, and how sure that is; one row per model in the order given."""
    if not rows:
        return no_data()
    limit = scale_limit([row.skill for row in rows], [bar for row in rows for bar in (row.interval, row.sequence)])
    foot = _TOP + len(rows) * _ROW
    width = _COLUMNS[-1] + MARGIN
    caption, bottom = paragraph(
        foot + 58,
        width,
        "Point: skill. Thick bar: 95% interval, for one look. Thin bar: confidence sequence, which holds however often "
        "one looks; where it covers zero the model is tied with the panel. Arrow: it goes on.",
    )
    verdicts = [row.verdict[0] for row in rows]
    counts = ", ".join(f"{verdicts.count(word)} {word}" for word in ("better", "worse", "tied") if word in verdicts)
    parts = [
        heading("Skill against the panel"),
        _axes(limit, foot),
        *(_row(row, _TOP + (index + 0.5) * _ROW, limit) for index, row in enumerate(rows)),
        caption,
    ]
    return picture(width, bottom, f"Ranking of {len(rows)} models against the panel: {counts or 'none judged'}", parts)


def _axes(limit: float, foot: int) -> str:
    scale = [(_SCALE.x(value, limit), label) for value, label in ticks(limit)]
    rules = "".join(f"M{MARGIN} {y}H{_COLUMNS[-1]}" for y in range(_TOP, foot + 1, _ROW))
    grid = "".join(f"M{x:.1f} {_TOP}V{foot}" for x, _ in scale)
    above = _TOP - 8
    return "".join(
        [
            element("path", d=rules + grid, stroke=GRID),
            element("path", d=f"M{_ZERO} {_TOP}V{foot}", stroke=MUTED),
            text(_ZERO - 8, above, "◀ better", text_anchor="end", fill=GOOD, font_weight="bold"),
            text(_ZERO + 8, above, "worse ▶", fill=BAD, font_weight="bold"),
            *(
                text(right, above, name, text_anchor="end", font_weight="bold")
                for right, name in zip(_COLUMNS, ("verdict", "weight", "events"), strict=True)
            ),
            *(text(x, foot + 15, label, text_anchor="middle") for x, label in scale),
            text(_ZERO, foot + 33, "Brier points against the panel", text_anchor="middle", font_weight="bold"),
        ]
    )


def _row(row: RankedModel, y: float, limit: float) -> str:
    verdict, colour = row.verdict
    weight = f"{row.weight:.1%}" if math.isfinite(row.weight) else "–"
    cells = zip(_COLUMNS, (verdict, weight, f"{row.n_events:,}"), (colour, INK, INK), strict=True)
    bars = [_SCALE.bar(y, row.sequence, limit, colour, 1.5), _SCALE.bar(y, row.interval, limit, colour, 6)]
    point = text(_ZERO + 8, y + 4, "no estimate yet", fill=MUTED)
    if math.isfinite(row.skill):
        point = element("circle", cx=_SCALE.x(row.skill, limit), cy=y, r=4.5, fill=INK, stroke=PAPER)
    return "".join(
        [
            text(MARGIN, y + 4, fit(row.name, _NAME_WIDTH)),
            *bars,
            point,
            *(text(right, y + 4, words, text_anchor="end", fill=fill) for right, words, fill in cells),
        ]
    )
