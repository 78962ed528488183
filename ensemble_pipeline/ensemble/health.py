"""Health from real traffic: how models answer and how their breakers stand; probes only where there was no traffic.

Belongs here: reading it, and looking at idle providers. Does not: keeping it (``store.health``), what follows from it
(selection.py, fallback.py, health_alerts.py).
"""

import asyncio
import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from ensemble_pipeline.ensemble.breakers import report_of, rules_of
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.errors import CredentialsError, OutOfCreditError, ProviderError
from ensemble_pipeline.providers.base import ModelCatalogue
from ensemble_pipeline.providers.manager import ProviderManager
from ensemble_pipeline.settings import MemberSettings
from ensemble_pipeline.store import breakers, health
from ensemble_pipeline.store.breakers import PROVIDER, Ask, Breaker
from ensemble_pipeline.store.database import Connection, Row
from ensemble_pipeline.store.health import ModelHealth, Probe

_LOOK_BACK = timedelta(days=1)


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
    """Looks at providers that nobody asked lately, with calls that cost nothing."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    async def probe_idle(self) -> dict[str, ModelCatalogue]:
        """Probe the idle providers, all at once, and keep what was found; returns the catalogues that came.

        A provider that refuses the key, or has no credit, is closed as after a call; that it cannot be reached is told
        by its next call better than by a probe.
        """
        instance = self._instance
        now, options = instance.clock.now(), instance.settings.breaker
        with instance.database.connection() as connection:
            since = now - timedelta(minutes=options.probe_after_minutes)
            idle = health.idle_providers(connection, self._providers(), since)
        found: dict[str, ModelCatalogue | ProviderError] = {}
        if idle:
            async with ProviderManager(instance.settings, os.environ) as manager:
                outcomes = await asyncio.gather(*(_look(manager, provider) for provider in idle))
            found = dict(zip(idle, outcomes, strict=True))
        with instance.database.connection() as connection:
            health.save_probes(connection, [_probe(provider, it, now) for provider, it in found.items()])
            for provider, error in found.items():
                if isinstance(error, (CredentialsError, OutOfCreditError)):
                    told = report_of(Ask(provider, PROVIDER, 0), None, error)
                    connection.execute(breakers.REPORT, breakers.report_arguments(told, now, rules_of(options)))
        return {provider: it for provider, it in found.items() if isinstance(it, ModelCatalogue)}

    def _providers(self) -> list[str]:
        return sorted({member.provider for member in self._instance.settings.enabled_members})


async def _look(manager: ProviderManager, provider: str) -> ModelCatalogue | ProviderError:
    try:
        return await manager.probe(provider)
    except ProviderError as error:
        return error


def _probe(provider: str, found: ModelCatalogue | ProviderError, at: datetime) -> Probe:
    if isinstance(found, ModelCatalogue):
        return Probe(provider, at, is_reachable=True, latency_ms=found.latency_ms, problem=None)
    return Probe(provider, at, is_reachable=False, latency_ms=None, problem=str(found))
