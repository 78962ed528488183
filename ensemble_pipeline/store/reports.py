"""Counts and sums over the whole record, for status and reports."""

from datetime import datetime

from ensemble_pipeline.store.database import Connection, Row, require_row
from ensemble_pipeline.store.resolutions import IS_NEWEST


def market_counts(connection: Connection) -> Row:
    """Markets seen, put before the ensemble, and settled; snapshots still undecided."""
    return require_row(
        connection.execute(
            "select (select count(*) from markets) as seen,"
            " (select count(distinct market_id) from market_snapshots) as asked_about,"
            " (select count(distinct market_id) from resolutions) as settled,"
            " (select count(*) from market_snapshots) as snapshots,"
            " (select count(*) from market_snapshots s where not exists"
            " (select from decisions d where d.snapshot_id = s.snapshot_id)) as undecided,"
            " (select count(*) from rejected_rows) as rejected_rows"
        ).fetchone()
    )


# who was asked about what, also where a dead run left only a reservation
_ASKED = (
    "select snapshot_id, model_id from llm_queries"
    " union select snapshot_id, model_id from budget_reservations where state = 'expired'"
)


def call_counts(connection: Connection) -> dict[str, int]:
    """Model calls by status; ``cut_off`` are those that a dead run had reserved, of which nothing else is known."""
    rows = connection.execute(
        "select status, count(*) as n from (select status from llm_queries"
        " union all select 'cut_off' from budget_reservations where state = 'expired') c group by 1 order by 1"
    )
    return {row["status"]: row["n"] for row in rows}


def forecast_counts(connection: Connection) -> Row:
    """Questions put to a model (one per model and snapshot): answered, failed for good or cut off, scored so far.

    A forecast whose score was taken back and given again counts once.
    """
    return require_row(
        connection.execute(
            f"with asked as ({_ASKED})"
            " select (select count(*) from asked) as asked,"
            " (select count(*) from forecasts where query_id is not null) as answered,"
            " (select count(*) from asked a where not exists (select from forecasts f"
            " where f.snapshot_id = a.snapshot_id and f.model_id = a.model_id)) as failed,"
            " (select coalesce(sum(sign), 0)::bigint from scored_forecasts) as scored"
        ).fetchone()
    )


def failures_by_model(connection: Connection) -> dict[str, int]:
    """Per model, questions that ended without an answer."""
    rows = connection.execute(
        f"select a.model_id, count(*) as n from ({_ASKED}) a where not exists"
        " (select from forecasts f where f.snapshot_id = a.snapshot_id and f.model_id = a.model_id)"
        " group by 1 order by 1"
    )
    return {row["model_id"]: row["n"] for row in rows}


def spend(connection: Connection) -> Row:
    """Micro-dollars spent on calls whose end is known, and those that a crash left held and nobody confirmed."""
    return require_row(
        connection.execute(
            "select coalesce(sum(spent_micro_usd) filter (where state <> 'expired'), 0)::bigint as settled,"
            " coalesce(sum(spent_micro_usd) filter (where state = 'expired'), 0)::bigint as unconfirmed from ledger"
        ).fetchone()
    )


def paper_result(connection: Connection) -> Row:
    """Trades, open positions, fees of buying and selling, net profit of the closed ones; in micro-dollars."""
    return require_row(
        connection.execute(
            "select count(*) filter (where part_of is null) as trades,"
            " count(*) filter (where closed_at is null) as open_positions,"
            " coalesce(sum(cost_micro_usd), 0)::bigint as staked,"
            " coalesce(sum(fee_micro_usd + coalesce(exit_fee_micro_usd, 0)), 0)::bigint as fees,"
            " coalesce(sum(payout_micro_usd - cost_micro_usd - fee_micro_usd) filter (where closed_at is not null), 0)"
            "::bigint as net_profit from positions"
        ).fetchone()
    )


def window_counts(connection: Connection) -> Row:
    """Rows, days and as-of hours of the performance windows, and the hour they reach up to."""
    return require_row(
        connection.execute(
            "select (select count(*) from performance_windows) as rows,"
            " count(distinct (at at time zone 'UTC')::date) as days_with_rows, count(*) as hours_with_rows,"
            " (select max(as_of) from learnt_days) as learnt_until"
            " from (select distinct as_of as at from performance_windows) hours"
        ).fetchone()
    )


_OUTCOMES = (
    " from decisions d join resolutions r using (market_id) where r.outcome is not null and d.p_final is not null"
    f" and {IS_NEWEST}"
)


def brier_of_pools(connection: Connection, *, with_price: bool) -> Row:
    """Mean Brier scores over settled decisions that heard somebody: all of them, or those with a known price.

    `ensemble` is anchored to the price where one was known, `ensemble_without_market` never.
    """
    condition = " and d.p_market is not null" if with_price else ""
    return require_row(
        connection.execute(
            "select count(*) as rows, round(avg((d.p_final - r.outcome) ^ 2)::numeric, 12)::float8 as ensemble,"
            " round(avg((d.p_calibrated - r.outcome) ^ 2)::numeric, 12)::float8 as ensemble_without_market,"
            " round(avg((d.p_plain_mean - r.outcome) ^ 2)::numeric, 12)::float8 as plain_mean,"
            f" round(avg((d.p_market - r.outcome) ^ 2)::numeric, 12)::float8 as market {_OUTCOMES}{condition}"
        ).fetchone()
    )


def settled_answers(connection: Connection) -> list[Row]:
    """Every member's answer in every settled decision, with outcome and weight, ordered by decision and model."""
    return connection.execute(
        "select d.decision_id, c.model_id, c.p_yes, c.weight, r.outcome"
        " from decisions d join decision_members c using (decision_id) join resolutions r using (market_id)"
        " where r.outcome is not null and c.p_yes is not null"
        f" and {IS_NEWEST}"
        " order by d.decision_id, c.model_id"
    ).fetchall()


def brier_of_members(connection: Connection) -> dict[str, Row]:
    """Per model: scored forecasts and mean Brier score."""
    rows = connection.execute(
        "select model_id, sum(sign)::bigint as n, sum(sign * brier) / nullif(sum(sign), 0) as brier"
        " from scored_forecasts group by 1 order by 1"
    ).fetchall()
    return {row.pop("model_id"): row for row in rows}


def last_decision_at(connection: Connection) -> datetime | None:
    """When the newest decision was made."""
    row = connection.execute("select max(decided_at) as at from decisions").fetchone()
    return None if row is None else row["at"]
