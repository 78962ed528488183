"""The operating mode in force: read, set by hand, and reviewed by the evidence; with the alert it raises.

What is set by hand is a floor: the evidence may call for a more careful mode, never for a softer one. Belongs here:
reading and keeping. Does not: what the evidence calls for (mode_evidence.py), what a mode allows (modes.py).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from ensemble_pipeline.domain import Mode
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.mode_evidence import ALL_WELL, ByEvidence, Readings, reviewed, wanted_mode
from ensemble_pipeline.errors import InputError
from ensemble_pipeline.store import alerts, worlds
from ensemble_pipeline.store import operating_modes as store
from ensemble_pipeline.store.alerts import Alert
from ensemble_pipeline.store.database import Connection
from ensemble_pipeline.store.health import ModelHealth, recent_calls
from ensemble_pipeline.store.operating_modes import ModeRow, Origin
from ensemble_pipeline.store.world_clock import StoredClock

ALERT = "operating_mode"


@dataclass(frozen=True, slots=True)
class ModeInForce:
    """A mode with its cause, who put it in force, since when and until when.

    `since` is ``None`` where no mode was ever put in force, `until` where nothing bounds it beforehand.
    """

    mode: Mode
    cause: str
    origin: Origin
    since: datetime | None = None
    until: datetime | None = None

    def as_json(self) -> dict[str, str | None]:
        """The same as JSON values."""
        return {
            "mode": str(self.mode),
            "cause": self.cause,
            "origin": self.origin,
            "since": None if self.since is None else self.since.isoformat(),
            "until": None if self.until is None else self.until.isoformat(),
        }


def mode_in_force(connection: Connection, now: datetime) -> ModeInForce:
    """The more careful of what was set by hand and what the evidence put in force."""
    rows = store.newest(connection)
    by_hand, by_evidence = rows.get("hand"), rows.get("evidence")
    found = []
    if by_hand is not None and (by_hand.expires_at is None or now < by_hand.expires_at):
        found.append(by_hand)
    if by_evidence is not None:
        found.append(by_evidence)
    worst = max(found, key=lambda it: Mode(it.mode).severity, default=None)
    if worst is None:
        return ModeInForce(Mode.NORMAL, ALL_WELL, "evidence")
    return ModeInForce(Mode(worst.mode), worst.cause, worst.origin, worst.since, worst.expires_at)


def set_by_hand(instance: Instance, mode: Mode, cause: str, lasts: timedelta | None = None) -> ModeInForce:
    """Put `mode` in force until `lasts` is over, or until it is ended: ``normal`` ends what was set by hand.

    Raises:
        InputError: there is no cause, `lasts` is not above 0, or an end would expire.
    """
    if not cause.strip():
        raise InputError("a mode is put in force for a cause, and none was given: say why")
    if lasts is not None and lasts <= timedelta(0):
        raise InputError(f"a mode cannot last {lasts}; allowed: more than 0")
    if lasts is not None and mode is Mode.NORMAL:
        raise InputError("normal ends what was set by hand at once; there is nothing in it that could expire")
    with instance.database.connection() as connection:
        store.lock_modes(connection)
        now = instance.clock.now()
        _end_expired(connection, store.newest(connection).get("hand"), now)
        store.append(connection, mode, cause, now, "hand", None if lasts is None else now + lasts)
        return _alerted(connection, now)


def review_mode(instance: Instance, health: Mapping[str, ModelHealth]) -> ModeInForce:
    """Look at the evidence, put in force what it calls for, and say what is in force now.

    Costs a few short queries, so that it can be asked before every batch. Two processes that review at once write a
    transition once.
    """
    options = instance.settings.modes
    readings = _read(instance, health)
    with instance.database.connection() as connection:
        store.lock_modes(connection)
        # who waited for the lock comes after whoever held it
        now = instance.clock.now()
        rows = store.newest(connection)
        _end_expired(connection, rows.get("hand"), now)
        known = rows.get("evidence")
        present = ByEvidence(Mode.NORMAL, ALL_WELL, now) if known is None else _of_row(known)
        found = reviewed(present, wanted_mode(readings, options), now, options)
        if found.mode is not present.mode:
            store.append(
                connection,
                found.mode,
                found.cause,
                found.since,
                "evidence",
                better_since=found.better_since,
                readings=asdict(readings),
            )
        elif known is not None and found.better_since != known.better_since:
            store.note_better_since(connection, known.mode_id, found.better_since)
        return _alerted(connection, now)


def _of_row(row: ModeRow) -> ByEvidence:
    return ByEvidence(Mode(row.mode), row.cause, row.since, row.better_since)


def _read(instance: Instance, health: Mapping[str, ModelHealth]) -> Readings:
    now, options = instance.clock.now(), instance.settings.modes
    names = [member.name for member in instance.settings.enabled_members]
    since = now - timedelta(minutes=options.evidence_minutes)
    with instance.database.connection() as connection:
        calls, failures = recent_calls(connection, names, since, now)
        looked_at = max(worlds.last_looks(connection).values(), default=None)
        is_ledger_off = alerts.is_open(connection, "ledger")
    unavailable = {name for name, it in health.items() if not it.is_available}
    return Readings(
        enabled=len(names),
        available=sum(name not in unavailable for name in names),
        calls=calls,
        failures=failures,
        venue_silent_minutes=_silent_minutes(instance, looked_at, now),
        is_ledger_off=is_ledger_off,
    )


def _silent_minutes(instance: Instance, looked_at: datetime | None, now: datetime) -> float | None:
    """How long the venue has been silent, in minutes of whoever looks at it."""
    speed = StoredClock(instance.database).speed()
    # a stepped world leaps from event to event, and nothing was missed in between
    if looked_at is None or not speed:
        return None
    return max(0.0, (now - looked_at) / timedelta(minutes=1)) / max(1.0, speed)


def _end_expired(connection: Connection, by_hand: ModeRow | None, now: datetime) -> None:
    """Keep that what was set by hand has expired: it counts from its expiry on, whoever notes it."""
    if by_hand is not None and by_hand.expires_at is not None and by_hand.expires_at <= now:
        cause = f"{by_hand.mode}, set for “{by_hand.cause}”, has expired"
        store.append(connection, Mode.NORMAL, cause, by_hand.expires_at, "hand")


def _alerted(connection: Connection, now: datetime) -> ModeInForce:
    """The mode in force, with its alert brought up to date."""
    found = mode_in_force(connection, now)
    alerts.update_alerts(connection, (ALERT,), [] if found.mode is Mode.NORMAL else [_alert(found)], now)
    return found


def _alert(it: ModeInForce) -> Alert:
    since = "" if it.since is None else f" since {it.since:%Y-%m-%d %H:%M} UTC"
    until = "" if it.until is None else f", until {it.until:%Y-%m-%d %H:%M} UTC"
    return Alert(
        kind=ALERT,
        subject=it.mode,
        severity="error" if it.mode is Mode.SUSPENDED else "warning",
        cause=f"the operating mode is {it.mode}{since}{until}, by {it.origin}: {it.cause}",
        action=_ACTIONS[it.origin],
        evidence=it.as_json(),
    )


_ACTIONS: dict[Origin, str] = {
    "hand": "It was set by hand: `ensemble mode normal` ends it, and what the evidence says counts again.",
    "evidence": "Mend what the cause names (`model_health` shows the models); it softens by itself once that has held.",
}
