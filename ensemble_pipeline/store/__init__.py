"""PostgreSQL: schema and migrations, the embedded server, the shared clock, one module of queries per concern.

Belongs here: SQL and the rows it returns. Does not: a decision about what to do with them.
"""
