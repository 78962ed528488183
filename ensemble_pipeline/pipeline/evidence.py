"""`ensemble evidence add`: what was published about a market, for the members to read."""

from datetime import datetime

from ensemble_pipeline.domain import Evidence
from ensemble_pipeline.errors import InputError
from ensemble_pipeline.pipeline.worlds import current_database
from ensemble_pipeline.providers.texts import one_line, storable
from ensemble_pipeline.settings import load_settings
from ensemble_pipeline.store.database import Connection
from ensemble_pipeline.store.evidence import save_evidence
from ensemble_pipeline.store.markets import opening_times
from ensemble_pipeline.store.migrate import require_migrated
from ensemble_pipeline.store.world_clock import StoredClock


def add_evidence(market_id: str, source: str, published_at: datetime, text: str) -> bool:
    """Keep a piece of evidence in the instance last started here, or the database that is named.

    Members read it from the next decision on the market on. Returns whether it is new.

    Raises:
        DatabaseError: the database lacks tables that this code reads.
        InputError: the market is not known, or the evidence has no source, text or time zone or is from the future.
    """
    piece = Evidence(published_at, storable(source).strip(), storable(text).strip())
    with current_database(load_settings()) as database:
        require_migrated(database)
        now = StoredClock(database).now()
        with database.connection() as connection:
            _require_known(connection, market_id)
            return save_evidence(connection, market_id, [piece], now) > 0


def _require_known(connection: Connection, market_id: str) -> None:
    if not opening_times(connection, [market_id]):
        raise InputError(
            f"market {one_line(market_id, 80)!r} is not known here. Markets are named `venue:ticker`, such as "
            "`kalshi:KXRAIN-26DEC01`, and become known when `market_sensor` first reads them at the venue: "
            "correct the name, or add the evidence once it did."
        )
