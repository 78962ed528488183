"""Rows as a table that a person can read in the UI, whatever their words are."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import dagster as dg

from ensemble_pipeline.providers.texts import one_line

_CELL_LENGTH = 1000
# markets, models and providers wrote parts of what is shown: none of it may become a link, an image or an element
_MARKUP = str.maketrans({char: f"\\{char}" for char in "\\`*_[]|~!"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def markdown_table(rows: Sequence[Mapping[str, object]]) -> dg.MarkdownMetadataValue:
    """A Markdown table with one column for each key of the first row; names and texts are shown as they are, escaped.

    A text stands on one line, without control characters, cut after 1,000 characters.
    """
    if not rows:
        return dg.MetadataValue.md("no rows yet")
    columns = list(rows[0])
    head = ["| " + " | ".join(map(_cell, columns)) + " |", "|" + "---|" * len(columns)]
    body = ["| " + " | ".join(_cell(row[column]) for column in columns) + " |" for row in rows]
    return dg.MetadataValue.md("\n".join([*head, *body]))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, datetime):
        return value.isoformat()
    return "–" if value is None else one_line(str(value), _CELL_LENGTH).translate(_MARKUP)
