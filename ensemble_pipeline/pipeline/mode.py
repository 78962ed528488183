"""`ensemble mode`: the operating mode of the instance last started here, shown and set."""

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from ensemble_pipeline.ensemble.fallback import FallbackManager
from ensemble_pipeline.ensemble.operating import ModeInForce, mode_in_force
from ensemble_pipeline.pipeline.worlds import current_instance
from ensemble_pipeline.providers.texts import one_line
from ensemble_pipeline.store.operating_modes import transitions

_SHOWN = 10
_WIDTH = 160


def set_mode(name: str, cause: str, lasts: timedelta | None) -> ModeInForce:
    """Put an operating mode in force by hand; what is held is sold and settled in every mode.

    Raises:
        InputError: there is no cause, or `lasts` does not fit.
        DatabaseError: the database lacks tables that this code writes.
    """
    with current_instance() as instance:
        return FallbackManager(instance).enable_emergency_mode(name, cause, lasts)


def read_mode() -> dict[str, Any]:
    """The mode in force and the last transitions, as JSON values.

    Raises:
        DatabaseError: the database lacks tables that this code reads.
    """
    with current_instance() as instance, instance.database.connection() as connection:
        found, rows = mode_in_force(connection, instance.clock.now()), transitions(connection, _SHOWN)
    return {"in_force": found.as_json(), "transitions": [_json(asdict(row)) for row in rows]}


def show_mode(state: dict[str, Any]) -> str:
    """The mode in force and what came before, as text."""
    lines = [describe(state["in_force"])]
    for it in state["transitions"]:
        until = f" until {it['expires_at']}" if it["expires_at"] else ""
        lines.append(f"{it['since']}  {it['origin']:<9}{it['mode']:<13}{one_line(it['cause'], _WIDTH)}{until}")
    return "\n".join(lines)


def describe(it: dict[str, Any]) -> str:
    """One mode in force as a line."""
    since = f" since {it['since']}" if it["since"] else ""
    until = f", until {it['until']}" if it["until"] else ""
    return f"{it['mode']}{since}{until}, by {it['origin']}: {one_line(it['cause'], _WIDTH)}"


def _json(values: dict[str, Any]) -> dict[str, Any]:
    return {name: it.isoformat() if isinstance(it, datetime) else it for name, it in values.items()}
