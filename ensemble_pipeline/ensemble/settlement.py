"""What markets settled to: brought from the venue, kept as versions, paid out on paper."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ensemble_pipeline.domain import RejectedRow, Settlement
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.modes import Step, row_of
from ensemble_pipeline.ensemble.operating import mode_in_force
from ensemble_pipeline.errors import EarlyResolutionError, RefusedRowError, UnknownMarketError
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

    There is no cursor to lose: what has no resolution is asked for again, and repeats change nothing. A market that
    was settled and is listed without a settlement again had it withdrawn. A settlement that makes no sense is kept
    under `rejected_rows`; the others go on.
    """
    now = instance.clock.now()
    with instance.database.connection() as connection:
        awaited = resolutions.awaited_tickers(connection, now - _CORRECTION_SPAN)
    batch = await venue.settlements(awaited)
    # a clock that does not wait has moved on: what the reply says was not known before it came
    heard_at = instance.clock.now()
    with instance.database.connection() as connection:
        opened = markets.opening_times(connection, [it.market_id for it in batch.settlements])
        plausible, implausible = _sort_out(batch.settlements, opened)
        refused = markets.save_rejected(connection, [*batch.rejected, *implausible], heard_at)
        changed = resolutions.save_settlements(connection, plausible, heard_at)
        changed += resolutions.withdraw(connection, batch.unsettled, heard_at)
        mode = row_of(mode_in_force(connection, heard_at).mode, instance.settings.modes)
        paid = settle_positions(connection) if mode.allows(Step.SETTLE) else 0
        note_look(connection, "settlements", now)
    return SettlementNews(tuple(changed), paid, refused)


def _sort_out(
    settlements: Sequence[Settlement], opened: Mapping[str, datetime]
) -> tuple[list[Settlement], list[RejectedRow]]:
    plausible: list[Settlement] = []
    refused: list[RejectedRow] = []
    for settlement in settlements:
        try:
            _require_plausible(settlement, opened.get(settlement.market_id))
        except RefusedRowError as error:
            refused.append(RejectedRow.of("settlement", settlement.market_id, error))
        else:
            plausible.append(settlement)
    return plausible, refused


def _require_plausible(settlement: Settlement, opened_at: datetime | None) -> None:
    if opened_at is None:
        raise UnknownMarketError(f"{settlement.market_id} was settled by the venue, but never listed by it")
    if settlement.resolved_at < opened_at:
        raise EarlyResolutionError(
            f"{settlement.market_id} resolved at {settlement.resolved_at.isoformat()}, before it opened at "
            f"{opened_at.isoformat()}"
        )
