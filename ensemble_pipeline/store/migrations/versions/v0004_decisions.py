"""Decisions with what they rested on, positions and the trade log."""

from alembic import op

revision = "0004"
down_revision = "0003"

TABLES = """
create table decisions (
    decision_id bigint generated always as identity primary key,
    snapshot_id bigint not null unique references market_snapshots,
    market_id text not null references markets,
    decided_at timestamptz not null,
    batch_id bigint not null references decision_batches,
    run_id text not null,
    action text not null check (action in ('trade', 'skip')),
    side text check (side in ('yes', 'no')),
    terminal_reason text not null,
    strategy text not null,
    trade_value_micro_usd bigint not null check (trade_value_micro_usd >= 0),
    p_market double precision check (p_market between 0 and 1),
    p_plain_mean double precision check (p_plain_mean between 0 and 1),
    p_pooled double precision check (p_pooled between 0 and 1),
    p_calibrated double precision check (p_calibrated between 0 and 1),
    p_final double precision check (p_final between 0 and 1),
    disagreement_level double precision check (disagreement_level between 0 and 1),
    uncertainty double precision check (uncertainty between 0 and 1),
    confidence double precision check (confidence between 0 and 1),
    edge double precision,
    limit_price numeric(6, 4) check (limit_price between 0 and 1),
    contracts integer check (contracts > 0),
    stake_micro_usd bigint not null check (stake_micro_usd >= 0),
    fee_micro_usd bigint not null check (fee_micro_usd >= 0),
    selected_model text references models,
    reasoning text not null,
    gates jsonb not null,
    ranking_id bigint not null references model_rankings,
    calibration_id bigint not null references calibration_tables,
    settings_hash text not null references settings_snapshots,
    code_version text not null,
    check ((action = 'trade') = (terminal_reason = 'traded')),
    check ((action = 'trade') = (side is not null and contracts is not null and limit_price is not null))
);
create index decisions_market on decisions (market_id, decided_at);
create index decisions_time on decisions (decided_at);
create index decisions_batch on decisions (batch_id);

create table decision_members (
    decision_id bigint not null references decisions,
    model_id text not null references models,
    forecast_id bigint references forecasts,
    p_yes double precision check (p_yes between 0 and 1),
    weight double precision not null check (weight between 0 and 1),
    primary key (decision_id, model_id),
    check ((forecast_id is null) = (p_yes is null))
);

create table positions (
    position_id bigint generated always as identity primary key,
    decision_id bigint not null unique references decisions,
    market_id text not null references markets,
    side text not null check (side in ('yes', 'no')),
    contracts integer not null check (contracts > 0),
    entry_price numeric(6, 4) not null check (entry_price between 0 and 1),
    cost_micro_usd bigint not null check (cost_micro_usd >= 0),
    fee_micro_usd bigint not null check (fee_micro_usd >= 0),
    opened_at timestamptz not null,
    closed_at timestamptz,
    payout_micro_usd bigint check (payout_micro_usd >= 0),
    check ((closed_at is null) = (payout_micro_usd is null))
);
create index positions_open on positions (market_id) where closed_at is null;

create table trade_log (
    trade_id bigint generated always as identity primary key,
    position_id bigint not null references positions,
    kind text not null check (kind in ('open', 'settle', 'correct')),
    at timestamptz not null,
    cash_micro_usd bigint not null,
    resolution_id bigint references resolutions,
    unique (position_id, kind, resolution_id)
);
create index trade_log_time on trade_log (at);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    op.execute("drop table trade_log, positions, decision_members, decisions")
