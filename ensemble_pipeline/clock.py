"""The one clock. Nobody else asks the operating system for the time.

``RealClock`` follows the machine, ``AcceleratedClock`` runs faster from a starting point, ``SteppedClock`` moves
only when told. ``Stopwatch`` measures how long something took, which is the machine's business in every world.
The clock that all processes of one instance share lives in ``store.world_clock``.
"""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol

from ensemble_pipeline.errors import InputError


class Clock(Protocol):
    """Anything that tells the world's present time, in UTC."""

    def now(self) -> datetime:
        """The world's present time, timezone-aware, in UTC."""
        ...


class RealClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """The present time of the machine, in UTC."""
        return datetime.now(UTC)  # noqa: TID251 - the one place that may ask


@dataclass(frozen=True)
class AcceleratedClock:
    """World time that ran `speed` times as fast as the machine's since `wall_at`, when it was `world_at`."""

    world_at: datetime
    wall_at: datetime
    speed: float
    wall: Clock = field(default_factory=RealClock)

    def now(self) -> datetime:
        """``world_at + speed · (wall now - wall_at)``; never before `world_at`."""
        elapsed = max(self.wall.now() - self.wall_at, timedelta(0))
        return self.world_at + elapsed * self.speed


class SteppedClock:
    """World time that stands still until `advance_to` is called; never runs backwards."""

    def __init__(self, at: datetime) -> None:
        self._at = require_utc(at, "at")

    def now(self) -> datetime:
        """The time last set."""
        return self._at

    def advance_to(self, at: datetime) -> None:
        """Move to `at`.

        Raises:
            InputError: `at` lies before the present of this clock or carries no time zone.
        """
        if require_utc(at, "at") < self._at:
            raise InputError(f"a clock does not run backwards: now {self._at.isoformat()}, asked {at.isoformat()}")
        self._at = at


class Stopwatch:
    """Measures elapsed machine time from its creation on."""

    def __init__(self) -> None:
        self._started = time.perf_counter()  # noqa: TID251 - the one place that may ask

    def elapsed_s(self) -> float:
        """Seconds since creation, ≥ 0."""
        return time.perf_counter() - self._started  # noqa: TID251 - the one place that may ask

    def elapsed_ms(self) -> int:
        """Whole milliseconds since creation, rounded, ≥ 0."""
        return round(self.elapsed_s() * 1000)


def require_utc(at: datetime, name: str) -> datetime:
    """Return `at` in UTC.

    Raises:
        InputError: `at` carries no time zone; the message names the value by `name`.
    """
    if at.tzinfo is None:
        raise InputError(f"{name}={at.isoformat()} has no time zone; give it one, e.g. {at.isoformat()}+00:00")
    return at.astimezone(UTC)


def floor_hour(at: datetime) -> datetime:
    """The last full hour at or before `at`.

    >>> floor_hour(datetime(2026, 1, 1, 10, 59, tzinfo=UTC)).hour
    10
    """
    return at.replace(minute=0, second=0, microsecond=0)


def ceil_hour(at: datetime) -> datetime:
    """The first full hour at or after `at`: the first as-of point that may see what became known at `at`.

    >>> ceil_hour(datetime(2026, 1, 1, 10, 0, tzinfo=UTC)).hour
    10
    >>> ceil_hour(datetime(2026, 1, 1, 10, 0, 1, tzinfo=UTC)).hour
    11
    """
    floor = floor_hour(at)
    return floor if floor == at else floor + timedelta(hours=1)
