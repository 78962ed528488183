"""Rows as a table that a person can read in the UI."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import dagster as dg


def markdown_table(rows: Sequence[Mapping[str, object]]) -> dg.MarkdownMetadataValue:
    """A Markdown table with one column for each key of the first row; text is escaped."""
    if not rows:
        return dg.MetadataValue.md("no rows yet")
    columns = list(rows[0])
    head = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    body = ["| " + " | ".join(_cell(row[column]) for column in columns) + " |" for row in rows]
    return dg.MetadataValue.md("\n".join([*head, *body]))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, datetime):
        return value.isoformat()
    return str("–" if value is None else value).replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
