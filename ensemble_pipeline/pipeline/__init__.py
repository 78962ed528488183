"""Everything Dagster, thin: each function calls one thing from the floors below and turns what it says into metadata.

Belongs here: assets, ops, sensors, schedules, checks, partitions, resources, and the launcher that runs them as one
family of processes. Does not: a rule, a formula, SQL.
"""

import warnings

import dagster as dg

# Dagster 1.13 marks these as beta; single-run backfills and a 30-day look-back rest on exactly them
warnings.filterwarnings("ignore", "Parameter `backfill_policy` of function `asset`", dg.BetaWarning)
warnings.filterwarnings("ignore", "Parameter `allow_nonexistent_upstream_partitions`", dg.BetaWarning)
