"""Models by segments as a picture.

Belongs here: how a heat map is drawn. Does not: its numbers (forecasting/segments.py), how SVG is written
(svg.py). NaN, infinity and None mean "not known" and are never drawn as numbers.
"""

import math
from collections.abc import Iterator, Sequence
from html import escape
from itertools import accumulate, groupby, pairwise

import dagster as dg

from ensemble_pipeline.pipeline.plots.svg import (
    MARGIN,
    MUTED,
    element,
    fit,
    heading,
    no_data,
    paragraph,
    picture,
    printable,
    signed,
    text,
)

STRENGTH, WEAKNESS = "▲", "▼"
"""Marks for cells; the caption explains them."""

_NAME_WIDTH = 225
_CELL, _CELL_HEIGHT, _GROUP_GAP = 36, 22, 17
_LEFT, _TOP = MARGIN + _NAME_WIDTH + 8, 168
_HEADER_LENGTH, _HEADER_OVERHANG = 142, 62
_LEGEND_WIDTH = 560
_SHADES_GOOD = ("#f1f2f0", "#dcebf7", "#b5d6ef", "#85bbe3", "#569fd4")
_SHADES_BAD = ("#f1f2f0", "#fce6d3", "#f9c9a0", "#f2a669", "#e5843c")
_UNKNOWN = "#d3d6da"
_SMALLEST_LIMIT = 0.01  # Brier points: the strongest shade does not begin below, or noise would look like news


def heat_map(
    row_names: Sequence[str],
    column_names: Sequence[tuple[str, str]],
    values: Sequence[Sequence[float | None]],
    marks: Sequence[Sequence[str]] | None = None,
) -> dg.MarkdownMetadataValue:
    """Where models are better or worse than the panel; blue is better, orange is worse, grey is not enough evidence.

    Args:
        row_names: Models.
        column_names: Group and name of each column, such as ("category", "Politics"); a group's columns side by side.
        values: Brier points, one row per model, one element per column; None where there is not enough evidence.
        marks: `STRENGTH`, `WEAKNESS` or "" per cell, same shape.
    """
    if not row_names or not column_names:
        return no_data()
    known = [[None if value is None or not math.isfinite(value) else value for value in row] for row in values]
    limit = max([_SMALLEST_LIMIT, *(abs(value) for row in known for value in row if value is not None)])
    lefts = _column_lefts([group for group, _ in column_names])
    foot = _TOP + len(row_names) * _CELL_HEIGHT
    width = max(lefts[-1] + _CELL + _HEADER_OVERHANG, _LEGEND_WIDTH)
    caption, bottom = paragraph(
        foot + 66,
        width,
        "Numbers: thousandths of a Brier point against the panel, negative is better. "
        f"{STRENGTH}\u00a0strength, {WEAKNESS}\u00a0weakness: unlike the same model elsewhere, by more than chance.",
    )
    parts = [
        heading("Where models are better or worse than the panel"),
        _cells(lefts, known, limit),
        *(
            text(MARGIN, _baseline(index), fit(name, _NAME_WIDTH))
            for index, (name, _) in enumerate(zip(row_names, known, strict=True))
        ),
        _numbers(lefts, known, marks or [[""] * len(column_names) for _ in row_names]),
        *_column_headers(lefts, column_names, foot),
        _legend(foot + 46, limit),
        caption,
    ]
    title = f"Heat map of {len(row_names)} models in {len(column_names)} segments"
    return picture(width, bottom, title, parts)


def _column_lefts(groups: Sequence[str]) -> list[int]:
    """Left edge of each column; where a group ends there is a gap."""
    changes = [0, *(int(left != right) for left, right in pairwise(groups))]
    return [_LEFT + index * _CELL + gaps * _GROUP_GAP for index, gaps in enumerate(accumulate(changes))]


def _shade(value: float | None, limit: float) -> str:
    if value is None:
        return _UNKNOWN
    depth = round(abs(value) / limit * (len(_SHADES_GOOD) - 1))
    return (_SHADES_GOOD if value < 0 else _SHADES_BAD)[depth]


def _cells(lefts: Sequence[int], rows: Sequence[Sequence[float | None]], limit: float) -> str:
    """All cells of one shade as one path, for a fifth of the text that a rectangle each would take."""
    paths: dict[str, list[str]] = {}
    for index, row in enumerate(rows):
        y = _TOP + (index + 0.5) * _CELL_HEIGHT
        for left, value in zip(lefts, row, strict=True):
            paths.setdefault(_shade(value, limit), []).append(f"M{left} {y:g}h{_CELL - 1}")
    return "".join(
        element("path", d="".join(steps), stroke=shade, stroke_width=_CELL_HEIGHT - 1) for shade, steps in paths.items()
    )


def _numbers(lefts: Sequence[int], rows: Sequence[Sequence[float | None]], marks: Sequence[Sequence[str]]) -> str:
    lines = [
        "".join(
            element("tspan", escape(f"{signed(value * 1000, 0)}{printable(mark)}"), x=left + _CELL / 2)
            for left, value, mark in zip(lefts, row, row_marks, strict=True)
            if value is not None
        )
        for row, row_marks in zip(rows, marks, strict=True)
    ]
    drawn = [element("text", line, y=_baseline(index)) for index, line in enumerate(lines)]
    return element("g", "".join(drawn), text_anchor="middle", font_size=10)


def _baseline(index: int) -> int:
    return _TOP + index * _CELL_HEIGHT + 15


def _column_headers(lefts: Sequence[int], names: Sequence[tuple[str, str]], foot: float) -> Iterator[str]:
    """Names of columns above, slanted; names of groups below."""
    for left, (_, name) in zip(lefts, names, strict=True):
        x, y = left + _CELL / 2 + 4, _TOP - 6
        yield text(x, y, fit(name, _HEADER_LENGTH), transform=f"rotate(-60 {x:g} {y:g})")
    for group, columns in groupby(zip(lefts, names, strict=True), key=lambda column: column[1][0]):
        edges = [left for left, _ in columns]
        left, right = edges[0], edges[-1] + _CELL - 1
        yield element("path", d=f"M{left} {foot + 5:g}H{right}", stroke=MUTED)
        yield text(
            (left + right) / 2, foot + 19, fit(group, right - left + _GROUP_GAP), text_anchor="middle", fill=MUTED
        )


def _legend(y: float, limit: float) -> str:
    shades = [*reversed(_SHADES_GOOD[1:]), *_SHADES_BAD]
    strongest = f"{limit * 1000:.0f}"
    steps = [
        element("path", d=f"M{MARGIN + 90 + index * 20} {y - 4:g}h20", stroke=shade, stroke_width=12)
        for index, shade in enumerate(shades)
    ]
    end = MARGIN + 90 + len(shades) * 20
    unknown = element("path", d=f"M{end + 100} {y - 4:g}h20", stroke=_UNKNOWN, stroke_width=12)
    return "".join(
        [
            text(MARGIN + 84, y, f"better  −{strongest}", text_anchor="end"),
            *steps,
            text(end + 6, y, f"+{strongest}  worse"),
            unknown,
            text(end + 126, y, "not enough evidence"),
        ]
    )
