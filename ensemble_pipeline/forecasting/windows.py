"""Rolling windows over a skill cube, each one a difference of two running sums.

Belongs here: sums of cells over time ranges that end at an as-of hour. Does not: building cells (skill_cube.py),
deciding which windows hold enough evidence (ensemble).
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike

from ensemble_pipeline.forecasting.arrays import BoolArray, IntArray, integers
from ensemble_pipeline.forecasting.skill_cube import LAST_HOUR, CubeCells

WINDOW_HOURS: tuple[int, ...] = (1, 6, 24, 168, 720)
"""1 and 6 hours are for display and alerts; rankings look as far back as the longest."""

ALL_SEGMENTS = -1
"""The segment index of rows that sum over all segments of a dimension."""


@dataclass(frozen=True, slots=True)
class WindowTable:
    """One row per (as-of hour, window, model, segment) whose sums are not all 0, sorted by these four.

    The keys have shape ``(n_rows,)``, `sums` has shape ``(n_fields, n_rows)`` with the fields of the cells; all
    int64. Segment -1 is the sum over all segments.
    """

    as_of_hour: IntArray
    window_hours: IntArray
    model: IntArray
    segment: IntArray
    sums: IntArray

    def __len__(self) -> int:
        return len(self.as_of_hour)


def window_sums(cells: CubeCells, as_of_hours: ArrayLike, window_hours: ArrayLike = WINDOW_HOURS) -> WindowTable:
    """Sum the cells of each window: as of hour a, length W, those with ``a - W < hour <= a`` and ``seen_from <= a``.

    ``S(a, W) = P(a) - P(a - W)`` with P the running sum over a dense cube hours × models × segments. Cells seen later
    than their hour lie in the windows with ``seen_from <= a < hour + W``: theirs is a running sum over as-of hours.
    Tables of disjoint cells add up to the table of all cells. In int64 every sum equals the direct one bit for bit,
    whatever other hours were asked for in the same call. One field is held at a time: memory grows with models ×
    segments × (windows + hours between the first and the last cell that any window can see), and with the result.

    Args:
        cells: A skill cube, in any order; cells of equal key add up.
        as_of_hours: Hours since the Unix epoch, shape ``(n,)``, each ≥ 0; order and repeats do not matter.
        window_hours: Lengths in hours, shape ``(m,)``, each ≥ 1; order and repeats do not matter.

    Returns:
        The windows with a sum other than 0, per segment and over all segments (-1), in the order of the table. Of
        cells that only take back or change what others hold, n may be 0 or less.

    Raises:
        InputError: an hour or a length is out of range.

    >>> hours = np.array([1, 2])
    >>> cells = CubeCells(hours, hours, np.array([0, 0]), np.array([4, 5]), np.array([[1, 1]]))
    >>> table = window_sums(cells, [2], [1, 6])
    >>> list(zip(table.window_hours.tolist(), table.segment.tolist(), table.sums[0].tolist(), strict=True))
    [(1, -1, 1), (1, 5, 1), (6, -1, 2), (6, 4, 1), (6, 5, 1)]
    """
    as_of = np.unique(integers(as_of_hours, "as_of_hours", 0, LAST_HOUR))
    lengths = np.unique(integers(window_hours, "window_hours", 1, LAST_HOUR))
    if as_of.size and lengths.size:
        cells = _select(cells, (cells.hour > as_of[0] - lengths[-1]) & (cells.seen_from <= as_of[-1]))
    if not (as_of.size and lengths.size and len(cells)):
        nothing = np.empty(0, dtype=np.int64)
        return WindowTable(nothing, nothing, nothing, nothing, np.empty((len(cells.sums), 0), dtype=np.int64))

    windows = _lay_out(cells, as_of, lengths)
    is_taken_back = bool((cells.sums[0] <= 0).any())
    kept = np.flatnonzero(windows.sums(np.ones_like(cells.hour) if is_taken_back else cells.sums[0]) != 0)
    sums = np.empty((len(cells.sums), len(kept)), dtype=np.int64)
    for total, values in zip(sums, cells.sums, strict=True):
        np.take(windows.sums(values), kept, out=total, mode="clip")  # mode "raise" buffers `out`
    if is_taken_back:  # which may leave nothing
        left = np.flatnonzero(sums.any(axis=0))
        kept, sums = kept[left], np.take(sums, left, axis=1)
    return windows.table(kept, sums)


@dataclass(frozen=True, slots=True)
class _RunningSum:
    """Some of the cells, laid into a dense array (times, models, segments) whose segment 0 is the sum over all."""

    shape: tuple[int, int, int]
    cell: IntArray
    place: IntArray
    sign: int | IntArray

    def of(self, values: IntArray) -> IntArray:
        """What has been added up at each time, of one field given by cell."""
        dense = np.zeros(self.shape, dtype=np.int64)
        np.add.at(dense.reshape(-1), self.place, values[self.cell] * self.sign)
        dense[..., 0] = np.einsum("tms->tm", dense)
        return np.cumsum(dense, axis=0, out=dense)


@dataclass(frozen=True, slots=True)
class _Windows:
    """The windows of one call that can hold a cell, ascending by as-of hour and length, and how to add them up.

    `on_time` runs over the hours, from the one before the first cell on; a window is its row `end` minus its row
    `start`. `late` has the cells seen later than their hour, if there are
    any: for each length what the windows hold, over the as-of hours and one beyond them.
    """

    as_of: IntArray
    lengths: IntArray
    models: IntArray
    segments: IntArray
    on_time: _RunningSum
    end: IntArray
    start: IntArray
    late: tuple[_RunningSum, ...]

    def sums(self, values: IntArray) -> IntArray:
        """One field, given by cell, over every window."""
        until = self.on_time.of(values)
        found = np.take(until, self.end, axis=0)
        found -= np.take(until, self.start, axis=0)
        for index, held in enumerate(self.late):
            found[index :: len(self.late)] += held.of(values)[:-1]
        return found.reshape(-1)

    def table(self, numbers: IntArray, sums: IntArray) -> WindowTable:
        """The windows of these numbers, with their sums."""
        panel = len(self.models) * len(self.segments)
        n_rows = np.diff(np.searchsorted(numbers, np.arange(len(self.end) + 1) * panel))
        column = numbers - np.repeat(np.arange(len(self.end)) * panel, n_rows)
        return WindowTable(
            np.repeat(self.as_of, n_rows),
            np.repeat(self.lengths, n_rows),
            np.repeat(self.models, len(self.segments))[column],
            np.tile(self.segments, len(self.models))[column],
            sums,
        )


def _lay_out(cells: CubeCells, as_of: IntArray, lengths: IntArray) -> _Windows:
    """The smallest arrays that hold all cells; there must be one."""
    models, model_at = _numbered(cells.model)
    segments, segment_at = _numbered(cells.segment)
    panel = (len(models), 1 + len(segments))
    column = model_at * panel[1] + segment_at + 1
    is_late = cells.seen_from > cells.hour
    on_time, late = np.flatnonzero(~is_late), np.flatnonzero(is_late)

    before, last = int(cells.hour.min()) - 1, int(cells.hour.max())
    place = (cells.hour[on_time] - before) * panel[0] * panel[1] + column[on_time]
    end = np.repeat(np.clip(as_of, before, last) - before, len(lengths))
    start = np.clip(as_of[:, None] - lengths, before, last).reshape(-1) - before
    held = np.flatnonzero((end > start) | bool(late.size))
    return _Windows(
        as_of=np.repeat(as_of, len(lengths))[held],
        lengths=np.tile(lengths, len(as_of))[held],
        models=models,
        segments=np.concatenate(([ALL_SEGMENTS], segments)),
        on_time=_RunningSum((last - before + 1, *panel), on_time, place, 1),
        end=end[held],
        start=start[held],
        late=tuple(_lay_out_late(cells, late, column, panel, as_of, length) for length in lengths if late.size),
    )


def _lay_out_late(
    cells: CubeCells, late: IntArray, column: IntArray, panel: tuple[int, int], as_of: IntArray, length: np.int64
) -> _RunningSum:
    """Late cells enter the windows of one length as of `seen_from` and leave them as of ``hour + length``, if ever."""
    enter = np.searchsorted(as_of, cells.seen_from[late])
    leave = np.maximum(enter, np.searchsorted(as_of, cells.hour[late] + length))
    cell = np.tile(late, 2)
    place = np.concatenate((enter, leave)) * panel[0] * panel[1] + column[cell]
    return _RunningSum((len(as_of) + 1, *panel), cell, place, np.repeat([1, -1], len(late)))


def _numbered(index: IntArray) -> tuple[IntArray, IntArray]:
    """The indices that occur, ascending, and the place of each among them; faster than `np.unique`."""
    is_used = np.bincount(index) > 0
    return np.flatnonzero(is_used), (np.cumsum(is_used) - 1)[index]


def _select(cells: CubeCells, is_kept: BoolArray) -> CubeCells:
    if is_kept.all():
        return cells
    kept = np.flatnonzero(is_kept)
    return CubeCells(*(np.take(getattr(cells, field.name), kept, axis=-1) for field in fields(cells)))
