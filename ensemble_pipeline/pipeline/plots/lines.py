"""Shares over time as a picture, one stepped line a name.

Belongs here: how the lines are drawn. Does not: their numbers, how SVG is written (svg.py). NaN means "not known" and
is never drawn as a number.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ensemble_pipeline.pipeline.plots.svg import (
    GRID,
    LINES,
    MARGIN,
    MUTED,
    Drawing,
    drawing,
    element,
    fit,
    heading,
    paragraph,
    text,
    ticks,
)

MOST_LINES = 12
"""More cannot be told apart."""

_LEFT, _TOP, _PLOT, _HEIGHT = 56, 44, 620, 250
_RIGHT, _FOOT = _LEFT + _PLOT, _TOP + _HEIGHT
_TAIL = 10  # pixels for the last step, which has no end
_LABELS, _NAME_WIDTH, _LABEL_ROW = _RIGHT + 26, 255, 17
_WIDTH = _LABELS + 34 + _NAME_WIDTH + MARGIN
_SMALLEST_TOP = 0.1  # of the scale: below, noise would look like news
_DAYS_APART = (1, 2, 5, 7, 14, 30, 61, 91, 182, 365, 1826)
_MOST_DATES = 8


@dataclass(frozen=True, slots=True)
class Line:
    """A name and its share of 1 at each time, NaN where it is not known; at one time at least it is."""

    name: str
    shares: Sequence[float]

    @property
    def last(self) -> float:
        """The last share that is known."""
        return next(share for share in reversed(self.shares) if math.isfinite(share))


def shares_drawing(words: str, times: Sequence[datetime], lines: Sequence[Line], equal_share: float) -> Drawing | None:
    """Shares over time, each drawn until the next that is known; ``None`` where there are fewer than two times.

    Args:
        words: Stand above the picture.
        times: In ascending order.
        lines: One share per time each; at most `MOST_LINES`.
        equal_share: What each would have if all had the same; drawn as a thin line.
    """
    if len(times) < 2 or not lines:
        return None
    top = max(_SMALLEST_TOP, 1.08 * max(share for line in lines for share in line.shares if math.isfinite(share)))
    ordered = sorted(lines, key=lambda line: (-line.last, line.name))
    ends = [_y(line.last, top) for line in ordered]
    looks = [_look(index) for index in range(len(ordered))]
    first_label = min(max(_TOP, ends[0]), _FOOT - (len(ends) - 1) * _LABEL_ROW)
    labels = _spread(ends, max(_TOP - 10, first_label))
    caption, bottom = paragraph(
        _FOOT + 58,
        _WIDTH,
        "Names stand in the order of the last share; lines of one colour differ by their dashes. Dotted: equal shares.",
    )
    parts = [
        heading(words),
        _axes(times, top, equal_share),
        *(_steps(times, line, top, look) for line, look in zip(ordered, looks, strict=True)),
        *(_label(*each) for each in zip(ordered, ends, labels, looks, strict=True)),
        caption,
    ]
    title = f"{words}: {len(lines)} lines from {times[0]:%d %b %Y} to {times[-1]:%d %b %Y}"
    return drawing(_WIDTH, bottom, title, parts)


def _look(index: int) -> dict[str, str | float]:
    dashes: dict[str, str | float] = {"stroke_dasharray": "6 3"} if index >= len(LINES) else {}
    return {"stroke": LINES[index % len(LINES)], "stroke_width": 1.6, "fill": "none", **dashes}


def _spread(ends: Sequence[float], first: float) -> list[float]:
    """Where labels stand: as near to the ends of their lines as they can without touching the one above."""
    places: list[float] = []
    for index, end in enumerate(ends):
        left_over = len(ends) - 1 - index
        lowest = max(first, _FOOT - left_over * _LABEL_ROW)
        above = places[-1] + _LABEL_ROW if places else first
        places.append(max(above, min(end, lowest)))
    return places


def _x(at: datetime, times: Sequence[datetime]) -> float:
    return _LEFT + (at - times[0]) / (times[-1] - times[0]) * (_PLOT - _TAIL)


def _y(share: float, top: float) -> float:
    return _FOOT - share / top * _HEIGHT


def _steps(times: Sequence[datetime], line: Line, top: float, look: dict[str, str | float]) -> str:
    known = [(at, share) for at, share in zip(times, line.shares, strict=True) if math.isfinite(share)]
    (first, share), *later = known
    steps = "".join(f"H{_x(at, times):.1f}V{_y(share, top):.1f}" for at, share in later)
    return element("path", "", d=f"M{_x(first, times):.1f} {_y(share, top):.1f}{steps}H{_RIGHT}", **look)


def _label(line: Line, end: float, y: float, look: dict[str, str | float]) -> str:
    leader = element("path", d=f"M{_RIGHT + 3} {end:.1f}L{_LABELS - 4} {y:.1f}", stroke=GRID)
    swatch = element("path", "", d=f"M{_LABELS} {y:.1f}h28", **{**look, "stroke_width": 2.4})
    name = f"{line.last:.0%} {line.name}"
    return leader + swatch + text(_LABELS + 34, y + 4, fit(name, _NAME_WIDTH))


def _axes(times: Sequence[datetime], top: float, equal_share: float) -> str:
    (low, _), (high, _), *_ = ticks(top / 2)  # of a scale with two sides: twice as many on one
    levels = [(_y(k * (high - low), top), f"{k * (high - low):.0%}") for k in range(math.floor(top / (high - low)) + 1)]
    dates = [(_x(at, times), words) for at, words in _dates(times[0], times[-1])]
    grid = "".join(f"M{_LEFT} {y:.1f}H{_RIGHT}" for y, _ in levels) + "".join(f"M{x:.1f} {_FOOT}v5" for x, _ in dates)
    level = _y(equal_share, top)
    period = f"asked, {times[0]:%d %b %Y} to {times[-1]:%d %b %Y} (UTC)"
    return "".join(
        [
            element("path", d=grid, stroke=GRID),
            element("path", d=f"M{_LEFT} {_FOOT}H{_RIGHT}", stroke=MUTED),
            element("path", d=f"M{_LEFT} {level:.1f}H{_RIGHT}", stroke=MUTED, stroke_dasharray="1 3"),
            *(text(_LEFT - 6, y + 4, words, text_anchor="end") for y, words in levels),
            *(text(x, _FOOT + 18, words, text_anchor="middle") for x, words in dates),
            text((_LEFT + _RIGHT) / 2, _FOOT + 36, period, text_anchor="middle", font_weight="bold"),
        ]
    )


def _dates(first: datetime, last: datetime) -> Iterator[tuple[datetime, str]]:
    """Some midnights between two instants; of less than two days, the instants themselves."""
    days = (last - first) / timedelta(days=1)
    if days < 2:
        yield from ((at, f"{at:%d %b %H:%M}") for at in (first, last))
        return
    apart = next((it for it in _DAYS_APART if days / it <= _MOST_DATES), _DAYS_APART[-1])
    at = first.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    while at <= last:
        if at >= first:
            yield at, f"{at:%d %b}" if days < 300 else f"{at:%b %Y}"
        at += timedelta(days=apart)
