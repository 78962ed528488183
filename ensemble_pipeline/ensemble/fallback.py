"""Which models answer, whom to ask instead, and how much risk the present mode allows."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from ensemble_pipeline.ensemble.health import Probing, read_health
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.settings import MemberSettings
from ensemble_pipeline.store import health, monitoring
from ensemble_pipeline.store.health import ModelHealth

Mode = Literal["normal", "conservative", "minimal", "suspended"]

# share of the usual stake that each mode leaves; suspended takes no new risk at all
STAKE_SHARE: dict[str, float] = {"normal": 1.0, "conservative": 0.5, "minimal": 0.25, "suspended": 0.0}


class FallbackManager:
    """Knows which models answer, whom to ask instead, and how much risk the present mode allows."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    def check_provider_health(self) -> dict[str, ModelHealth]:
        """How each enabled model answered over the last day, and how its breaker stands, as of now."""
        with self._instance.database.connection() as connection:
            return read_health(connection, self._instance.settings.enabled_members, self._instance.clock.now())

    async def record_health(self) -> list[ModelHealth]:
        """Probe the providers that had no traffic, read the health of all enabled models, and keep the reading."""
        await Probing(self._instance).probe_idle()
        readings = list(self.check_provider_health().values())
        with self._instance.database.connection() as connection:
            self._instance.register_members(connection)
            health.save_health(connection, readings)
        return readings

    def initiate_failover(
        self, standby: Iterable[MemberSettings], consulted: Sequence[str], known: Mapping[str, ModelHealth]
    ) -> MemberSettings | None:
        """The next member of `standby` that was not consulted yet and is available, or ``None``."""
        for member in standby:
            reading = known.get(member.name)
            if member.name not in consulted and (reading is None or reading.is_available):
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
