"""What a decision rested on, as JSON and back, to the bit."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from ensemble_pipeline.domain import Snapshot
from ensemble_pipeline.ensemble.context import Filling, Standing
from ensemble_pipeline.store.budget import Account, DaySpend
from ensemble_pipeline.store.health import ModelHealth

_HEALTH = dict[str, ModelHealth]
_ACCOUNTS = dict[str, dict[str, Account]]
# what came to be kept later is kept where it says something: decisions from before are made again to the bit
_KEPT_LATER = {"is_held": False, "emergency": {}, "heard_in_emergency": [], "opened_in_mode": 0, "mode": None}


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:  # noqa: ANN401 - any type has an adapter
    # built on first use: loading the definitions needs none of them
    return TypeAdapter(kind)


def inputs_of(snapshot: Snapshot, standing: Standing, filling: Filling) -> dict[str, Any]:
    """One market as it stood, what was known of it when it was planned, and when its order was sized."""
    known = _adapter(Filling).dump_python(filling, mode="json")
    return {
        "snapshot": _adapter(Snapshot).dump_python(snapshot, mode="json"),
        "standing": _telling(_adapter(Standing).dump_python(standing, mode="json")),
        "filling": {**_telling(known), "exposure": _telling(known["exposure"])},
    }


def _telling(written: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in written.items() if _KEPT_LATER.get(name, _ABSENT) != value}


_ABSENT = object()


def read_inputs(stored: Mapping[str, Any]) -> tuple[Snapshot, Standing, Filling]:
    """The same as values."""
    return (
        _adapter(Snapshot).validate_python(stored["snapshot"]),
        _adapter(Standing).validate_python(stored["standing"]),
        _adapter(Filling).validate_python(stored["filling"]),
    )


def health_json(health: dict[str, ModelHealth]) -> dict[str, Any]:
    """How the models answered lately."""
    written: dict[str, Any] = _adapter(_HEALTH).dump_python(health, mode="json")
    return written


def accounts_json(spend: DaySpend) -> dict[str, Any]:
    """The accounts of providers and models on a day."""
    written: dict[str, Any] = _adapter(_ACCOUNTS).dump_python(
        {"providers": dict(spend.providers), "models": dict(spend.models)}, mode="json"
    )
    return written


def read_accounts(stored: Mapping[str, Any]) -> dict[str, dict[str, Account]]:
    """The same as values; contexts from before accounts were kept have none."""
    found: dict[str, dict[str, Account]] = _adapter(_ACCOUNTS).validate_python(dict(stored))
    return found


def read_health(stored: dict[str, Any]) -> dict[str, ModelHealth]:
    """The same as values."""
    found: dict[str, ModelHealth] = _adapter(_HEALTH).validate_python(stored)
    return found
