"""Circuit breakers that all processes share, their trials and transitions; calls not made; what probes found."""

from alembic import op

revision = "0014"
down_revision = "0013"

# a row with an empty model speaks of the provider as a whole; a missing row is a closed breaker nobody knows yet
TABLES = """
create table breakers (
    provider text not null,
    model_id text not null,
    state text not null default 'closed' check (state in ('closed', 'open', 'half_open')),
    consecutive_failures integer not null default 0 check (consecutive_failures >= 0),
    failing_models text[] not null default '{}',
    cause text,
    since timestamptz,
    open_s double precision check (open_s > 0),
    open_until timestamptz,
    succeeded_at timestamptz,
    slow_downs integer not null default 0 check (slow_downs >= 0),
    -- by the machine's clock: it is the far side that asked for so many seconds
    paused_until timestamptz,
    primary key (provider, model_id),
    check ((state = 'closed') = (open_until is null)),
    check (state = 'closed' or cause is not null)
);
create table breaker_trials (
    trial_id bigint generated always as identity primary key,
    provider text not null,
    model_id text not null,
    snapshot_id bigint not null
);
create index breaker_trials_provider on breaker_trials (provider, model_id);
create table breaker_transitions (
    transition_id bigint generated always as identity primary key,
    provider text not null,
    model_id text not null,
    at timestamptz not null,
    from_state text not null check (from_state in ('closed', 'open', 'half_open')),
    to_state text not null check (to_state in ('closed', 'open', 'half_open')),
    cause text not null check (cause <> ''),
    check (from_state <> to_state)
);
create index breaker_transitions_time on breaker_transitions (at);
create table calls_not_made (
    snapshot_id bigint not null references market_snapshots,
    model_id text not null references models,
    cause text not null check (cause <> ''),
    noticed_at timestamptz not null,
    primary key (snapshot_id, model_id)
);
create table provider_probes (
    provider text not null,
    probed_at timestamptz not null,
    is_reachable boolean not null,
    latency_ms integer check (latency_ms >= 0),
    problem text,
    primary key (provider, probed_at),
    check (is_reachable = (problem is null))
);
"""

HEALTH = """
alter table model_health
    add column timed_out integer not null default 0 check (timed_out between 0 and calls),
    add column unreadable integer not null default 0 check (unreadable between 0 and calls),
    add column refused integer not null default 0 check (refused between 0 and calls),
    add column p50_response_time_ms double precision check (p50_response_time_ms >= 0),
    add column p95_response_time_ms double precision check (p95_response_time_ms >= 0),
    add column cause text;
"""

# Whoever asks holds the lock of its snapshot until its session ends: a trial whose lock is free has lost its process.
LIVING = """
create function breaker_trials_alive(p_provider text, p_model text) returns integer language plpgsql as $$
begin
    delete from breaker_trials t where t.provider = p_provider and (p_model = '' or t.model_id = p_model)
        and pg_try_advisory_xact_lock({lock_class}, (t.snapshot_id % 2147483648)::integer);
    return (select count(*) from breaker_trials t
        where t.provider = p_provider and (p_model = '' or t.model_id = p_model));
end $$;
"""

# The verdict on one call: `trusted` goes without more ado, `trial` goes and its outcome is waited for, `wait` may be
# asked again soon, `open` may not leave. Rows are locked in one order, the provider's first.
ADMIT = """
create function breaker_admit(
    p_provider text, p_model text, p_snapshot bigint, p_now timestamptz, p_failures integer, p_trusted interval
) returns table (verdict text, trial_id bigint, said text, wait_s double precision) language plpgsql as $$
declare
    it breakers%rowtype;
    on_trial integer;
    needs_trial boolean := false;
    must_wait boolean := false;
begin
    insert into breakers (provider, model_id) values (p_provider, ''), (p_provider, p_model) on conflict do nothing;
    for it in select b.* from breakers b where b.provider = p_provider and b.model_id in ('', p_model)
        order by b.model_id for update
    loop
        if it.paused_until > clock_timestamp() then
            return query select 'wait', null::bigint, it.cause,
                extract(epoch from it.paused_until - clock_timestamp())::float8;
            return;
        end if;
        if breaker_is_trusted(it, p_now, p_trusted) then
            continue;
        end if;
        needs_trial := true;
        on_trial := breaker_trials_alive(it.provider, it.model_id);
        if it.open_until > p_now or (it.state <> 'closed' and on_trial > 0) then
            return query select 'open', null::bigint, it.cause, null::float8;
            return;
        end if;
        -- said last: that the model's own breaker is open is said first
        must_wait := must_wait
            or (it.state = 'closed' and on_trial >= greatest(1, p_failures - it.consecutive_failures));
    end loop;
    if must_wait then
        return query select 'wait', null::bigint, null::text, null::float8;
        return;
    end if;
    if not needs_trial then
        return query select 'trusted', null::bigint, null::text, null::float8;
        return;
    end if;
    with due as (update breakers b set state = 'half_open', since = p_now where b.provider = p_provider
        and b.model_id in ('', p_model) and b.state = 'open' returning b.model_id)
    insert into breaker_transitions (provider, model_id, at, from_state, to_state, cause)
        select p_provider, due.model_id, p_now, 'open', 'half_open', 'its rest is over: one call may try' from due;
    return query insert into breaker_trials as t (provider, model_id, snapshot_id)
        values (p_provider, p_model, p_snapshot) returning 'trial', t.trial_id, null::text, null::float8;
end $$;
"""

TRUST = """
create function breaker_is_trusted(it breakers, p_now timestamptz, p_trusted interval) returns boolean
language sql stable as $$
    select it.state = 'closed' and it.consecutive_failures = 0 and it.slow_downs = 0
        and coalesce(it.succeeded_at >= p_now - p_trusted, false)
$$;
"""

# What came of a call, for the provider's row and the model's: `success`, `failure`, `shut` (nobody can mend that in a
# minute), `slow_down`, or `none` where it says nothing. A provider's row opens only where two of its models fail: one
# that fails alone has a breaker of its own. Slow-downs that come while a pause stands belong to the same burst.
REPORT = """
create function breaker_report(
    p_provider text, p_model text, p_trial bigint, p_of_provider text, p_of_model text, p_cause text,
    p_wait_s double precision, p_now timestamptz, p_failures integer, p_open_s double precision,
    p_max_open_s double precision, p_long_open_s double precision
) returns void language plpgsql as $$
declare
    it breakers%rowtype;
    outcome text;
    is_tripped boolean;
    rest_s double precision;
begin
    insert into breakers (provider, model_id) values (p_provider, ''), (p_provider, p_model) on conflict do nothing;
    for it in select b.* from breakers b where b.provider = p_provider and b.model_id in ('', p_model)
        order by b.model_id for update
    loop
        outcome := case it.model_id when '' then p_of_provider else p_of_model end;
        if outcome = 'none' then
            continue;
        end if;
        if outcome = 'success' then
            update breakers b set state = 'closed', consecutive_failures = 0, failing_models = '{}', cause = null,
                open_s = null, open_until = null, slow_downs = 0, paused_until = null,
                succeeded_at = greatest(b.succeeded_at, p_now),
                since = case b.state when 'closed' then b.since else p_now end
                where (b.provider, b.model_id) = (it.provider, it.model_id);
            insert into breaker_transitions (provider, model_id, at, from_state, to_state, cause)
                select it.provider, it.model_id, p_now, it.state, 'closed', 'it answered again'
                where it.state <> 'closed';
            continue;
        end if;
        if outcome = 'slow_down' then
            if it.paused_until > clock_timestamp() then
                continue;
            end if;
            it.slow_downs := it.slow_downs + 1;
            rest_s := coalesce(p_wait_s, least(power(2, it.slow_downs - 1), 60));
            update breakers b set slow_downs = it.slow_downs, cause = p_cause,
                paused_until = clock_timestamp() + make_interval(secs => rest_s)
                where (b.provider, b.model_id) = (it.provider, it.model_id);
            is_tripped := it.slow_downs >= p_failures;
        else
            it.consecutive_failures := it.consecutive_failures + 1;
            if not p_model = any(it.failing_models) then
                it.failing_models := it.failing_models || p_model;
            end if;
            update breakers b set consecutive_failures = it.consecutive_failures, failing_models = it.failing_models,
                cause = p_cause where (b.provider, b.model_id) = (it.provider, it.model_id);
            is_tripped := it.consecutive_failures >= p_failures
                and (it.model_id <> '' or cardinality(it.failing_models) >= 2);
        end if;
        if outcome = 'shut' or (it.state <> 'open' and (is_tripped or it.state = 'half_open')) then
            rest_s := case when outcome = 'shut' then p_long_open_s
                when it.state = 'half_open' then least(2 * it.open_s, p_max_open_s) else p_open_s end;
            -- who asked to be left alone for longer is
            rest_s := greatest(rest_s, case when outcome = 'slow_down' then p_wait_s end);
            update breakers b set state = 'open', cause = p_cause, open_s = rest_s,
                open_until = p_now + make_interval(secs => rest_s),
                since = case b.state when 'open' then b.since else p_now end
                where (b.provider, b.model_id) = (it.provider, it.model_id);
            insert into breaker_transitions (provider, model_id, at, from_state, to_state, cause)
                select it.provider, it.model_id, p_now, it.state, 'open', p_cause where it.state <> 'open';
        end if;
    end loop;
    delete from breaker_trials t where t.trial_id = p_trial;
end $$;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(HEALTH)
    op.execute(LIVING.format(lock_class=0x736E6170))
    op.execute(TRUST)
    op.execute(ADMIT)
    op.execute(REPORT)


def downgrade() -> None:
    op.execute("drop function breaker_report; drop function breaker_admit")
    op.execute("drop function breaker_is_trusted; drop function breaker_trials_alive")
    op.execute(
        "alter table model_health drop column timed_out, drop column unreadable, drop column refused,"
        " drop column p50_response_time_ms, drop column p95_response_time_ms, drop column cause"
    )
    op.execute("drop table provider_probes, calls_not_made, breaker_transitions, breaker_trials, breakers")
