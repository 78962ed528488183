"""Rankings and calibration tables. Append-only: a decision keeps pointing at the one it used."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from ensemble_pipeline.domain import Ranked, Ranking
from ensemble_pipeline.store.database import Connection, require_row


@dataclass(frozen=True, slots=True)
class Calibration:
    """A temperature as of an instant: calibrated log-odds = slope × pooled log-odds."""

    calibration_id: int
    as_of: datetime
    slope: float
    n: int
    effective_n: float


def save_ranking(connection: Connection, as_of: datetime, day: date, known: int, rows: Sequence[Ranked]) -> Ranking:
    """Append a ranking, or return the newest one of the same instant where it says the same."""
    present = latest_ranking(connection, as_of)
    if present is not None and present.as_of == as_of and present.rows == tuple(rows):
        return present
    found = connection.execute(
        "insert into model_rankings (as_of, partition_day, known_forecasts) values (%s, %s, %s) returning ranking_id",
        [as_of, day, known],
    ).fetchone()
    found = require_row(found)
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into model_ranking_rows (ranking_id, model_id, rank, skill, standard_error, sample_size,"
            " effective_sample_size, weight) values (%s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    found["ranking_id"],
                    row.model_id,
                    row.rank,
                    row.skill,
                    row.standard_error,
                    row.sample_size,
                    row.effective_sample_size,
                    row.weight,
                )
                for row in rows
            ],
        )
    return Ranking(found["ranking_id"], as_of, tuple(rows))


def latest_ranking(connection: Connection, as_of: datetime) -> Ranking | None:
    """The newest ranking as of `as_of` or before, rows in the order of their rank."""
    head = connection.execute(
        "select ranking_id, as_of from model_rankings where as_of <= %s order by as_of desc, ranking_id desc limit 1",
        [as_of],
    ).fetchone()
    if head is None:
        return None
    rows = connection.execute(
        "select model_id, rank, skill, standard_error, sample_size, effective_sample_size, weight"
        " from model_ranking_rows where ranking_id = %s order by rank",
        [head["ranking_id"]],
    )
    return Ranking(head["ranking_id"], head["as_of"], tuple(Ranked(**row) for row in rows))


def save_calibration(connection: Connection, as_of: datetime, slope: float, n: int, effective_n: float) -> Calibration:
    """Append a calibration, or return the newest one of the same instant where it says the same."""
    present = latest_calibration(connection, as_of)
    if present is not None and (present.as_of, present.slope, present.n) == (as_of, slope, n):
        return present
    row = connection.execute(
        "insert into calibration_tables (as_of, slope, n, effective_n) values (%s, %s, %s, %s)"
        " returning calibration_id",
        [as_of, slope, n, effective_n],
    ).fetchone()
    row = require_row(row)
    return Calibration(row["calibration_id"], as_of, slope, n, effective_n)


def latest_calibration(connection: Connection, as_of: datetime) -> Calibration | None:
    """The newest calibration as of `as_of` or before."""
    row = connection.execute(
        "select calibration_id, as_of, slope, n, effective_n from calibration_tables where as_of <= %s"
        " order by as_of desc, calibration_id desc limit 1",
        [as_of],
    ).fetchone()
    return None if row is None else Calibration(**row)
