"""What a decision rested on, whole: contexts, inputs, propensities, and foreign keys along the chain.

Decisions recorded before keep what they had; their inputs stay empty, and nobody can replay them.
"""

from alembic import op

revision = "0009"
down_revision = "0008"

CONTEXTS = """
create table decision_contexts (
    context_id bigint generated always as identity primary key,
    batch_id bigint not null references decision_batches,
    run_id text not null,
    planned_at timestamptz not null,
    method text not null check (method in ('single', 'agreement', 'advanced')),
    ranking_id bigint not null references model_rankings,
    calibration_id bigint not null references calibration_tables,
    settings_hash text not null references settings_snapshots,
    code_version text not null,
    operating_mode text not null check (operating_mode in ('normal', 'conservative', 'minimal', 'suspended')),
    budget_day date not null,
    spent_micro_usd bigint not null check (spent_micro_usd >= 0),
    held_micro_usd bigint not null check (held_micro_usd >= 0),
    health jsonb not null,
    unique (context_id, ranking_id, calibration_id, settings_hash, code_version)
);
create index decision_contexts_batch on decision_contexts (batch_id);
insert into decision_contexts (batch_id, run_id, planned_at, method, ranking_id, calibration_id, settings_hash,
    code_version, operating_mode, budget_day, spent_micro_usd, held_micro_usd, health)
select distinct batch_id, run_id, decided_at, 'advanced', ranking_id, calibration_id, settings_hash, code_version,
    'normal', (decided_at at time zone 'UTC')::date, 0, 0, '{}'::jsonb from decisions;
"""

DECISIONS = """
alter table decisions rename column strategy to route;
alter table decisions
    add column context_id bigint,
    add column strategy text,
    add column market_weight double precision check (market_weight between 0 and 1),
    add column inputs jsonb;
update decisions d set strategy = 'weighted_voting', context_id = c.context_id from decision_contexts c
    where (c.batch_id, c.run_id, c.planned_at, c.ranking_id, c.calibration_id, c.settings_hash, c.code_version)
    = (d.batch_id, d.run_id, d.decided_at, d.ranking_id, d.calibration_id, d.settings_hash, d.code_version);
alter table decisions
    alter column context_id set not null,
    alter column strategy set not null,
    add check (route in ('single', 'pair', 'full', 'enhanced')),
    add check (strategy in ('consensus', 'weighted_voting', 'confidence_based', 'cascading', 'uncertainty_aware')),
    add check ((p_final is null) = (selected_model is null)),
    add constraint decisions_keep_inputs check (inputs is not null) not valid,
    add unique (decision_id, snapshot_id),
    add foreign key (context_id, ranking_id, calibration_id, settings_hash, code_version)
        references decision_contexts (context_id, ranking_id, calibration_id, settings_hash, code_version);
"""

MEMBERS = """
alter table decision_members
    add column snapshot_id bigint,
    add column propensity double precision check (propensity > 0 and propensity <= 1);
update decision_members m set snapshot_id = d.snapshot_id from decisions d where d.decision_id = m.decision_id;
alter table llm_queries add unique (query_id, snapshot_id, model_id);
alter table forecasts
    add unique (forecast_id, snapshot_id, model_id),
    add foreign key (query_id, snapshot_id, model_id) references llm_queries (query_id, snapshot_id, model_id);
alter table decision_members
    alter column snapshot_id set not null,
    add foreign key (decision_id, snapshot_id) references decisions (decision_id, snapshot_id),
    add foreign key (forecast_id, snapshot_id, model_id) references forecasts (forecast_id, snapshot_id, model_id);
-- a decision that heard somebody names one of its members; they are written after it, in the same transaction
alter table decisions add constraint decisions_heard foreign key (decision_id, selected_model)
    references decision_members (decision_id, model_id) deferrable initially deferred;
"""

REQUESTS = """
alter table market_snapshots drop constraint market_snapshots_reason_check;
alter table market_snapshots add constraint market_snapshots_reason_check
    check (reason in ('new', 'moved', 'aged', 'asked'));
"""

LEARNING = """
alter table model_ranking_rows add column confidence_gap double precision not null default 0
    check (confidence_gap between -1 and 1);
create table model_correlations (
    ranking_id bigint not null references model_rankings on delete cascade,
    model_id text not null references models,
    other_id text not null references models,
    correlation double precision not null check (correlation between -1 and 1),
    primary key (ranking_id, model_id, other_id),
    check (model_id <> other_id)
);
alter table calibration_tables
    add column market_weight double precision not null default 0.2 check (market_weight between 0 and 1),
    add column market_events double precision not null default 0 check (market_events >= 0);
"""


def upgrade() -> None:
    for statements in (CONTEXTS, DECISIONS, MEMBERS, REQUESTS, LEARNING):
        op.execute(statements)


def downgrade() -> None:
    op.execute(
        "alter table calibration_tables drop column market_weight, drop column market_events;"
        " alter table model_ranking_rows drop column confidence_gap; drop table model_correlations"
    )
    op.execute(
        "alter table decisions drop constraint decisions_heard, drop constraint decisions_keep_inputs,"
        " drop column context_id, drop column strategy, drop column market_weight, drop column inputs"
    )
    op.execute(
        "alter table decision_members drop column snapshot_id, drop column propensity;"
        " alter table decisions drop constraint decisions_decision_id_snapshot_id_key,"
        " drop constraint decisions_route_check;"
        " alter table decisions rename column route to strategy"
    )
    op.execute(
        "alter table forecasts drop constraint forecasts_query_id_snapshot_id_model_id_fkey,"
        " drop constraint forecasts_forecast_id_snapshot_id_model_id_key;"
        " alter table llm_queries drop constraint llm_queries_query_id_snapshot_id_model_id_key"
    )
    op.execute("drop table decision_contexts")
    op.execute(
        "update market_snapshots set reason = 'aged' where reason = 'asked';"
        " alter table market_snapshots drop constraint market_snapshots_reason_check;"
        " alter table market_snapshots add constraint market_snapshots_reason_check"
        " check (reason in ('new', 'moved', 'aged'))"
    )
