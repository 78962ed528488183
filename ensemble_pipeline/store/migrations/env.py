"""Runs migrations over the connection that ``store.migrate`` hands in; there is no ini file and no offline mode."""

from alembic import context
from sqlalchemy import Connection

from ensemble_pipeline.store.schema import SCHEMA, VERSION_TABLE

connection: Connection = context.config.attributes["connection"]
context.configure(
    connection=connection, version_table=VERSION_TABLE, version_table_schema=SCHEMA, transaction_per_migration=False
)
with context.begin_transaction():
    context.run_migrations()
