"""What is held on paper, what it is worth, and how it ended."""

from typing import Any

import dagster as dg

from ensemble_pipeline.domain import MICRO_PER_USD
from ensemble_pipeline.pipeline.assets.markets import RESOLUTIONS
from ensemble_pipeline.pipeline.resources import EnsembleResource, open_venue
from ensemble_pipeline.pipeline.table_schemas import schema_of
from ensemble_pipeline.pipeline.tables import markdown_table

_CLOSED_SHOWN = 50


@dg.asset(
    deps=["ensemble_decisions", RESOLUTIONS],
    group_name="decisions",
    kinds={"postgres"},
    metadata=schema_of("positions"),
    description=(
        "Paper positions, each open one marked to market by the venue's order book and sold where an exit is due: "
        "take-profit, stop, trailing, before expiry, time. Settled ones were paid by `settlement_sensor`. If a run "
        "fails, the venue did not answer: nothing was marked or sold, and the next tick of the schedule asks again."
    ),
)
async def paper_positions(ensemble: EnsembleResource) -> dg.MaterializeResult[None]:
    """Mark what is open, and sell what is due."""
    from ensemble_pipeline.ensemble.positions import manage_positions

    instance = ensemble.instance()
    async with open_venue(instance) as venue:
        done = await manage_positions(instance, venue)
    return dg.MaterializeResult(
        metadata={
            "marked": done.marked,
            "without_bid": done.without_bid,
            "sold_in_part": done.reduced,
            "too_large_for_the_book": done.too_large,
            "exits": done.exits,
            "exits_net_usd": done.net_micro_usd / MICRO_PER_USD,
            **_shown(ensemble),
        }
    )


def _shown(ensemble: EnsembleResource) -> dict[str, Any]:
    from ensemble_pipeline.store import positions

    with ensemble.instance().database.connection() as connection:
        held, closed = positions.open_book(connection), positions.closed_book(connection, _CLOSED_SHOWN)
        totals = positions.totals(connection)
    return {
        "dagster/row_count": totals["positions"],
        "unrealised_usd": totals["unrealised"] / MICRO_PER_USD,
        "realised_net_usd": totals["realised"] / MICRO_PER_USD,
        "open": markdown_table([_in_usd(row) for row in held]),
        "closed_last": markdown_table([_in_usd(row) for row in closed]),
    }


def _in_usd(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its micro-dollars as dollars, under names that say so."""
    return {
        name.replace("_micro_usd", "_usd"): value / MICRO_PER_USD
        if name.endswith("_micro_usd") and value is not None
        else value
        for name, value in row.items()
    }
