"""`ensemble decide`: a decision about one market, now."""

import asyncio

from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.xai_client import TradingDecision, XAIClient
from ensemble_pipeline.pipeline.resources import open_venue
from ensemble_pipeline.pipeline.worlds import joined
from ensemble_pipeline.settings import load_settings
from ensemble_pipeline.store.migrate import require_migrated
from ensemble_pipeline.store.world_clock import StoredClock


def decide_on_demand(market_id: str, is_agreement: bool) -> TradingDecision:
    """Decide in the instance last started here, or the database that is named.

    Raises:
        InputError: the market is not known, or not listed any more.
        UserError: nothing was started here, or its world is not being played now.
        VenueError: the venue's answer cannot be used, or there is none.
    """
    with joined(load_settings()) as (settings, database):
        require_migrated(database)
        return asyncio.run(_decide(Instance(settings, database, StoredClock(database)), market_id, is_agreement))


async def _decide(instance: Instance, market_id: str, is_agreement: bool) -> TradingDecision:
    async with open_venue(instance) as venue:
        client = XAIClient(instance, venue)
        if is_agreement:
            return await client.get_ensemble_decision(market_id)
        return await client.get_advanced_ensemble_decision(market_id)


def show_decision(decision: TradingDecision) -> str:
    """The decision in three lines."""
    side = "" if decision.side is None else f" {decision.contracts} {decision.side} at {decision.limit_price}"
    return (
        f"{decision.action}{side}, confidence {decision.confidence:.2f} ({decision.terminal_reason})\n"
        f"{decision.reasoning}\n"
        f"asked {', '.join(decision.models_consulted) or 'nobody'}; `ensemble explain {decision.decision_id}` says why"
    )
