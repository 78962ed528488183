"""What was spent and held over the hours of one UTC day, as steps, and where the day is expected to end."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import dagster as dg

from ensemble_pipeline.pipeline.plots.dollars import (
    BELOW,
    FOOT,
    LEFT,
    PLOT_WIDTH,
    RIGHT,
    WIDTH,
    Look,
    axes,
    is_known,
    legend,
    limit_lines,
    scale_top,
    usd,
    y_of,
)
from ensemble_pipeline.pipeline.plots.svg import GOOD, MUTED, PAPER, element, heading, no_data, paragraph, picture, text

_SLOTS_PER_HOUR = 12  # of more readings in a slot, some two pixels, the last is drawn
_SPENT: Look = {"stroke": GOOD, "stroke_width": 2.4, "fill": "none"}
_COMMITTED: Look = {"stroke": MUTED, "stroke_width": 1.2, "fill": "none"}
_EXPECTED: Look = {"stroke": GOOD, "stroke_width": 1.6, "stroke_dasharray": "5 3"}


@dataclass(frozen=True, slots=True)
class SpendReading:
    """What had been spent of a UTC day's money at an instant, and what was held for calls under way."""

    at: datetime
    spent_usd: float
    held_usd: float


def day_so_far(
    readings: Sequence[SpendReading],
    expected_usd: float | None,
    soft_usd: float | None,
    hard_usd: float | None,
    day: date,
) -> dg.MarkdownMetadataValue:
    """What was spent and held over the hours of one UTC day, and where the day is expected to end.

    Args:
        readings: In ascending time; those of other days are left out.
        expected_usd: What the day is expected to have cost at 24:00; None where that is not known.
        soft_usd: Limit of a day; None is unlimited.
        hard_usd: The same.
        day: The UTC day.
    """
    today = [it for it in readings if it.at.astimezone(UTC).date() == day and is_known(it.spent_usd)]
    if not today:
        return no_data()
    spent = _by_slot((it.at, it.spent_usd) for it in today)
    committed = _by_slot((it.at, it.spent_usd + it.held_usd) for it in today if is_known(it.held_usd))
    expected = expected_usd if expected_usd is not None and is_known(expected_usd) else None
    top, limits = scale_top(max(amount for _, amount in [*spent, *committed, (24, expected or 0)]), soft_usd, hard_usd)
    last, at = today[-1], f"{today[-1].at.astimezone(UTC):%H:%M}"
    held = usd(last.spent_usd + last.held_usd) if is_known(last.held_usd) else "–"
    entries = [
        (_SPENT, usd(last.spent_usd), f"spent at {at}"),
        (_COMMITTED, held, "spent and held"),
        (_EXPECTED, "–" if expected is None else usd(expected), "expected at 24:00"),
    ]
    caption, bottom = paragraph(
        BELOW,
        WIDTH,
        "Held is the most that calls under way may cost; it counts towards limits as what is spent does. "
        + ("" if expected is not None else "What the day will have cost is not known yet. ")
        + " ".join(limit.words(top) for limit in limits),
    )
    parts = [
        heading(f"Spend of {day:%d %b %Y} so far"),
        axes(top, "hour of the UTC day"),
        *_hours(),
        *limit_lines(limits, top),
        _steps(committed, top, _COMMITTED),
        *(_dot(*reading, top, MUTED, 2.5) for reading in committed[-1:]),
        _steps(spent, top, _SPENT),
        *_prospect(spent[-1], expected, top),
        *legend(entries),
        caption,
    ]
    title = f"Spend of {day:%d %b %Y} so far: {usd(last.spent_usd).removeprefix('$')} USD at {at}"
    return picture(WIDTH, bottom, title, parts)


def _by_slot(readings: Iterable[tuple[datetime, float]]) -> list[tuple[float, float]]:
    """Hour and amount of the last reading in each slot of the day."""
    at_hours = [(_hour(at.astimezone(UTC)), amount) for at, amount in readings]
    return list({math.floor(hour * _SLOTS_PER_HOUR): (hour, amount) for hour, amount in at_hours}.values())


def _hour(at: datetime) -> float:
    return at.hour + at.minute / 60 + at.second / 3600


def _steps(readings: Sequence[tuple[float, float]], top: float, look: Look) -> str:
    """A line that holds each amount until the next is read."""
    if not readings:
        return ""
    (hour, amount), *later = readings
    steps = "".join(f"H{_hour_x(hour):.1f}V{y_of(amount, top):.1f}" for hour, amount in later)
    return element("path", "", d=f"M{_hour_x(hour):.1f} {y_of(amount, top):.1f}{steps}", **look)


def _prospect(last: tuple[float, float], expected: float | None, top: float) -> Iterator[str]:
    """The last reading, and the way from there to what the day is expected to have cost."""
    x, y = _hour_x(last[0]), y_of(last[1], top)
    if expected is not None:
        yield element("path", "", d=f"M{x:.1f} {y:.1f}L{RIGHT} {y_of(expected, top):.1f}", **_EXPECTED)
    yield _dot(*last, top, GOOD, 4)


def _dot(hour: float, amount: float, top: float, colour: str, radius: float) -> str:
    return element("circle", cx=_hour_x(hour), cy=y_of(amount, top), r=radius, fill=colour, stroke=PAPER)


def _hours() -> Iterator[str]:
    for hour in range(0, 25, 3):
        yield text(_hour_x(hour), FOOT + 18, f"{hour:02}:00", text_anchor="middle")
    yield element("path", d="".join(f"M{_hour_x(hour):g} {FOOT}v5" for hour in range(0, 25, 3)), stroke=MUTED)


def _hour_x(hour: float) -> float:
    return LEFT + hour / 24 * PLOT_WIDTH
