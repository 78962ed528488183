"""Real questions, prices and forecasts read from archives, and what was decided on them, played once more.

Belongs here: reading archives, playing them as a world, replaying decisions. Does not: Dagster, provider or venue
clients.
"""
