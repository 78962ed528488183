"""Health, budget status, cost reports and the operating mode."""

from alembic import op

revision = "0005"
down_revision = "0004"

TABLES = """
create table model_health (
    model_id text not null references models,
    last_check_time timestamptz not null,
    is_available boolean not null,
    consecutive_failures integer not null check (consecutive_failures >= 0),
    avg_response_time_ms double precision check (avg_response_time_ms >= 0),
    calls integer not null check (calls >= 0),
    failures integer not null check (failures between 0 and calls),
    breaker_state text not null check (breaker_state in ('closed', 'open', 'half_open')),
    primary key (model_id, last_check_time)
);
create table budget_status (
    checked_at timestamptz primary key,
    budget_day date not null,
    spent_micro_usd bigint not null check (spent_micro_usd >= 0),
    held_micro_usd bigint not null check (held_micro_usd >= 0),
    soft_micro_usd bigint,
    hard_micro_usd bigint
);
create table cost_report (
    day date not null,
    model_id text not null references models,
    category text not null,
    calls integer not null check (calls >= 0),
    failed integer not null check (failed between 0 and calls),
    cost_micro_usd bigint not null check (cost_micro_usd >= 0),
    input_tokens bigint not null check (input_tokens >= 0),
    output_tokens bigint not null check (output_tokens >= 0),
    primary key (day, model_id, category)
);
create table operating_modes (
    mode_id bigint generated always as identity primary key,
    mode text not null check (mode in ('normal', 'conservative', 'minimal', 'suspended')),
    cause text not null,
    since timestamptz not null
);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    op.execute("drop table operating_modes, cost_report, budget_status, model_health")
