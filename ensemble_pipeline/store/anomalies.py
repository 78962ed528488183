"""What was odd about the cost of calls, and what somebody decided about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ensemble_pipeline.domain import CostAnomaly
from ensemble_pipeline.store.calls import LLMQuery
from ensemble_pipeline.store.database import AsyncConnection, Connection, Row

Resolution = Literal["accepted", "rejected"]


@dataclass(frozen=True, slots=True)
class Dispute:
    """A cost that nobody can believe; its model is closed until somebody accepts or rejects it. Micro-dollars."""

    anomaly_id: int
    reservation_id: int
    model_id: str
    claim: str
    claimed_micro_usd: int
    booked_micro_usd: int
    held_micro_usd: int
    noticed_at: datetime


async def save_anomaly(
    connection: AsyncConnection, query: LLMQuery, odd: CostAnomaly, worst_case: int, now: datetime
) -> None:
    """Keep what was odd about a call whose worst case was so many micro-dollars."""
    await connection.execute(
        "insert into cost_anomalies (reservation_id, model_id, kind, claim, claimed_micro_usd, booked_micro_usd,"
        " held_micro_usd, noticed_at) values (%s, %s, %s, %s, %s, %s, %s, %s)",
        [
            query.reservation_id,
            query.model_id,
            odd.kind,
            odd.claim,
            odd.claimed_micro_usd,
            query.cost_micro_usd,
            worst_case,
            now,
        ],
    )


def open_disputes(connection: Connection) -> list[Dispute]:
    """Costs that nobody decided about yet, oldest first."""
    rows = connection.execute(
        "select anomaly_id, reservation_id, model_id, claim, claimed_micro_usd, booked_micro_usd, held_micro_usd,"
        " noticed_at from cost_anomalies where kind = 'absurd_cost' and resolved_at is null order by anomaly_id"
    )
    return [Dispute(**row) for row in rows]


def dispute_by_id(connection: Connection, anomaly_id: int) -> Dispute | None:
    """An open dispute, locked for whoever decides about it; ``None`` where there is none of this number."""
    row = connection.execute(
        "select anomaly_id, reservation_id, model_id, claim, claimed_micro_usd, booked_micro_usd, held_micro_usd,"
        " noticed_at from cost_anomalies where anomaly_id = %s and kind = 'absurd_cost' and resolved_at is null"
        " for update",
        [anomaly_id],
    ).fetchone()
    return None if row is None else Dispute(**row)


def resolve(connection: Connection, anomaly_id: int, resolution: Resolution, cause: str, now: datetime) -> None:
    """Note how somebody decided about a dispute, and why."""
    connection.execute(
        "update cost_anomalies set resolved_at = %s, resolution = %s, resolution_cause = %s where anomaly_id = %s",
        [now, resolution, cause, anomaly_id],
    )


def overruns_since(connection: Connection, since: datetime) -> dict[str, float]:
    """How many times its worst case the dearest call of each model has cost since; models without any are absent."""
    rows = connection.execute(
        "select model_id, max(booked_micro_usd::float8 / held_micro_usd) as factor from cost_anomalies"
        " where kind = 'overrun' and held_micro_usd > 0 and noticed_at >= %s group by 1",
        [since],
    )
    return {row["model_id"]: row["factor"] for row in rows}


def anomalies_since(connection: Connection, since: datetime) -> Sequence[Row]:
    """Anomalies noticed since, by model and kind: how often, the newest claim and when."""
    return connection.execute(
        "select model_id, kind, count(*) as n, max(noticed_at) as last_at,"
        " (array_agg(claim order by anomaly_id desc))[1] as claim from cost_anomalies where noticed_at >= %s"
        ' group by 1, 2 order by model_id collate "C", kind',
        [since],
    ).fetchall()
