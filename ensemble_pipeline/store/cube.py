"""The skill cube in the database: the sums of every ledger row up to its mark, by hour and key."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import numpy as np

from ensemble_pipeline.forecasting.skill_cube import SUM_FIELDS, CubeCells
from ensemble_pipeline.store.additive import add_sums
from ensemble_pipeline.store.columns import (
    Columns,
    hours_to_timestamps,
    read_columns,
    timestamps_to_hours,
    write_columns,
)
from ensemble_pipeline.store.database import Connection
from ensemble_pipeline.store.skill_keys import NamedCells, names_of, numbers_of

_KEYS = ("hour_at", "seen_from", "key_id")
_SUMS = ", ".join(SUM_FIELDS)
_EMPTY = " and ".join(f"{name} = 0" for name in SUM_FIELDS)


def replace_cells(connection: Connection, start: datetime, end: datetime, cubes: Sequence[NamedCells]) -> int:
    """Put these cells in place of all with ``start <= hour_at < end``; returns how many."""
    connection.execute("delete from skill_cube where hour_at >= %s and hour_at < %s", [start, end])
    return write_columns(connection, "skill_cube", _blocks(connection, cubes), is_analyzed=True)


def fold_cells(connection: Connection, cubes: Sequence[NamedCells]) -> int:
    """Add these cells to those of the same key; returns how many cells were touched."""
    if not any(len(cube.cells) for cube in cubes):
        return 0
    return add_sums(connection, "skill_cube", _KEYS, _blocks(connection, cubes), _EMPTY)


def load_cells(connection: Connection, dimension: str, after: datetime, until: datetime) -> NamedCells:
    """Cells of one dimension with ``after < hour_at <= until``."""
    names = names_of(connection, dimension)
    found = read_columns(
        connection,
        f"select {', '.join(_KEYS)}, {_SUMS} from skill_cube where hour_at > %s and hour_at <= %s and key_id = any(%s)",
        [after, until, names.numbers],
        {"hour_at": "i8", "seen_from": "i8", "key_id": "i4", **dict.fromkeys(SUM_FIELDS, "i8")},
    )
    cells = CubeCells(
        hour=timestamps_to_hours(found["hour_at"]),
        seen_from=timestamps_to_hours(found["seen_from"]),
        model=names.model[found["key_id"]],
        segment=names.segment[found["key_id"]],
        sums=np.stack([found[name] for name in SUM_FIELDS]),
    )
    return NamedCells(dimension, cells, names.models, names.segments)


def _blocks(connection: Connection, cubes: Sequence[NamedCells]) -> Iterator[Columns]:
    numbers = [numbers_of(connection, cube.dimension, cube.models, cube.segments) for cube in cubes]
    for cube, number in zip(cubes, numbers, strict=True):
        cells = cube.cells
        yield {
            "hour_at": hours_to_timestamps(cells.hour),
            "seen_from": hours_to_timestamps(cells.seen_from),
            "key_id": number[cells.model, cells.segment],
            **dict(zip(SUM_FIELDS, cells.sums, strict=True)),
        }
