"""What calls cost by day, model, category and market, from the ledger alone, and what paper trades brought beside it.

Belongs here: sums. Does not: what they mean (ensemble/cost_report.py), booking (budget.py).
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from psycopg.types.json import Jsonb

from ensemble_pipeline.store.database import Connection, Row, require_row

_REBUILDING = 0x636F7374  # any number, the same in every process


def rebuild(connection: Connection, first: date, last: date) -> list[Row]:
    """Rebuild the table `cost_report` of some days from the ledger; returns its rows with the models' providers.

    Whoever rebuilds meanwhile waits until this transaction ends.
    """
    connection.execute("select pg_advisory_xact_lock(%s)", [_REBUILDING])
    connection.execute("delete from cost_report where day between %s and %s", [first, last])
    connection.execute(
        "insert into cost_report (day, model_id, category, calls, failed, cost_micro_usd, input_tokens, output_tokens)"
        " select l.budget_day, l.model_id, e.category, count(*),"
        " count(*) filter (where q.status is distinct from 'answered'), sum(l.spent_micro_usd),"
        " coalesce(sum(q.input_tokens), 0), coalesce(sum(q.output_tokens), 0)"
        " from ledger l left join llm_queries q using (reservation_id) join markets m on m.market_id = l.market_id"
        " join market_events e using (event_id) where l.budget_day between %s and %s and l.state <> 'held'"
        " group by 1, 2, 3",
        [first, last],
    )
    return connection.execute(
        "select c.day, c.model_id, m.provider, c.category, c.calls, c.failed, c.cost_micro_usd, c.input_tokens,"
        " c.output_tokens from cost_report c join models m using (model_id) where c.day between %s and %s"
        ' order by c.day, c.model_id collate "C", c.category collate "C"',
        [first, last],
    ).fetchall()


def decisions_by_category(connection: Connection, since: datetime, until: datetime) -> list[Row]:
    """Decisions within [since, until), by day and category: how many, and how many traded.

    Those count that asked somebody or were given an earlier answer again, whatever came of it: what paper trades
    brought rests on them. A market that was skipped before anybody was heard is none.
    """
    return connection.execute(
        "select (d.decided_at at time zone 'UTC')::date as day, e.category, count(*) as decisions,"
        " count(*) filter (where d.action = 'trade') as trades from decisions d join markets m using (market_id)"
        " join market_events e using (event_id) where d.decided_at >= %s and d.decided_at < %s"
        " and (exists (select from llm_queries q where q.snapshot_id = d.snapshot_id)"
        " or exists (select from forecasts f where f.snapshot_id = d.snapshot_id)) group by 1, 2 order by 1, 2",
        [since, until],
    ).fetchall()


def paper_by_category(connection: Connection, since: datetime, until: datetime) -> list[Row]:
    """Paper positions closed within [since, until), by day and category: net profit in micro-dollars."""
    return connection.execute(
        "select (p.closed_at at time zone 'UTC')::date as day, e.category,"
        " count(*) filter (where p.part_of is null) as closed,"
        " sum(p.payout_micro_usd - p.cost_micro_usd - p.fee_micro_usd)::bigint as net_profit_micro_usd"
        " from positions p join markets m using (market_id) join market_events e using (event_id)"
        " where p.closed_at >= %s and p.closed_at < %s group by 1, 2 order by 1, 2",
        [since, until],
    ).fetchall()


def dearest_markets(connection: Connection, first: date, last: date, most: int) -> list[Row]:
    """The markets whose calls cost most over some days, with what was decided and traded on them."""
    return connection.execute(
        "with spent as (select market_id, count(*) as calls, count(distinct snapshot_id) as analyses,"
        " sum(spent_micro_usd)::bigint as cost_micro_usd from ledger where budget_day between %(first)s and %(last)s"
        " and state <> 'held' group by 1 order by cost_micro_usd desc, market_id limit %(most)s)"
        " select s.market_id, m.question, e.category, s.calls, s.analyses, s.cost_micro_usd,"
        " (select count(*) from positions p where p.market_id = s.market_id and p.part_of is null) as trades,"
        " (select sum(p.payout_micro_usd - p.cost_micro_usd - p.fee_micro_usd)::bigint from positions p"
        " where p.market_id = s.market_id and p.closed_at is not null) as net_profit_micro_usd"
        " from spent s join markets m using (market_id) join market_events e using (event_id)"
        " where s.cost_micro_usd > 0 order by s.cost_micro_usd desc, s.market_id",
        {"first": first, "last": last, "most": most},
    ).fetchall()


def spent_between(connection: Connection, since: datetime, until: datetime) -> int:
    """What calls that left within (since, until] cost, in micro-dollars; those under way count at their worst case."""
    row = connection.execute(
        "select coalesce(sum(spent_micro_usd + held_micro_usd), 0)::bigint as n from ledger"
        " where budget_day between %(since)s::date and %(until)s::date"
        " and reserved_at > %(since)s and reserved_at <= %(until)s",
        {"since": since, "until": until},
    ).fetchone()
    return int(require_row(row)["n"])


def first_call_at(connection: Connection, since: datetime) -> datetime | None:
    """When the first call since then left."""
    row = connection.execute(
        "select min(reserved_at) as at from budget_reservations where budget_day >= %(since)s::date"
        " and reserved_at > %(since)s",
        {"since": since},
    ).fetchone()
    at: datetime | None = require_row(row)["at"]
    return at


def refused_calls(connection: Connection, first: date) -> dict[str, int]:
    """Calls that the ledger did not let leave since a day, by the limit they would have overshot."""
    rows = connection.execute(
        "select scope, count(*) as n from budget_refusals where budget_day >= %s group by 1 order by 1", [first]
    )
    return {row["scope"]: row["n"] for row in rows}


def questions_asked(connection: Connection, first: date, last: date) -> int:
    """How often a model was asked for real about a snapshot, attempts at one answer counted once."""
    row = connection.execute(
        "select count(*) as n from (select distinct snapshot_id, model_id from budget_reservations"
        " where budget_day between %s and %s) asked",
        [first, last],
    ).fetchone()
    return int(require_row(row)["n"])


def unconfirmed(connection: Connection, first: date) -> int:
    """What was found since a UTC day to be left held by a crash: it counts as spent, unconfirmed; in micro-dollars."""
    row = connection.execute(
        "select coalesce(sum(spent_micro_usd), 0)::bigint as n from ledger where state = 'expired'"
        # found at most a month after it was held
        " and budget_day >= %(first)s::date - 31 and (closed_at at time zone 'UTC')::date >= %(first)s",
        {"first": first},
    ).fetchone()
    return int(require_row(row)["n"])


def readings_of(connection: Connection, day: date) -> list[Row]:
    """The readings of a day's budget, in their order."""
    return connection.execute(
        "select checked_at, spent_micro_usd, held_micro_usd from budget_status where budget_day = %s"
        " and (checked_at at time zone 'UTC')::date = budget_day order by checked_at",
        [day],
    ).fetchall()


def save_report(connection: Connection, as_of: datetime, report: Mapping[str, Any]) -> None:
    """Keep a cost report, the newest of each hour."""
    connection.execute(
        "insert into cost_reports (hour_at, as_of, report) values (date_trunc('hour', %(at)s::timestamptz), %(at)s,"
        " %(report)s) on conflict (hour_at) do update set as_of = excluded.as_of, report = excluded.report"
        " where cost_reports.as_of <= excluded.as_of",
        {"at": as_of, "report": Jsonb(dict(report))},
    )
