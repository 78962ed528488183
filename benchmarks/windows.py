"""Rolling windows from raw scored rows: cube and prefix sums against a numpy mask per window.

The alternative is what one writes first and what stays right: for each as-of hour and window select the rows by a
mask, then add them up per model and category with `np.bincount`. Both score the rows themselves, and both produce the
same int64 table, which is checked.
"""

import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ensemble_pipeline.forecasting.scoring import brier_score, is_correct, log_loss, to_fixed_e9
from ensemble_pipeline.forecasting.skill_cube import SUM_FIELDS, build_cells
from ensemble_pipeline.forecasting.windows import WINDOW_HOURS, WindowTable, window_sums

N_ROWS, N_DAYS, N_AS_OF, N_MODELS, N_CATEGORIES = 1_000_000, 200, 720, 12, 8
FIRST_HOUR = 490_000
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Result = TypeVar("Result")


def run() -> str:
    rng = np.random.default_rng(20_260_101)
    known_at_s = np.sort(FIRST_HOUR * 3600 + rng.integers(0, N_DAYS * 86_400, N_ROWS))
    model, category = rng.integers(0, N_MODELS, N_ROWS), rng.integers(0, N_CATEGORIES, N_ROWS)
    p, outcome, market = rng.uniform(size=N_ROWS), rng.integers(0, 2, N_ROWS), rng.uniform(size=N_ROWS)
    cost, latency, sign = rng.integers(0, 80_000, N_ROWS), rng.integers(0, 30_000, N_ROWS), np.ones(N_ROWS, np.int64)
    as_of = FIRST_HOUR + N_DAYS * 24 - np.arange(N_AS_OF)[::-1]

    def ours() -> WindowTable:
        cells = build_cells(known_at_s, model, category, p, outcome, market, cost, latency, sign)
        return window_sums(cells, as_of, WINDOW_HOURS)

    def masks() -> Integers:
        scored = _scored_columns(p, outcome, market, cost, latency)
        return _mask_per_window(known_at_s, model, category, scored, as_of)

    ours_s, table = _timed(ours, repeats=3)
    mask_s, expected = _timed(masks, repeats=1)
    keys = np.column_stack((table.as_of_hour, table.window_hours, table.model, table.category))
    assert np.array_equal(np.hstack((keys, table.sums)), expected)
    return (
        f"windows: {N_ROWS:,} forecasts, {N_AS_OF} as-of hours x {len(WINDOW_HOURS)} windows, {len(table):,} rows out:"
        f" ours {ours_s:.3f} s, numpy mask + bincount per window {mask_s:.1f} s, ratio {mask_s / ours_s:.0f}"
    )


def _timed(work: Callable[[], Result], repeats: int) -> tuple[float, Result]:
    """The shortest time of `repeats` runs, and the last result."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - started)
    return min(times), result


def _scored_columns(p: Floats, y: Integers, market: Floats, cost: Integers, latency: Integers) -> list[Floats]:
    """The additive columns of every row, as floats that hold integers: bincount adds up floats, exactly to 2^53."""
    brier, market_brier = brier_score(p, y), brier_score(market, y)
    ones = np.ones(len(p))
    e9 = (brier, np.square(brier), log_loss(p, y), p, p * y, np.square(p), np.square(brier - market_brier))
    brier_e9, brier_sq_e9, loss_e9, p_e9, p_y_e9, p_sq_e9, market_sq_e9 = (to_fixed_e9(x) for x in e9)
    market_e9 = brier_e9 - to_fixed_e9(market_brier)
    scores = (brier_e9, brier_sq_e9, loss_e9, is_correct(p, y), p_e9, y, p_y_e9, p_sq_e9)
    return [np.asarray(x, dtype=np.float64) for x in (ones, *scores, ones, market_e9, market_sq_e9, cost, latency)]


def _mask_per_window(
    known_at_s: Integers, model: Integers, category: Integers, columns: list[Floats], as_of_hours: Integers
) -> Integers:
    """Rows of (as-of hour, window, model, category, sums), in the order in which `window_sums` returns them."""
    hour = -(-known_at_s // 3600)
    key = model * N_CATEGORIES + category
    found = []
    for as_of in as_of_hours.tolist():
        for length in WINDOW_HOURS:
            inside = (hour > as_of - length) & (hour <= as_of)
            cell = key[inside]
            size = N_MODELS * N_CATEGORIES
            sums = np.array([np.bincount(cell, weights=column[inside], minlength=size) for column in columns])
            by_category = sums.astype(np.int64).reshape(len(SUM_FIELDS), N_MODELS, N_CATEGORIES)
            cube = np.concatenate((by_category.sum(axis=2, keepdims=True), by_category), axis=2)
            model_at, category_at = np.nonzero(cube[0])
            lead = np.column_stack((np.full((len(model_at), 2), (as_of, length)), model_at, category_at - 1))
            found.append(np.hstack((lead, cube[:, model_at, category_at].T)))
    return np.concatenate(found)
