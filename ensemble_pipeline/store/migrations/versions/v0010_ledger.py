"""The ledger in full: five scopes of accounts, closings and corrections, refusals kept, costs that nobody believes.

Accounts of provider, model and market are filled from what was reserved before. A closed reservation is final.
"""

from alembic import op

from ensemble_pipeline.store.migrations.versions.v0002_calls_and_budget import FUNCTIONS as BEFORE

revision = "0010"
down_revision = "0009"

RESERVATIONS = """
alter table budget_reservations add column market_id text references markets;
alter table budget_reservations add column provider text;
alter table budget_reservations add column closed_at timestamptz;
alter table budget_reservations drop constraint budget_reservations_check;
alter table budget_reservations rename column actual_micro_usd to booked_micro_usd;
update budget_reservations r set market_id = s.market_id, provider = m.provider,
    closed_at = case when r.state <> 'held' then r.reserved_at end,
    state = case when r.state = 'settled' and exists (select from llm_queries q
        where q.reservation_id = r.reservation_id and q.cost_source = 'not_billed') then 'released' else r.state end,
    booked_micro_usd = case r.state when 'expired' then r.held_micro_usd when 'released' then 0
        else r.booked_micro_usd end
    from market_snapshots s, models m where s.snapshot_id = r.snapshot_id and m.model_id = r.model_id;
alter table budget_reservations
    alter column market_id set not null,
    alter column provider set not null,
    add constraint budget_reservations_closed check ((state = 'held') = (booked_micro_usd is null)),
    add constraint budget_reservations_closed_at check ((state = 'held') = (closed_at is null)),
    add constraint budget_reservations_released check (state <> 'released' or booked_micro_usd = 0),
    add constraint budget_reservations_expired check (state <> 'expired' or booked_micro_usd = held_micro_usd);

-- that on what is held stays, for what a crash left over is looked for among few
create index budget_reservations_decision on budget_reservations (snapshot_id);

create table budget_corrections (
    correction_id bigint generated always as identity primary key,
    reservation_id bigint not null references budget_reservations,
    amount_micro_usd bigint not null check (amount_micro_usd <> 0),
    cause text not null check (cause <> ''),
    corrected_at timestamptz not null
);
create index budget_corrections_reservation on budget_corrections (reservation_id);

create table budget_refusals (
    refusal_id bigint generated always as identity primary key,
    snapshot_id bigint not null references market_snapshots,
    model_id text not null references models,
    budget_day date not null,
    scope text not null
        check (scope in ('day_soft', 'day', 'provider', 'model', 'market', 'decision', 'dispute')),
    asked_micro_usd bigint not null check (asked_micro_usd >= 0),
    spent_micro_usd bigint not null check (spent_micro_usd >= 0),
    held_micro_usd bigint not null check (held_micro_usd >= 0),
    limit_micro_usd bigint not null check (limit_micro_usd >= 0),
    refused_at timestamptz not null,
    -- the last call of the model on the snapshot before it, none for 0: instants of a stepped clock tell no order
    after_reservation_id bigint not null
);
create index budget_refusals_snapshot on budget_refusals (snapshot_id);
create index budget_refusals_day on budget_refusals (budget_day);

create function budget_closed_is_final() returns trigger language plpgsql as $$
begin
    if old.state <> 'held' then
        raise exception 'reservation % is %, not held', old.reservation_id, old.state;
    end if;
    return new;
end $$;
create trigger budget_closed_is_final before update on budget_reservations
    for each row execute function budget_closed_is_final();
"""

ACCOUNTS = """
alter table budget_accounts drop constraint budget_accounts_scope_check;
alter table budget_accounts
    add constraint budget_accounts_scope_check
        check (scope in ('day', 'decision', 'market', 'model', 'provider')),
    add column calls bigint not null default 0 check (calls >= 0);
update budget_accounts a set calls = r.calls
    from (select 'day' as scope, budget_day::text as account_key, count(*) as calls from budget_reservations group by 2
        union all select 'decision', snapshot_id::text, count(*) from budget_reservations group by 2) r
    where (a.scope, a.account_key) = (r.scope, r.account_key);
insert into budget_accounts (scope, account_key, spent_micro_usd, held_micro_usd, calls)
    select k.scope, r.budget_day || ' ' || k.subject, sum(coalesce(r.booked_micro_usd, 0)),
        coalesce(sum(r.held_micro_usd) filter (where r.state = 'held'), 0), count(*)
    from budget_reservations r cross join lateral
        (values ('market', r.market_id), ('model', r.model_id), ('provider', r.provider)) k(scope, subject)
    group by 1, 2;
"""

ANOMALIES = """
create table cost_anomalies (
    anomaly_id bigint generated always as identity primary key,
    reservation_id bigint not null references budget_reservations,
    model_id text not null references models,
    kind text not null
        check (kind in ('unusable_report', 'absurd_cost', 'zero_cost', 'overrun', 'usage_missing', 'price_unknown')),
    claim text not null,
    claimed_micro_usd bigint check (claimed_micro_usd >= 0),
    booked_micro_usd bigint not null check (booked_micro_usd >= 0),
    held_micro_usd bigint not null check (held_micro_usd >= 0),
    noticed_at timestamptz not null,
    resolved_at timestamptz,
    resolution text check (resolution in ('accepted', 'rejected')),
    resolution_cause text,
    unique (reservation_id, kind),
    check ((resolved_at is null) = (resolution is null)),
    check ((resolution is null) = (resolution_cause is null))
);
-- a model whose bill is in dispute is closed: the few open ones are looked up before every call
create index cost_anomalies_disputes on cost_anomalies (model_id)
    where kind = 'absurd_cost' and resolved_at is null;
create index cost_anomalies_time on cost_anomalies (noticed_at);

alter table llm_queries
    add column cached_input_tokens integer check (cached_input_tokens >= 0),
    add column cache_write_tokens integer check (cache_write_tokens >= 0),
    add column reasoning_tokens integer check (reasoning_tokens >= 0),
    add column web_searches integer check (web_searches >= 0);

create view ledger as
    select r.reservation_id, r.budget_day, r.snapshot_id, r.market_id, r.provider, r.model_id, r.state,
        r.reserved_at, r.closed_at, r.held_micro_usd as reserved_micro_usd,
        case r.state when 'held' then r.held_micro_usd else 0 end as held_micro_usd,
        coalesce(r.booked_micro_usd, 0) + coalesce(c.amount_micro_usd, 0) as spent_micro_usd
    from budget_reservations r left join
        (select reservation_id, sum(amount_micro_usd)::bigint as amount_micro_usd from budget_corrections group by 1) c
        using (reservation_id);
"""

# Many calls in one statement, each decided in turn as if it had come alone. Whoever changes the accounts of a day has
# the turn of that day until its transaction ends, so nobody reads a sum that somebody else is about to change.
# A limit of null is "unlimited", one of 0 lets nothing pass, free calls included. Plans made while the tables are small
# must not scan them for ever.
FUNCTIONS = """
drop function budget_reserve(bigint, text, date, bigint, bigint, bigint, timestamptz);
drop function budget_close(bigint, text, bigint);
alter table budget_accounts set (fillfactor = 50);

create function budget_turn(p_days date[]) returns void language plpgsql as $$
begin
    perform pg_advisory_xact_lock(1651860580, t.day - date '2000-01-01') from unnest(p_days) t(day);
end $$;

-- p_turns: the days of the calls, each once, in order. p_accounts: five places in p_scopes and p_keys for each call, of
-- its day, provider, model, market and decision
create function budget_reserve(
    p_turns date[], p_scopes text[], p_keys text[], p_limits bigint[], p_day_soft bigint, p_accounts integer[],
    p_snapshot_ids bigint[], p_market_ids text[], p_providers text[], p_model_ids text[], p_days date[],
    p_amounts bigint[], p_ats timestamptz[]
) returns table (reservation_id bigint, refused_scope text, spent bigint, held bigint, most bigint)
language plpgsql set enable_seqscan = off as $$
declare
    spents bigint[];
    helds bigint[];
    counts bigint[];
    disputed text[];
    amount bigint;
    first integer;
    place integer;
begin
    perform budget_turn(p_turns);
    select array_agg(coalesce(a.spent_micro_usd, 0) order by w.place),
        array_agg(coalesce(a.held_micro_usd, 0) order by w.place), array_agg(a.calls order by w.place)
    into spents, helds, counts
    from unnest(p_scopes, p_keys) with ordinality w(scope, account_key, place)
    left join budget_accounts a using (scope, account_key);
    if array_position(counts, null) is not null then
        insert into budget_accounts (scope, account_key) select * from unnest(p_scopes, p_keys) on conflict do nothing;
        counts := array(select coalesce(c.n, 0) from unnest(counts) c(n));
    end if;
    disputed := array(select a.model_id from cost_anomalies a where a.kind = 'absurd_cost' and a.resolved_at is null);
    for i in 1 .. cardinality(p_amounts) loop
        amount := p_amounts[i];
        first := 5 * i - 4;
        reservation_id := null;
        refused_scope := null;
        place := p_accounts[first];
        if p_model_ids[i] = any(disputed) then
            refused_scope := 'dispute';
            most := 0;
        elsif spents[p_accounts[first + 4]] + helds[p_accounts[first + 4]] = 0
            and (p_day_soft = 0 or amount > 0 and spents[place] + helds[place] + amount > p_day_soft)
        then
            -- a decision that has cost something may finish between the soft and the hard limit, no other may begin
            refused_scope := 'day_soft';
            most := p_day_soft;
        else
            for j in first .. first + 4 loop
                place := p_accounts[j];
                if p_limits[place] = 0 or amount > 0 and spents[place] + helds[place] + amount > p_limits[place] then
                    refused_scope := p_scopes[place];
                    most := p_limits[place];
                    exit;
                end if;
            end loop;
        end if;
        if refused_scope is null then
            for j in first .. first + 4 loop
                place := p_accounts[j];
                helds[place] := helds[place] + amount;
                counts[place] := counts[place] + 1;
            end loop;
            insert into budget_reservations as r
                (snapshot_id, market_id, provider, model_id, budget_day, state, held_micro_usd, reserved_at)
            values (p_snapshot_ids[i], p_market_ids[i], p_providers[i], p_model_ids[i], p_days[i], 'held', amount,
                p_ats[i])
            returning r.reservation_id into reservation_id;
        else
            spent := spents[place];
            held := helds[place];
            insert into budget_refusals (snapshot_id, model_id, budget_day, scope, asked_micro_usd, spent_micro_usd,
                held_micro_usd, limit_micro_usd, refused_at, after_reservation_id)
            select p_snapshot_ids[i], p_model_ids[i], p_days[i], refused_scope, amount, spent, held, most, p_ats[i],
                coalesce(max(r.reservation_id), 0)
            from budget_reservations r where r.snapshot_id = p_snapshot_ids[i] and r.model_id = p_model_ids[i];
        end if;
        return next;
    end loop;
    update budget_accounts a set held_micro_usd = n.held, calls = n.calls
    from unnest(p_scopes, p_keys, helds, counts) n(scope, account_key, held, calls)
    where (a.scope, a.account_key) = (n.scope, n.account_key) and a.calls <> n.calls;
end $$;

create function budget_close(
    p_turns date[], p_ids bigint[], p_states text[], p_booked bigint[], p_at timestamptz
) returns void language plpgsql set enable_seqscan = off as $$
declare
    wrong record;
    closed bigint[];
begin
    perform budget_turn(p_turns);
    with changes as (
        update budget_reservations r set state = c.state, closed_at = p_at,
            -- a call that a crash cut off may have been billed: its worst case counts as spent
            booked_micro_usd = case c.state when 'settled' then c.booked when 'expired' then r.held_micro_usd else 0 end
        from unnest(p_ids, p_states, p_booked) c(reservation_id, state, booked)
        where r.reservation_id = c.reservation_id and r.state = 'held' and r.budget_day = any(p_turns)
        returning r.reservation_id, r.budget_day::text as day, r.provider, r.model_id, r.market_id,
            r.snapshot_id::text as decision, r.held_micro_usd, r.booked_micro_usd
    ), sums as (
        select k.scope, k.account_key, sum(c.held_micro_usd)::bigint as unheld, sum(c.booked_micro_usd)::bigint as spent
        from changes c cross join lateral (values ('day', c.day), ('provider', c.day || ' ' || c.provider),
            ('model', c.day || ' ' || c.model_id), ('market', c.day || ' ' || c.market_id), ('decision', c.decision)
        ) as k(scope, account_key) group by 1, 2
    ), booked as (
        update budget_accounts a
        set held_micro_usd = a.held_micro_usd - s.unheld, spent_micro_usd = a.spent_micro_usd + s.spent
        from sums s where (a.scope, a.account_key) = (s.scope, s.account_key)
    )
    select coalesce(array_agg(c.reservation_id), '{}') into closed from changes c;
    if cardinality(closed) <> cardinality(p_ids) then
        select n.id into wrong from unnest(p_ids) n(id) group by n.id having count(*) > 1 limit 1;
        if found then
            raise exception 'reservation % is named twice in one closing; each is closed once', wrong.id;
        end if;
        select n.id, coalesce(r.state, 'unknown') as state into wrong from unnest(p_ids) n(id)
        left join budget_reservations r on r.reservation_id = n.id where n.id <> all(closed) limit 1;
        raise exception 'reservation % is %, not held', wrong.id, wrong.state;
    end if;
end $$;

create function budget_correct(p_reservation_id bigint, p_amount bigint, p_cause text, p_at timestamptz) returns void
language plpgsql as $$
declare
    r budget_reservations;
begin
    select * into r from budget_reservations b where b.reservation_id = p_reservation_id and b.state <> 'held';
    if not found then
        raise exception 'reservation % is held or unknown; only what is closed can be corrected', p_reservation_id;
    end if;
    perform budget_turn(array[r.budget_day]);
    if p_amount + (select l.spent_micro_usd from ledger l where l.reservation_id = p_reservation_id) < 0 then
        raise exception 'with % more reservation % would cost less than nothing', p_amount, p_reservation_id;
    end if;
    update budget_accounts a set spent_micro_usd = a.spent_micro_usd + p_amount
    from (values ('day', r.budget_day::text), ('provider', r.budget_day || ' ' || r.provider),
        ('model', r.budget_day || ' ' || r.model_id), ('market', r.budget_day || ' ' || r.market_id),
        ('decision', r.snapshot_id::text)) k(scope, account_key)
    where (a.scope, a.account_key) = (k.scope, k.account_key);
    insert into budget_corrections (reservation_id, amount_micro_usd, cause, corrected_at)
    values (p_reservation_id, p_amount, p_cause, p_at);
end $$;
"""

# what a batch knew of the accounts of providers and models, and which models were closed
CONTEXTS = """
alter table decision_contexts
    add column accounts jsonb not null default '{}',
    add column disputed text[] not null default '{}';
"""


def upgrade() -> None:
    for statements in (RESERVATIONS, ACCOUNTS, ANOMALIES, FUNCTIONS, CONTEXTS):
        op.execute(statements)


def downgrade() -> None:
    op.execute("alter table decision_contexts drop column accounts, drop column disputed")
    op.execute(
        "drop function budget_correct; drop function budget_close;"
        " drop function budget_reserve; drop function budget_turn; drop view ledger; drop table cost_anomalies"
    )
    op.execute(
        "alter table llm_queries drop column cached_input_tokens, drop column cache_write_tokens,"
        " drop column reasoning_tokens, drop column web_searches"
    )
    op.execute(
        "delete from budget_accounts where scope not in ('day', 'decision');"
        " alter table budget_accounts drop column calls, drop constraint budget_accounts_scope_check,"
        " add constraint budget_accounts_scope_check check (scope in ('day', 'decision'))"
    )
    op.execute(
        "drop trigger budget_closed_is_final on budget_reservations; drop function budget_closed_is_final;"
        " drop index budget_reservations_decision; drop table budget_refusals; drop table budget_corrections;"
        " alter table budget_reservations drop constraint budget_reservations_closed,"
        " drop constraint budget_reservations_closed_at, drop constraint budget_reservations_released,"
        " drop constraint budget_reservations_expired, drop column market_id, drop column provider,"
        " drop column closed_at;"
        " alter table budget_reservations rename column booked_micro_usd to actual_micro_usd;"
        # corrections have no place there: accounts keep them, the check of the ledger tells the difference
        " update budget_reservations set state = case state when 'released' then 'settled' else state end,"
        " actual_micro_usd = case when state in ('settled', 'released') then actual_micro_usd end;"
        " alter table budget_reservations add constraint budget_reservations_check"
        " check ((state = 'settled') = (actual_micro_usd is not null))"
    )
    op.execute(BEFORE)
