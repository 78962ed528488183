"""A made-up ledger of forecasts for the benchmark of windows: sorted by time, the same in every process.

Belongs here: the size and shape of the problem, and its rows, a few days at a time so that loading them leaves no
peak behind. Does not: what is done with the rows (ours.py, duckdb_join.py, polars_join.py, windows.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ensemble_pipeline.forecasting.arrays import FloatArray, IntArray
from ensemble_pipeline.forecasting.skill_cube import SECONDS_PER_HOUR, SUM_FIELDS, score_columns
from ensemble_pipeline.forecasting.windows import WINDOW_HOURS

N_ROWS, N_DAYS, N_MODELS, N_CATEGORIES, N_REGIMES, N_EXPIRIES = 2_000_000, 400, 12, 8, 4, 4
FIRST_HOUR = 490_000
LAST_HOUR = FIRST_HOUR + N_DAYS * 24
AS_OF_HOURS = np.arange(LAST_HOUR - 719, LAST_HOUR + 1)
BEFORE_WINDOWS = int(AS_OF_HOURS[0]) - max(WINDOW_HOURS)
"""No window holds what was known up to this hour."""

STATISTICS = ("n", "brier_e9", "log_loss_e9", "correct", "p_e9")

_DAYS_AT_A_TIME = 8
_WHERE = [SUM_FIELDS.index(name) for name in STATISTICS]


@dataclass(frozen=True, slots=True)
class Forecasts:
    """Settled forecasts, ascending by the second at which their outcome was known."""

    known_at_s: IntArray
    model: IntArray
    category: IntArray
    regime: IntArray
    expiry: IntArray
    p_yes: FloatArray
    outcome: IntArray
    market_p: FloatArray
    cost_micro_usd: IntArray
    latency_ms: IntArray

    def __len__(self) -> int:
        return len(self.known_at_s)

    def columns(self) -> IntArray:
        """All additive columns, shape ``(len(SUM_FIELDS), n)``."""
        sign = np.ones(len(self), dtype=np.int64)
        return score_columns(self.p_yes, self.outcome, self.market_p, self.cost_micro_usd, self.latency_ms, sign)

    def statistics(self) -> IntArray:
        """The columns `STATISTICS`, shape ``(5, n)``."""
        return self.columns()[_WHERE]


@dataclass(frozen=True, slots=True)
class Scored:
    """What the contenders are given: forecasts with their `STATISTICS` in `sums`, shape ``(5, n)``."""

    known_at_s: IntArray
    model: NDArray[np.integer]
    category: NDArray[np.integer]
    sums: IntArray


def forecasts(n_rows: int) -> Iterator[Forecasts]:
    """The ledger in parts of a few days."""
    n_parts = N_DAYS // _DAYS_AT_A_TIME
    for part in range(n_parts):
        random = np.random.default_rng((20_260_101, part))
        size = n_rows // n_parts
        start = (FIRST_HOUR + part * _DAYS_AT_A_TIME * 24) * SECONDS_PER_HOUR
        yield Forecasts(
            known_at_s=start + np.sort(random.integers(1, _DAYS_AT_A_TIME * 86_400 + 1, size)),
            model=random.integers(0, N_MODELS, size),
            category=random.integers(0, N_CATEGORIES, size),
            regime=random.integers(0, N_REGIMES, size),
            expiry=random.integers(0, N_EXPIRIES, size),
            p_yes=random.uniform(size=size),
            outcome=random.integers(0, 2, size),
            market_p=np.where(random.uniform(size=size) < 0.1, np.nan, random.uniform(size=size)),
            cost_micro_usd=random.integers(0, 80_000, size),
            latency_ms=random.integers(0, 30_000, size),
        )


def whole(n_rows: int) -> Forecasts:
    """The ledger in one piece."""
    parts = list(forecasts(n_rows))
    return Forecasts(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Forecasts)))


def scored(n_rows: int, index_type: type[np.integer] = np.int64) -> Scored:
    """The scored ledger in one piece."""
    found = Scored(
        known_at_s=np.empty(n_rows, dtype=np.int64),
        model=np.empty(n_rows, dtype=index_type),
        category=np.empty(n_rows, dtype=index_type),
        sums=np.empty((len(STATISTICS), n_rows), dtype=np.int64),
    )
    start = 0
    for part in forecasts(n_rows):
        rows = slice(start, start + len(part))
        for name in ("known_at_s", "model", "category"):
            getattr(found, name)[rows] = getattr(part, name)
        found.sums[:, rows] = part.statistics()
        start = rows.stop
    return found
