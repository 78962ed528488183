"""Everything Dagster, thin: each function calls one thing from the floors below and turns what it says into metadata.

Belongs here: assets, ops, sensors, schedules, checks, partitions, resources, and the launcher that runs them as one
family of processes. Does not: a rule, a formula, SQL.
"""
