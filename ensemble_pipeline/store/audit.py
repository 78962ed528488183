"""Comparisons that must come out even: the ledger with its calls, scores with their formula, rankings with windows."""

from datetime import date

from ensemble_pipeline.domain import Ranking
from ensemble_pipeline.forecasting.windows import WINDOW_HOURS
from ensemble_pipeline.store.database import Connection, Row, require_row
from ensemble_pipeline.store.score_arrays import DIMENSIONS
from ensemble_pipeline.store.skill_keys import HISTOGRAMS


def ledger_differences(connection: Connection, first: date) -> list[Row]:
    """Accounts, from the UTC day `first` on, that differ from the sum of what was reserved and booked on them."""
    return connection.execute(
        "with booked as (select k.scope, k.account_key, sum(l.spent_micro_usd)::bigint as spent,"
        " sum(l.held_micro_usd)::bigint as held, count(*) as calls from ledger l cross join lateral (values"
        " ('day', l.budget_day::text), ('provider', l.budget_day || ' ' || l.provider),"
        " ('model', l.budget_day || ' ' || l.model_id), ('market', l.budget_day || ' ' || l.market_id))"
        " k(scope, account_key) where l.budget_day >= %(first)s group by 1, 2"
        # a decision may have begun the day before
        " union all select 'decision', l.snapshot_id::text, sum(l.spent_micro_usd)::bigint,"
        " sum(l.held_micro_usd)::bigint, count(*) from ledger l where l.snapshot_id in"
        " (select snapshot_id from budget_reservations where budget_day >= %(first)s) group by 2)"
        " select a.scope, a.account_key, coalesce(a.spent_micro_usd, 0) as spent, coalesce(b.spent, 0) as spent_booked,"
        " coalesce(a.held_micro_usd, 0) as held, coalesce(b.held, 0) as held_booked, a.calls, b.calls as calls_booked"
        " from (select * from budget_accounts where scope = 'decision'"
        ' or account_key collate "C" >= %(first)s::text) a'
        " full join booked b using (scope, account_key)"
        " where (a.scope is distinct from 'decision' or b.calls is not null)"
        " and (coalesce(a.spent_micro_usd, 0), coalesce(a.held_micro_usd, 0), coalesce(a.calls, 0))"
        " is distinct from (coalesce(b.spent, 0), coalesce(b.held, 0), coalesce(b.calls, 0)) order by 1, 2",
        {"first": first},
    ).fetchall()


def call_differences(connection: Connection, first: date) -> list[Row]:
    """Days from `first` on whose closed reservations differ from the calls recorded under them."""
    return connection.execute(
        "select r.budget_day as day, count(*) as reservations, count(q.query_id) as calls,"
        " sum(r.booked_micro_usd)::bigint as booked, coalesce(sum(q.cost_micro_usd), 0)::bigint as cost"
        " from budget_reservations r left join llm_queries q using (reservation_id)"
        " where r.budget_day >= %s and r.state in ('settled', 'released') group by 1"
        # what was released before anything was sent has no call
        " having bool_or(coalesce(q.cost_micro_usd, case r.state when 'released' then 0 end)"
        " is distinct from r.booked_micro_usd)"
        " order by 1",
        [first],
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
        "select model_id, n from window_scores where as_of = %s and dimension = 'all' and window_hours = %s",
        [ranking.as_of, max(WINDOW_HOURS)],
    )
    counted = {row["model_id"]: int(row["n"]) for row in rows}
    return {
        row.model_id: (row.sample_size, counted.get(row.model_id, 0))
        for row in ranking.rows
        if row.sample_size != counted.get(row.model_id, 0)
    }


# what the ledger says of the window (as_of - hours, as_of]; rows that came late count once they are restated
_IN_LEDGER = (
    "select coalesce(sum(s.sign), 0)::bigint from scored_forecasts s where s.known_at <= a.as_of"
    " and s.window_at <= a.as_of and s.window_at > a.as_of - make_interval(hours => w.hours)"
    " and s.score_id <= greatest(a.through_score_id,"
    " (select through_score_id from learning_marks where derived = 'windows'))"
)


def window_differences(connection: Connection) -> list[Row]:
    """Models whose newest windows count other than the ledger does."""
    return connection.execute(
        "with a as (select as_of, through_score_id from learnt_days order by day desc limit 1) select * from ("
        " select a.as_of, w.hours as window_hours, m.model_id, coalesce((select v.n from window_scores v"
        " where v.as_of = a.as_of and v.window_hours = w.hours and v.dimension = 'all' and v.model_id = m.model_id), 0)"
        f" as in_windows, ({_IN_LEDGER} and s.model_id = m.model_id) as in_ledger"
        " from a, unnest(%(lengths)s::integer[]) w(hours), (select distinct model_id from scored_forecasts) m"
        ") counted where in_windows <> in_ledger or in_windows < 0 order by 1, 2, 3",
        {"lengths": list(WINDOW_HOURS)},
    ).fetchall()


def segment_differences(connection: Connection) -> list[Row]:
    """Newest windows whose segments of a dimension hold together another number than the window over all."""
    return connection.execute(
        "with a as (select max(as_of) as as_of from learnt_days), counted as (select v.window_hours, v.model_id,"
        " v.dimension, sum(v.n)::bigint as n from window_scores v join a using (as_of) group by 1, 2, 3)"
        " select t.window_hours, t.model_id, d.dimension, coalesce(c.n, 0) as in_segments, t.n as over_all"
        " from counted t cross join unnest(%(dimensions)s::text[]) d(dimension) left join counted c"
        " on (c.window_hours, c.model_id, c.dimension) = (t.window_hours, t.model_id, d.dimension)"
        " where t.dimension = 'all' and t.n <> coalesce(c.n, 0) order by 1, 2, 3",
        {"dimensions": list(DIMENSIONS)},
    ).fetchall()


def cube_differences(connection: Connection) -> list[Row]:
    """Dimensions whose cube holds another number of forecasts than the ledger up to the cube's mark."""
    return connection.execute(
        "with l as (select coalesce(sum(s.sign), 0)::bigint as n from scored_forecasts s where s.score_id <="
        " (select through_score_id from learning_marks where derived = 'cube')),"
        " c as (select k.dimension, sum(c.n)::bigint as n from skill_cube c join skill_keys k using (key_id)"
        " group by 1)"
        " select d.dimension, coalesce(c.n, 0) as in_cube, l.n as in_ledger from l cross join"
        " unnest(%(dimensions)s::text[]) d(dimension)"
        " left join c using (dimension) where l.n <> coalesce(c.n, 0) order by 1",
        {"dimensions": [*DIMENSIONS, *HISTOGRAMS]},
    ).fetchall()


def anachronisms(connection: Connection, hours: int) -> list[Row]:
    """Windows that hold another number of forecasts than were known then, at `hours` hours spread over the history."""
    return connection.execute(
        "with d as (select as_of, through_score_id, row_number() over (order by day) as i, count(*) over () as n"
        " from learnt_days), a as (select as_of, through_score_id from d"
        " where i = n or i %% greatest(n / %(hours)s, 1) = 0 order by i desc limit %(hours)s)"
        " select * from (select a.as_of, w.hours as window_hours, coalesce((select sum(v.n) from window_scores v"
        " where v.as_of = a.as_of and v.window_hours = w.hours and v.dimension = 'all'), 0)::bigint as in_windows,"
        f" ({_IN_LEDGER}) as known_then from a, unnest(%(lengths)s::integer[]) w(hours)) counted"
        " where in_windows <> known_then order by 1, 2",
        {"hours": hours, "lengths": list(WINDOW_HOURS)},
    ).fetchall()
