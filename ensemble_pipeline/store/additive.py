"""Tables of additive sums by key: adding to the rows that stand.

Belongs here: what cube and windows have in common. Does not: which rows are added, and which keys they have.
"""

from collections.abc import Iterable, Sequence

from ensemble_pipeline.forecasting.skill_cube import SUM_FIELDS
from ensemble_pipeline.store.columns import Columns, write_columns
from ensemble_pipeline.store.database import Connection


def add_sums(connection: Connection, table: str, keys: Sequence[str], blocks: Iterable[Columns], empty: str) -> int:
    """Add rows to those of the same key, new keys as they are; returns how many rows were added.

    Rows for which the condition `empty` holds afterwards go; `keys` begin with the time by which these are found.
    """
    connection.execute(f"create temporary table added_sums (like {table}) on commit drop")
    added = write_columns(connection, "added_sums", blocks)
    sums = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in SUM_FIELDS)
    # keys are looked up one by one, whatever the server believes of the tables' sizes
    connection.execute(
        f"insert into {table} select * from added_sums on conflict ({', '.join(keys)}) do update set {sums}"
    )
    connection.execute(
        f"delete from {table} t using (select min({keys[0]}) as first, max({keys[0]}) as last from added_sums"
        f" having min(n) <= 0) added where t.{keys[0]} between added.first and added.last and {empty}"
    )
    connection.execute("drop table added_sums")
    return added
