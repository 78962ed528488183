"""What model calls cost by UTC day and model, as stacked bars."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import dagster as dg

from ensemble_pipeline.pipeline.plots.dollars import (
    BELOW,
    FOOT,
    LEFT,
    PLOT_WIDTH,
    WIDTH,
    Look,
    axes,
    is_known,
    known_total,
    legend,
    limit_lines,
    scale_top,
    usd,
    y_of,
)
from ensemble_pipeline.pipeline.plots.svg import (
    LINES,
    PAPER,
    UNDECIDED,
    element,
    heading,
    no_data,
    paragraph,
    picture,
    text,
    text_width,
)

MOST_DAYS = 31
"""More bars would be too thin to read; of more days the last are drawn."""

_COLOURS = (*LINES, "#7cc0ee")  # of the models that cost most; the rest is grey
_WIDEST_SLOT, _BAR_SHARE = 79, 0.8  # a week fills the plot
_DAYS_APART, _MOST_DATES = (1, 2, 5), 8


@dataclass(frozen=True, slots=True)
class DayCost:
    """What the calls of one UTC day cost, in USD by model."""

    day: date
    by_model: Mapping[str, float]


def spend_by_day(days: Sequence[DayCost], soft_usd: float | None, hard_usd: float | None) -> dg.MarkdownMetadataValue:
    """What each UTC day cost, as bars stacked by model; the models that cost least share one colour.

    Args:
        days: In any order, each once; of more than `MOST_DAYS` the last are drawn, and days left out are gaps.
        soft_usd: Limit of a day; None is unlimited.
        hard_usd: The same.
    """
    if not days:
        return no_data()
    last = max(each.day for each in days)
    first = max(min(each.day for each in days), last - timedelta(days=MOST_DAYS - 1))
    shown = [each for each in days if each.day >= first]
    stacks, totals = _stacks(shown), {each.day: known_total(each.by_model.values()) for each in shown}
    top, limits = scale_top(max(totals.values()), soft_usd, hard_usd)
    slots = _Slots(first, (last - first).days + 1)
    total = usd(math.fsum(totals.values()))
    entries = [(_swatch(it.colour), usd(math.fsum(it.by_day.values())), it.name) for it in stacks]
    unknown = sum(not is_known(amount) for each in shown for amount in each.by_model.values())
    caption, bottom = paragraph(
        BELOW,
        WIDTH,
        "One bar a UTC day, stacked in the order of the legend, what cost most lowest. "
        + " ".join(limit.words(top) for limit in limits)
        + (f" Not known and left out: {unknown} amount{'s' * (unknown > 1)}." if unknown else ""),
    )
    parts = [
        heading("Spend by day and model"),
        axes(top, "UTC day"),
        *slots.dates(),
        *_bars(stacks, slots, top),
        *limit_lines(limits, top),
        *(slots.total(day, amount, top) for day, amount in totals.items()),
        *legend([*entries, ({}, total, "all")]),
        caption,
    ]
    title = f"Spend from {first:%d %b %Y} to {last:%d %b %Y}: {total.removeprefix('$')} USD"
    return picture(WIDTH, bottom, title, parts)


@dataclass(frozen=True, slots=True)
class _Stack:
    """A model, or all that have no colour of their own, with its amounts."""

    name: str
    colour: str
    by_day: Mapping[date, float]


def _stacks(days: Sequence[DayCost]) -> list[_Stack]:
    """What cost most first; what has no colour of its own together, last."""
    by_model: dict[str, dict[date, float]] = {}
    for each in days:
        for model, amount in each.by_model.items():
            by_model.setdefault(model, {})[each.day] = known_total([amount])
    ordered = sorted(by_model, key=lambda model: (-math.fsum(by_model[model].values()), model))
    stacks = [_Stack(model, colour, by_model[model]) for model, colour in zip(ordered, _COLOURS, strict=False)]
    if rest := ordered[len(_COLOURS) :]:
        by_day = {each.day: math.fsum(by_model[model].get(each.day, 0.0) for model in rest) for each in days}
        stacks.append(_Stack(f"other ({len(rest)} model{'s' * (len(rest) > 1)})", UNDECIDED, by_day))
    return stacks


@dataclass(frozen=True, slots=True)
class _Slots:
    """The places of consecutive days, side by side."""

    first: date
    count: int

    @property
    def width(self) -> float:
        return min(_WIDEST_SLOT, PLOT_WIDTH / self.count)

    def middle(self, day: date) -> float:
        return LEFT + ((day - self.first).days + 0.5) * self.width

    def dates(self) -> Iterator[str]:
        """Labels of some days, the last among them."""
        apart = next((it for it in _DAYS_APART if self.count / it <= _MOST_DATES), _DAYS_APART[-1])
        for index in range(self.count - 1, -1, -apart):
            day = self.first + timedelta(days=index)
            yield text(self.middle(day), FOOT + 18, f"{day:%d %b}", text_anchor="middle")

    def total(self, day: date, amount: float, top: float) -> str:
        """The amount above a day's bar, where it fits."""
        words = usd(amount)
        if text_width(words, 10) > self.width:
            return ""
        halo: Look = {"stroke": PAPER, "stroke_width": 3, "paint_order": "stroke"}
        return text(self.middle(day), y_of(amount, top) - 4, words, text_anchor="middle", font_size=10, **halo)


def _bars(stacks: Iterable[_Stack], slots: _Slots, top: float) -> Iterator[str]:
    """All that has one colour as one path, for a fifth of the text that a rectangle each would take."""
    below: dict[date, float] = {}
    for stack in stacks:
        steps = []
        for day, amount in stack.by_day.items():
            if amount > 0:
                base = below.get(day, 0.0)
                below[day] = base + amount
                steps.append(f"M{slots.middle(day):.1f} {y_of(base, top):.1f}V{y_of(below[day], top):.1f}")
        yield element("path", d="".join(steps), stroke=stack.colour, stroke_width=_BAR_SHARE * slots.width)


def _swatch(colour: str) -> Look:
    return {"stroke": colour, "stroke_width": 11}
