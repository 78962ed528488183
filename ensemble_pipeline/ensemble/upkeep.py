"""Keeping cube and windows in step with the ledger: rebuilding a range of days, or adding only what came late.

Belongs here: which rows go into which table, in one transaction under the lock of learning. Does not: sums
(forecasting), tables (store), when it is done (pipeline).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from ensemble_pipeline.clock import floor_hour
from ensemble_pipeline.errors import PartitionRangeError
from ensemble_pipeline.forecasting.histograms import LATENCY_BUCKETS, PROBABILITY_BINS, latency_bucket
from ensemble_pipeline.forecasting.reliability import bin_index
from ensemble_pipeline.forecasting.skill_cube import hour_seen, score_columns, sum_cells
from ensemble_pipeline.forecasting.windows import WINDOW_HOURS, window_sums
from ensemble_pipeline.store import cube, learning, scores, windows
from ensemble_pipeline.store.columns import Columns
from ensemble_pipeline.store.database import Connection
from ensemble_pipeline.store.learning import LearntDay
from ensemble_pipeline.store.score_arrays import DIMENSIONS, ScoreArrays, load_appended, load_placed
from ensemble_pipeline.store.skill_keys import NamedCells

LONGEST_WINDOW_HOURS = max(WINDOW_HOURS)
PROBABILITY_SEGMENTS = tuple(
    f"{k / PROBABILITY_BINS:.2f}-{(k + 1) / PROBABILITY_BINS:.2f}" for k in range(PROBABILITY_BINS)
)
LATENCY_SEGMENTS = tuple(f"{k:02d}: below {2**k} ms" for k in range(LATENCY_BUCKETS))

# windows as of so many hours are held in memory at a time
_HOURS_AT_A_TIME = 480


@dataclass(frozen=True, slots=True)
class Learnt:
    """How many rows a step of learning wrote, and up to which as-of hour the windows it wrote reach."""

    rows: int
    as_of: datetime


def rebuild_cube(connection: Connection, first: date, last: date, now: datetime) -> int:
    """Bring the cube up to the ledger and rebuild the days from `first` to `last`; returns the cells written.

    Raises:
        PartitionRangeError: the range is empty or begins in the future.
    """
    _require_range(first, last, now)
    start, end = learning.day_start(first), learning.day_start(last) + timedelta(days=1)
    # an hour holds what became known in the hour before it: (h - 1, h]
    after, until = start - timedelta(hours=1), end - timedelta(hours=1)
    newest = scores.last_score_id(connection)
    elsewhere = load_appended(connection, learning.through_score_id(connection, "cube"), newest, outside=(after, until))
    cube.fold_cells(connection, _cubes(elsewhere))
    learning.mark_through(connection, "cube", newest)
    return cube.replace_cells(connection, start, end, _cubes(load_placed(connection, after, until, newest)))


def follow_ledger(connection: Connection, first: date, last: date, now: datetime) -> int:
    """Add to the cube what was appended to the ledger since; returns the cells touched.

    Raises:
        PartitionRangeError: the range is empty or begins in the future.
    """
    _require_range(first, last, now)
    return _follow_ledger(connection)


def rebuild_windows(connection: Connection, first: date, last: date, now: datetime) -> Learnt:
    """Build the windows of the days from `first` to `last` anew from the cube, up to the present hour.

    Raises:
        PartitionRangeError: the range is empty or begins in the future.
    """
    _require_range(first, last, now)
    _follow_ledger(connection)
    through = learning.through_score_id(connection, "cube")
    until = learning.last_hour_of(last, floor_hour(now))
    start = learning.day_start(first)
    windows.delete_windows(connection, start, learning.day_start(last) + timedelta(days=1))
    rows = windows.append_windows(
        connection, _blocks(connection, _from_cube(connection, start, until), _hours(start, until))
    )
    days = _days(first, until.date())
    learning.mark_days(connection, [LearntDay(day, learning.last_hour_of(day, until), through) for day in days])
    learning.settle_mark(connection, through, LONGEST_WINDOW_HOURS)
    return Learnt(rows, until)


def restate_windows(connection: Connection, first: date, last: date, now: datetime) -> Learnt:
    """Add to the windows of the days from `first` to `last` what was appended after they were built.

    Days whose windows never stood, or lack an hour by now, are built. The result equals `rebuild_windows` bit for
    bit: sums are additive, and a window of late rows is what they add to it.

    Raises:
        PartitionRangeError: the range is empty or begins in the future.
    """
    _require_range(first, last, now)
    _follow_ledger(connection)
    through = learning.through_score_id(connection, "cube")
    hour = floor_hour(now)
    stand = learning.learnt_days(connection, first, last)
    complete = {day: it for day, it in stand.items() if it.as_of == learning.last_hour_of(day, hour)}
    restated = learning.through_score_id(connection, "windows")
    rows = sum(
        _fold_late(connection, days, base, through, hour) for base, days in _by_base(complete, restated, through)
    )
    learning.mark_days(connection, [LearntDay(it.day, it.as_of, through) for it in complete.values()])
    lacking = [day for day in _days(first, min(last, hour.date())) if day not in complete]
    rows += sum(rebuild_windows(connection, start, end, now).rows for start, end in learning.spans(lacking))
    learning.settle_mark(connection, through, LONGEST_WINDOW_HOURS)
    return Learnt(rows, learning.last_hour_of(last, hour))


def _by_base(complete: dict[date, LearntDay], restated: int, through: int) -> list[tuple[int, list[date]]]:
    """Days that lack rows, grouped by the ledger row up to which they lack none."""
    groups: dict[int, list[date]] = {}
    for day, it in sorted(complete.items()):
        base = max(it.through_score_id, restated)
        if base < through:
            groups.setdefault(base, []).append(day)
    return list(groups.items())


def _fold_late(connection: Connection, days: Sequence[date], base: int, through: int, hour: datetime) -> int:
    late = _cubes(load_appended(connection, base, through), has_histograms=False)
    hours = np.concatenate([_hours(learning.day_start(day), learning.last_hour_of(day, hour)) for day in days])
    return windows.fold_windows(connection, _blocks(connection, late, hours))


def _follow_ledger(connection: Connection) -> int:
    through, newest = learning.through_score_id(connection, "cube"), scores.last_score_id(connection)
    if through == newest:
        return 0
    touched = cube.fold_cells(connection, _cubes(load_appended(connection, through, newest)))
    learning.mark_through(connection, "cube", newest)
    return touched


def _from_cube(connection: Connection, start: datetime, until: datetime) -> list[NamedCells]:
    after = start - timedelta(hours=LONGEST_WINDOW_HOURS)
    return [cube.load_cells(connection, dimension, after, until) for dimension in DIMENSIONS]


def _blocks(connection: Connection, cubes: Sequence[NamedCells], hours: NDArray[np.int64]) -> Iterator[Columns]:
    """The windows of each dimension as of these hours, some days at a time; total rows come with the categories."""
    named = [
        windows.NamedWindows(connection, it.dimension, it.models, it.segments, has_total=it.dimension == "category")
        for it in cubes
    ]
    for start in range(0, len(hours), _HOURS_AT_A_TIME):
        chunk = hours[start : start + _HOURS_AT_A_TIME]
        yield windows.in_key_order(
            [names.columns(window_sums(it.cells, chunk, WINDOW_HOURS)) for it, names in zip(cubes, named, strict=True)]
        )


def _hours(first: datetime, last: datetime) -> NDArray[np.int64]:
    return np.arange(learning.hour_number(first), learning.hour_number(last) + 1, dtype=np.int64)


def _cubes(data: ScoreArrays, *, has_histograms: bool = True) -> list[NamedCells]:
    """The rows summed by each dimension."""
    placed, seen = hour_seen(data.window_at_s, "window_at_s"), hour_seen(data.known_at_s)
    columns = score_columns(data.p_yes, data.outcome, data.market_p, data.cost_micro_usd, data.latency_ms, data.sign)
    segments = {name: (data.segments[name], data.names[name]) for name in DIMENSIONS}
    if has_histograms:
        segments["probability"] = bin_index(data.p_yes, PROBABILITY_BINS), PROBABILITY_SEGMENTS
        segments["latency"] = latency_bucket(data.latency_ms), LATENCY_SEGMENTS
    return [
        NamedCells(dimension, sum_cells(placed, seen, data.model, segment, columns), data.models, names)
        for dimension, (segment, names) in segments.items()
    ]


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _require_range(first: date, last: date, now: datetime) -> None:
    if first > last:
        raise PartitionRangeError(f"the range from {first} to {last} is empty: name the earlier day first")
    if first > now.date():
        raise PartitionRangeError(
            f"the range from {first} to {last} lies in the future: the instance's clock stands at {now.isoformat()}"
        )
