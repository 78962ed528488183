"""Rows of the ledger as columns: what cube, ranking, strengths and trends are computed from."""

from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_pipeline.store.columns import read_columns
from ensemble_pipeline.store.database import Connection

DIMENSIONS = {"category": "category", "regime": "volatility_regime", "expiry": "expiry_bucket"}
"""The conditions under which a forecast was asked, with their columns in the ledger."""

_NAMED = {"model": "model_id", **DIMENSIONS}
_NUMBERS = {
    "score_id": ("score_id", "i8"),
    "known_at_s": ("ceil(extract(epoch from known_at))::bigint", "i8"),
    "window_at_s": ("ceil(extract(epoch from window_at))::bigint", "i8"),
    "p_yes": ("p_yes", "f8"),
    "confidence": ("confidence", "f8"),
    "outcome": ("outcome::bigint", "i8"),
    "market_p": ("coalesce(market_p, 'NaN')", "f8"),
    "cost_micro_usd": ("cost_micro_usd", "i8"),
    "latency_ms": ("latency_ms::bigint", "i8"),
    "sign": ("sign::bigint", "i8"),
}
_GROUPS = {
    "question": ("dense_rank() over (order by market_id, asked_at) - 1", "i8"),
    "event": ("dense_rank() over (order by event_id) - 1", "i8"),
}


@dataclass(frozen=True, slots=True)
class ScoreArrays:
    """Scored forecasts as columns of one length, in the order of the ledger.

    `model` and the columns of `segments` index `models` and `names`, which are sorted. `question` numbers (market,
    instant asked), `event` what settles together; both are empty where they were not asked for.
    """

    models: tuple[str, ...]
    names: dict[str, tuple[str, ...]]
    segments: dict[str, NDArray[np.int64]]
    score_id: NDArray[np.int64]
    known_at_s: NDArray[np.int64]
    window_at_s: NDArray[np.int64]
    model: NDArray[np.int64]
    p_yes: NDArray[np.float64]
    confidence: NDArray[np.float64]
    outcome: NDArray[np.int64]
    market_p: NDArray[np.float64]
    cost_micro_usd: NDArray[np.int64]
    latency_ms: NDArray[np.int64]
    sign: NDArray[np.int64]
    question: NDArray[np.int64]
    event: NDArray[np.int64]

    def head(self, n: int) -> "ScoreArrays":
        """The first `n` rows; views, nothing is copied."""
        segments = {name: column[:n] for name, column in self.segments.items()}
        columns = {name: getattr(self, name)[:n] for name in _COLUMNS}
        return replace(self, segments=segments, **columns)


_COLUMNS = tuple(field.name for field in fields(ScoreArrays) if field.name not in ("models", "names", "segments"))


def load_known(connection: Connection, as_of: datetime, through: int) -> ScoreArrays:
    """Rows up to the ledger's row `through` that were known by `as_of`, with questions and events."""
    return _load(connection, "known_at <= %s and score_id <= %s", [as_of, through], has_groups=True)


def load_placed(connection: Connection, after: datetime, until: datetime, through: int) -> ScoreArrays:
    """Rows up to the ledger's row `through` that windows place within ``(after, until]``, whenever they were known."""
    return _load(connection, "window_at > %s and window_at <= %s and score_id <= %s", [after, until, through])


def load_appended(
    connection: Connection, after_id: int, through: int, outside: tuple[datetime, datetime] | None = None
) -> ScoreArrays:
    """Rows appended after `after_id`, up to the ledger's row `through`; without those placed within `outside`."""
    condition, parameters = "score_id > %s and score_id <= %s", [after_id, through]
    if outside is None:
        return _load(connection, condition, parameters)
    return _load(connection, f"{condition} and not (window_at > %s and window_at <= %s)", [*parameters, *outside])


def _load(connection: Connection, condition: str, parameters: list[Any], *, has_groups: bool = False) -> ScoreArrays:
    names = _distinct_names(connection, condition, parameters)
    numbers = _NUMBERS | (_GROUPS if has_groups else {})
    coded = {name: f"array_position(%s::text[], {column})::bigint - 1" for name, column in _NAMED.items()}
    expressions = {name: expression for name, (expression, _) in numbers.items()} | coded
    found = read_columns(
        connection,
        f"select {', '.join(f'{it} as {name}' for name, it in expressions.items())} from scored_forecasts"
        f" where {condition}",
        [*(list(names[name]) for name in coded), *parameters],
        {**{name: kind for name, (_, kind) in numbers.items()}, **dict.fromkeys(coded, "i8")},
    )
    order = np.argsort(found["score_id"])
    found = {name: column[order] for name, column in found.items()}
    segments = {dimension: found.pop(dimension) for dimension in DIMENSIONS}
    if not has_groups:
        found |= dict.fromkeys(_GROUPS, np.empty(0, dtype=np.int64))
    return ScoreArrays(names.pop("model"), names, segments, **found)


def _distinct_names(connection: Connection, condition: str, parameters: list[Any]) -> dict[str, tuple[str, ...]]:
    rows = connection.execute(
        f"select distinct {', '.join(_NAMED.values())} from scored_forecasts where {condition}", parameters
    ).fetchall()
    return {name: tuple(sorted({row[column] for row in rows})) for name, column in _NAMED.items()}
