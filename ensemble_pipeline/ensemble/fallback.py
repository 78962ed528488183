"""Which models answer, whom to ask instead, and how much risk the present mode allows."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from ensemble_pipeline.domain import Mode
from ensemble_pipeline.ensemble import operating
from ensemble_pipeline.ensemble.health import Probing, read_health
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.operating import ModeInForce
from ensemble_pipeline.ensemble.retirements import watch_retirements
from ensemble_pipeline.errors import InputError
from ensemble_pipeline.settings import MemberSettings
from ensemble_pipeline.store import health
from ensemble_pipeline.store.health import ModelHealth


class FallbackManager:
    """Knows which models answer, whom to ask instead, and how much risk the present mode allows."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    def check_provider_health(self) -> dict[str, ModelHealth]:
        """How each enabled model answered over the last day, and how its breaker stands, as of now."""
        with self._instance.database.connection() as connection:
            return read_health(connection, self._instance.settings.enabled_members, self._instance.clock.now())

    async def record_health(self) -> list[ModelHealth]:
        """Probe the providers that had no traffic, read the health of all enabled models, and keep the reading.

        What the lists of models say of retirements raises and resolves alerts.
        """
        watch_retirements(self._instance, await Probing(self._instance).probe_idle())
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

    def enable_emergency_mode(self, mode: Mode | str, cause: str, lasts: timedelta | None = None) -> ModeInForce:
        """Put `mode` in force by hand, as a floor that the evidence may only worsen; returns what is in force then.

        It lasts until `lasts` is over or until ``normal`` ends it.

        Raises:
            InputError: there is no such mode or no cause, `lasts` is not above 0, or ``normal`` is to last.
        """
        if mode not in list(Mode):
            raise InputError(f"there is no operating mode {mode!r}; there are {', '.join(Mode)}")
        return operating.set_by_hand(self._instance, Mode(mode), cause, lasts)

    def review_mode(self, health: Mapping[str, ModelHealth] | None = None) -> ModeInForce:
        """Look at the evidence, put in force what it calls for, and say what is in force now."""
        return operating.review_mode(self._instance, self.check_provider_health() if health is None else health)
