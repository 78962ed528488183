"""Health of the models from their real traffic, failover from one to the next, and the operating mode."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Literal

from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.settings import MemberSettings
from ensemble_pipeline.store import monitoring
from ensemble_pipeline.store.database import Row
from ensemble_pipeline.store.monitoring import ModelHealth

Mode = Literal["normal", "conservative", "minimal", "suspended"]

# share of the usual stake that each mode leaves; suspended takes no new risk at all
STAKE_SHARE: dict[str, float] = {"normal": 1.0, "conservative": 0.5, "minimal": 0.25, "suspended": 0.0}

_LOOK_BACK = timedelta(days=1)


class FallbackManager:
    """Knows which models answer, whom to ask instead, and how much risk the present mode allows."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    def check_provider_health(self) -> dict[str, ModelHealth]:
        """How each enabled model answered over the last day, as of now."""
        now = self._instance.clock.now()
        names = [member.name for member in self._instance.settings.enabled_members]
        with self._instance.database.connection() as connection:
            rows = monitoring.call_history(connection, names, now - _LOOK_BACK, now)
        return {row["model_id"]: self._judge(row) for row in rows}

    def record_health(self) -> list[ModelHealth]:
        """Read the health of all enabled models and keep the reading."""
        readings = list(self.check_provider_health().values())
        with self._instance.database.connection() as connection:
            self._instance.register_members(connection)
            monitoring.save_health(connection, readings)
        return readings

    def _judge(self, row: Row) -> ModelHealth:
        now, options = self._instance.clock.now(), self._instance.settings.ensemble
        state = "closed"
        if row["in_a_row"] >= options.health_failures:
            rested = now - row["last_failure_at"] >= timedelta(minutes=options.retry_probe_minutes)
            state = "half_open" if rested else "open"
        return ModelHealth(
            model_name=row["model_id"],
            is_available=state != "open",
            last_check_time=now,
            consecutive_failures=row["in_a_row"],
            avg_response_time_ms=row["latency_ms"],
            calls=row["calls"],
            failures=row["failures"],
            breaker_state=state,
        )

    def initiate_failover(
        self, standby: Iterable[MemberSettings], consulted: Sequence[str], health: dict[str, ModelHealth]
    ) -> MemberSettings | None:
        """The next member of `standby` that was not consulted yet and is available, or ``None``."""
        for member in standby:
            known = health.get(member.name)
            if member.name not in consulted and (known is None or known.is_available):
                return member
        return None

    def enable_emergency_mode(self, mode: Mode, cause: str) -> None:
        """Put `mode` in force from now on; ``normal`` ends an emergency."""
        with self._instance.database.connection() as connection:
            monitoring.set_operating_mode(connection, mode, cause, self._instance.clock.now())

    def operating_mode(self) -> str:
        """The mode in force."""
        with self._instance.database.connection() as connection:
            return monitoring.operating_mode(connection)
