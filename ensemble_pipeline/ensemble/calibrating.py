"""How settled decisions correct the pool: temperature, intercepts, weight against the price, reliability diagram."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from ensemble_pipeline.forecasting.anchoring import fit_market_weight
from ensemble_pipeline.forecasting.calibration import apply_calibration, fit_ridge_calibration
from ensemble_pipeline.forecasting.decomposition import CorpDecomposition, corp_decomposition
from ensemble_pipeline.forecasting.pooling import clip_probability, logit
from ensemble_pipeline.forecasting.reliability import (
    NullBand,
    ReliabilityBins,
    expected_calibration_error,
    null_band,
    reliability_bins,
)
from ensemble_pipeline.settings import EnsembleSettings
from ensemble_pipeline.store.calibrations import Calibration, CategoryIntercept
from ensemble_pipeline.store.database import Row


@dataclass(frozen=True, slots=True)
class SettledPools:
    """Decisions whose market has settled, as columns of one length; `price` is NaN where none was known.

    `category` indexes `categories`; `event` and `market` number what settles together.
    """

    p_pooled: NDArray[np.float64]
    p_calibrated: NDArray[np.float64]
    price: NDArray[np.float64]
    outcome: NDArray[np.int64]
    category: NDArray[np.int64]
    categories: tuple[str, ...]
    event: NDArray[np.int64]
    market: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "SettledPools":
        """Rows of the store as columns."""

        def floats(name: str) -> NDArray[np.float64]:
            return np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=np.float64)

        def numbered(name: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
            names, index = np.unique([row[name] for row in rows], return_inverse=True)
            return index.astype(np.int64), tuple(str(it) for it in names)

        category, categories = numbered("category")
        return cls(
            p_pooled=floats("p_pooled"),
            p_calibrated=floats("p_calibrated"),
            price=floats("p_market"),
            outcome=np.array([row["outcome"] for row in rows], dtype=np.int64),
            category=category,
            categories=categories,
            event=numbered("event_id")[0],
            market=numbered("market_id")[0],
        )


@dataclass(frozen=True, slots=True)
class Reliability:
    """What was said against what came true, with what a perfect forecaster could have shown on the same decisions.

    `score` is ``None`` where nothing is settled yet.
    """

    bins: ReliabilityBins
    band: NullBand
    calibration_error: float
    score: CorpDecomposition | None


def fit(pools: SettledPools, options: EnsembleSettings, as_of: datetime) -> Calibration:
    """Fit the calibration on settled decisions; an event counts once in all, however many decisions it has.

    The weight against the price is fitted on what the new calibration makes of the pools. The result has no id yet.
    """
    shares = _event_shares(pools.event)
    found = fit_ridge_calibration(
        logit(clip_probability(pools.p_pooled, options.clip)),
        pools.outcome,
        pools.category,
        shares,
        options.temperature_ridge,
        options.intercept_ridge,
        # shares of whole events: their sum is a whole number but for rounding
        options.intercept_from_events - 0.5,
    )
    events = np.bincount(pools.category, shares, len(pools.categories))
    # categories beyond the last that is present have none
    intercepts = np.zeros(len(pools.categories))
    intercepts[: len(found.intercepts)] = found.intercepts
    is_priced = ~np.isnan(pools.price)
    calibrated = apply_calibration(pools.p_pooled, found.slope, intercepts[pools.category], options.clip)
    return Calibration(
        calibration_id=0,
        as_of=as_of,
        slope=found.slope,
        n=len(pools.outcome),
        # the shares of an event sum to 1: their total is the number of events
        effective_n=float(shares.sum()),
        market_weight=fit_market_weight(
            calibrated[is_priced],
            pools.price[is_priced],
            pools.outcome[is_priced],
            shares[is_priced],
            options.market_weight,
            options.market_weight_ridge,
            options.max_market_weight,
            options.price_gap_scale,
        ),
        market_events=float(shares[is_priced].sum()),
        intercepts=tuple(
            CategoryIntercept(name, float(intercept), float(count))
            for name, intercept, count in zip(pools.categories, intercepts, events, strict=True)
            if intercept != 0
        ),
    )


def reliability(pools: SettledPools) -> Reliability:
    """The reliability diagram of calibrated pools; decisions on one market share its outcome in the band."""
    said, came = pools.p_calibrated, pools.outcome
    return Reliability(
        bins=reliability_bins(said, came),
        band=null_band(said, cluster=pools.market),
        calibration_error=expected_calibration_error(said, came),
        score=corp_decomposition(said, came) if len(said) else None,
    )


def _event_shares(event: NDArray[np.int64]) -> NDArray[np.float64]:
    times = np.bincount(event)
    shares: NDArray[np.float64] = 1.0 / times[event]
    return shares
