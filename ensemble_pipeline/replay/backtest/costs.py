"""What the calls of a walk had cost by each instant, as the sums that costs per answer are made of.

Belongs here: sums over rows by time. Does not: what follows from them (ensemble.efficiency).
"""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from ensemble_pipeline.ensemble.cost import LOOK_BACK
from ensemble_pipeline.replay.backtest.learnt import Codes, instant
from ensemble_pipeline.replay.backtest.rows import AskedRow
from ensemble_pipeline.store.database import Row


class Costs:
    """Every call of an archive, one row per decision and one column per model, in the order of time."""

    def __init__(self, rows: Sequence[AskedRow], codes: Codes, models: tuple[str, ...]) -> None:
        self._models = models
        self._category, self._categories = codes.category, codes.categories
        self._at = np.array([instant(row.at) for row in rows], dtype=np.int64)
        place = {name: index for index, name in enumerate(models)}
        shape = (len(rows), len(models))
        self._cost, self._held = (np.zeros(shape, dtype=np.int64) for _ in range(2))
        self._is_asked, self._is_answered = (np.zeros(shape, dtype=np.bool_) for _ in range(2))
        for number, row in enumerate(rows):
            for name, cost in row.cost_micro_usd.items():
                where = number, place[name]
                self._cost[where], self._held[where] = cost, row.worst_case_micro_usd[name]
                self._is_asked[where] = True
            for answer in row.answers:
                self._is_answered[number, place[answer.model_id]] = True

    def known_by(self, at: datetime) -> list[Row]:
        """Sums over the calls of 30 days made before `at`, by model and category, as ``call_costs`` gives them."""
        first = np.searchsorted(self._at, instant(at - LOOK_BACK), side="right")
        end = np.searchsorted(self._at, instant(at), side="left")
        there = slice(int(first), int(end))
        found: list[Row] = []
        for code in np.unique(self._category[there]).tolist():
            here = np.flatnonzero(self._category[there] == code) + int(first)
            cost, is_answered = self._cost[here], self._is_answered[here]
            sums = {
                "calls": self._is_asked[here].sum(axis=0),
                "answers": is_answered.sum(axis=0),
                "cost_micro_usd": cost.sum(axis=0),
                "reserved_micro_usd": self._held[here].sum(axis=0),
                "cost_squared": np.square(cost, dtype=np.float64).sum(axis=0),
                "cost_of_answered": np.where(is_answered, cost, 0).sum(axis=0),
            }
            for index, name in enumerate(self._models):
                if sums["calls"][index]:
                    line = {key: values[index].item() for key, values in sums.items()}
                    found.append({"model_id": name, "category": self._categories[code], **line})
        return found
