"""World, clock, markets, snapshots, decision batches and resolutions."""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
create table world (
    is_only_row boolean primary key default true check (is_only_row),
    world_key text not null,
    kind text not null check (kind in ('live', 'archive', 'synthetic')),
    created_at timestamptz not null default now()
);
create table world_clock (
    is_only_row boolean primary key default true check (is_only_row),
    mode text not null check (mode in ('real', 'accelerated', 'stepped')),
    world_at timestamptz,
    wall_at timestamptz,
    speed double precision check (speed > 0),
    check (mode = 'real' or world_at is not null),
    check (mode <> 'accelerated' or (wall_at is not null and speed is not null))
);
create table market_events (
    event_id text primary key,
    venue text not null,
    series text not null,
    category text not null
);
create table markets (
    market_id text primary key,
    event_id text not null references market_events,
    venue text not null,
    ticker text not null,
    question text not null check (question <> ''),
    rules text not null,
    opened_at timestamptz not null,
    closes_at timestamptz not null,
    status text not null check (status in ('unopened', 'active', 'paused', 'closed', 'settled')),
    first_seen_at timestamptz not null,
    unique (venue, ticker),
    check (closes_at > opened_at)
);
create index markets_event on markets (event_id);
create index markets_unsettled on markets (closes_at) where status <> 'settled';

create table market_snapshots (
    snapshot_id bigint generated always as identity primary key,
    market_id text not null references markets,
    observed_at timestamptz not null,
    yes_bid numeric(6, 4) check (yes_bid between 0 and 1),
    yes_ask numeric(6, 4) check (yes_ask between 0 and 1),
    last_price numeric(6, 4) check (last_price between 0 and 1),
    volume numeric check (volume >= 0),
    status text not null check (status in ('unopened', 'active', 'paused', 'closed', 'settled')),
    reason text not null check (reason in ('new', 'moved', 'aged')),
    volatility_regime text not null check (volatility_regime in ('unknown', 'calm', 'normal', 'volatile')),
    unique (market_id, observed_at)
);
create table decision_batches (
    batch_id bigint generated always as identity primary key,
    requested_at timestamptz not null,
    retry_of bigint references decision_batches
);
create table decision_requests (
    batch_id bigint not null references decision_batches,
    snapshot_id bigint not null references market_snapshots,
    primary key (batch_id, snapshot_id)
);
create index decision_requests_snapshot on decision_requests (snapshot_id);

create table resolutions (
    resolution_id bigint generated always as identity primary key,
    market_id text not null references markets,
    version integer not null check (version >= 1),
    outcome smallint check (outcome in (0, 1)),
    resolved_at timestamptz not null,
    known_at timestamptz not null,
    unique (market_id, version),
    check (known_at >= resolved_at)
);
create index resolutions_known on resolutions (known_at);

create table venue_looks (
    subject text primary key check (subject in ('markets', 'settlements')),
    looked_at timestamptz not null
);
create table rejected_rows (
    source text not null,
    row_key text not null,
    why text not null,
    first_seen_at timestamptz not null,
    primary key (source, row_key, why)
);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    op.execute(
        "drop table rejected_rows, venue_looks, resolutions, decision_requests, decision_batches, market_snapshots,"
        " markets, market_events, world_clock, world"
    )
