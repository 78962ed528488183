"""The form each server is asked for answers in, the pages a search found, and what providers say they serve."""

from alembic import op

revision = "0015"
down_revision = "0014"

TABLES = """
create table answer_formats (
    provider text not null,
    base_url text not null,
    model text not null,
    has_search boolean not null,
    answer_format text not null check (answer_format in ('json_schema', 'json_object', 'text')),
    ignored integer not null default 0 check (ignored >= 0),
    cause text not null default '',
    changed_at timestamptz not null,
    primary key (provider, base_url, model, has_search)
);

create table catalogue_models (
    provider text not null,
    model text not null,
    shutdown_date date,
    seen_at timestamptz not null,
    primary key (provider, model)
);
"""

# what was asked before asked for the schema, and kept no page
CALLS = """
alter table llm_queries
    add column answer_format text check (answer_format in ('json_schema', 'json_object', 'text')),
    add column sources jsonb check (jsonb_typeof(sources) = 'array');
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(CALLS)


def downgrade() -> None:
    op.execute("drop table answer_formats, catalogue_models")
    op.execute("alter table llm_queries drop column answer_format, drop column sources")
