"""The performance windows in the database: replaced day by day, or restated by adding what came late."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

import numpy as np

from ensemble_pipeline.forecasting.skill_cube import SUM_FIELDS
from ensemble_pipeline.forecasting.windows import WindowTable
from ensemble_pipeline.store.additive import add_sums
from ensemble_pipeline.store.columns import Columns, hours_to_timestamps, write_columns
from ensemble_pipeline.store.database import Connection, Row
from ensemble_pipeline.store.skill_keys import EVERY_SEGMENT, OVER_ALL, numbers_of

_KEYS = ("as_of", "window_hours", "key_id")
_HOUR = 3_600_000_000  # microseconds
_WINDOW_SPAN, _KEY_SPAN = 2**11, 2**31


class NamedWindows:
    """The windows of one dimension under their key numbers; those over all segments only where `has_total`."""

    def __init__(
        self,
        connection: Connection,
        dimension: str,
        models: Sequence[str],
        segments: Sequence[str],
        *,
        has_total: bool,
    ) -> None:
        own = numbers_of(connection, dimension, models, segments)
        total = numbers_of(connection, OVER_ALL, models, [EVERY_SEGMENT]) if has_total else np.zeros_like(own[:, :1])
        # the segment index of a total is -1, which here finds the last column
        self._numbers = np.concatenate((own, total), axis=1) if len(models) else np.zeros((1, 1), dtype=np.int32)

    def columns(self, table: WindowTable) -> Columns:
        """The table's rows as columns of the database's table."""
        key_id = self._numbers[table.model, table.segment]
        kept = np.flatnonzero(key_id)
        return {
            "as_of": hours_to_timestamps(table.as_of_hour[kept]),
            "window_hours": table.window_hours[kept].astype(np.int16),
            "key_id": key_id[kept],
            **{name: total[kept] for name, total in zip(SUM_FIELDS, table.sums, strict=True)},
        }


def in_key_order(parts: Sequence[Columns]) -> Columns:
    """Blocks of columns as one, in the order of the table's primary key: its index grows at the end only."""
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    place = (
        (joined["as_of"] - np.min(joined["as_of"], initial=2**62)) // _HOUR * _WINDOW_SPAN + joined["window_hours"]
    ) * _KEY_SPAN + joined["key_id"]
    # the parts are sorted already: a stable sort only merges them
    order = np.argsort(place, kind="stable")
    return {name: column[order] for name, column in joined.items()}


def delete_windows(connection: Connection, start: datetime, end: datetime) -> None:
    """Remove the windows as of ``start <= as_of < end``."""
    connection.execute("delete from performance_windows where as_of >= %s and as_of < %s", [start, end])


def append_windows(connection: Connection, blocks: Iterable[Columns]) -> int:
    """Append blocks of `NamedWindows.columns`; returns the number of rows."""
    return write_columns(connection, "performance_windows", blocks, is_analyzed=True)


def fold_windows(connection: Connection, blocks: Iterator[Columns]) -> int:
    """Add the windows of late rows to those that stand; returns how many were touched.

    A window that holds nothing any more goes, one that held nothing before comes.
    """
    return add_sums(connection, "performance_windows", _KEYS, blocks, empty="n = 0")


def windows_at(
    connection: Connection, as_of: datetime, dimension: str = OVER_ALL, segment: str = EVERY_SEGMENT
) -> list[Row]:
    """The windows of one as-of hour and segment, with mean Brier score, log loss and accuracy."""
    return connection.execute(
        "select window_hours, model_id, n, brier, log_loss, accuracy, market_n, brier_minus_market from window_scores"
        " where as_of = %s and dimension = %s and segment = %s order by window_hours, model_id",
        [as_of, dimension, segment],
    ).fetchall()
