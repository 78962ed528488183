from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ensemble_pipeline.errors import DatabaseError
from ensemble_pipeline.store.columns import (
    Columns,
    hours_to_timestamps,
    read_columns,
    timestamps_to_hours,
    write_columns,
)
from ensemble_pipeline.store.database import Database

KINDS = {"small": "i2", "whole": "i4", "large": "i8", "real": "f8"}
ROWS = st.lists(
    st.tuples(
        st.integers(-(2**15), 2**15 - 1),
        st.integers(-(2**31), 2**31 - 1),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
    ),
    max_size=30,
)
TABLE = "create temporary table numbers (small smallint, whole integer, large bigint, real float8) on commit drop"


def columns_of(rows: list[tuple[int, int, int, float]]) -> Columns:
    return {
        name: np.array([row[index] for row in rows], dtype=kind) for index, (name, kind) in enumerate(KINDS.items())
    }


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(blocks=st.lists(ROWS, max_size=3))
def test_columns_come_back_as_they_were_written(
    database: Database, blocks: list[list[tuple[int, int, int, float]]]
) -> None:
    with database.connection() as connection:
        connection.execute(TABLE)
        written = write_columns(connection, "numbers", (columns_of(rows) for rows in blocks))
        found = read_columns(connection, "select small, whole, large, real from numbers", [], KINDS)
        by_hand = connection.execute("select * from numbers").fetchall()
    everything = [row for rows in blocks for row in rows]
    assert written == len(everything)
    assert sorted(zip(*(column.tolist() for column in found.values()), strict=True)) == sorted(everything)
    assert sorted(tuple(row.values()) for row in by_hand) == sorted(everything)


def test_columns_of_many_rows_are_read_in_several_parts_without_losing_any(database: Database) -> None:
    with database.connection() as connection:
        query = "select i, 2 * i as twice from generate_series(1, %s) g(i)"
        found = read_columns(connection, query, [200_000], {"i": "i4", "twice": "i4"})
    order = np.argsort(found["i"])
    assert found["i"][order].tolist() == list(range(1, 200_001))
    assert np.array_equal(found["twice"], 2 * found["i"])


@pytest.mark.parametrize(
    ("query", "kind"), [("select null::bigint as a", "i8"), ("select 1 as a", "i8"), ("select 1::bigint as a", "i2")]
)
def test_column_that_is_null_or_of_another_width_is_refused_by_name(database: Database, query: str, kind: str) -> None:
    with database.connection() as connection, pytest.raises(DatabaseError, match="column a is null somewhere, or no"):
        read_columns(connection, query, [], {"a": kind})


@pytest.mark.parametrize("at", [datetime(1999, 12, 31, 23, tzinfo=UTC), datetime(2026, 3, 1, 7, tzinfo=UTC)])
def test_hours_and_timestamps_of_the_database_are_the_same_instants(database: Database, at: datetime) -> None:
    hours = np.array([int(at.timestamp()) // 3600])
    with database.connection() as connection:
        found = read_columns(connection, "select %s::timestamptz as at", [at], {"at": "i8"})
    assert found["at"].tolist() == hours_to_timestamps(hours).tolist()
    assert timestamps_to_hours(found["at"]).tolist() == hours.tolist()
