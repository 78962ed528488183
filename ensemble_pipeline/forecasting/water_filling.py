"""Dividing a whole in given proportions while every share keeps within bounds of its own.

Belongs here: the division. Does not: where proportions and bounds come from (ranking.py).
"""

import numpy as np

from ensemble_pipeline.forecasting.arrays import FloatArray


def share_within(proportion: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Shares ``clip(λ proportion, low, high)`` with the one λ for which they sum to 1.

    The sum grows with λ along straight lines; the ends of the lines are where a share leaves its floor or reaches its
    cap. So λ is found exactly: the line that passes 1, then the whole minus the shares at a bound, divided among the
    others.

    Args:
        proportion: Shape ``(n,)``, finite, > 0.
        low: Floors, shape ``(n,)``, ≥ 0, with a sum of at most 1.
        high: Caps, shape ``(n,)``, ≥ `low`, with a sum of at least 1.

    Returns:
        Shares, shape ``(n,)``, none outside its bounds, with sum 1 up to rounding.

    Source: Boyd and Vandenberghe 2004, Convex Optimization, example 5.2 (water-filling).

    >>> share_within(np.array([8.0, 1.0, 1.0]), np.zeros(3), np.array([0.5, 1.0, 1.0])).tolist()
    [0.5, 0.25, 0.25]
    """
    leaves_floor, reaches_cap = low / proportion, high / proportion
    corners = np.unique(np.concatenate((leaves_floor, reaches_cap)))
    totals = np.clip(corners[:, None] * proportion, low, high).sum(axis=1)
    corner = corners[max(int(np.searchsorted(totals, 1.0, side="right")) - 1, 0)]
    # compared by the same quotients that made the corners: a product could round to the wrong side
    is_free = (leaves_floor <= corner) & (corner < reaches_cap)
    shares = np.where(corner >= reaches_cap, high, low)
    if is_free.any():
        level = (1.0 - shares[~is_free].sum()) / proportion[is_free].sum()
        shares[is_free] = np.clip(level * proportion[is_free], low[is_free], high[is_free])
    return shares
