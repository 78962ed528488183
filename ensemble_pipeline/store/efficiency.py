"""What models' answers cost and what that buys. Append-only: a decision keeps pointing at the reading it used."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime

from ensemble_pipeline.store.database import Connection, Row, require_row
from ensemble_pipeline.store.skill_keys import EVERY_SEGMENT


@dataclass(frozen=True, slots=True)
class CostEfficiency:
    """One model's answers in one category (``*``: in all), and the skill that a dollar spent on it buys.

    `calls`, `answers` and `cost_micro_usd` are sums over the days looked at. `cost_per_answer_usd` is what one usable
    answer costs, failures included, drawn towards the model's own mean in a category; ``None`` where it never answered.
    `gain` is by how many Brier points it beats the base rate, ``None`` where nothing has settled; its error is ``None``
    after a single event. `gain_per_usd` is ``None`` where either is unknown or the answers are free; `low` and `high`
    bound it with 95%, ``None`` where they bound nothing.
    """

    model_id: str
    category: str
    calls: int
    answers: int
    cost_micro_usd: int
    cost_per_answer_usd: float | None
    cost_standard_error_usd: float | None
    gain: float | None
    gain_standard_error: float | None
    gain_per_usd: float | None
    low: float | None
    high: float | None

    @property
    def is_overall(self) -> bool:
        """Whether it is about all categories together."""
        return self.category == EVERY_SEGMENT


@dataclass(frozen=True, slots=True)
class Efficiency:
    """All that is known of models' costs and gains as of an instant.

    `share_of_worst_case` is what calls cost on average as a share of what was held for them.
    """

    efficiency_id: int
    as_of: datetime
    ranking_id: int
    share_of_worst_case: float
    rows: tuple[CostEfficiency, ...] = ()

    @property
    def by_place(self) -> dict[tuple[str, str], CostEfficiency]:
        """The lines by model and category."""
        return {(row.model_id, row.category): row for row in self.rows}


_ROW = [field.name for field in fields(CostEfficiency)]


def call_costs(connection: Connection, since: datetime, until: datetime) -> list[Row]:
    """Closed calls reserved within (since, until], by model and category: sums that costs per answer are made of."""
    return connection.execute(
        "with known as (select r.model_id, r.market_id, r.held_micro_usd as reserved, q.status, r.booked_micro_usd"
        " + coalesce((select sum(c.amount_micro_usd)::bigint from budget_corrections c where"
        " c.reservation_id = r.reservation_id and c.corrected_at <= %(until)s), 0) as spent"
        " from budget_reservations r left join llm_queries q using (reservation_id)"
        " where r.budget_day between %(since)s::date and %(until)s::date and r.closed_at <= %(until)s"
        " and r.reserved_at > %(since)s and r.reserved_at <= %(until)s)"
        " select l.model_id, e.category, count(*) as calls, count(*) filter (where l.status = 'answered') as answers,"
        " sum(l.spent)::bigint as cost_micro_usd, sum(l.reserved)::bigint as reserved_micro_usd,"
        " sum(l.spent::numeric ^ 2)::float8 as cost_squared,"
        " coalesce(sum(l.spent) filter (where l.status = 'answered'), 0)::bigint as cost_of_answered"
        " from known l join markets m on m.market_id = l.market_id join market_events e using (event_id)"
        ' group by 1, 2 order by l.model_id collate "C", e.category collate "C"',
        {"since": since, "until": until},
    ).fetchall()


def save_efficiency(
    connection: Connection, as_of: datetime, ranking_id: int, share: float, rows: Sequence[CostEfficiency]
) -> Efficiency:
    """Append a reading."""
    head = connection.execute(
        "insert into cost_efficiencies (as_of, ranking_id, share_of_worst_case) values (%s, %s, %s)"
        " returning efficiency_id",
        [as_of, ranking_id, share],
    ).fetchone()
    efficiency_id = int(require_row(head)["efficiency_id"])
    with connection.cursor() as cursor:
        cursor.executemany(
            f"insert into cost_efficiency_rows (efficiency_id, {', '.join(_ROW)})"
            f" values (%(efficiency_id)s, {', '.join(f'%({name})s' for name in _ROW)})",
            [{"efficiency_id": efficiency_id, **asdict(row)} for row in rows],
        )
    return Efficiency(efficiency_id, as_of, ranking_id, share, tuple(rows))


def latest_efficiency(connection: Connection, as_of: datetime) -> Efficiency | None:
    """The newest reading as of `as_of` or before."""
    return _load(connection, "as_of <= %s order by as_of desc, efficiency_id desc limit 1", as_of)


def efficiency_by_id(connection: Connection, efficiency_id: int) -> Efficiency | None:
    """The reading of this id."""
    return _load(connection, "efficiency_id = %s", efficiency_id)


def _load(connection: Connection, condition: str, value: datetime | int) -> Efficiency | None:
    head = connection.execute(
        f"select efficiency_id, as_of, ranking_id, share_of_worst_case from cost_efficiencies where {condition}",
        [value],
    ).fetchone()
    if head is None:
        return None
    rows = connection.execute(
        f"select {', '.join(_ROW)} from cost_efficiency_rows where efficiency_id = %s"
        ' order by model_id collate "C", category collate "C"',
        [head["efficiency_id"]],
    )
    return Efficiency(**head, rows=tuple(CostEfficiency(**row) for row in rows))
