"""What a provider asks for is kept to: a pause outlives answers, the longest holds, none outlasts the longest rest."""

from alembic import op

from ensemble_pipeline.store.migrations.versions import v0014_breakers

revision = "0017"
down_revision = "0016"

# As in 0014, but for waits that a provider asks for, and for calls that were cut short. An answer that was under way
# ends no pause; of a burst the longest wait holds; one longer than a breaker's first rest opens it, where it is seen
# and can be ended by hand; none is longer than the rest for what only a person can mend; and one that comes with a
# failure counts once the breaker opens. `cut_short` says nothing, but who was trying after a rest rests again as long.
REPORT = """
create or replace function breaker_report(
    p_provider text, p_model text, p_trial bigint, p_of_provider text, p_of_model text, p_cause text,
    p_wait_s double precision, p_now timestamptz, p_failures integer, p_open_s double precision,
    p_max_open_s double precision, p_long_open_s double precision
) returns void language plpgsql as $$
declare
    it breakers%rowtype;
    outcome text;
    is_paused boolean;
    is_tripped boolean;
    rest_s double precision;
    -- `least` alone would make a wait of what nobody asked for
    asked_s double precision := case when p_wait_s is not null then least(p_wait_s, p_long_open_s) end;
begin
    insert into breakers (provider, model_id) values (p_provider, ''), (p_provider, p_model) on conflict do nothing;
    for it in select b.* from breakers b where b.provider = p_provider and b.model_id in ('', p_model)
        order by b.model_id for update
    loop
        outcome := case it.model_id when '' then p_of_provider else p_of_model end;
        if outcome = 'none' then
            continue;
        end if;
        is_paused := coalesce(it.paused_until > clock_timestamp(), false);
        if outcome = 'cut_short' then
            if it.state = 'half_open' then
                update breakers b set state = 'open', open_until = p_now + make_interval(secs => it.open_s),
                    since = p_now, cause = p_cause where (b.provider, b.model_id) = (it.provider, it.model_id);
                insert into breaker_transitions (provider, model_id, at, from_state, to_state, cause)
                    values (it.provider, it.model_id, p_now, 'half_open', 'open', p_cause);
            end if;
            continue;
        end if;
        if outcome = 'success' and it.state = 'open' and is_paused then
            update breakers b set succeeded_at = greatest(b.succeeded_at, p_now)
                where (b.provider, b.model_id) = (it.provider, it.model_id);
            continue;
        end if;
        if outcome = 'success' then
            update breakers b set state = 'closed', consecutive_failures = 0, failing_models = '{}', cause = null,
                open_s = null, open_until = null,
                slow_downs = case when is_paused then b.slow_downs else 0 end,
                paused_until = case when is_paused then b.paused_until end,
                succeeded_at = greatest(b.succeeded_at, p_now),
                since = case b.state when 'closed' then b.since else p_now end
                where (b.provider, b.model_id) = (it.provider, it.model_id);
            insert into breaker_transitions (provider, model_id, at, from_state, to_state, cause)
                select it.provider, it.model_id, p_now, it.state, 'closed', 'it answered again'
                where it.state <> 'closed';
            continue;
        end if;
        if outcome = 'slow_down' then
            -- what comes while a pause stands is of the same burst
            it.slow_downs := it.slow_downs + case when is_paused then 0 else 1 end;
            rest_s := coalesce(asked_s, case when is_paused then 0 else least(power(2, it.slow_downs - 1), 60) end);
            update breakers b set slow_downs = it.slow_downs, cause = p_cause,
                paused_until = greatest(b.paused_until, clock_timestamp() + make_interval(secs => rest_s))
                where (b.provider, b.model_id) = (it.provider, it.model_id);
            is_tripped := (it.slow_downs >= p_failures and not is_paused) or coalesce(asked_s > p_open_s, false);
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
            rest_s := greatest(rest_s, asked_s);
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
    op.execute(REPORT)


def downgrade() -> None:
    op.execute("drop function breaker_report")
    op.execute(v0014_breakers.REPORT)
