"""Earlier answers that may be given again, what each look for one came to, and forecasts that repeat another."""

from alembic import op

revision = "0013"
down_revision = "0012"

# what an answer depended on when it was given; it is given again only while all of it is the same
CACHE = """
create table answer_cache (
    forecast_id bigint primary key references forecasts,
    model_id text not null references models,
    market_id text not null references markets,
    answered_at timestamptz not null,
    response_model text not null,
    prompt_hash text not null references prompts,
    rules_digest text not null,
    news_digest text not null,
    calibration_epoch text not null,
    shows_price boolean not null,
    mid double precision check (mid between 0 and 1),
    twin_key text not null
);
create index answer_cache_market on answer_cache (market_id, model_id, answered_at desc);
create index answer_cache_twin on answer_cache (twin_key, model_id, answered_at desc);

create table cache_uses (
    use_id bigint generated always as identity primary key,
    snapshot_id bigint not null references market_snapshots,
    model_id text not null references models,
    source_forecast_id bigint not null references answer_cache,
    kind text not null check (kind in ('same', 'similar')),
    outcome text not null check (outcome in ('hit', 'shadow', 'miss')),
    cause text not null check (cause <> ''),
    bounds text not null,
    closes_at timestamptz not null,
    age_s double precision not null check (age_s >= 0),
    price_distance double precision check (price_distance >= 0),
    similarity double precision not null check (similarity between 0 and 1),
    used_at timestamptz not null,
    unique (snapshot_id, model_id)
);
create index cache_uses_time on cache_uses (used_at);
create index cache_uses_shadow on cache_uses (bounds, closes_at) where outcome = 'shadow';
"""

# a forecast comes from a call, or repeats an earlier forecast of the same model: never one of another
FORECASTS = """
alter table forecasts add constraint forecasts_of_model unique (forecast_id, model_id);
alter table forecasts
    alter column query_id drop not null,
    add column reused_from bigint,
    add constraint forecasts_repeat foreign key (reused_from, model_id) references forecasts (forecast_id, model_id),
    add constraint forecasts_one_origin check ((query_id is null) <> (reused_from is null));
"""


def upgrade() -> None:
    op.execute(CACHE)
    op.execute(FORECASTS)


def downgrade() -> None:
    op.execute("drop table cache_uses, answer_cache")
    # what repeats another forecast has no place before: members that were heard so were not heard
    op.execute(
        "update decision_members m set forecast_id = null, p_yes = null from forecasts f"
        " where f.forecast_id = m.forecast_id and f.reused_from is not null;"
        " delete from forecasts where reused_from is not null;"
        " alter table forecasts drop constraint forecasts_repeat, drop constraint forecasts_one_origin,"
        " drop column reused_from, alter column query_id set not null, drop constraint forecasts_of_model"
    )
