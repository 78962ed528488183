"""Calibration tables. Append-only: a decision keeps pointing at the one it used."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ensemble_pipeline.store.database import Connection, require_row


@dataclass(frozen=True, slots=True)
class CategoryIntercept:
    """What a category adds to the calibrated log-odds, and the settled events it rests on."""

    category: str
    intercept: float
    events: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """As of an instant: calibrated log-odds = slope × pooled log-odds + the category's intercept, where it has one."""

    calibration_id: int
    as_of: datetime
    slope: float
    n: int
    effective_n: float
    intercepts: tuple[CategoryIntercept, ...] = ()

    def intercept_of(self, category: str) -> float:
        """The intercept of a category; 0 where it has none of its own."""
        return next((it.intercept for it in self.intercepts if it.category == category), 0.0)


def save_calibration(
    connection: Connection,
    as_of: datetime,
    slope: float,
    n: int,
    events: float,
    intercepts: Sequence[CategoryIntercept] = (),
) -> Calibration:
    """Append a calibration, or return the newest one of the same instant where it says the same."""
    present = latest_calibration(connection, as_of)
    given = tuple(sorted(intercepts, key=lambda it: it.category))
    if present is not None and (present.as_of, present.slope, present.n, present.intercepts) == (
        as_of,
        slope,
        n,
        given,
    ):
        return present
    row = connection.execute(
        "insert into calibration_tables (as_of, slope, n, effective_n) values (%s, %s, %s, %s)"
        " returning calibration_id",
        [as_of, slope, n, events],
    ).fetchone()
    calibration_id = int(require_row(row)["calibration_id"])
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into calibration_intercepts (calibration_id, category, intercept, events) values (%s, %s, %s, %s)",
            [(calibration_id, it.category, it.intercept, it.events) for it in given],
        )
    return Calibration(calibration_id, as_of, slope, n, events, given)


def latest_calibration(connection: Connection, as_of: datetime) -> Calibration | None:
    """The newest calibration as of `as_of` or before."""
    row = connection.execute(
        "select calibration_id, as_of, slope, n, effective_n from calibration_tables where as_of <= %s"
        " order by as_of desc, calibration_id desc limit 1",
        [as_of],
    ).fetchone()
    if row is None:
        return None
    intercepts = connection.execute(
        "select category, intercept, events from calibration_intercepts where calibration_id = %s"
        ' order by category collate "C"',
        [row["calibration_id"]],
    )
    return Calibration(**row, intercepts=tuple(CategoryIntercept(**it) for it in intercepts))
