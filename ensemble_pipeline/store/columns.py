"""Columns of numbers between numpy and PostgreSQL in its binary formats: no Python object per value.

Belongs here: rows whose every column is a number of fixed width and never null. Does not: which table, what it means.
Source: PostgreSQL documentation, COPY, "Binary Format"; arrays as `array_send` writes them.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from psycopg.rows import tuple_row

from ensemble_pipeline.errors import DatabaseError
from ensemble_pipeline.store.database import Connection

Columns: TypeAlias = Mapping[str, NDArray[Any]]

_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER = b"\xff\xff"
_CHUNK_BYTES = 1 << 20
_ARRAY_HEAD_BYTES = 20
_ROWS_AT_A_TIME = 65_536
_BULK_ROWS = 100_000
_EPOCH_OFFSET_S = 946_684_800  # PostgreSQL counts from 2000-01-01
_MICRO = 1_000_000


def hours_to_timestamps(hours: NDArray[np.int64]) -> NDArray[np.int64]:
    """Hours since the Unix epoch as PostgreSQL's timestamps: microseconds since 2000-01-01, UTC."""
    return (hours * 3600 - _EPOCH_OFFSET_S) * _MICRO


def timestamps_to_hours(timestamps: NDArray[np.int64]) -> NDArray[np.int64]:
    """PostgreSQL's timestamps of full hours as hours since the Unix epoch."""
    return (timestamps // _MICRO + _EPOCH_OFFSET_S) // 3600


def write_columns(connection: Connection, table: str, blocks: Iterable[Columns], *, is_analyzed: bool = False) -> int:
    """Append blocks of columns to a table; returns the number of rows.

    Each column's dtype (int16, int32, int64, float64) must be as wide as the table's; all blocks name the same columns.
    With `is_analyzed` the server looks at the table after a bulk of rows: what reads it next cannot wait until it does
    so of its own accord.
    """
    count = 0
    iterator = iter(blocks)
    first = next(iterator, None)
    if first is None:
        return 0
    with (
        connection.cursor() as cursor,
        cursor.copy(f"copy {table} ({', '.join(first)}) from stdin (format binary)") as copy,
    ):
        copy.write(_HEADER)
        for block in chain([first], iterator):
            records = _records(block)
            data = memoryview(records.tobytes())
            for start in range(0, len(data), _CHUNK_BYTES):
                copy.write(data[start : start + _CHUNK_BYTES])
            count += len(records)
        copy.write(_TRAILER)
    if is_analyzed and count >= _BULK_ROWS:
        connection.execute(f"analyze {table}")
    return count


def read_columns(
    connection: Connection, query: str, parameters: Sequence[Any], dtypes: Mapping[str, str]
) -> dict[str, NDArray[Any]]:
    """The result of a query as one array a column, in no particular order of rows.

    The server packs each column into arrays: a row of its own for every row is what costs the time otherwise.

    Args:
        connection: Where to ask.
        query: Its columns are named as `dtypes` names them; each is as wide as its numpy type, and never null.
        parameters: Of the query.
        dtypes: Names and numpy types (``i2``, ``i4``, ``i8``, ``f8``) of the columns.

    Raises:
        DatabaseError: a column is of another width than `dtypes` says, or null somewhere.
    """
    packed = ", ".join(f'array_send(array_agg("{name}"))' for name in dtypes)
    parts = f"select *, row_number() over () / {_ROWS_AT_A_TIME} as part from ({query}) as asked"
    with connection.cursor(binary=True, row_factory=tuple_row) as cursor:
        rows = cursor.execute(f"select {packed} from ({parts}) as parted group by part", parameters).fetchall()
    return {
        name: np.concatenate([np.empty(0, dtype=kind), *(_unpack(row[index], name, kind) for row in rows)])
        for index, (name, kind) in enumerate(dtypes.items())
    }


def _unpack(array: bytes, name: str, kind: str) -> NDArray[Any]:
    """An array in PostgreSQL's binary format: five words of head, then length and value of each element."""
    dtype = np.dtype(kind)
    body = memoryview(array)[_ARRAY_HEAD_BYTES:]
    if len(body) % (4 + dtype.itemsize):
        raise DatabaseError(f"column {name} is null somewhere, or no {kind}")
    elements = np.frombuffer(body, dtype=np.dtype([("length", ">i4"), ("value", dtype.newbyteorder(">"))]))
    if np.any(elements["length"] != dtype.itemsize):
        raise DatabaseError(f"column {name} is null somewhere, or no {kind}")
    return elements["value"].astype(dtype)


def _records(columns: Columns) -> NDArray[np.void]:
    layout = _layout({name: column.dtype for name, column in columns.items()})
    records = np.empty(len(next(iter(columns.values()))), dtype=layout)
    records["columns"] = len(columns)
    for name, column in columns.items():
        records[_length_of(name)] = column.dtype.itemsize
        records[name] = column
    return records


def _layout(dtypes: Mapping[str, np.dtype[Any]]) -> np.dtype[np.void]:
    """A row in COPY's format: how many columns, then length and value of each, all big-endian."""
    fields: list[tuple[str, Any]] = [("columns", ">i2")]
    for name, dtype in dtypes.items():
        fields += [(_length_of(name), ">i4"), (name, dtype.newbyteorder(">"))]
    return np.dtype(fields)


def _length_of(name: str) -> str:
    return f"{name}:length"
