"""The skill cube and the performance windows: derived tables, replaced day by day, never updated in place."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np

from ensemble_pipeline.forecasting.skill_cube import SUM_FIELDS, CubeCells
from ensemble_pipeline.forecasting.windows import ALL_CATEGORIES, WindowTable
from ensemble_pipeline.store.database import Connection, Row

EVERY_CATEGORY = "*"
_SUMS = ", ".join(SUM_FIELDS)


def hour_at(hour: int) -> datetime:
    """The instant of an hour counted from the Unix epoch."""
    return datetime.fromtimestamp(int(hour) * 3600, UTC)


def hour_number(at: datetime) -> int:
    """Full hours from the Unix epoch to `at`, rounded down."""
    return int(at.timestamp()) // 3600


def day_bounds(first: date, last: date) -> tuple[datetime, datetime]:
    """The half-open span of UTC time that the days from `first` to `last` cover."""
    start = datetime(first.year, first.month, first.day, tzinfo=UTC)
    return start, start + timedelta(days=(last - first).days + 1)


def replace_cube(
    connection: Connection,
    first: date,
    last: date,
    cells: CubeCells,
    models: Sequence[str],
    categories: Sequence[str],
) -> int:
    """Replace the cube's cells of the days from `first` to `last`; returns the number of cells written."""
    connection.execute("delete from skill_cube where day between %s and %s", [first, last])
    columns = [np.asarray(getattr(cells, name)).tolist() for name in SUM_FIELDS]
    hours = [hour_at(hour) for hour in cells.hour.tolist()]
    rows = (
        (hour.date(), hour, models[model], categories[category], *sums)
        for hour, model, category, *sums in zip(
            hours, cells.model.tolist(), cells.category.tolist(), *columns, strict=True
        )
    )
    return _copy(connection, f"copy skill_cube (day, hour_at, model_id, category, {_SUMS}) from stdin", rows)


def load_cube(
    connection: Connection, after: datetime, until: datetime
) -> tuple[CubeCells, tuple[str, ...], tuple[str, ...]]:
    """Cells with ``after < hour_at <= until``, and the names their model and category indices stand for."""
    rows = connection.execute(
        f"select extract(epoch from hour_at)::bigint / 3600 as hour, model_id, category, {_SUMS} from skill_cube"
        " where hour_at > %s and hour_at <= %s order by hour_at, model_id, category",
        [after, until],
    ).fetchall()
    models = tuple(sorted({row["model_id"] for row in rows}))
    categories = tuple(sorted({row["category"] for row in rows}))
    cells = CubeCells(
        hour=np.array([row["hour"] for row in rows], dtype=np.int64),
        model=np.array([models.index(row["model_id"]) for row in rows], dtype=np.int64),
        category=np.array([categories.index(row["category"]) for row in rows], dtype=np.int64),
        **{name: np.array([row[name] for row in rows], dtype=np.int64) for name in SUM_FIELDS},
    )
    return cells, models, categories


def replace_windows(
    connection: Connection,
    first: date,
    last: date,
    table: WindowTable,
    models: Sequence[str],
    categories: Sequence[str],
) -> int:
    """Replace the window rows of the days from `first` to `last`; returns the number of rows written."""
    connection.execute("delete from performance_windows where day between %s and %s", [first, last])
    names = {ALL_CATEGORIES: EVERY_CATEGORY, **dict(enumerate(categories))}
    at = {hour: hour_at(hour) for hour in np.unique(table.as_of_hour).tolist()}
    rows = (
        (at[hour].date(), at[hour], window, models[model], names[category], *sums)
        for hour, window, model, category, sums in zip(
            table.as_of_hour.tolist(),
            table.window_hours.tolist(),
            table.model.tolist(),
            table.category.tolist(),
            table.sums.tolist(),
            strict=True,
        )
    )
    columns = f"day, as_of, window_hours, model_id, category, {_SUMS}"
    return _copy(connection, f"copy performance_windows ({columns}) from stdin", rows)


def _copy(connection: Connection, statement: str, rows: Iterable[Sequence[object]]) -> int:
    count = 0
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)
            count += 1
    return count


def windows_at(connection: Connection, as_of: datetime, category: str = EVERY_CATEGORY) -> list[Row]:
    """The window rows of one as-of hour, with mean Brier score, log loss and accuracy."""
    return connection.execute(
        "select window_hours, model_id, n, brier_e9::float8 / 1e9 / n as brier,"
        " log_loss_e9::float8 / 1e9 / n as log_loss,"
        " correct::float8 / n as accuracy, market_n,"
        " case when market_n > 0 then brier_minus_market_e9::float8 / 1e9 / market_n end as brier_minus_market"
        " from performance_windows where as_of = %s and category = %s order by window_hours, model_id",
        [as_of, category],
    ).fetchall()


def latest_as_of(connection: Connection, until: datetime) -> datetime | None:
    """The newest as-of hour at or before `until` that has window rows."""
    row = connection.execute("select max(as_of) as at from performance_windows where as_of <= %s", [until]).fetchone()
    return None if row is None else row["at"]


def save_mark(connection: Connection, as_of: datetime, through_score_id: int) -> None:
    """Remember that everything up to `through_score_id` is in the windows, which reach up to `as_of`."""
    connection.execute(
        "insert into learning_marks (as_of, through_score_id) values (%s, %s)", [as_of, through_score_id]
    )


def last_mark(connection: Connection) -> tuple[datetime, int] | None:
    """The newest mark: (as-of hour, ledger row) up to which windows were last materialised."""
    row = connection.execute("select max(as_of) as as_of, max(through_score_id) as id from learning_marks").fetchone()
    return None if row is None or row["as_of"] is None else (row["as_of"], int(row["id"]))
