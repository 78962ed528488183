"""How settled decisions correct the pool: temperature, intercepts of categories, and the reliability diagram."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble_pipeline.forecasting.calibration import fit_ridge_calibration
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
from ensemble_pipeline.store.calibrations import CategoryIntercept
from ensemble_pipeline.store.database import Row


@dataclass(frozen=True, slots=True)
class FittedCalibration:
    """A slope, the intercepts of the categories that have one, and the evidence: decisions and events."""

    slope: float
    intercepts: tuple[CategoryIntercept, ...]
    n: int
    events: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """What was said against what came true, with what a perfect forecaster could have shown on the same decisions.

    `score` is ``None`` where nothing is settled yet.
    """

    bins: ReliabilityBins
    band: NullBand
    calibration_error: float
    score: CorpDecomposition | None


def fit(rows: Sequence[Row], options: EnsembleSettings) -> FittedCalibration:
    """Fit the calibration on settled decisions; an event counts once in all, however many decisions it has."""
    categories = sorted({row["category"] for row in rows})
    index = np.array([categories.index(row["category"]) for row in rows], dtype=np.int64)
    shares = _event_shares(rows)
    found = fit_ridge_calibration(
        logit(clip_probability([row["p_pooled"] for row in rows], options.clip)),
        _outcomes(rows),
        index,
        shares,
        options.temperature_ridge,
        options.intercept_ridge,
        # shares of whole events: their sum is a whole number but for rounding
        options.intercept_from_events - 0.5,
    )
    events = np.bincount(index, shares, len(categories))
    return FittedCalibration(
        slope=found.slope,
        intercepts=tuple(
            CategoryIntercept(name, float(intercept), float(count))
            for name, intercept, count in zip(categories, found.intercepts, events, strict=True)
            if intercept != 0
        ),
        n=len(rows),
        # the shares of an event sum to 1: their total is the number of events
        events=float(shares.sum()),
    )


def reliability(rows: Sequence[Row]) -> Reliability:
    """The reliability diagram of calibrated pools; decisions on one market share its outcome in the band."""
    said = np.array([row["p_calibrated"] for row in rows], dtype=np.float64)
    markets = {row["market_id"]: place for place, row in enumerate(rows)}
    market = np.array([markets[row["market_id"]] for row in rows], dtype=np.int64)
    came = _outcomes(rows)
    return Reliability(
        bins=reliability_bins(said, came),
        band=null_band(said, cluster=market),
        calibration_error=expected_calibration_error(said, came),
        score=corp_decomposition(said, came) if rows else None,
    )


def _outcomes(rows: Sequence[Row]) -> NDArray[np.int64]:
    return np.array([row["outcome"] for row in rows], dtype=np.int64)


def _event_shares(rows: Sequence[Row]) -> NDArray[np.float64]:
    times = Counter(row["event_id"] for row in rows)
    return np.array([1.0 / times[row["event_id"]] for row in rows], dtype=np.float64)
