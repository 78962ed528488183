"""This package: one pass over the rows into the skill cube, then differences of its prefix sums."""

import numpy as np
from numpy.typing import NDArray

from benchmarks._windows.ledger import AS_OF_HOURS, LAST_HOUR, scored
from ensemble_pipeline.forecasting.skill_cube import SECONDS_PER_HOUR, hour_seen, sum_cells
from ensemble_pipeline.forecasting.windows import WindowTable, window_sums


class Ours:
    """The ledger in numpy arrays, whose order finds the rows to read."""

    def __init__(self, n_rows: int, after: int) -> None:
        self.ledger = scored(n_rows)
        self.bounds = (after * SECONDS_PER_HOUR, LAST_HOUR * SECONDS_PER_HOUR)
        self.table: WindowTable | None = None

    def compute(self) -> None:
        first, last = np.searchsorted(self.ledger.known_at_s, self.bounds, side="right")
        hour = hour_seen(self.ledger.known_at_s[first:last])
        model, category = self.ledger.model[first:last], self.ledger.category[first:last]
        self.table = window_sums(sum_cells(hour, hour, model, category, self.ledger.sums[:, first:last]), AS_OF_HOURS)

    def columns(self) -> list[NDArray[np.generic]]:
        assert self.table is not None
        return [self.table.as_of_hour, self.table.window_hours, self.table.model, self.table.segment, *self.table.sums]
