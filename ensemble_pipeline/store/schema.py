"""Where the tables live: our schema beside Dagster's ``public`` in one database, so that one URL names both."""

SCHEMA = "ensemble"
VERSION_TABLE = "schema_version"
