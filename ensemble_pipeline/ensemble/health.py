"""Health from real traffic: how models answer and how their breakers stand; probes only where there was no traffic.

Belongs here: reading it, and looking at idle providers. Does not: keeping it (``store.health``), what follows from it
(selection.py, fallback.py, health_alerts.py).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from ensemble_pipeline.ensemble.breakers import report_of, rules_of
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.retirements import read_catalogues
from ensemble_pipeline.errors import CredentialsError, OutOfCreditError, ProviderError
from ensemble_pipeline.providers.base import ModelCatalogue
from ensemble_pipeline.settings import MemberSettings
from ensemble_pipeline.store import breakers, health
from ensemble_pipeline.store.breakers import PROVIDER, Ask, Breaker
from ensemble_pipeline.store.database import Connection, Row
from ensemble_pipeline.store.health import ModelHealth, Probe

_LOOK_BACK = timedelta(days=1)
_LISTS_LAST = timedelta(days=1)


def read_health(connection: Connection, members: Sequence[MemberSettings], now: datetime) -> dict[str, ModelHealth]:
    """How each member answered over the last day, and whether its breaker and its provider's let it be asked."""
    rows = health.call_history(connection, [member.name for member in members], now - _LOOK_BACK, now)
    standing = breakers.all_breakers(connection)
    providers = {member.name: member.provider for member in members}
    return {row["model_id"]: _judge(row, providers[row["model_id"]], standing, now) for row in rows}


def _judge(row: Row, provider: str, standing: Mapping[tuple[str, str], Breaker], now: datetime) -> ModelHealth:
    name = row["model_id"]
    own = standing.get((provider, name))
    concerned = [it for it in (standing.get((provider, PROVIDER)), own) if it is not None and it.state != "closed"]
    is_open = any(it.is_open_at(now) for it in concerned)
    return ModelHealth(
        model_name=name,
        is_available=not is_open,
        last_check_time=now,
        consecutive_failures=0 if own is None else own.consecutive_failures,
        avg_response_time_ms=row["avg_ms"],
        calls=row["calls"],
        failures=row["failures"],
        breaker_state="open" if is_open else "half_open" if concerned else "closed",
        timed_out=row["timed_out"],
        unreadable=row["unreadable"],
        refused=row["refused"],
        p50_response_time_ms=row["p50_ms"],
        p95_response_time_ms=row["p95_ms"],
        cause=next((it.cause for it in concerned), None),
    )


class Probing:
    """Looks at providers with calls that cost nothing: those that nobody asked lately, and all of them once a day."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    async def probe_idle(self) -> dict[str, ModelCatalogue | ProviderError]:
        """Read the lists of models that are due, all at once, and keep what was found; returns it by provider.

        A list is due where a provider had no traffic, and where it was last read a day ago: models retire. A provider
        that says the key is wrong, or has no credit, is closed as after a call. Where the key may not read the list
        (403) it may still ask models, and that the provider cannot be reached is told by its next call better than by a
        probe: neither closes anything.
        """
        found = await read_catalogues(self._instance.settings, self._due())
        now, options = self._instance.clock.now(), self._instance.settings.breaker
        with self._instance.database.connection() as connection:
            health.save_probes(connection, [_probe(provider, it, now) for provider, it in found.items()])
            for provider, error in found.items():
                if isinstance(error, (CredentialsError, OutOfCreditError)):
                    told = report_of(Ask(provider, PROVIDER, 0), None, error)
                    connection.execute(breakers.REPORT, breakers.report_arguments(told, now, rules_of(options)))
        return found

    def _due(self) -> set[str]:
        now = self._instance.clock.now()
        providers = sorted({member.provider for member in self._instance.settings.enabled_members})
        patience = timedelta(minutes=self._instance.settings.breaker.probe_after_minutes)
        with self._instance.database.connection() as connection:
            idle = health.idle_providers(connection, providers, now - patience)
            probed = {it.provider for it in health.last_probes(connection) if now - it.probed_at < _LISTS_LAST}
        return {*idle, *(provider for provider in providers if provider not in probed)}


def _probe(provider: str, found: ModelCatalogue | ProviderError, at: datetime) -> Probe:
    if isinstance(found, ModelCatalogue):
        return Probe(provider, at, is_reachable=True, latency_ms=found.latency_ms, problem=None)
    return Probe(provider, at, is_reachable=False, latency_ms=None, problem=str(found))
