"""Rolling windows from a ledger of scored forecasts: against DuckDB and polars, at ten times the rows, and folded.

Three questions. Is it faster than SQL and than a data frame, for the same table, without needing more memory? Does
time grow with the rows and no faster? What does adding one late settlement cost against computing the range anew?
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import fields, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks._windows.contender import Process
from benchmarks._windows.ledger import (
    AS_OF_HOURS,
    BEFORE_WINDOWS,
    FIRST_HOUR,
    N_CATEGORIES,
    N_DAYS,
    N_MODELS,
    N_ROWS,
    Forecasts,
    whole,
)
from ensemble_pipeline.forecasting.arrays import IntArray
from ensemble_pipeline.forecasting.skill_cube import SECONDS_PER_HOUR, SUM_FIELDS, hour_seen, sum_cells
from ensemble_pipeline.forecasting.windows import WINDOW_HOURS, WindowTable, window_sums

PLANS = {
    "duckdb": f"DuckDB {version('duckdb')}, dense prefix table + hash join",
    "polars join": f"polars {version('polars')}, dense prefix table + join",
    "polars shift": f"polars {version('polars')}, dense prefix table by scatter, shifted",
}
DIMENSIONS = ("category", "regime", "expiry")
MANY = 10


def run() -> str:
    with tempfile.TemporaryDirectory(prefix="ensemble-windows-") as name:
        folder = Path(name)
        return "\n".join(
            (
                _against_others(folder, "from the rows the windows hold", BEFORE_WINDOWS, repeats=15),
                _against_others(folder, f"from all {N_DAYS} days", FIRST_HOUR, repeats=9),
                _growth(folder),
                _late_settlement(),
            )
        )


def _against_others(folder: Path, what: str, after: int, repeats: int) -> str:
    ours, *others = _race([(name, N_ROWS) for name in ("ours", *PLANS)], folder, after, repeats)
    table = np.load(ours.result)
    assert all(np.array_equal(table, np.load(other.result)) for other in others)
    ratios = "; ".join(
        f"{PLANS[other.name]} {other.seconds:.3f} s, ratio {other.seconds / ours.seconds:.1f}, peak {_memory(other)}"
        for other in others
    )
    return (
        f"windows {what}: {N_ROWS:,} forecasts ({N_MODELS} models x {N_CATEGORIES} categories, {N_DAYS} days),"
        f" {len(AS_OF_HOURS)} as-of hours x {len(WINDOW_HOURS)} lengths, {table.shape[1]:,} rows out:"
        f" ours {ours.seconds:.3f} s, peak {_memory(ours)}; {ratios}"
    )


def _memory(process: Process) -> str:
    return f"{process.peak_mb:.0f} MB ({process.loaded_mb:.0f} loaded)"


def _growth(folder: Path) -> str:
    few, many = _race([("ours", N_ROWS), ("ours", MANY * N_ROWS)], folder, FIRST_HOUR, repeats=5)
    return (
        f"windows, growth: {N_ROWS:,} forecasts {few.seconds:.3f} s, {MANY * N_ROWS:,} forecasts of as many days"
        f" {many.seconds:.3f} s, peak {_memory(many)}: {many.seconds / few.seconds:.1f} times the time"
        f" for {MANY} times the rows, all of them read"
    )


def _race(entries: Sequence[tuple[str, int]], folder: Path, after: int, repeats: int) -> list[Process]:
    """All load, then take turns, so that other work on the machine weighs on all alike."""
    with ExitStack() as stack:
        found = [
            stack.enter_context(Process(name, n_rows, after, folder / f"{index}.npy"))
            for index, (name, n_rows) in enumerate(entries)
        ]
        for _ in range(repeats):
            for process in found:
                process.compute()
    return found


def _late_settlement() -> str:
    """Forecasts of one market that was settled 30 days ago, at the first as-of hour: every as-of hour has to hold them.

    Folding is done as the pipeline does it: the windows of the late rows alone are what they add to the table.
    """
    ledger = whole(N_ROWS)
    late = _settled_at(int(AS_OF_HOURS[0]), ledger)
    held = _slice(ledger, int(np.searchsorted(ledger.known_at_s, BEFORE_WINDOWS * SECONDS_PER_HOUR, "right")), N_ROWS)
    fold_s, added = _best(_windows, late, repeats=30)
    all_s, anew = _best(_windows, _joined(ledger, late), repeats=3)
    held_s, anew_of_held = _best(_windows, _joined(held, late), repeats=3)
    for old, addend, *new in zip(_windows(ledger), added, anew, anew_of_held, strict=True):
        expected = _total((old, addend))
        assert all(np.array_equal(expected, _total((table,))) for table in new)
    return (
        f"windows, late settlement: {len(late)} forecasts settled {len(AS_OF_HOURS) // 24} days ago change"
        f" {sum(len(it) for it in added):,} rows by {', '.join(DIMENSIONS)}: folding them in {fold_s * 1e3:.1f} ms;"
        f" the {len(AS_OF_HOURS)} hours anew from all {N_ROWS:,} forecasts {all_s:.3f} s, ratio {all_s / fold_s:.0f};"
        f" from the {len(held):,} they hold {held_s:.3f} s, ratio {held_s / fold_s:.0f}"
    )


def _windows(rows: Forecasts) -> list[WindowTable]:
    hour, columns = hour_seen(rows.known_at_s), rows.columns()
    cubes = (sum_cells(hour, hour, rows.model, getattr(rows, dimension), columns) for dimension in DIMENSIONS)
    return [window_sums(cells, AS_OF_HOURS) for cells in cubes]


def _best(
    work: Callable[[Forecasts], list[WindowTable]], rows: Forecasts, repeats: int
) -> tuple[float, list[WindowTable]]:
    """The shortest time of `repeats` runs, and the last result."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        result = work(rows)
        seconds.append(time.perf_counter() - started)
    return min(seconds), result


def _settled_at(hour: int, like: Forecasts) -> Forecasts:
    """One forecast of each model, on one market."""
    return replace(
        _slice(like, 0, N_MODELS),
        known_at_s=np.full(N_MODELS, hour * SECONDS_PER_HOUR),
        model=np.arange(N_MODELS),
        **{dimension: np.full(N_MODELS, 1) for dimension in (*DIMENSIONS, "outcome")},
    )


def _slice(rows: Forecasts, start: int, stop: int) -> Forecasts:
    return Forecasts(*(getattr(rows, field.name)[start:stop] for field in fields(Forecasts)))


def _joined(*parts: Forecasts) -> Forecasts:
    return Forecasts(*(np.concatenate([getattr(part, it.name) for part in parts]) for it in fields(Forecasts)))


def _total(tables: Sequence[WindowTable]) -> IntArray:
    """Rows of equal keys added up, in the order of their keys, which come first."""
    keys = np.concatenate(
        [(it.as_of_hour << 32) + (it.window_hours << 16) + (it.model << 8) + it.segment for it in tables]
    )
    found, row = np.unique(keys, return_inverse=True)
    sums = np.zeros((1 + len(SUM_FIELDS), len(found)), dtype=np.int64)
    sums[0] = found
    for total, *parts in zip(sums[1:], *(it.sums for it in tables), strict=True):
        np.add.at(total, row, np.concatenate(parts))
    return sums
