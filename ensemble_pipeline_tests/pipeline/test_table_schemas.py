"""What the UI says of a table is what the table is."""

import pytest

from ensemble_pipeline.pipeline.table_schemas import COLUMNS
from ensemble_pipeline.store.database import Database


@pytest.mark.parametrize("table", sorted(COLUMNS))
def test_columns_shown_with_an_asset_are_those_of_its_table(database: Database, table: str) -> None:
    with database.connection() as connection:
        rows = connection.execute(
            "select column_name, data_type from information_schema.columns"
            " where table_schema = 'ensemble' and table_name = %s",
            [table],
        ).fetchall()
    assert {name: kind for name, (kind, _) in COLUMNS[table].items()} == {
        row["column_name"]: row["data_type"] for row in rows
    }
