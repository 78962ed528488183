"""The numbered keys of cube and windows: one per model and segment, so that their rows are short and of fixed width."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble_pipeline.forecasting.skill_cube import CubeCells
from ensemble_pipeline.store.database import Connection

EVERY_SEGMENT = "*"
OVER_ALL = "all"
HISTOGRAMS = ("probability", "latency")
"""The dimensions whose segments are bins."""


@dataclass(frozen=True, slots=True)
class NamedCells:
    """The cells of one dimension with the names their model and segment indices stand for."""

    dimension: str
    cells: CubeCells
    models: tuple[str, ...]
    segments: tuple[str, ...]


def numbers_of(
    connection: Connection, dimension: str, models: Sequence[str], segments: Sequence[str]
) -> NDArray[np.int32]:
    """Key numbers by model and segment, shape ``(n_models, n_segments)``, int32; missing ones are made."""
    wanted = {"models": list(models), "dimension": dimension, "segments": list(segments)}
    cross = (
        "unnest(%(models)s::text[]) with ordinality m(name, i)"
        " cross join unnest(%(segments)s::text[]) with ordinality s(name, j)"
    )
    connection.execute(
        "insert into skill_keys (model_id, dimension, segment)"
        f" select m.name, %(dimension)s, s.name from {cross} where not exists (select from skill_keys k"
        " where k.model_id = m.name and k.dimension = %(dimension)s and k.segment = s.name)",
        wanted,
    )
    rows = connection.execute(
        f"select i, j, k.key_id from {cross} join skill_keys k"
        " on k.model_id = m.name and k.dimension = %(dimension)s and k.segment = s.name",
        wanted,
    ).fetchall()
    numbers = np.zeros((len(models), len(segments)), dtype=np.int32)
    for row in rows:
        numbers[row["i"] - 1, row["j"] - 1] = row["key_id"]
    return numbers


@dataclass(frozen=True, slots=True)
class KeyNames:
    """The key numbers of one dimension and what they stand for; the arrays are indexed by key number."""

    numbers: list[int]
    models: tuple[str, ...]
    segments: tuple[str, ...]
    model: NDArray[np.int64]
    segment: NDArray[np.int64]


def names_of(connection: Connection, dimension: str) -> KeyNames:
    """All keys of one dimension."""
    rows = connection.execute(
        "select key_id, model_id, segment from skill_keys where dimension = %s order by key_id", [dimension]
    ).fetchall()
    models = tuple(sorted({row["model_id"] for row in rows}))
    segments = tuple(sorted({row["segment"] for row in rows}))
    model, segment = (np.zeros(max((row["key_id"] for row in rows), default=0) + 1, dtype=np.int64) for _ in range(2))
    for row in rows:
        model[row["key_id"]] = models.index(row["model_id"])
        segment[row["key_id"]] = segments.index(row["segment"])
    return KeyNames([row["key_id"] for row in rows], models, segments, model, segment)
