"""What assets, ops and sensors are given: the instance, and the venue."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache

import dagster as dg

from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.errors import SettingsError
from ensemble_pipeline.settings import Settings, load_settings
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.world_clock import StoredClock
from ensemble_pipeline.venues.kalshi.client import KalshiVenue


@lru_cache(maxsize=1)
def open_instance() -> Instance:
    """The instance of this process, from its settings; connections are opened when first used.

    Raises:
        SettingsError: no database is named.
    """
    return instance_of(load_settings())


def instance_of(settings: Settings) -> Instance:
    """An instance over the database that `settings` name.

    Raises:
        SettingsError: they name none.
    """
    if settings.database_url is None:
        raise SettingsError(
            "No database is named. Start with `ensemble up` or `ensemble demo`, which bring their own, "
            "or set ENSEMBLE_DATABASE_URL to a PostgreSQL URL."
        )
    database = Database(settings.database_url.get_secret_value())
    return Instance(settings, database, StoredClock(database))


@asynccontextmanager
async def open_venue(instance: Instance) -> AsyncIterator[KalshiVenue]:
    """The venue, within one event loop."""
    settings = instance.settings
    venue = KalshiVenue(settings.kalshi_base_url, settings.venue_timeout_s, instance.clock)
    try:
        yield venue
    finally:
        await venue.aclose()


class EnsembleResource(dg.ConfigurableResource[Instance]):
    """The instance: settings, database, clock. It has no configuration, so no secret reaches a run's config."""

    def create_resource(self, context: dg.InitResourceContext) -> Instance:  # noqa: ARG002 - Dagster's signature
        """The process-wide instance."""
        return open_instance()
