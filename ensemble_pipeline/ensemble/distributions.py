"""What the bins of the sibling cubes tell of each model over each window: calibration error and tail of latency."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from ensemble_pipeline.ensemble.upkeep import LATENCY_SEGMENTS, LONGEST_WINDOW_HOURS, PROBABILITY_SEGMENTS
from ensemble_pipeline.forecasting.histograms import binned_calibration_error, latency_quantile_ms
from ensemble_pipeline.forecasting.skill_cube import SUM_FIELDS
from ensemble_pipeline.forecasting.windows import WINDOW_HOURS, window_sums
from ensemble_pipeline.store import cube
from ensemble_pipeline.store.database import Connection
from ensemble_pipeline.store.learning import hour_number

_N, _P, _OUTCOME = (SUM_FIELDS.index(name) for name in ("n", "p_e9", "outcome"))


@dataclass(frozen=True, slots=True)
class Distribution:
    """Expected calibration error over bins of five cents, and the latency that 95% of the calls stay below."""

    calibration_error: float | None
    latency_p95_ms: float | None


UNKNOWN = Distribution(None, None)


def distributions_at(connection: Connection, as_of: datetime) -> dict[tuple[int, str], Distribution]:
    """By window and model, as of a full hour; from the cubes, as differences of prefix sums."""
    latency = {
        key: latency_quantile_ms(sums[_N], 0.95)
        for key, sums in _histograms(connection, "latency", LATENCY_SEGMENTS, as_of)
    }
    return {
        key: Distribution(binned_calibration_error(sums[_N], sums[_P], sums[_OUTCOME]), latency[key])
        for key, sums in _histograms(connection, "probability", PROBABILITY_SEGMENTS, as_of)
    }


def _histograms(
    connection: Connection, dimension: str, bins: tuple[str, ...], as_of: datetime
) -> Iterator[tuple[tuple[int, str], NDArray[np.int64]]]:
    """The sums of every bin, shape ``(n_fields, n_bins)``, by window and model."""
    found = cube.load_cells(connection, dimension, as_of - timedelta(hours=LONGEST_WINDOW_HOURS), as_of)
    place = np.array([bins.index(name) for name in found.segments], dtype=np.int64)
    table = window_sums(found.cells, [hour_number(as_of)], WINDOW_HOURS)
    for length in WINDOW_HOURS:
        for model, name in enumerate(found.models):
            here = np.flatnonzero((table.window_hours == length) & (table.model == model) & (table.segment >= 0))
            if len(here):
                sums = np.zeros((len(table.sums), len(bins)), dtype=np.int64)
                sums[:, place[table.segment[here]]] = table.sums[:, here]
                yield (length, name), sums
