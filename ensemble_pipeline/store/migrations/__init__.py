"""Numbered Alembic migrations of the ``ensemble`` schema."""
