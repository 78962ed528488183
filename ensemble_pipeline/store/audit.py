"""Comparisons that must come out even: the ledger with its calls, scores with their formula, rankings with windows."""

from ensemble_pipeline.domain import Ranking
from ensemble_pipeline.store.database import Connection, Row, require_row


def ledger_differences(connection: Connection) -> list[Row]:
    """Days whose account differs from its reservations, or whose settled reservations differ from the calls."""
    return connection.execute(
        "with booked as (select budget_day::text as day,"
        " sum(case state when 'settled' then actual_micro_usd when 'expired' then held_micro_usd else 0 end) as spent,"
        " sum(held_micro_usd) filter (where state = 'held') as held,"
        " coalesce(sum(actual_micro_usd), 0) as settled from budget_reservations group by 1),"
        " called as (select budget_day::text as day, sum(cost_micro_usd) as cost from llm_queries"
        " join budget_reservations using (reservation_id) group by 1)"
        " select a.account_key as day, a.spent_micro_usd as account, b.spent::bigint as reservations,"
        " b.settled::bigint as settled, c.cost::bigint as calls"
        " from budget_accounts a left join booked b on b.day = a.account_key left join called c on c.day = b.day"
        " where a.scope = 'day' and (a.spent_micro_usd <> coalesce(b.spent, 0)"
        " or a.held_micro_usd <> coalesce(b.held, 0) or coalesce(b.settled, 0) <> coalesce(c.cost, 0)) order by 1"
    ).fetchall()


def implausible_scores(connection: Connection) -> int:
    """Scores that are out of range or differ from (p - outcome)² by more than rounding."""
    row = connection.execute(
        "select count(*) as n from scored_forecasts"
        " where brier not between 0 and 1 or abs(brier - (p_yes - outcome) ^ 2) > 1e-12 or log_loss < 0"
    ).fetchone()
    return int(require_row(row)["n"])


def ranking_differences(connection: Connection, ranking: Ranking) -> dict[str, tuple[int, int]]:
    """Models whose sample size differs from the longest window's count at the ranking's hour: (ranking, window)."""
    rows = connection.execute(
        "select model_id, n from performance_windows where as_of = %s and category = '*' and window_hours ="
        " (select max(window_hours) from performance_windows where as_of = %s)",
        [ranking.as_of, ranking.as_of],
    )
    counted = {row["model_id"]: int(row["n"]) for row in rows}
    return {
        row.model_id: (row.sample_size, counted.get(row.model_id, 0))
        for row in ranking.rows
        if row.sample_size != counted.get(row.model_id, 0)
    }
