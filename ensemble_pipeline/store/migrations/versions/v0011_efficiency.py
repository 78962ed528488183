"""What the panel gains over the base rate, what a model's answers cost, and the skill that a dollar buys."""

from alembic import op

revision = "0011"
down_revision = "0010"

TABLES = """
create table panel_levels (
    ranking_id bigint not null references model_rankings on delete cascade,
    category text not null,
    gain double precision not null check (gain between -1 and 1),
    standard_error double precision check (standard_error >= 0),
    events integer not null check (events >= 0),
    primary key (ranking_id, category)
);
create table cost_efficiencies (
    efficiency_id bigint generated always as identity primary key,
    as_of timestamptz not null,
    ranking_id bigint not null references model_rankings,
    share_of_worst_case double precision not null check (share_of_worst_case >= 0)
);
create index cost_efficiencies_time on cost_efficiencies (as_of, efficiency_id);
create table cost_efficiency_rows (
    efficiency_id bigint not null references cost_efficiencies on delete cascade,
    model_id text not null references models,
    category text not null,
    calls integer not null check (calls >= 0),
    answers integer not null check (answers between 0 and calls),
    cost_micro_usd bigint not null check (cost_micro_usd >= 0),
    cost_per_answer_usd double precision check (cost_per_answer_usd >= 0),
    cost_standard_error_usd double precision check (cost_standard_error_usd >= 0),
    gain double precision check (gain between -2 and 2),
    gain_standard_error double precision check (gain_standard_error >= 0),
    gain_per_usd double precision,
    low double precision,
    high double precision,
    primary key (efficiency_id, model_id, category),
    check (low <= high)
);
create table cost_reports (
    hour_at timestamptz primary key,
    as_of timestamptz not null,
    report jsonb not null
);
alter table decision_contexts add column efficiency_id bigint references cost_efficiencies;
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    op.execute(
        "alter table decision_contexts drop column efficiency_id;"
        " drop table cost_reports, cost_efficiency_rows, cost_efficiencies, panel_levels"
    )
