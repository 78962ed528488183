"""Models, model calls, forecasts, and the budget ledger with its functions."""

from alembic import op

revision = "0002"
down_revision = "0001"

TABLES = """
create table settings_snapshots (
    settings_hash text primary key,
    settings jsonb not null,
    first_used_at timestamptz not null
);
create table models (
    model_id text primary key,
    provider text not null,
    wire_model text not null,
    first_seen_at timestamptz not null
);
create table prompts (
    prompt_hash text primary key,
    role text not null,
    version integer not null,
    first_used_at timestamptz not null
);
create table budget_accounts (
    scope text not null check (scope in ('day', 'decision')),
    account_key text not null,
    spent_micro_usd bigint not null default 0 check (spent_micro_usd >= 0),
    held_micro_usd bigint not null default 0 check (held_micro_usd >= 0),
    primary key (scope, account_key)
);
create table budget_reservations (
    reservation_id bigint generated always as identity primary key,
    snapshot_id bigint not null references market_snapshots,
    model_id text not null references models,
    budget_day date not null,
    state text not null check (state in ('held', 'settled', 'released', 'expired')),
    held_micro_usd bigint not null check (held_micro_usd >= 0),
    actual_micro_usd bigint check (actual_micro_usd >= 0),
    reserved_at timestamptz not null,
    check ((state = 'settled') = (actual_micro_usd is not null))
);
create index budget_reservations_snapshot on budget_reservations (snapshot_id) where state = 'held';
create index budget_reservations_day on budget_reservations (budget_day);

create table llm_queries (
    query_id bigint generated always as identity primary key,
    reservation_id bigint not null unique references budget_reservations,
    snapshot_id bigint not null references market_snapshots,
    model_id text not null references models,
    attempt smallint not null check (attempt >= 1),
    prompt_hash text not null references prompts,
    prompt text not null,
    requested_at timestamptz not null,
    latency_ms integer not null check (latency_ms >= 0),
    status text not null check (status in ('answered', 'unreadable', 'refused_by_model', 'failed', 'timed_out')),
    http_status smallint,
    response_model text,
    response text,
    problem text,
    input_tokens integer check (input_tokens >= 0),
    output_tokens integer check (output_tokens >= 0),
    cost_micro_usd bigint not null check (cost_micro_usd >= 0),
    cost_source text not null,
    unique (snapshot_id, model_id, attempt),
    check (status not in ('answered', 'unreadable', 'refused_by_model') or response is not null),
    check (status = 'answered' or problem is not null)
);
create index llm_queries_model_time on llm_queries (model_id, requested_at);

create table forecasts (
    forecast_id bigint generated always as identity primary key,
    query_id bigint not null unique references llm_queries,
    snapshot_id bigint not null references market_snapshots,
    market_id text not null references markets,
    model_id text not null references models,
    asked_at timestamptz not null,
    p_yes double precision not null check (p_yes between 0 and 1),
    confidence double precision not null check (confidence between 0 and 1),
    reasoning text not null,
    market_p double precision check (market_p between 0 and 1),
    volatility_regime text not null check (volatility_regime in ('unknown', 'calm', 'normal', 'volatile')),
    expiry_bucket text not null check (expiry_bucket in ('0-24h', '1-7d', '7-30d', '30d+')),
    unique (snapshot_id, model_id)
);
create index forecasts_market on forecasts (market_id);
create index forecasts_model_time on forecasts (model_id, asked_at);
"""

# One call each, so that a client can neither check without reserving nor settle twice. A limit of null is "unlimited".
FUNCTIONS = """
create function budget_reserve(
    p_snapshot_id bigint, p_model_id text, p_day date, p_amount bigint,
    p_day_limit bigint, p_decision_limit bigint, p_at timestamptz
) returns table (reservation_id bigint, refused_scope text, spent bigint, held bigint, account_limit bigint)
language plpgsql as $$
declare
    account record;
begin
    insert into budget_accounts (scope, account_key)
    values ('day', p_day::text), ('decision', p_snapshot_id::text)
    on conflict do nothing;
    -- always locked in this order, so that two callers cannot wait for each other
    for account in
        select a.scope, a.spent_micro_usd, a.held_micro_usd,
               case a.scope when 'day' then p_day_limit else p_decision_limit end as most
        from budget_accounts a
        where (a.scope, a.account_key) in (('day', p_day::text), ('decision', p_snapshot_id::text))
        order by a.scope desc
        for update
    loop
        -- a limit of 0 stops free calls too
        if account.most = 0 or account.spent_micro_usd + account.held_micro_usd + p_amount > account.most then
            return query
                select null::bigint, account.scope, account.spent_micro_usd, account.held_micro_usd, account.most;
            return;
        end if;
    end loop;
    update budget_accounts a set held_micro_usd = a.held_micro_usd + p_amount
    where (a.scope, a.account_key) in (('day', p_day::text), ('decision', p_snapshot_id::text));
    return query
        insert into budget_reservations as r
            (snapshot_id, model_id, budget_day, state, held_micro_usd, reserved_at)
        values (p_snapshot_id, p_model_id, p_day, 'held', p_amount, p_at)
        returning r.reservation_id, null::text, null::bigint, null::bigint, null::bigint;
end $$;

create function budget_close(p_reservation_id bigint, p_state text, p_actual bigint) returns void
language plpgsql as $$
declare
    r budget_reservations%rowtype;
    billed bigint;
begin
    select * into r from budget_reservations where reservation_id = p_reservation_id for update;
    if not found or r.state <> 'held' then
        raise exception 'reservation % is %, not held', p_reservation_id, coalesce(r.state, 'unknown');
    end if;
    -- a call that a crash cut off may have been billed: its worst case counts as spent
    billed := case p_state when 'settled' then p_actual when 'expired' then r.held_micro_usd else 0 end;
    perform 1 from budget_accounts a
    where (a.scope, a.account_key) in (('day', r.budget_day::text), ('decision', r.snapshot_id::text))
    order by a.scope desc for update;
    update budget_accounts a
    set held_micro_usd = a.held_micro_usd - r.held_micro_usd, spent_micro_usd = a.spent_micro_usd + billed
    where (a.scope, a.account_key) in (('day', r.budget_day::text), ('decision', r.snapshot_id::text));
    update budget_reservations set state = p_state, actual_micro_usd = p_actual
    where reservation_id = p_reservation_id;
end $$;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(FUNCTIONS)


def downgrade() -> None:
    op.execute("drop function budget_close; drop function budget_reserve")
    op.execute(
        "drop table forecasts, llm_queries, budget_reservations, budget_accounts, prompts, models, settings_snapshots"
    )
