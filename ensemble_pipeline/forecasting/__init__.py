"""Pure numpy: scores, the skill cube and its windows, calibration, skill and ranking, pooling, sizing.

Belongs here: a formula with its source. Does not: a database, a clock, a setting, a network.
"""
