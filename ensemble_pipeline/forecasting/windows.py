"""Rolling windows over the skill cube, each one a difference of two prefix sums.

Belongs here: sums of cells over time ranges that end at an as-of hour. Does not: building cells (skill_cube.py),
deciding which windows hold enough evidence (ensemble).
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike

from ensemble_pipeline.forecasting.arrays import IntArray, integers
from ensemble_pipeline.forecasting.skill_cube import SUM_FIELDS, CubeCells

WINDOW_HOURS: tuple[int, ...] = (1, 6, 24, 168, 720)
"""1 and 6 hours are for display and alerts, 1, 7 and 30 days for decisions."""

ALL_CATEGORIES = -1
"""The category index of rows that sum over all categories."""

_LAST_HOUR = 70_389_528  # the end of the year 9999


@dataclass(frozen=True, slots=True)
class WindowTable:
    """One row per (as-of hour, window, model, category) that holds a forecast, sorted by these four.

    The keys have shape ``(n_rows,)``, `sums` has shape ``(n_rows, len(SUM_FIELDS))``; all int64. Category -1 is the
    sum over all categories.
    """

    as_of_hour: IntArray
    window_hours: IntArray
    model: IntArray
    category: IntArray
    sums: IntArray

    def __len__(self) -> int:
        return len(self.as_of_hour)


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where each cell lies in the dense cube: axis 0 is the hour, 1 the model, 2 the category with "all" at 0.

    Row 0 of axis 0 is the hour before the first cell: the empty sum.
    """

    first_hour: int
    shape: tuple[int, int, int]
    models: IntArray
    categories: IntArray
    position: IntArray

    def rows(self, hours: IntArray) -> IntArray:
        """The row whose running sum ends at each hour; before the first and after the last cell nothing changes."""
        return np.clip(hours - self.first_hour, 0, self.shape[0] - 1)

    def prefix_sums(self, values: IntArray) -> IntArray:
        """Running sums over the hours of one field, flat."""
        dense = np.zeros(self.shape, dtype=np.int64)
        np.add.at(dense.reshape(-1), self.position, values)
        dense[:, :, 0] = dense.sum(axis=2)
        return np.cumsum(dense, axis=0, out=dense).reshape(-1)


def window_sums(cells: CubeCells, as_of_hours: ArrayLike, window_hours: ArrayLike = WINDOW_HOURS) -> WindowTable:
    """Sum the cells of each window: as of hour a and for length W those of hours h with ``a - W < h <= a``.

    ``S(a, W) = P(a) - P(a - W)`` with P the running sum over a dense cube hours × models × categories. In int64 the
    difference equals the direct sum bit for bit, whatever other hours were asked for in the same call. One field is
    held at a time: memory grows with hours × models × categories (those between the first and the last cell that any
    window can see) and with the result.

    Args:
        cells: The skill cube, in any order; cells of equal key add up.
        as_of_hours: Hours since the Unix epoch, shape ``(n,)``, each ≥ 0; order and repeats do not matter.
        window_hours: Lengths in hours, shape ``(m,)``, each ≥ 1; order and repeats do not matter.

    Returns:
        The windows with n > 0, per category and over all categories (-1), in the order of the table. A window that
        holds a correction but not what it corrects can have n ≤ 0; it says nothing and is left out.

    Raises:
        InputError: an hour or a length is out of range.

    >>> from ensemble_pipeline.forecasting.skill_cube import build_cells
    >>> cells = build_cells([3600, 7200], [0, 0], [4, 5], [0.7, 0.4], [1, 0], [0.5, 0.5], [1, 1], [9, 9], [1, 1])
    >>> table = window_sums(cells, [2], [1, 6])
    >>> list(zip(table.window_hours.tolist(), table.category.tolist(), table.sums[:, 0].tolist(), strict=True))
    [(1, -1, 1), (1, 5, 1), (6, -1, 2), (6, 4, 1), (6, 5, 1)]
    """
    as_of = np.unique(integers(as_of_hours, "as_of_hours", 0, _LAST_HOUR))
    lengths = np.unique(integers(window_hours, "window_hours", 1, _LAST_HOUR))
    if as_of.size and lengths.size:
        cells = _between(cells, int(as_of[0] - lengths[-1]), int(as_of[-1]))
    if not (as_of.size and lengths.size and len(cells)):
        nothing = np.empty(0, dtype=np.int64)
        return WindowTable(nothing, nothing, nothing, nothing, np.empty((0, len(SUM_FIELDS)), dtype=np.int64))

    grid = _lay_out(cells)
    end, start = grid.rows(as_of), grid.rows(as_of[:, None] - lengths)
    n_until = grid.prefix_sums(cells.n).reshape(grid.shape)
    at, length_at, model_at, category_at = np.nonzero(n_until[end][:, None] - n_until[start] > 0)

    column = model_at * grid.shape[2] + category_at
    row_size = grid.shape[1] * grid.shape[2]
    upper, lower = end[at] * row_size + column, start[at, length_at] * row_size + column
    sums = np.empty((len(at), len(SUM_FIELDS)), dtype=np.int64)
    for index, name in enumerate(SUM_FIELDS):
        until = grid.prefix_sums(getattr(cells, name))
        np.subtract(until[upper], until[lower], out=sums[:, index])
    names = np.concatenate(([ALL_CATEGORIES], grid.categories))
    return WindowTable(as_of[at], lengths[length_at], grid.models[model_at], names[category_at], sums)


def _between(cells: CubeCells, after: int, until: int) -> CubeCells:
    """The cells of hours h with ``after < h <= until``."""
    is_inside = (cells.hour > after) & (cells.hour <= until)
    return CubeCells(*(getattr(cells, field.name)[is_inside] for field in fields(cells)))


def _lay_out(cells: CubeCells) -> _Grid:
    """The smallest dense cube that holds all cells; there must be one."""
    first_hour = int(cells.hour.min()) - 1
    models, model_at = np.unique(cells.model, return_inverse=True)
    categories, category_at = np.unique(cells.category, return_inverse=True)
    shape = (int(cells.hour.max()) - first_hour + 1, len(models), len(categories) + 1)
    position = ((cells.hour - first_hour) * shape[1] + model_at) * shape[2] + category_at + 1
    return _Grid(first_hour, shape, models, categories, position)
