"""`ensemble doctor`: what is missing, each with what to do."""

import asyncio
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from ensemble_pipeline.ensemble.retirements import is_not_served, read_catalogues, retirements_of, shutdown_days
from ensemble_pipeline.errors import ProviderError, SettingsError, UnknownPriceError, UserError, VenueError
from ensemble_pipeline.pipeline.family import require_free
from ensemble_pipeline.pipeline.worlds import current_database
from ensemble_pipeline.providers.base import ModelCatalogue, Prompt
from ensemble_pipeline.providers.manager import ProviderManager
from ensemble_pipeline.providers.prices import worst_case_micro_usd
from ensemble_pipeline.settings import Settings, load_settings
from ensemble_pipeline.store.migrate import pending_revisions
from ensemble_pipeline.venues.kalshi.client import KalshiVenue

_MARKS = {"ok": "ok     ", "note": "note   ", "missing": "MISSING"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: fine, worth knowing, or missing with what to do."""

    subject: str
    state: Literal["ok", "note", "missing"]
    text: str

    @property
    def is_fatal(self) -> bool:
        """Whether the real world cannot be run without it."""
        return self.state == "missing"

    def as_line(self) -> str:
        """For a terminal."""
        return f"{_MARKS[self.state]}  {self.subject:<22} {self.text}"

    def as_json(self) -> dict[str, str]:
        """For a machine."""
        return asdict(self)


def examine(port: int) -> list[Finding]:
    """Look at settings, database, ports, keys, providers and the venue; changes nothing."""
    try:
        settings = load_settings()
    except SettingsError as error:
        return [Finding("settings", "missing", str(error))]
    return [
        Finding("settings", "ok", f"{len(settings.enabled_members)} members enabled"),
        *_database(settings),
        *_port(port),
        *_prices(settings),
        *asyncio.run(_reachability(settings)),
    ]


def _database(settings: Settings) -> Iterator[Finding]:
    try:
        with current_database(settings) as database:
            pending = pending_revisions(database)
    except UserError as error:
        state: Literal["note", "missing"] = "note" if settings.database_url is None else "missing"
        yield Finding("database", state, str(error))
        return
    where = "embedded" if settings.database_url is None else "the one in ENSEMBLE_DATABASE_URL"
    yield Finding("database", "ok", f"{where} answers")
    if pending:
        what = f"{', '.join(pending)} pending: `ensemble up` or `ensemble demo` applies them"
        yield Finding("migrations", "note", what)
    else:
        yield Finding("migrations", "ok", "none pending")


def _port(port: int) -> Iterator[Finding]:
    try:
        require_free(port, "--port")
    except UserError as error:
        yield Finding("port", "note", str(error))
    else:
        yield Finding("port", "ok", f"{port} is free")


def _prices(settings: Settings) -> Iterator[Finding]:
    nothing = Prompt(role="doctor", version=1, prompt_hash="", system="", user="")
    for member in settings.enabled_members:
        try:
            worst_case_micro_usd(nothing, member)
        except UnknownPriceError as error:
            yield Finding(f"price of {member.name}", "missing", str(error))


async def _reachability(settings: Settings) -> list[Finding]:
    catalogues = await read_catalogues(settings)
    manager = ProviderManager(settings, os.environ)
    providers = sorted({member.provider for member in settings.enabled_members})
    findings = [_provider(manager, settings, name, catalogues.get(name)) for name in providers]
    return [*findings, *_retirements(settings, catalogues), await _venue(settings)]


def _provider(
    manager: ProviderManager, settings: Settings, provider: str, read: ModelCatalogue | ProviderError | None
) -> Finding:
    members = [member for member in settings.enabled_members if member.provider == provider]
    subject = f"provider {provider}"
    if read is None:
        return Finding(
            subject, "missing", f"set {manager.missing_key(members[0])}, or disable its members in ENSEMBLE_MEMBERS"
        )
    if isinstance(read, ProviderError):
        return Finding(subject, "missing", str(read))
    absent = [member.model for member in members if is_not_served(member, shutdown_days(read))]
    if absent:
        return Finding(subject, "missing", f"does not list {', '.join(absent)}: name other models in ENSEMBLE_MEMBERS")
    return Finding(subject, "ok", f"answers in {read.latency_ms} ms")


def _retirements(settings: Settings, read: Mapping[str, ModelCatalogue | ProviderError]) -> Iterator[Finding]:
    listed = {name: shutdown_days(it) for name, it in read.items() if isinstance(it, ModelCatalogue)}
    for it in retirements_of(settings.enabled_members, listed):
        what = (
            f"{it.provider} shuts down {it.model} on {it.shutdown_date.isoformat()}: name its successor as a new member"
        )
        yield Finding(f"member {it.member}", "note", what)


async def _venue(settings: Settings) -> Finding:
    venue = KalshiVenue(settings.kalshi_base_url, settings.venue_timeout_s)
    try:
        page = await venue.open_markets()
    except VenueError as error:
        return Finding("venue kalshi", "missing", str(error))
    finally:
        await venue.aclose()
    return Finding("venue kalshi", "ok", f"answers; {len(page.listings)} markets on the first page")
