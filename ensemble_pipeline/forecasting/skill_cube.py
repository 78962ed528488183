"""The skill cube: additive sums of scored forecasts per hour, model and segment, in exact integers.

Belongs here: scoring rows in fixed point and adding them up into cells. Does not: windows over the cells (windows.py),
bins as segments and what their sums tell (reliability.py, histograms.py), storing cells (store).

A segment is one value of one dimension: a category, a volatility regime, an expiry bucket, a bin. Each dimension has
a cube of its own. A cell's hour is the first full hour whose as-of point may see its rows, so nothing is ever counted
before it was known. A row that takes an earlier one back lies in the hour of what it takes back and says from which
hour on it is seen: windows that no longer hold the one do not hold the other either.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import (
    FloatArray,
    IntArray,
    Shape,
    integers,
    outcomes,
    probabilities,
    refuse_where,
    require_shape,
)
from ensemble_pipeline.forecasting.scoring import brier_score, is_correct, log_loss, to_fixed_e9

SECONDS_PER_HOUR = 3600
LAST_HOUR = 70_389_528
"""The end of the year 9999."""

SUM_FIELDS: tuple[str, ...] = (
    "n",
    "brier_e9",
    "brier_sq_e9",
    "log_loss_e9",
    "correct",
    "p_e9",
    "outcome",
    "p_outcome_e9",
    "p_sq_e9",
    "market_n",
    "brier_minus_market_e9",
    "brier_minus_market_sq_e9",
    "cost_micro_usd",
    "latency_ms",
)
"""The additive columns, in the order in which arrays and tables hold them; ``_e9`` sums are in billionths.

`market_n` counts the rows that had a market price; only they enter the two sums against the market.
"""

_LAST_SECOND = LAST_HOUR * SECONDS_PER_HOUR
_LAST_INDEX = 2**15 - 1
_LARGEST_AMOUNT = 10**12  # a million dollars, or 31 years, in one call: nine million such rows still fit a sum
_SMALL_SPAN = 2**16


@dataclass(frozen=True, slots=True)
class CubeCells:
    """Cells by their keys, each of shape ``(n_cells,)``, and their sums, ``(n_fields, n_cells)``; all int64.

    `seen_from` is the first as-of hour that may count the cell; it equals `hour` but for rows taken back. Adding and
    subtracting cells of one key adds and takes away their forecasts, exactly. Field 0 of `sums` counts rows.
    """

    hour: IntArray
    seen_from: IntArray
    model: IntArray
    segment: IntArray
    sums: IntArray

    def __post_init__(self) -> None:
        shape = self.hour.shape
        for name in ("hour", "seen_from", "model", "segment", "sums"):
            column: IntArray = getattr(self, name)
            if column.dtype != np.int64 or column.shape[-1:] != shape or column.ndim != 1 + (name == "sums"):
                raise InputError(f"{name} is {column.dtype}{column.shape}; it must be int64 over {shape} cells")

    def __len__(self) -> int:
        return len(self.hour)


def hour_seen(known_at_s: ArrayLike, name: str = "known_at_s") -> IntArray:
    """The first full hour at which something is known: ``ceil(known_at_s / 3600)``.

    Args:
        known_at_s: Whole seconds since the Unix epoch (round fractions up), shape ``(n,)``.
        name: What an error calls them.

    Returns:
        Hours since the Unix epoch, int64, shape ``(n,)``.

    Raises:
        InputError: an element is negative, beyond the year 9999 or no integer.

    >>> hour_seen([3600, 3601]).tolist()
    [1, 2]
    """
    return -(-integers(known_at_s, name, 0, _LAST_SECOND) // SECONDS_PER_HOUR)


def score_columns(
    p_yes: ArrayLike,
    outcome: ArrayLike,
    market_p: ArrayLike,
    cost_micro_usd: ArrayLike,
    latency_ms: ArrayLike,
    sign: ArrayLike,
) -> IntArray:
    """The additive columns of single rows, ``sign · f(row)`` for each of `SUM_FIELDS`.

    Args:
        p_yes: Probability of YES, shape ``(n,)``, in [0, 1]; NaN is refused.
        outcome: 0 or 1, shape ``(n,)``.
        market_p: Market's probability of YES when the forecast was made, shape ``(n,)``; NaN where there was none.
        cost_micro_usd: Cost of the call, micro-dollars, 0 to 10¹², shape ``(n,)``.
        latency_ms: Duration of the call, milliseconds, 0 to 10¹², shape ``(n,)``.
        sign: +1 adds the row, -1 takes it back, shape ``(n,)``.

    Returns:
        int64, shape ``(len(SUM_FIELDS), n)``.

    Raises:
        InputError: an element is out of range or a length differs.

    >>> columns = score_columns([0.7, 0.4], [1, 0], [0.5, float("nan")], [10, 10], [900, 800], [1, -1])
    >>> columns[[0, 1, 9, 10]].tolist()
    [[1, -1], [90000000, -160000000], [1, 0], [-160000000, 0]]
    """
    p = probabilities(p_yes, "p_yes")
    y = outcomes(outcome, p.shape)
    signs = _integers_of(p.shape, sign, "sign", -1, 1)
    refuse_where(signs == 0, signs, "sign", "is no sign; allowed: 1 and -1")
    brier = brier_score(p, y)
    brier_e9 = to_fixed_e9(brier)
    columns = [
        np.ones_like(signs),
        brier_e9,
        to_fixed_e9(np.square(brier)),
        to_fixed_e9(log_loss(p, y)),
        is_correct(p, y).astype(np.int64),
        to_fixed_e9(p),
        y.astype(np.int64),
        to_fixed_e9(p * y),
        to_fixed_e9(np.square(p)),
        *_against_market(brier, brier_e9, y, market_p),
        _integers_of(p.shape, cost_micro_usd, "cost_micro_usd", 0, _LARGEST_AMOUNT),
        _integers_of(p.shape, latency_ms, "latency_ms", 0, _LARGEST_AMOUNT),
    ]
    signed: IntArray = np.stack(columns)
    signed *= signs
    return signed


def sum_cells(
    hour: ArrayLike, seen_from: ArrayLike, model: ArrayLike, segment: ArrayLike, columns: IntArray
) -> CubeCells:
    """Add up rows of equal key: ``cell[f] = Σ columns[f]``, in int64 and so in any order.

    Sums are exact while each stays below 2⁶³: over a billion rows a cell for every score.

    Args:
        hour: Hour the row belongs to, see `hour_seen`, shape ``(n,)``.
        seen_from: First hour that may see the row, never before `hour`, shape ``(n,)``.
        model: Index of the model, 0 to 32767, shape ``(n,)``.
        segment: Index of the segment, 0 to 32767, shape ``(n,)``.
        columns: int64, shape ``(n_fields, n)``; see `score_columns`.

    Returns:
        Cells sorted by (hour, seen_from, model, segment), those of nothing but zeros left out.

    Raises:
        InputError: an hour or index is out of range, a length differs, or a row is seen before its hour.

    >>> hours = hour_seen([3600, 3601, 7200])
    >>> cells = sum_cells(hours, hours, [0, 0, 0], [2, 2, 2], np.array([[1, 1, 1], [90, 490, 160]]))
    >>> cells.hour.tolist(), cells.sums.tolist()
    ([1, 2], [[1, 2], [90, 650]])
    """
    hours = integers(hour, "hour", 0, LAST_HOUR)
    seen = _integers_of(hours.shape, seen_from, "seen_from", 0, LAST_HOUR)
    refuse_where(seen < hours, seen, "seen_from", "lies before the hour the row belongs to")
    models = _integers_of(hours.shape, model, "model", 0, _LAST_INDEX)
    segments = _integers_of(hours.shape, segment, "segment", 0, _LAST_INDEX)
    depth, width = (int(part.max(initial=0)) + 1 for part in (models, segments))
    if columns.dtype != np.int64 or columns.ndim != 2 or columns.shape[1:] != hours.shape:
        raise InputError(f"columns is {columns.dtype}{columns.shape}; it must be int64 over {hours.shape} rows")

    hour_of_moment, seen_of_moment, key = _moments(hours, seen)
    for part, size in ((models, depth), (segments, width)):
        key *= size
        key += part
    keys, sums = _added_up(key, columns)
    rest, segment_of = _split(keys, width)
    moment_of, model_of = _split(rest, depth)
    return CubeCells(hour_of_moment[moment_of], seen_of_moment[moment_of], model_of, segment_of, sums)


def _moments(hour: IntArray, seen_from: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """The pairs of hour and first hour seen, ascending, as two arrays, and the place of each row's pair among them.

    They are numbered by themselves: with model and segment beside them a key might need more than 63 bits.
    """
    first, delays = int(hour.min(initial=LAST_HOUR)), 1
    moment = hour - first
    if not np.array_equal(hour, seen_from):
        delay = seen_from - hour
        delays = int(delay.max(initial=0)) + 1
        moment = moment * delays + delay
    numbers, moment_of_row = _numbered(moment)
    since_first, delay_of = _split(numbers, delays)
    return since_first + first, since_first + first + delay_of, moment_of_row


def _added_up(key: IntArray, columns: IntArray) -> tuple[IntArray, IntArray]:
    """The keys of rows that do not add up to zeros only, ascending, and their sums."""
    keys, cell_of_row = _numbered(key)
    sums = np.zeros((len(columns), len(keys)), dtype=np.int64)
    for total, column in zip(sums, columns, strict=True):
        np.add.at(total, cell_of_row, column)
    kept = np.flatnonzero(sums.any(axis=0))
    return keys[kept], np.take(sums, kept, axis=1)


def _numbered(key: IntArray) -> tuple[IntArray, IntArray]:
    """Keys ≥ 0 in ascending order, and the place of each row's key among them.

    Where keys lie close together, those that no row has are numbered too: that saves sorting them.
    """
    span = int(key.max(initial=-1)) + 1
    if span <= 2 * len(key) + _SMALL_SPAN:
        return np.arange(span), key
    return np.unique(key, return_inverse=True)


def _split(key: IntArray, base: int) -> tuple[IntArray, IntArray]:
    """What `np.divmod` returns, several times faster."""
    high = key // base
    return high, key - high * base


def _against_market(
    brier: FloatArray, brier_e9: IntArray, y: FloatArray, market_p: ArrayLike
) -> tuple[IntArray, IntArray, IntArray]:
    """Whether there was a price, and the Brier difference to it and its square; both 0 where there was none."""
    market = probabilities(market_p, "market_p", has_gaps=True)
    require_shape(market, y.shape, "market_p")
    has_market = ~np.isnan(market)
    market_brier = np.where(has_market, np.square(market - y), brier)
    return (
        has_market.astype(np.int64),
        brier_e9 - to_fixed_e9(market_brier),
        to_fixed_e9(np.square(brier - market_brier)),
    )


def _integers_of(shape: Shape, values: ArrayLike, name: str, low: int, high: int) -> IntArray:
    found = integers(values, name, low, high)
    if found.shape != shape:
        raise InputError(f"{name} has shape {found.shape}; it must match {shape}")
    return found
