"""Rankings, calibrations and contexts: appended, never changed, and read back to the bit."""

from dataclasses import replace

import psycopg
import pytest

from ensemble_pipeline.domain import Ranked
from ensemble_pipeline.errors import DatabaseError
from ensemble_pipeline.store import calibrations, contexts, rankings
from ensemble_pipeline.store.calibrations import Calibration, CategoryIntercept
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.store.rows import HOUR, NOW, save_context_row, save_models

FITTED = Calibration(
    calibration_id=0,
    as_of=NOW,
    slope=1 / 3,
    n=41,
    effective_n=17.000000000000004,
    market_weight=0.1 + 0.2,
    market_events=16.999999999999996,
    intercepts=(CategoryIntercept("Climate", -0.1, 201.0), CategoryIntercept("Sports", 1e-17, 200.0)),
)


def test_calibration_comes_back_to_the_bit_by_its_id_and_as_the_newest(database: Database) -> None:
    with database.connection() as connection:
        saved = calibrations.save_calibration(connection, replace(FITTED, intercepts=FITTED.intercepts[::-1]))
        assert saved == replace(FITTED, calibration_id=saved.calibration_id)
        assert calibrations.calibration_by_id(connection, saved.calibration_id) == saved
        assert calibrations.latest_calibration(connection, NOW) == saved
        assert calibrations.latest_calibration(connection, NOW - HOUR) is None
        assert calibrations.calibration_by_id(connection, 99) is None


@pytest.mark.parametrize(
    "change",
    [
        {"slope": 0.5},
        {"n": 42},
        {"effective_n": 18.0},
        {"market_weight": 0.3},
        {"market_events": 17.0},
        {"intercepts": ()},
        {"as_of": NOW + HOUR},
    ],
)
def test_calibration_that_says_the_same_is_kept_once_and_any_other_beside_it(
    database: Database, change: dict[str, object]
) -> None:
    with database.connection() as connection:
        first = calibrations.save_calibration(connection, FITTED)
        assert calibrations.save_calibration(connection, FITTED) == first
        other = calibrations.save_calibration(connection, replace(FITTED, **change))  # type: ignore[arg-type]
        assert other.calibration_id != first.calibration_id
        # what a decision points at stays as it was
        assert calibrations.calibration_by_id(connection, first.calibration_id) == first


@pytest.mark.parametrize("market_weight", [-0.1, 1.1])
def test_weight_against_the_price_outside_its_range_is_refused(database: Database, market_weight: float) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="market_weight"), database.connection() as connection:
        calibrations.save_calibration(connection, replace(FITTED, market_weight=market_weight))


def test_ranking_comes_back_to_the_bit_by_its_id(database: Database) -> None:
    rows = (
        Ranked("b", 1, -0.1 / 3, 0.01, 40, 39.7, 0.6, -0.1, 0.1, -0.2, 0.2, 55, True, 0.1 + 0.2),
        Ranked("a", 2, 0.0, None, 0, 0.0, 0.4),
    )
    with database.connection() as connection:
        save_models(connection, "a", "b")
        saved = rankings.save_ranking(connection, NOW, rows, {("a", "b"): 1 / 3})
        assert saved.rows == rows
        found = rankings.ranking_by_id(connection, saved.ranking_id)
        assert found == rankings.latest_ranking(connection, NOW) == saved
        assert found is not None
        assert found.correlation_of("b", "a", 0.0) == 1 / 3
        assert rankings.ranking_by_id(connection, 99) is None
        assert rankings.save_ranking(connection, NOW, rows, {("a", "b"): 1 / 3}).ranking_id == saved.ranking_id
        assert rankings.save_ranking(connection, NOW, rows, {("a", "b"): 0.5}).ranking_id != saved.ranking_id


def test_context_that_nobody_kept_is_not_found(database: Database) -> None:
    with database.connection() as connection:
        kept = contexts.load_context(connection, save_context_row(connection))
        assert (kept.method, kept.operating_mode, kept.planned_at) == ("advanced", "normal", NOW)
        with pytest.raises(DatabaseError):
            contexts.load_context(connection, 99)
