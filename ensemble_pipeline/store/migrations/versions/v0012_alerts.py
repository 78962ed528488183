"""Alerts: raised once, brought up to date while they last, resolved when their cause is gone."""

from alembic import op

revision = "0012"
down_revision = "0011"

TABLES = """
create table alerts (
    alert_id bigint generated always as identity primary key,
    kind text not null,
    subject text not null,
    severity text not null check (severity in ('warning', 'error')),
    cause text not null,
    action text not null,
    evidence jsonb not null,
    raised_at timestamptz not null,
    updated_at timestamptz not null check (updated_at >= raised_at),
    resolved_at timestamptz check (resolved_at >= raised_at)
);
create unique index alerts_open on alerts (kind, subject) where resolved_at is null;
create index alerts_time on alerts (raised_at);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    op.execute("drop table alerts")
