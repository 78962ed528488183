"""Calibration tables. Append-only: a decision keeps pointing at the one it used."""

import hashlib
from dataclasses import dataclass, replace
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
    """As of an instant: calibrated log-odds = slope × pooled log-odds + the category's intercept, where it has one.

    `market_weight` is the ensemble's weight against a price, learned from `market_events` settled events.
    """

    calibration_id: int
    as_of: datetime
    slope: float
    n: int
    effective_n: float
    market_weight: float
    market_events: float = 0.0
    intercepts: tuple[CategoryIntercept, ...] = ()

    @property
    def epoch(self) -> str:
        """What the calibration says, apart from when: two that say the same are of one epoch."""
        said = (self.slope, self.market_weight, [(it.category, it.intercept) for it in self.intercepts])
        return hashlib.sha256(repr(said).encode()).hexdigest()[:16]

    def intercept_of(self, category: str) -> float:
        """The intercept of a category; 0 where it has none of its own."""
        return next((it.intercept for it in self.intercepts if it.category == category), 0.0)


_NUMBERS = ("as_of", "slope", "n", "effective_n", "market_weight", "market_events")


def save_calibration(connection: Connection, fitted: Calibration) -> Calibration:
    """Append a calibration under an id of its own, or return the newest one of the instant where it says the same."""
    given = replace(fitted, intercepts=tuple(sorted(fitted.intercepts, key=lambda it: it.category)))
    present = latest_calibration(connection, given.as_of)
    if present is not None and replace(present, calibration_id=given.calibration_id) == given:
        return present
    row = connection.execute(
        f"insert into calibration_tables ({', '.join(_NUMBERS)}) values"
        f" ({', '.join(['%s'] * len(_NUMBERS))}) returning calibration_id",
        [getattr(given, name) for name in _NUMBERS],
    ).fetchone()
    calibration_id = int(require_row(row)["calibration_id"])
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into calibration_intercepts (calibration_id, category, intercept, events) values (%s, %s, %s, %s)",
            [(calibration_id, it.category, it.intercept, it.events) for it in given.intercepts],
        )
    return replace(given, calibration_id=calibration_id)


def latest_calibration(connection: Connection, as_of: datetime) -> Calibration | None:
    """The newest calibration as of `as_of` or before."""
    return _load(connection, "as_of <= %s order by as_of desc, calibration_id desc limit 1", as_of)


def calibration_by_id(connection: Connection, calibration_id: int) -> Calibration | None:
    """The calibration of this id."""
    return _load(connection, "calibration_id = %s", calibration_id)


def _load(connection: Connection, condition: str, value: datetime | int) -> Calibration | None:
    row = connection.execute(
        f"select calibration_id, {', '.join(_NUMBERS)} from calibration_tables where {condition}", [value]
    ).fetchone()
    if row is None:
        return None
    intercepts = connection.execute(
        "select category, intercept, events from calibration_intercepts where calibration_id = %s"
        ' order by category collate "C"',
        [row["calibration_id"]],
    )
    return Calibration(**row, intercepts=tuple(CategoryIntercept(**it) for it in intercepts))
