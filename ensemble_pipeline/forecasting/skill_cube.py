"""The skill cube: additive sums of scored forecasts per hour, model and category, in exact integers.

Belongs here: turning scored rows into cells. Does not: windows over the cells (windows.py), storing them (store).
A cell's hour is the first full hour whose as-of point may see its rows, so nothing is ever counted before it was known.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.forecasting.arrays import (
    FloatArray,
    IntArray,
    integers,
    outcomes,
    probabilities,
    refuse_where,
    require_shape,
)
from ensemble_pipeline.forecasting.scoring import brier_score, is_correct, log_loss, to_fixed_e9

SECONDS_PER_HOUR = 3600
_LAST_SECOND = 253_402_300_799  # 9999-12-31; with the index limit an (hour, model, category) key fits 57 bits
_LAST_INDEX = 2**15 - 1
_LARGEST_AMOUNT = 10**12  # a million dollars, or 31 years, in one call: nine million such rows still fit a sum


@dataclass(frozen=True, slots=True)
class CubeCells:
    """Cells as arrays of shape ``(n_cells,)``, all int64; one cell per index, keys first, then additive sums.

    ``_e9`` sums are in billionths. `market_n` counts the rows that had a market price; only they enter the two
    sums against the market. Adding and subtracting cells of one key adds and takes away their forecasts, exactly.
    """

    hour: IntArray
    model: IntArray
    category: IntArray
    n: IntArray
    brier_e9: IntArray
    brier_sq_e9: IntArray
    log_loss_e9: IntArray
    correct: IntArray
    p_e9: IntArray
    outcome: IntArray
    p_outcome_e9: IntArray
    p_sq_e9: IntArray
    market_n: IntArray
    brier_minus_market_e9: IntArray
    brier_minus_market_sq_e9: IntArray
    cost_micro_usd: IntArray
    latency_ms: IntArray

    def __post_init__(self) -> None:
        for field in fields(self):
            column: IntArray = getattr(self, field.name)
            if column.dtype != np.int64 or column.shape != self.hour.shape or column.ndim != 1:
                raise InputError(f"{field.name} is {column.dtype}{column.shape}; it must be int64{self.hour.shape}")

    def __len__(self) -> int:
        return len(self.hour)


KEY_FIELDS: tuple[str, ...] = ("hour", "model", "category")
SUM_FIELDS: tuple[str, ...] = tuple(field.name for field in fields(CubeCells) if field.name not in KEY_FIELDS)
"""The additive columns, in the order in which tables and 2-D arrays hold them."""


def build_cells(  # noqa: PLR0913, PLR0917 - one argument a column of the ledger
    known_at_s: ArrayLike,
    model: ArrayLike,
    category: ArrayLike,
    p_yes: ArrayLike,
    outcome: ArrayLike,
    market_p: ArrayLike,
    cost_micro_usd: ArrayLike,
    latency_ms: ArrayLike,
    sign: ArrayLike,
) -> CubeCells:
    """Sum scored forecasts into cells: ``cell[f] = Σ sign · f(row)`` over its rows, in int64 and so in any order.

    A correction is the corrected row once more with sign -1 beside the right row with sign +1; within one hour it
    leaves no trace. Sums are exact while each stays below 2⁶³: over a billion rows a cell for every score.

    Args:
        known_at_s: When the row became known, whole seconds since the Unix epoch (round fractions up), shape ``(n,)``.
        model: Index of the model, 0 to 32767, shape ``(n,)``.
        category: Index of the category, 0 to 32767, shape ``(n,)``.
        p_yes: Probability of YES, shape ``(n,)``, in [0, 1]; NaN is refused.
        outcome: 0 or 1, shape ``(n,)``.
        market_p: Market's probability of YES when the forecast was made, shape ``(n,)``; NaN where there was none.
        cost_micro_usd: Cost of the call, micro-dollars, 0 to 10¹², shape ``(n,)``.
        latency_ms: Duration of the call, milliseconds, 0 to 10¹², shape ``(n,)``.
        sign: +1 adds the row, -1 takes it back, shape ``(n,)``.

    Returns:
        Cells sorted by (hour, model, category) with ``hour = ceil(known_at_s / 3600)``, those of nothing but zeros
        left out.

    Raises:
        InputError: an element is out of range or a length differs.

    >>> cells = build_cells([3600, 3601, 7200], [0, 0, 0], [2, 2, 2], [0.7, 0.7, 0.4], [1, 0, 0],
    ...                     [0.5, float("nan"), 0.5], [10, 10, 10], [900, 800, 700], [1, 1, 1])
    >>> cells.hour.tolist(), cells.n.tolist(), cells.brier_e9.tolist(), cells.market_n.tolist()
    ([1, 2], [1, 2], [90000000, 650000000], [1, 1])
    """
    second = integers(known_at_s, "known_at_s", 0, _LAST_SECOND)
    keys = (
        -(-second // SECONDS_PER_HOUR),
        integers(model, "model", 0, _LAST_INDEX),
        integers(category, "category", 0, _LAST_INDEX),
    )
    signs = integers(sign, "sign", -1, 1)
    refuse_where(signs == 0, signs, "sign", "is no sign; allowed: 1 and -1")
    amounts = (
        integers(cost_micro_usd, "cost_micro_usd", 0, _LARGEST_AMOUNT),
        integers(latency_ms, "latency_ms", 0, _LARGEST_AMOUNT),
    )
    for name, column in zip(("model", "category", "sign", *SUM_FIELDS[-2:]), (*keys[1:], signs, *amounts), strict=True):
        if column.shape != second.shape:
            raise InputError(f"{name} has {column.size} elements, known_at_s has {second.size}")
    scores = _row_scores(p_yes, outcome, market_p, second.shape)
    return _sum_by_key(keys, [signs * column for column in (np.ones_like(second), *scores, *amounts)])


def _row_scores(p_yes: ArrayLike, outcome: ArrayLike, market_p: ArrayLike, shape: tuple[int, ...]) -> list[IntArray]:
    """The columns of `SUM_FIELDS` between `n` and `cost_micro_usd`, for single rows."""
    p = probabilities(p_yes, "p_yes")
    require_shape(p, shape, "p_yes")
    y = outcomes(outcome, shape)
    brier = brier_score(p, y)
    brier_e9 = to_fixed_e9(brier)
    has_market, market_e9, market_sq_e9 = _against_market(brier, brier_e9, y, market_p)
    return [
        brier_e9,
        to_fixed_e9(np.square(brier)),
        to_fixed_e9(log_loss(p, y)),
        is_correct(p, y).astype(np.int64),
        to_fixed_e9(p),
        y.astype(np.int64),
        to_fixed_e9(p * y),
        to_fixed_e9(np.square(p)),
        has_market,
        market_e9,
        market_sq_e9,
    ]


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


def _sum_by_key(keys: tuple[IntArray, IntArray, IntArray], columns: list[IntArray]) -> CubeCells:
    """Add up rows of equal key; keys come out sorted, keys whose every sum is zero do not come out."""
    hour, model, category = keys
    first_hour = hour.min(initial=_LAST_SECOND)
    width = int(category.max(initial=0)) + 1
    depth = int(model.max(initial=0)) + 1
    unique, cell_of_row = np.unique(((hour - first_hour) * depth + model) * width + category, return_inverse=True)
    sums = np.zeros((len(columns), len(unique)), dtype=np.int64)
    for total, column in zip(sums, columns, strict=True):
        np.add.at(total, cell_of_row, column)
    is_kept = sums.any(axis=0)
    unique, sums = unique[is_kept], sums[:, is_kept]
    rest, category_of = np.divmod(unique, width)
    hour_of, model_of = np.divmod(rest, depth)
    return CubeCells(hour_of + first_hour, model_of, category_of, *sums)
