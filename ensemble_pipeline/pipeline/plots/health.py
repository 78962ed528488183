"""When the breakers of models and providers were open over the last days, a strip a name, with how their calls went.

Belongs here: how the strips are drawn. Does not: what opens a breaker, how SVG is written (svg.py).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from ensemble_pipeline.pipeline.plots.svg import (
    BAD,
    GOOD,
    GRID,
    MARGIN,
    MUTED,
    UNDECIDED,
    element,
    fit,
    heading,
    no_data,
    paragraph,
    picture,
    text,
)

_NAMES, _PLOT, _NUMBERS = 190, 560, 250
_LEFT, _TOP, _ROW, _BAR = MARGIN + _NAMES, 64, 26, 12
_RIGHT = _LEFT + _PLOT
_WIDTH = _RIGHT + _NUMBERS + MARGIN
_COLOURS = {"open": BAD, "half_open": UNDECIDED}
_SHORTEST = 2.0  # pixels: what was open for a minute is seen too


@dataclass(frozen=True, slots=True)
class HealthStrip:
    """A model or provider: its breaker's changes to a state, oldest first, and how its calls of the last day went.

    `success_share` in [0, 1] and `p95_ms` are ``None`` where there were no calls, or they are not told by name.
    """

    name: str
    changes: Sequence[tuple[datetime, str]]
    calls: int = 0
    success_share: float | None = None
    p95_ms: float | None = None


def health_history(strips: Sequence[HealthStrip], since: datetime, now: datetime) -> dg.MarkdownMetadataValue:
    """The strips from `since` to `now`; a breaker is taken to be closed before its first change."""
    if not strips or now <= since:
        return no_data()
    foot = _TOP + len(strips) * _ROW
    caption, bottom = paragraph(
        foot + 44,
        _WIDTH,
        "A high block: the breaker is open, nobody is asked. A low one: half-open, one call may try. A line: closed, "
        "it is asked. At the right the calls of the last day, the share that brought a forecast, and the time in which "
        "95% of the answers came.",
    )
    parts = [
        heading("Breakers of models and providers"),
        *_days(since, now, foot),
        *(part for row, strip in enumerate(strips) for part in _strip(strip, _TOP + row * _ROW, since, now)),
        caption,
    ]
    troubled = sum(bool(_blocks(strip, since, now)) for strip in strips)
    title = (
        f"Breakers from {since:%d %b %H:%M} to {now:%d %b %H:%M} UTC: {troubled} of {len(strips)} were open at times"
    )
    return picture(_WIDTH, bottom, title, parts)


def _strip(strip: HealthStrip, y: float, since: datetime, now: datetime) -> Iterator[str]:
    middle = y + _ROW / 2
    yield text(MARGIN, middle + 4, fit(strip.name, _NAMES - 12))
    yield element("path", d=f"M{_LEFT} {middle}H{_RIGHT}", stroke=GOOD, stroke_width=2)
    for begins, ends, state in _blocks(strip, since, now):
        x, height = _x(begins, since, now), _BAR if state == "open" else _BAR / 2
        width = max(_SHORTEST, _x(ends, since, now) - x)
        yield element(
            "rect", x=x, y=middle - height / 2, width=width, height=height, fill=_COLOURS.get(state, UNDECIDED)
        )
    yield text(_RIGHT + 14, middle + 4, _numbers(strip), fill=MUTED)


def _blocks(strip: HealthStrip, since: datetime, now: datetime) -> list[tuple[datetime, datetime, str]]:
    """Begin, end and state of each stretch in which the breaker was not closed."""
    stretches = zip(strip.changes, [*(at for at, _ in strip.changes[1:]), now], strict=False)
    return [(max(at, since), end, state) for (at, state), end in stretches if state != "closed" and end > since]


def _numbers(strip: HealthStrip) -> str:
    if strip.success_share is None:
        return "no calls" if strip.calls == 0 else f"{strip.calls} calls"
    p95 = "" if strip.p95_ms is None else f", 95% within {strip.p95_ms / 1000:.1f} s"
    return f"{strip.calls} calls, {strip.success_share:.0%} answered{p95}"


def _days(since: datetime, now: datetime, foot: float) -> Iterator[str]:
    yield element("path", d=f"M{_LEFT} {foot + 4}H{_RIGHT}", stroke=MUTED)
    at = since.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    while at <= now:
        if at >= since:
            x = _x(at, since, now)
            yield element("path", d=f"M{x:.1f} {_TOP - 8}V{foot + 8}", stroke=GRID)
            yield text(x, foot + 22, f"{at:%d %b}", text_anchor="middle")
        at += timedelta(days=1)


def _x(at: datetime, since: datetime, now: datetime) -> float:
    return _LEFT + (at - since) / (now - since) * _PLOT
