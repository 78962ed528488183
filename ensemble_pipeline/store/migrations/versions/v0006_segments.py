"""Learning by segment: sibling cubes, restatements, intervals of a ranking, strengths, trends, category intercepts.

The cube and the windows are derived: their old tables are dropped, and the next learning run fills the new ones.
"""

from alembic import op

from ensemble_pipeline.store.migrations.versions.v0003_learning import SUMS

revision = "0006"
down_revision = "0005"

LEDGER = """
alter table scored_forecasts add column window_at timestamptz;
update scored_forecasts set window_at = known_at;
update scored_forecasts t set window_at = s.known_at from scored_forecasts s
    where t.sign = -1 and s.sign = 1 and s.forecast_id = t.forecast_id and s.resolution_id = t.resolution_id;
alter table scored_forecasts alter column window_at set not null;
alter table scored_forecasts add check (window_at <= known_at), add check (sign = -1 or window_at = known_at);
create index scored_forecasts_window on scored_forecasts (window_at);
create index scored_forecasts_resolution on scored_forecasts (resolution_id);
create table followed_resolutions (resolution_id bigint primary key references resolutions);
alter table resolutions add column is_withdrawn boolean not null default false;
alter table resolutions add check (not is_withdrawn or outcome is null);
alter table world add column first_day date, add column last_day date, add check (first_day <= last_day);
"""

DERIVED = f"""
drop table learning_marks, performance_windows, skill_cube;
create table skill_keys (
    key_id integer generated always as identity primary key,
    model_id text not null references models,
    dimension text not null check (dimension in ('all', 'category', 'regime', 'expiry', 'probability', 'latency')),
    segment text not null,
    unique (model_id, dimension, segment),
    -- a venue may call a category "*" too
    check (dimension <> 'all' or segment = '*')
);
create table skill_cube (
    hour_at timestamptz not null,
    seen_from timestamptz not null,
    key_id integer not null,{SUMS},
    primary key (hour_at, seen_from, key_id),
    check (seen_from >= hour_at)
);
create table performance_windows (
    as_of timestamptz not null,
    window_hours smallint not null check (window_hours in (1, 6, 24, 168, 720)),
    -- n > 0 in every row that stands; a check would refuse the negative ones that are added to them
    key_id integer not null,{SUMS},
    primary key (as_of, window_hours, key_id)
);
create view window_scores as
select w.as_of, w.window_hours, k.model_id, k.dimension, k.segment, w.n,
    w.brier_e9 / 1e9::float8 / w.n as brier, w.log_loss_e9 / 1e9::float8 / w.n as log_loss,
    w.correct::float8 / w.n as accuracy, w.market_n,
    w.brier_minus_market_e9 / 1e9::float8 / nullif(w.market_n, 0) as brier_minus_market,
    w.cost_micro_usd / 1e6::float8 as cost_usd, w.latency_ms::float8 / w.n as mean_latency_ms
from performance_windows w join skill_keys k using (key_id);
create table learnt_days (
    day date primary key,
    as_of timestamptz not null,
    through_score_id bigint not null check (through_score_id >= 0)
);
create table learning_marks (
    derived text primary key check (derived in ('cube', 'windows')),
    through_score_id bigint not null check (through_score_id >= 0)
);
"""

JUDGEMENTS = """
alter table model_ranking_rows
    add column interval_low double precision,
    add column interval_high double precision,
    add column sequence_low double precision,
    add column sequence_high double precision,
    add column events integer not null default 0 check (events >= 0),
    add column is_tied_with_first boolean not null default true,
    add check (interval_low <= interval_high), add check (sequence_low <= sequence_high);
create table model_trends (
    ranking_id bigint not null references model_rankings on delete cascade,
    model_id text not null references models,
    slope_per_day double precision,
    low double precision,
    high double precision,
    direction text not null check (direction in ('improving', 'stable', 'declining', 'not_enough_evidence')),
    is_degraded boolean not null,
    cusum double precision not null check (cusum >= 0),
    cusum_threshold double precision not null check (cusum_threshold > 0),
    degraded_since timestamptz,
    primary key (ranking_id, model_id)
);
create table model_strengths (
    ranking_id bigint not null references model_rankings on delete cascade,
    model_id text not null references models,
    dimension text not null check (dimension in ('category', 'regime', 'expiry')),
    segment text not null,
    delta double precision,
    standard_error double precision check (standard_error >= 0),
    n integer not null check (n >= 0),
    events integer not null check (events >= 0),
    effective_sample_size double precision not null check (effective_sample_size >= 0),
    skill double precision not null,
    verdict text not null check (verdict in ('strength', 'weakness', 'as_elsewhere', 'not_enough_evidence')),
    primary key (ranking_id, model_id, dimension, segment)
);
create table calibration_intercepts (
    calibration_id bigint not null references calibration_tables on delete cascade,
    category text not null,
    intercept double precision not null,
    events double precision not null check (events >= 0),
    primary key (calibration_id, category)
);
"""

OLD_DERIVED = f"""
drop view window_scores;
drop table learning_marks, learnt_days, performance_windows, skill_cube, skill_keys;
create table skill_cube (
    day date not null,
    hour_at timestamptz not null,
    model_id text not null references models,
    category text not null,{SUMS},
    primary key (hour_at, model_id, category)
);
create index skill_cube_day on skill_cube (day);
create table performance_windows (
    day date not null,
    as_of timestamptz not null,
    window_hours smallint not null check (window_hours in (1, 6, 24, 168, 720)),
    model_id text not null references models,
    category text not null,{SUMS},
    primary key (as_of, window_hours, model_id, category),
    check (n > 0)
);
create index performance_windows_day on performance_windows (day);
create index performance_windows_model on performance_windows (model_id, window_hours, as_of);
create table learning_marks (
    mark_id bigint generated always as identity primary key,
    as_of timestamptz not null,
    through_score_id bigint not null check (through_score_id >= 0)
);
"""


def upgrade() -> None:
    op.execute(LEDGER)
    op.execute(DERIVED)
    op.execute(JUDGEMENTS)


def downgrade() -> None:
    op.execute("drop table calibration_intercepts, model_strengths, model_trends")
    op.execute(
        "alter table model_ranking_rows drop column interval_low, drop column interval_high, drop column sequence_low,"
        " drop column sequence_high, drop column events, drop column is_tied_with_first"
    )
    op.execute(OLD_DERIVED)
    op.execute(
        "drop table followed_resolutions; drop index scored_forecasts_resolution;"
        " alter table scored_forecasts drop column window_at; alter table resolutions drop column is_withdrawn;"
        " alter table world drop column first_day, drop column last_day"
    )
