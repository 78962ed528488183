"""Which models of the ensemble their providers will shut down, or do not serve: read from their own lists.

Belongs here: reading the lists, matching names with them, and the alerts that follow. Does not: keeping them
(``store.catalogues``), asking on a schedule (``pipeline``).
"""

import asyncio
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from ensemble_pipeline.ensemble.cache import is_same_model
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.errors import ProviderError, ProviderTimeoutError
from ensemble_pipeline.providers.base import ModelCatalogue
from ensemble_pipeline.providers.manager import ProviderManager
from ensemble_pipeline.settings import MemberSettings, Settings
from ensemble_pipeline.store import alerts, answer_cache, catalogues
from ensemble_pipeline.store.alerts import Alert, AlertChange

KINDS = ("retirement", "model_not_served")
WARNED_DAYS = 30
URGENT_DAYS = 7
LONGEST_READ_S = 10.0
_LATEST = "-latest"


@dataclass(frozen=True, slots=True)
class Retirement:
    """A model that a member is answered by, and the last day its provider serves it."""

    member: str
    provider: str
    model: str
    shutdown_date: date

    def days_left(self, today: date) -> int:
        """Whole days until its last one; below 0 once that is past."""
        return (self.shutdown_date - today).days


@dataclass(frozen=True, slots=True)
class RetirementWatch:
    """What a look at the lists found: retirements announced however far off, members not served, alerts changed."""

    retirements: tuple[Retirement, ...]
    not_served: tuple[str, ...]
    change: AlertChange


async def read_catalogues(
    settings: Settings, providers: Collection[str] | None = None
) -> dict[str, ModelCatalogue | ProviderError]:
    """The list of models of each provider in use whose key is set, or why it cannot be read; at most 10 s in all.

    With `providers` only of these.
    """
    async with ProviderManager(settings, os.environ) as manager:
        asked = {
            member.provider: None
            for member in settings.enabled_members
            if manager.missing_key(member) is None and (providers is None or member.provider in providers)
        }
        read = await asyncio.gather(*(_read(manager, provider) for provider in asked))
    return dict(zip(asked, read, strict=True))


async def _read(manager: ProviderManager, provider: str) -> ModelCatalogue | ProviderError:
    try:
        async with asyncio.timeout(LONGEST_READ_S):
            return await manager.probe(provider)
    except TimeoutError:
        return ProviderTimeoutError(f"{provider} did not list its models within {LONGEST_READ_S:g} s.")
    except ProviderError as error:
        return error


def watch_retirements(instance: Instance, read: Mapping[str, ModelCatalogue | ProviderError]) -> RetirementWatch:
    """Keep what was read, judge the members by it, and bring the alerts up to date.

    Where a provider's list could not be read, what it said last counts.
    """
    now = instance.clock.now()
    members = instance.settings.enabled_members
    with instance.database.connection() as connection:
        for provider, catalogue in read.items():
            if isinstance(catalogue, ModelCatalogue):
                catalogues.save_catalogue(connection, provider, shutdown_days(catalogue), now)
        known = catalogues.last_catalogues(connection)
        answering = answer_cache.answering_models(connection, [member.name for member in members], now)
        retirements = [*retirements_of(members, known, answering)]
        absent = [member for member in members if is_not_served(member, known.get(member.provider, {}))]
        found = [
            *(alert for it in retirements if (alert := _retirement_alert(it, now.date())) is not None),
            *(_not_served_alert(member) for member in absent),
        ]
        change = alerts.update_alerts(connection, KINDS, found, now)
    return RetirementWatch(tuple(retirements), tuple(member.name for member in absent), change)


def shutdown_days(catalogue: ModelCatalogue) -> dict[str, date | None]:
    """By listed model its last day, ``None`` where none is announced that can be read.

    >>> shutdown_days(ModelCatalogue(1, ("a", "b"), {"a": "2026-12-11", "b": "soon"}))
    {'a': datetime.date(2026, 12, 11), 'b': None}
    """
    return {model: _day(catalogue.shutdown_dates.get(model, "")) for model in catalogue.models}


def retirements_of(
    members: tuple[MemberSettings, ...],
    listed: Mapping[str, Mapping[str, date | None]],
    answering: Mapping[str, str] | None = None,
) -> Iterator[Retirement]:
    """The retirements announced for `members`, by the lists of their providers.

    A member is known by the model it names, and by the one that answered for it last (`answering`, by member): an
    alias has no last day, what it stands for may. The earlier day counts.
    """
    for member in members:
        models = listed.get(member.provider, {})
        names = {member.model, (answering or {}).get(member.name, member.model)}
        days = [found for name in sorted(names) if (found := _last_day(name, models)) is not None]
        if days:
            model, day = min(days, key=lambda it: (it[1], it[0]))
            yield Retirement(member.name, member.provider, model, day)


def is_not_served(member: MemberSettings, listed: Mapping[str, object]) -> bool:
    """Whether a provider's list lacks the model of `member`, also under its dated names and as ``-latest``.

    An empty list says nothing.
    """
    if not listed:
        return False
    if any(is_same_model(member.model, name) or is_same_model(name, member.model) for name in listed):
        return False
    stem = member.model.removesuffix(_LATEST)
    return stem == member.model or not any(name.startswith(f"{stem}-") for name in listed)


def _last_day(model: str, listed: Mapping[str, date | None]) -> tuple[str, date] | None:
    """The last day of `model`; of an alias that is not listed, that of the last version it can stand for."""
    versions = [model] if model in listed else [name for name in listed if is_same_model(model, name)]
    days = [(name, day) for name in versions if (day := listed[name]) is not None]
    return max(days, key=lambda it: (it[1], it[0])) if days and len(days) == len(versions) else None


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _retirement_alert(it: Retirement, today: date) -> Alert | None:
    left = it.days_left(today)
    if left > WARNED_DAYS:
        return None
    does = "shut down" if left < 0 else "shuts down"
    when = f", in {left} days" if left > 0 else ""
    return Alert(
        kind="retirement",
        subject=it.member,
        severity="warning" if left > URGENT_DAYS else "error",
        cause=f"{it.provider} {does} {it.model} on {it.shutdown_date.isoformat()}{when}; {it.member} asks it",
        action="Name its successor as a new member in ENSEMBLE_MEMBERS, beside it while it still answers: a new "
        "name starts a record of its own. Then disable this one.",
        evidence={"model": it.model, "shutdown_date": it.shutdown_date.isoformat(), "days_left": left},
    )


def _not_served_alert(member: MemberSettings) -> Alert:
    return Alert(
        kind="model_not_served",
        subject=member.name,
        severity="error",
        cause=f"{member.provider} does not list {member.model}, which {member.name} asks",
        action="Correct the model in ENSEMBLE_MEMBERS, or name another as a new member and disable this one.",
        evidence={"model": member.model, "provider": member.provider},
    )
