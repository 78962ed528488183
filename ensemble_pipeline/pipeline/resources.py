"""What assets, ops and sensors are given. Loading the definitions imports nothing heavy: that waits for a run."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import dagster as dg

from ensemble_pipeline.errors import SettingsError

if TYPE_CHECKING:
    from ensemble_pipeline.ensemble.instance import Instance
    from ensemble_pipeline.settings import Settings
    from ensemble_pipeline.venues.base import Venue


@lru_cache(maxsize=1)
def open_instance() -> "Instance":
    """The instance of this process, from its settings; an empty database is made ready for the real world.

    Raises:
        SettingsError: no database is named.
        DatabaseError: it cannot be reached, or was written by newer code.
    """
    from stamina.instrumentation import set_on_retry_hooks

    from ensemble_pipeline.settings import load_settings
    from ensemble_pipeline.store.migrate import migrate
    from ensemble_pipeline.store.worlds import LIVE, claim_world, world_key_of

    # each attempt at a model is in the ledger with its cause: once is enough
    set_on_retry_hooks([])
    instance = instance_of(load_settings())
    migrate(instance.database)
    with instance.database.connection() as connection:
        if world_key_of(connection) is None:
            claim_world(connection, LIVE, "live")
    return instance


def instance_of(settings: "Settings") -> "Instance":
    """An instance over the database that `settings` name.

    Raises:
        SettingsError: they name none.
    """
    from ensemble_pipeline.ensemble.instance import Instance
    from ensemble_pipeline.store.database import Database
    from ensemble_pipeline.store.world_clock import StoredClock

    if settings.database_url is None:
        raise SettingsError(
            "No database is named. Start with `ensemble up` or `ensemble demo`, which bring their own, "
            "or set ENSEMBLE_DATABASE_URL to a PostgreSQL URL."
        )
    database = Database(settings.database_url.get_secret_value())
    return Instance(settings, database, StoredClock(database))


@asynccontextmanager
async def open_venue(instance: "Instance") -> "AsyncIterator[Venue]":
    """The venue, within one event loop."""
    from ensemble_pipeline.venues.kalshi.client import KalshiVenue

    settings = instance.settings
    venue = KalshiVenue(settings.kalshi_base_url, settings.venue_timeout_s, instance.clock)
    try:
        yield venue
    finally:
        await venue.aclose()


class EnsembleResource(dg.ConfigurableResource["EnsembleResource"]):
    """The way to the instance. It has no configuration, so no secret reaches a run's config."""

    @classmethod
    def of(cls, instance: "Instance") -> "EnsembleResource":
        """A resource over an instance that is open already, in place of the process's own."""
        return cast("EnsembleResource", _Opened(instance))

    def instance(self) -> "Instance":
        """Settings, database and clock."""
        return open_instance()


class _Opened:
    # not a ConfigurableResource: Dagster makes those anew from their configuration, and the instance would be lost
    def __init__(self, instance: "Instance") -> None:
        self._instance = instance

    def instance(self) -> "Instance":
        return self._instance
