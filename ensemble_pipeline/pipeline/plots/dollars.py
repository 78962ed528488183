"""Where plots of money agree: dollars in few characters, the frame, the lines of limits, the legend.

Belongs here: what a plot of spend has whatever it shows. Does not: the bars of days (spend_by_day.py), the hours of one
day (day_so_far.py). NaN, infinity and amounts below zero mean "not known" and are never drawn as numbers.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ensemble_pipeline.pipeline.plots.svg import GRID, INK, MARGIN, MUTED, PAPER, element, fit, text, ticks

LEFT, PLOT_WIDTH = 66, 558
_TOP, _HEIGHT = 44, 250
RIGHT, FOOT = LEFT + PLOT_WIDTH, _TOP + _HEIGHT
BELOW = FOOT + 58
"""Under the axis and its words."""
_HEADROOM = 0.06  # of the height, above the top of the scale
_KEY, _KEY_ROW = RIGHT + 100, 18  # left of the legend are the names of limits
_AMOUNT, _NAME_WIDTH = _KEY + 88, 204
WIDTH = _AMOUNT + 8 + _NAME_WIDTH + MARGIN
_SEEN_FROM_SHARE = 0.25  # of a limit: with less spent, a scale up to the limit would flatten what was
_SMALLEST_TOP = 1e-6  # USD, the least that is booked

Look = dict[str, str | float]


def usd(amount: float) -> str:
    """Dollars and cents; of less than a dollar the first two digits, down to millionths.

    >>> usd(1234.5), usd(0.5), usd(0.00234), usd(0.0)
    ('$1,234.50', '$0.50', '$0.0023', '$0.00')
    """
    is_small = _SMALLEST_TOP / 2 <= amount < 1
    decimals = min(6, max(2, 1 - math.floor(math.log10(amount)))) if is_small else 2
    return f"${amount:,.{decimals}f}"


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of a day and how its line looks; None and infinity are unlimited, NaN is not known."""

    name: str
    limit_usd: float | None
    meaning: str
    look: Look

    @property
    def level(self) -> float | None:
        """The limit if it is one, in USD."""
        return self.limit_usd if self.limit_usd is not None and math.isfinite(self.limit_usd) else None

    def words(self, top: float) -> str:
        """What the caption says of it beside a scale up to `top`."""
        if self.level is None:
            is_unlimited = self.limit_usd is None or self.limit_usd > 0
            return f"{self.name} limit: {'unlimited' if is_unlimited else 'not known'}."
        if self.level > top:
            return f"{self.name} limit: {usd(self.level)}, above this scale."
        return f"{self.name} limit, {self.meaning}."


def scale_top(largest: float, soft_usd: float | None, hard_usd: float | None) -> tuple[float, tuple[Limit, Limit]]:
    """The largest amount or a limit that it comes near enough to, 1 USD where nothing was spent; and the limits."""
    look: Look = {"stroke": INK, "stroke_width": 1.4}
    limits = (
        Limit("Soft", soft_usd, "dashed: above it new analyses stop", {**look, "stroke_dasharray": "7 4"}),
        Limit("Hard", hard_usd, "solid: no call leaves that could overshoot it", look),
    )
    near = [it.level for it in limits if it.level is not None and largest >= _SEEN_FROM_SHARE * it.level]
    top = max([largest, *near])
    return (top if top >= _SMALLEST_TOP else 1.0), limits


def limit_lines(limits: Iterable[Limit], top: float) -> Iterator[str]:
    """Lines of the limits that lie on the scale, with their names to the right, one below the other."""
    lines = [(y_of(it.level, top), it) for it in limits if it.level is not None and it.level <= top]
    place = -math.inf
    for y, limit in sorted(lines, key=lambda line: line[0]):
        place = max(y + 4, place + 13)
        path = f"M{LEFT} {y:.1f}H{RIGHT + 4}"
        yield element("path", d=path, stroke=PAPER, stroke_width=3)
        yield element("path", "", d=path, **limit.look)
        yield text(RIGHT + 8, place, fit(f"{limit.name.lower()} {usd(limit.level or 0)}", _KEY - RIGHT - 14))


def y_of(amount: float, top: float) -> float:
    """Pixels down at which an amount stands on a scale up to `top`."""
    return FOOT - amount / top * _HEIGHT * (1 - _HEADROOM)


def axes(top: float, words: str) -> str:
    """The scale of dollars with its grid, and what stands along the foot."""
    (low, _), (high, _), *_ = ticks(top / 2)  # of a scale with two sides: twice as many on one
    step = high - low
    decimals = 0 if step > 0.9 else max(2, -math.floor(math.log10(step) + 1e-9))
    levels = [k * step for k in range(math.floor(top / step + 1e-9) + 1)]
    grid = "".join(f"M{LEFT} {y_of(level, top):.1f}H{RIGHT}" for level in levels)
    return "".join(
        [
            element("path", d=grid, stroke=GRID),
            element("path", d=f"M{LEFT} {FOOT}H{RIGHT}", stroke=MUTED),
            *(text(LEFT - 6, y_of(it, top) + 4, f"${it:,.{decimals}f}", text_anchor="end") for it in levels),
            text((LEFT + RIGHT) / 2, FOOT + 36, words, text_anchor="middle", font_weight="bold"),
        ]
    )


def legend(entries: Sequence[tuple[Look, str, str]]) -> Iterator[str]:
    """The legend, a row for each look, amount and name."""
    for index, (look, amount, name) in enumerate(entries):
        y = _TOP + 8 + index * _KEY_ROW
        if look:
            yield element("path", "", d=f"M{_KEY} {y}h20", **look)
        yield text(_AMOUNT, y + 4, amount, text_anchor="end")
        yield text(_AMOUNT + 8, y + 4, fit(name, _NAME_WIDTH))


def known_total(amounts: Iterable[float]) -> float:
    """Sum of the amounts that are known."""
    return math.fsum(amount for amount in amounts if is_known(amount))


def is_known(amount: float) -> bool:
    """Whether an amount is one that can be drawn."""
    return 0 <= amount < math.inf
