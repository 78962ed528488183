"""Opinions of several language models in, trading decisions on prediction markets out.

Rooms, from the top floor down: ``definitions`` and ``cli`` (entry points), ``pipeline`` (everything Dagster),
``replay`` (archives), ``sandbox`` (venues and providers on loopback), ``ensemble`` (the deciding),
``providers`` and ``venues`` (wire formats), ``store`` (PostgreSQL), ``forecasting`` (pure numpy) and, on the
ground floor, ``settings``, ``domain``, ``clock`` and ``errors``.
"""

__version__ = "0.1.0"
