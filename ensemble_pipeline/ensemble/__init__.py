"""The deciding: what to look at, whom to ask, how to combine, whether and how much to trade, and what was learnt.

Belongs here: rules of the system, in terms of ``domain`` and ``settings``. Does not: SQL, wire formats, formulas,
Dagster.
"""
