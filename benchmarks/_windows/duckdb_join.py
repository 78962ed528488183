"""DuckDB: cells by GROUP BY, a dense table of running sums by hour and cell, a hash join at ``a`` and ``a - W``.

The fastest of the plans tried on DuckDB 2.0, all over the same rows. Times as long took: `lag` in place of the join
1.2 to 2, lists of running sums by cell 1.5, a frame of ROWS for each length 2, ASOF joins without a dense table 3,
frames of RANGE 10, and the same plan without MATERIALIZED 20.
"""

import duckdb
import numpy as np
from numpy.typing import NDArray

from benchmarks._windows.ledger import AS_OF_HOURS, LAST_HOUR, N_CATEGORIES, N_MODELS, STATISTICS, forecasts
from ensemble_pipeline.forecasting.skill_cube import SECONDS_PER_HOUR
from ensemble_pipeline.forecasting.windows import WINDOW_HOURS

N_GROUPS = 1 + N_CATEGORIES
"""Per model the sum over the categories and each of them; the cell is ``model * N_GROUPS + group``."""


class HashJoin:
    """The ledger in a table in memory, the indices as bytes; the result is a table too."""

    def __init__(self, n_rows: int, after: int) -> None:
        self.connection = duckdb.connect()
        columns = ", ".join(f"{name} BIGINT" for name in STATISTICS)
        self.connection.execute(
            f"CREATE TABLE scored (known_at_s BIGINT, model UTINYINT, category UTINYINT, {columns})"
        )
        for part in forecasts(n_rows):
            keys = {name: getattr(part, name) for name in ("known_at_s", "model", "category")}
            self.connection.register("part", keys | dict(zip(STATISTICS, part.statistics(), strict=True)))
            self.connection.execute("INSERT INTO scored SELECT * FROM part")
            self.connection.unregister("part")
        self.query = _sql(after)

    def compute(self) -> None:
        self.connection.execute(f"CREATE OR REPLACE TABLE result AS {self.query}")

    def columns(self) -> list[NDArray[np.generic]]:
        return [np.asarray(values) for values in self.connection.execute("FROM result").fetchnumpy().values()]


def _sql(after: int) -> str:
    def each(template: str) -> str:
        return ", ".join(template.format(name) for name in STATISTICS)

    return f"""
        WITH by_category AS MATERIALIZED (
            SELECT ((known_at_s + {SECONDS_PER_HOUR - 1}) // {SECONDS_PER_HOUR})::INTEGER AS hour, model, category,
                {each("sum({0})::BIGINT AS {0}")}
            FROM scored
            WHERE known_at_s > {after * SECONDS_PER_HOUR} AND known_at_s <= {LAST_HOUR * SECONDS_PER_HOUR}
            GROUP BY ALL
        ), filled AS MATERIALIZED (
            SELECT hour, (model * {N_GROUPS} + category + 1)::UTINYINT AS cell, {each("{0}")} FROM by_category
            UNION ALL
            SELECT hour, (model * {N_GROUPS})::UTINYINT, {each("sum({0})::BIGINT")} FROM by_category
            GROUP BY hour, model
        ), grid AS (
            SELECT hours.range::INTEGER AS hour, cells.range::UTINYINT AS cell
            FROM range({after}, {LAST_HOUR + 1}) AS hours, range({N_MODELS * N_GROUPS}) AS cells
        ), dense AS (
            SELECT hour, cell, {each("coalesce({0}, 0) AS {0}")} FROM grid LEFT JOIN filled USING (hour, cell)
        ), prefix AS MATERIALIZED (
            SELECT hour, cell, {each("(sum({0}) OVER running)::BIGINT AS {0}")}
            FROM dense WINDOW running AS (PARTITION BY cell ORDER BY hour ROWS UNBOUNDED PRECEDING)
        ), ending AS (
            SELECT *, hour - length AS start
            FROM (FROM prefix WHERE hour >= {AS_OF_HOURS[0]}), (SELECT unnest({list(WINDOW_HOURS)}) AS length)
        )
        SELECT ending.hour, length, ending.cell // {N_GROUPS} AS model,
            (ending.cell % {N_GROUPS})::TINYINT - 1 AS category, {each("ending.{0} - prefix.{0} AS {0}")}
        FROM ending JOIN prefix ON prefix.hour = ending.start AND prefix.cell = ending.cell
        WHERE ending.n > prefix.n
    """
