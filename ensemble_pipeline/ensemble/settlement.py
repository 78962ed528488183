"""What markets settled to: brought from the venue, kept as versions, paid out on paper."""

from dataclasses import dataclass
from datetime import timedelta

from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.store import markets, resolutions
from ensemble_pipeline.store.decisions import settle_positions
from ensemble_pipeline.store.worlds import note_look
from ensemble_pipeline.venues.base import Venue

# venues correct a settlement within days; asking for so long afterwards finds the correction
_CORRECTION_SPAN = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class SettlementNews:
    """What one look at the venue's settlements brought."""

    market_ids: tuple[str, ...]
    positions_settled: int
    rejected: int


async def bring_resolutions(instance: Instance, venue: Venue) -> SettlementNews:
    """Ask the venue about every market that was ever put before the ensemble and may have settled; keep what is new.

    There is no cursor to lose: what has no resolution is asked for again, and repeats change nothing.
    """
    now = instance.clock.now()
    with instance.database.connection() as connection:
        awaited = resolutions.awaited_tickers(connection, now - _CORRECTION_SPAN)
    batch = await venue.settlements(awaited)
    with instance.database.connection() as connection:
        refused = markets.save_rejected(connection, batch.rejected, now)
        changed = resolutions.save_settlements(connection, batch.settlements, now)
        paid = settle_positions(connection)
        note_look(connection, "settlements", now)
    return SettlementNews(tuple(changed), paid, refused)
