"""Journeys: the `ensemble` command as an operator runs it, in real processes over real databases and real HTTP."""
