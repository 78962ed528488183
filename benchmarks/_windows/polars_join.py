"""polars: cells by `group_by`, a dense table of running sums by cell and hour, then rows less the rows ``W`` before.

`Join` makes the dense table by a join with the grid and finds the rows before by another join: the plan one writes
first. `Shift` scatters the cells into the dense table and shifts it. It is the fastest of the plans tried on polars
2.1: filling the grid by `group_by`, shifting over each cell, `rolling_sum`, one join for each length and the streaming
engine took 1.3 to 4 times as long.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks._windows.ledger import AS_OF_HOURS, LAST_HOUR, N_CATEGORIES, N_MODELS, STATISTICS, scored
from ensemble_pipeline.forecasting.skill_cube import SECONDS_PER_HOUR
from ensemble_pipeline.forecasting.windows import WINDOW_HOURS

N_GROUPS = 1 + N_CATEGORIES
"""Per model the sum over the categories and each of them; the cell is ``model * N_GROUPS + group``."""

FIRST_AS_OF = int(AS_OF_HOURS[0])
LENGTHS = pl.LazyFrame({"length": WINDOW_HOURS}, schema={"length": pl.Int32})
SUMS = pl.col(STATISTICS)


class Join:
    """The ledger in a frame, the indices as bytes, whose order finds the rows to read; the result is a frame too."""

    def __init__(self, n_rows: int, after: int) -> None:
        ledger = scored(n_rows, np.uint8)
        keys = {"known_at_s": ledger.known_at_s, "model": ledger.model, "category": ledger.category}
        self.ledger = pl.DataFrame(keys | dict(zip(STATISTICS, ledger.sums, strict=True)))
        self.after = after
        self.n_hours = LAST_HOUR - after + 1
        self.table = pl.DataFrame()

    def columns(self) -> list[NDArray[np.generic]]:
        return [column.to_numpy() for column in self.table]

    def compute(self) -> None:
        grid = pl.LazyFrame({"place": self.places()})
        dense = grid.join(self.filled(), on="place", how="left", maintain_order="left").with_columns(SUMS.fill_null(0))
        prefix = dense.with_columns(SUMS.cum_sum().over(pl.col("place") // self.n_hours))
        ending = prefix.filter(self.hour() >= FIRST_AS_OF).join(LENGTHS, how="cross")
        windows = ending.with_columns(start=pl.col("place") - pl.col("length")).join(
            prefix, left_on="start", right_on="place", suffix="_before"
        )
        difference = windows.with_columns(pl.col(name) - pl.col(f"{name}_before") for name in STATISTICS)
        self.table = self.named(difference.filter(pl.col("n") > 0)).collect()

    def filled(self) -> pl.LazyFrame:
        """The cells that hold rows, and the sums over the categories, by their place in the dense table."""
        known_at_s = self.ledger["known_at_s"]
        first = known_at_s.search_sorted(self.after * SECONDS_PER_HOUR, side="right")
        last = known_at_s.search_sorted(LAST_HOUR * SECONDS_PER_HOUR, side="right")
        hour = (pl.col("known_at_s") + (SECONDS_PER_HOUR - 1)) // SECONDS_PER_HOUR - self.after
        cell = pl.col("model").cast(pl.Int32) * N_GROUPS + pl.col("category") + 1
        rows = self.ledger[first:last].lazy().select(SUMS, place=cell * self.n_hours + hour.cast(pl.Int32))
        by_category = rows.group_by("place").agg(SUMS.sum())
        size = N_GROUPS * self.n_hours
        total = (pl.col("place") // size * size + pl.col("place") % self.n_hours).alias("place")
        return pl.concat([by_category, by_category.group_by(total).agg(SUMS.sum())])

    def places(self) -> pl.Series:
        """Numbers of the rows of the dense table: by cell, then by hour."""
        return pl.Series("place", np.arange(N_MODELS * N_GROUPS * self.n_hours, dtype=np.int32))

    def hour(self) -> pl.Expr:
        return pl.col("place") % self.n_hours + self.after

    def named(self, windows: pl.LazyFrame) -> pl.LazyFrame:
        cell = pl.col("place") // self.n_hours
        keys = (self.hour().alias("hour"), "length", (cell // N_GROUPS).alias("model"))
        return windows.select(*keys, (cell % N_GROUPS - 1).alias("category"), *STATISTICS)


class Shift(Join):
    """As `Join`, without a join."""

    def compute(self) -> None:
        places, filled = self.places(), self.filled().collect()
        zeros = pl.zeros(len(places), pl.Int64, eager=True)
        dense = pl.DataFrame({name: zeros.clone().scatter(filled["place"], filled[name]) for name in STATISTICS})
        # a sum that runs on from one cell into the next leaves the differences within a cell as they are
        prefix = dense.select(places, SUMS.cum_sum())
        is_end = places % self.n_hours >= FIRST_AS_OF - self.after
        ending = prefix.filter(is_end)
        windows = []
        for length in WINDOW_HOURS:
            before = prefix.select(SUMS.shift(length, fill_value=0)).filter(is_end)
            difference = (pl.col(name) - before[name] for name in STATISTICS)
            windows.append(ending.select("place", *difference, length=pl.lit(length)).filter(pl.col("n") > 0))
        self.table = self.named(pl.concat(windows).lazy()).collect()
