"""Scored forecasts (the ledger), the skill cube, windows, calibration and rankings."""

from alembic import op

revision = "0003"
down_revision = "0002"

SUMS = """
    n bigint not null,
    brier_e9 bigint not null,
    brier_sq_e9 bigint not null,
    log_loss_e9 bigint not null,
    correct bigint not null,
    p_e9 bigint not null,
    outcome bigint not null,
    p_outcome_e9 bigint not null,
    p_sq_e9 bigint not null,
    market_n bigint not null,
    brier_minus_market_e9 bigint not null,
    brier_minus_market_sq_e9 bigint not null,
    cost_micro_usd bigint not null,
    latency_ms bigint not null"""

TABLES = f"""
create table scored_forecasts (
    score_id bigint generated always as identity primary key,
    forecast_id bigint not null references forecasts,
    resolution_id bigint not null references resolutions,
    sign smallint not null check (sign in (1, -1)),
    model_id text not null references models,
    market_id text not null references markets,
    event_id text not null references market_events,
    category text not null,
    volatility_regime text not null,
    expiry_bucket text not null,
    asked_at timestamptz not null,
    resolved_at timestamptz not null,
    known_at timestamptz not null,
    p_yes double precision not null check (p_yes between 0 and 1),
    market_p double precision check (market_p between 0 and 1),
    outcome smallint not null check (outcome in (0, 1)),
    brier double precision not null check (brier between 0 and 1),
    log_loss double precision not null check (log_loss >= 0),
    is_correct boolean not null,
    confidence double precision not null check (confidence between 0 and 1),
    latency_ms integer not null check (latency_ms >= 0),
    cost_micro_usd bigint not null check (cost_micro_usd >= 0),
    unique (forecast_id, resolution_id, sign),
    check (known_at >= resolved_at)
);
create index scored_forecasts_known on scored_forecasts (known_at);
create index scored_forecasts_model_time on scored_forecasts (model_id, known_at);
create index scored_forecasts_category_time on scored_forecasts (category, known_at);

create view model_performance as
select model_id as model_name, known_at as timestamp, category as market_category,
    is_correct::int as accuracy_score, confidence - is_correct::int as confidence_calibration,
    latency_ms as response_time_ms, cost_micro_usd / 1e6 as cost_usd,
    -- against the price the market had: below 0 the model knew better
    brier - (market_p - outcome) ^ 2 as decision_quality,
    market_id, p_yes, outcome, brier, log_loss, volatility_regime, expiry_bucket, known_at, sign
from scored_forecasts;

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

create table calibration_tables (
    calibration_id bigint generated always as identity primary key,
    as_of timestamptz not null,
    slope double precision not null check (slope >= 0),
    n integer not null check (n >= 0),
    effective_n double precision not null check (effective_n >= 0)
);
create table model_rankings (
    ranking_id bigint generated always as identity primary key,
    as_of timestamptz not null,
    partition_day date not null,
    known_forecasts integer not null check (known_forecasts >= 0)
);
create index calibration_tables_as_of on calibration_tables (as_of desc, calibration_id desc);
create index model_rankings_as_of on model_rankings (as_of desc, ranking_id desc);
create table model_ranking_rows (
    ranking_id bigint not null references model_rankings on delete cascade,
    model_id text not null references models,
    rank smallint not null check (rank >= 1),
    skill double precision not null,
    standard_error double precision check (standard_error >= 0),
    sample_size integer not null check (sample_size >= 0),
    effective_sample_size double precision not null check (effective_sample_size >= 0),
    weight double precision not null check (weight between 0 and 1),
    primary key (ranking_id, model_id)
);
create table learning_marks (
    mark_id bigint generated always as identity primary key,
    as_of timestamptz not null,
    through_score_id bigint not null check (through_score_id >= 0)
);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    op.execute(
        "drop view model_performance; drop table learning_marks, model_ranking_rows, model_rankings,"
        " calibration_tables, performance_windows, skill_cube, scored_forecasts"
    )
