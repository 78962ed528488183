"""Rankings with their trends and strengths. Append-only: a decision keeps pointing at the one it used."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any

from ensemble_pipeline.domain import Ranked, Ranking
from ensemble_pipeline.store.database import Connection, require_row


@dataclass(frozen=True, slots=True)
class ModelTrend:
    """Where a model's difference to the panel is heading, Brier points a day with a 95% interval, and its CUSUM.

    ``None`` stands for limits that the evidence does not give. Degraded: the CUSUM passed its threshold since
    `degraded_since`.
    """

    model_id: str
    slope_per_day: float | None
    low: float | None
    high: float | None
    direction: str
    is_degraded: bool
    cusum: float
    cusum_threshold: float
    degraded_since: datetime | None


@dataclass(frozen=True, slots=True)
class ModelStrength:
    """How a model does under one condition: its mean difference there, the skill shrunk towards its own, a verdict."""

    model_id: str
    dimension: str
    segment: str
    delta: float | None
    standard_error: float | None
    n: int
    events: int
    effective_sample_size: float
    skill: float
    verdict: str


@dataclass(frozen=True, slots=True)
class PanelLevel:
    """By how many Brier points the panel beats the base rate in a category; ``*``: over all of them.

    `standard_error` is clustered by event, ``None`` where fewer than two say anything about it.
    """

    category: str
    gain: float
    standard_error: float | None
    events: int


@dataclass(frozen=True, slots=True)
class _Pair:
    model_id: str
    other_id: str
    correlation: float


_RANKED = [field.name for field in fields(Ranked)]
_TREND = [field.name for field in fields(ModelTrend)]
_STRENGTH = [field.name for field in fields(ModelStrength)]
_LEVEL = [field.name for field in fields(PanelLevel)]


def save_ranking(
    connection: Connection,
    as_of: datetime,
    rows: Sequence[Ranked],
    correlations: Mapping[tuple[str, str], float],
    trends: Sequence[ModelTrend] = (),
    strengths: Sequence[ModelStrength] = (),
    levels: Sequence[PanelLevel] = (),
) -> Ranking:
    """Append a ranking, or return the newest one of the same instant where it says the same."""
    present = latest_ranking(connection, as_of)
    given = Ranking(0, as_of, tuple(rows), correlations)
    if present is not None and replace(present, ranking_id=0) == given:
        read = (trends_of, strengths_of, levels_of)
        stands = [reader(connection, present.ranking_id) for reader in read]
        if stands == [sorted(rows, key=_place) for rows in (trends, strengths, levels)]:
            return present
    found = connection.execute(
        "insert into model_rankings (as_of, partition_day, known_forecasts) values (%s, %s, %s) returning ranking_id",
        [as_of, as_of.date(), sum(row.sample_size for row in rows)],
    ).fetchone()
    ranking_id = int(require_row(found)["ranking_id"])
    _insert(connection, "model_ranking_rows", ranking_id, rows)
    pairs = [_Pair(name, other, rho) for (name, other), rho in correlations.items()]
    _insert(connection, "model_correlations", ranking_id, pairs)
    _insert(connection, "model_trends", ranking_id, trends)
    _insert(connection, "model_strengths", ranking_id, strengths)
    _insert(connection, "panel_levels", ranking_id, levels)
    return replace(given, ranking_id=ranking_id)


def latest_ranking(connection: Connection, as_of: datetime) -> Ranking | None:
    """The newest ranking as of `as_of` or before, rows in the order of their rank."""
    return _load(connection, "as_of <= %s order by as_of desc, ranking_id desc limit 1", as_of)


def ranking_by_id(connection: Connection, ranking_id: int) -> Ranking | None:
    """The ranking of this id, rows in the order of their rank."""
    return _load(connection, "ranking_id = %s", ranking_id)


def _load(connection: Connection, condition: str, value: datetime | int) -> Ranking | None:
    head = connection.execute(f"select ranking_id, as_of from model_rankings where {condition}", [value]).fetchone()
    if head is None:
        return None
    rows = connection.execute(
        f"select {', '.join(_RANKED)} from model_ranking_rows where ranking_id = %s order by rank",
        [head["ranking_id"]],
    )
    pairs = connection.execute(
        "select model_id, other_id, correlation from model_correlations where ranking_id = %s", [head["ranking_id"]]
    )
    return Ranking(
        head["ranking_id"],
        head["as_of"],
        tuple(Ranked(**row) for row in rows),
        {(pair["model_id"], pair["other_id"]): pair["correlation"] for pair in pairs},
    )


def trends_of(connection: Connection, ranking_id: int) -> list[ModelTrend]:
    """The trends of a ranking's models, by name."""
    rows = connection.execute(
        f'select {", ".join(_TREND)} from model_trends where ranking_id = %s order by model_id collate "C"',
        [ranking_id],
    )
    return [ModelTrend(**row) for row in rows]


def strengths_of(connection: Connection, ranking_id: int) -> list[ModelStrength]:
    """What a ranking's models are good and bad at, by model, dimension and segment."""
    rows = connection.execute(
        f"select {', '.join(_STRENGTH)} from model_strengths where ranking_id = %s"
        ' order by model_id collate "C", dimension collate "C", segment collate "C"',
        [ranking_id],
    )
    return [ModelStrength(**row) for row in rows]


def levels_of(connection: Connection, ranking_id: int) -> list[PanelLevel]:
    """By how much the panel beat the base rate as of a ranking, by category."""
    rows = connection.execute(
        f'select {", ".join(_LEVEL)} from panel_levels where ranking_id = %s order by category collate "C"',
        [ranking_id],
    )
    return [PanelLevel(**row) for row in rows]


def _place(row: ModelTrend | ModelStrength | PanelLevel) -> tuple[str, ...]:
    if isinstance(row, PanelLevel):
        return (row.category,)
    return (row.model_id, row.dimension, row.segment) if isinstance(row, ModelStrength) else (row.model_id,)


def _insert(connection: Connection, table: str, ranking_id: int, rows: Sequence[Any]) -> None:
    if not rows:
        return
    values = [{"ranking_id": ranking_id, **asdict(row)} for row in rows]
    columns = list(values[0])
    with connection.cursor() as cursor:
        cursor.executemany(
            f"insert into {table} ({', '.join(columns)}) values ({', '.join(f'%({name})s' for name in columns)})",
            values,
        )
