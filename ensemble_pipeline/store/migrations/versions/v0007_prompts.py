"""Prompts as they are worded, and evidence about markets.

Prompts kept before have no wording: it stood in files that may have changed since.
"""

from alembic import op

revision = "0007"
down_revision = "0006"

TABLES = """
alter table prompts add column system text, add column template text,
    add check ((system is null) = (template is null));
create table market_evidence (
    evidence_id bigint generated always as identity primary key,
    market_id text not null references markets,
    published_at timestamptz not null,
    known_at timestamptz not null,
    source text not null check (length(source) between 1 and 200),
    content text not null check (content <> ''),
    -- a content may be longer than an entry of an index
    content_sha256 text not null check (content_sha256 = encode(sha256(convert_to(content, 'UTF8')), 'hex')),
    unique (market_id, source, published_at, content_sha256),
    check (known_at >= published_at)
);
create index market_evidence_market on market_evidence (market_id, known_at);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    op.execute("drop table market_evidence; alter table prompts drop column system, drop column template")
