"""Which operating mode the evidence calls for, and when a mode that it put in force softens again. Pure.

A mode worsens at once. It softens by one level, and only after the evidence has been better for a set time; what is
better but not yet well then has to hold for as long again.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ensemble_pipeline.domain import Mode
from ensemble_pipeline.settings import ModeSettings

ALL_WELL = "nothing calls for another mode"


@dataclass(frozen=True, slots=True)
class Readings:
    """What tells how well the system can do its work.

    `calls` and `failures` are those of the recent past; `venue_silent_minutes` is the time since anything was last
    read from the venue, ``None`` where that says nothing.
    """

    enabled: int
    available: int
    calls: int = 0
    failures: int = 0
    venue_silent_minutes: float | None = None
    is_ledger_off: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """The mode that readings call for, and why, in words."""

    mode: Mode
    cause: str


@dataclass(frozen=True, slots=True)
class ByEvidence:
    """The mode that the evidence holds in force, since when, and since when it has called for less."""

    mode: Mode
    cause: str
    since: datetime
    better_since: datetime | None = None


def wanted_mode(readings: Readings, options: ModeSettings) -> Wanted:
    """The most careful mode that anything calls for."""
    found = list(_findings(readings, options))
    worst = max((it.mode for it in found), key=lambda mode: mode.severity, default=Mode.NORMAL)
    return Wanted(worst, "; ".join(it.cause for it in found if it.mode is worst) or ALL_WELL)


def reviewed(present: ByEvidence, wanted: Wanted, at: datetime, options: ModeSettings) -> ByEvidence:
    """What is in force after a look at the evidence at `at`."""
    # the clock of whoever put it in force may be ahead of ours
    at = max(at, present.since)
    if wanted.mode.severity > present.mode.severity:
        return ByEvidence(wanted.mode, wanted.cause, at)
    if wanted.mode is present.mode:
        return replace(present, better_since=None)
    better_since = present.better_since or at
    if at - better_since < timedelta(minutes=options.recovery_minutes):
        return replace(present, better_since=better_since)
    softer = list(Mode)[present.mode.severity - 1]
    cause = f"{present.mode} has not been called for since {better_since:%Y-%m-%d %H:%M}: {wanted.cause}"
    return ByEvidence(softer, cause, at, better_since=None if wanted.mode is softer else at)


def _findings(readings: Readings, options: ModeSettings) -> Iterator[Wanted]:
    yield from _of_models(readings, options)
    yield from _of_calls(readings, options)
    silent = readings.venue_silent_minutes
    if silent is not None and silent >= options.venue_silent_minutes:
        yield Wanted(Mode.CONSERVATIVE, f"the venue has told nothing for {silent:.0f} minutes")
    if readings.is_ledger_off:
        yield Wanted(Mode.SUSPENDED, "the ledger's accounts differ from what was booked on them")


def _of_models(readings: Readings, options: ModeSettings) -> Iterator[Wanted]:
    available, enabled = readings.available, readings.enabled
    if available >= enabled:
        return
    cause = f"{available} of {enabled} models are available"
    if available <= 1:
        yield Wanted(Mode.MINIMAL, cause)
    elif available < options.conservative_below_available * enabled:
        yield Wanted(Mode.CONSERVATIVE, cause)
    elif available < options.degraded_below_available * enabled:
        yield Wanted(Mode.DEGRADED, cause)


def _of_calls(readings: Readings, options: ModeSettings) -> Iterator[Wanted]:
    if readings.calls < options.min_calls:
        return
    answered = readings.calls - readings.failures
    cause = f"{answered} of {readings.calls} calls of the last {options.evidence_minutes:g} minutes were answered"
    if answered < options.conservative_below_success * readings.calls:
        yield Wanted(Mode.CONSERVATIVE, cause)
    elif answered < options.degraded_below_success * readings.calls:
        yield Wanted(Mode.DEGRADED, cause)
