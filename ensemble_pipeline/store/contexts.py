"""What all decisions of a batch rested on besides ranking, calibration and settings. Append-only."""

from dataclasses import dataclass, field, fields
from datetime import date, datetime
from typing import Any

from psycopg.types.json import Jsonb

from ensemble_pipeline.store.database import Connection, Row, require_row


@dataclass(frozen=True, slots=True)
class StoredContext:
    """One reading of the state before a batch was planned. `health` and `accounts` are JSON, money in micro-dollars."""

    batch_id: int
    run_id: str
    planned_at: datetime
    method: str
    ranking_id: int
    calibration_id: int
    settings_hash: str
    code_version: str
    operating_mode: str
    budget_day: date
    spent_micro_usd: int
    held_micro_usd: int
    health: dict[str, Any]
    accounts: dict[str, Any] = field(default_factory=dict)
    disputed: list[str] = field(default_factory=list)
    efficiency_id: int | None = None


_COLUMNS = [it.name for it in fields(StoredContext)]


def save_context(connection: Connection, context: StoredContext) -> int:
    """Keep a context; returns its id."""
    values = {name: getattr(context, name) for name in _COLUMNS}
    values |= {"health": Jsonb(context.health), "accounts": Jsonb(context.accounts)}
    row = connection.execute(
        f"insert into decision_contexts ({', '.join(_COLUMNS)}) values"
        f" ({', '.join(f'%({name})s' for name in _COLUMNS)}) returning context_id",
        values,
    ).fetchone()
    return int(require_row(row)["context_id"])


def load_context(connection: Connection, context_id: int) -> StoredContext:
    """A context kept before."""
    row: Row = require_row(
        connection.execute(
            f"select {', '.join(_COLUMNS)} from decision_contexts where context_id = %s", [context_id]
        ).fetchone()
    )
    return StoredContext(**row)
