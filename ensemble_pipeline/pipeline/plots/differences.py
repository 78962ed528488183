"""Paired differences to one forecaster as a picture: who was better, by how much, how sure that is.

Belongs here: how the differences are drawn and the word for each. Does not: their numbers (forecasting/intervals.py),
how SVG is written (svg.py). NaN means "not known" and is never drawn as a number.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

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
    Drawing,
    drawing,
    element,
    fit,
    heading,
    paragraph,
    signed,
    text,
    ticks,
)

_NAME_WIDTH = 265
_ROW = 24
_LEFT, _TOP, _HALF = MARGIN + _NAME_WIDTH + 8, 62, 170
_ZERO, _RIGHT = _LEFT + _HALF, _LEFT + 2 * _HALF
_SCALE = Scale(_ZERO, _HALF)
_COLUMNS = (_RIGHT + 70, _RIGHT + 205, _RIGHT + 255, _RIGHT + 310)  # right edges
_VERDICT = _RIGHT + 326
_WIDTH = _VERDICT + 146


FEW_EVENTS = 20
"""Below, the interval of `forecasting.intervals.bootstrap_interval` is too narrow."""


class Verdict(StrEnum):
    """What an interval of a difference shows; negative differences are better."""

    BETTER = "better"
    WORSE = "worse"
    TIED = "cannot be told apart"
    TOO_FEW = "too few events"


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean difference in Brier points to `name`, on the rows both answered.

    `estimate` is NaN where there are none; `interval` is ``None`` where there are too few events for one.
    """

    name: str
    estimate: float
    interval: Interval | None
    n_rows: int
    n_events: int

    @property
    def verdict(self) -> Verdict:
        """What the interval shows, and nothing beyond it."""
        if self.interval is None:
            return Verdict.TOO_FEW
        low, high = self.interval
        if low <= 0 <= high:
            return Verdict.TIED
        return Verdict.BETTER if high < 0 else Verdict.WORSE

    @property
    def is_thin(self) -> bool:
        """Whether there is an interval, from so few events that it is too narrow."""
        return self.interval is not None and self.n_events < FEW_EVENTS


_COLOURS = {Verdict.BETTER: GOOD, Verdict.WORSE: BAD, Verdict.TIED: UNDECIDED, Verdict.TOO_FEW: UNDECIDED}


def differences_drawing(words: str, subject: str, groups: Sequence[tuple[str, Sequence[Difference]]]) -> Drawing | None:
    """How far one forecaster was from others; ``None`` where there is nobody to compare it with.

    Args:
        words: Stand above the picture.
        subject: Whose scores the others' are taken from.
        groups: Name of each group of others, and the group's differences, in the order they are drawn.
    """
    rows = [row for _, group in groups for row in group]
    if not rows:
        return None
    limit = scale_limit([row.estimate for row in rows], [row.interval for row in rows])
    parts, y = [], float(_TOP)
    for name, group in groups:
        if group:
            parts.append(text(MARGIN, y + 16, name, fill=MUTED, font_weight="bold"))
            parts.extend(_row(row, y + _ROW * (index + 1.5), limit) for index, row in enumerate(group))
            y += _ROW * (len(group) + 1)
    caution = f" From fewer than {FEW_EVENTS} events it is too narrow." if any(row.is_thin for row in rows) else ""
    caption, bottom = paragraph(
        y + 58,
        _WIDTH,
        f"Point: mean Brier score of {subject} minus that of the row's forecaster, on the rows both answered; left of "
        "zero is better. Bar: 95% bootstrap interval from drawing whole events anew; where it covers zero the two "
        f"cannot be told apart. Arrow: it goes on.{caution}",
    )
    verdicts = [row.verdict for row in rows]
    counts = ", ".join(f"{verdicts.count(it)} {it}" for it in Verdict if it in verdicts)
    title = f"Differences of {subject} to {len(rows)} others: {counts}"
    return drawing(_WIDTH, bottom, title, [heading(words), _axes(limit, y), *parts, caption])


def _axes(limit: float, foot: float) -> str:
    scale = [(_SCALE.x(value, limit), label) for value, label in ticks(limit)]
    grid = "".join(f"M{x:.1f} {_TOP}V{foot:g}" for x, _ in scale)
    rules = f"M{MARGIN} {_TOP}H{_WIDTH - MARGIN}M{MARGIN} {foot:g}H{_WIDTH - MARGIN}"
    above = _TOP - 8
    return "".join(
        [
            element("path", d=rules + grid, stroke=GRID),
            element("path", d=f"M{_ZERO} {_TOP}V{foot:g}", stroke=MUTED),
            text(_ZERO - 8, above, "◀ better", text_anchor="end", fill=GOOD, font_weight="bold"),
            text(_ZERO + 8, above, "worse ▶", fill=BAD, font_weight="bold"),
            *(
                text(right, above, name, text_anchor="end", font_weight="bold")
                for right, name in zip(_COLUMNS, ("difference", "95% interval", "rows", "events"), strict=True)
            ),
            text(_VERDICT, above, "verdict", font_weight="bold"),
            *(text(x, foot + 15, label, text_anchor="middle") for x, label in scale),
            text(_ZERO, foot + 33, "difference in Brier points", text_anchor="middle", font_weight="bold"),
        ]
    )


def _row(row: Difference, y: float, limit: float) -> str:
    colour, is_known = _COLOURS[row.verdict], math.isfinite(row.estimate)
    interval = "–" if row.interval is None else " to ".join(signed(end, 4) for end in row.interval)
    cells = (signed(row.estimate, 4) if is_known else "–", interval, f"{row.n_rows:,}", f"{row.n_events:,}")
    point = ""
    if is_known:
        point = element("circle", cx=_SCALE.x(row.estimate, limit), cy=y, r=4.5, fill=INK, stroke=PAPER)
    return "".join(
        [
            text(MARGIN + 10, y + 4, fit(row.name, _NAME_WIDTH - 10)),
            _SCALE.bar(y, row.interval, limit, colour, 6),
            point,
            *(text(right, y + 4, words, text_anchor="end") for right, words in zip(_COLUMNS, cells, strict=True)),
            text(_VERDICT, y + 4, row.verdict, fill=colour, font_weight="bold"),
        ]
    )
