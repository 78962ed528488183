"""Everything Dagster, thin: each function calls one thing from the floors below and turns what it says into metadata.

Belongs here: assets, ops, sensors, schedules, checks, partitions, resources, and the launcher that runs them as one
family of processes. Does not: a rule, a formula, SQL.
"""

import warnings

# Dagster 1.13 marks these as beta; single-run backfills and a 30-day look-back rest on exactly them. Its own class of
# warnings is not named, for commands that never start it would wait a second for its import
warnings.filterwarnings("ignore", "Parameter `backfill_policy` of function `asset`")
warnings.filterwarnings("ignore", "Parameter `allow_nonexistent_upstream_partitions`")
