"""Instances that decide on the markets of a sandbox."""

import asyncio
import os
from collections.abc import Sequence

from benchmarks._parts.sandbox import MODELS, Sandbox
from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.domain import Snapshot
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.intake import scan_markets
from ensemble_pipeline.settings import Settings
from ensemble_pipeline.store import markets
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.venues.kalshi.client import KalshiVenue

KEYS = {"XAI_API_KEY": "sandbox", "OPENAI_API_KEY": "sandbox"}
_UNLIMITED = dict.fromkeys(("day_soft_usd", "day_hard_usd", "decision_usd", "market_day_usd"), "unlimited")


def instance_on(url: str, sandbox: Sandbox, members: int, at_once: int, **options: object) -> Instance:
    """An instance whose decisions ask `members` of two models, the first of which is a little cheaper and asked first.

    So many calls to each provider may be under way at once; `options` are further ones of the ensemble.
    """
    os.environ.update(KEYS)
    listed = [
        {
            "name": spec.model.name,
            "provider": spec.model.provider,
            "model": spec.model.wire_model,
            "input_usd_per_mtok": str(1 + place),
            "output_usd_per_mtok": "10",
        }
        for place, spec in enumerate(MODELS)
    ]
    providers = {
        spec.model.provider: {
            "base_url": f"{sandbox.url}/providers/{spec.model.provider}/v1",
            "max_concurrency": at_once,
        }
        for spec in MODELS
    }
    base = {
        "members": listed,
        "providers": providers,
        "kalshi_base_url": f"{sandbox.url}/trade-api/v2",
        "budget": _UNLIMITED,
        "scan": {"max_open_markets": 10_000},
        "gates": {"min_volume": "0", "near_expiry_hours": 0},
        "cache": {"is_enabled": False},
    }
    ensemble = {"max_members": members, "exploration_share": 0, **options}
    settings = Settings.model_validate({**base, "ensemble": ensemble})
    return Instance(settings, Database(url), SteppedClock(sandbox.now))


def look(instance: Instance) -> list[int]:
    """Look at the venue once; the snapshots of its markets, in an order that is always the same."""

    async def scan() -> None:
        venue = KalshiVenue(instance.settings.kalshi_base_url, instance.settings.venue_timeout_s, instance.clock)
        try:
            await scan_markets(instance, venue, None)
        finally:
            await venue.aclose()

    asyncio.run(scan())
    with instance.database.connection() as connection:
        return [row["snapshot_id"] for row in connection.execute("select snapshot_id from market_snapshots order by 1")]


def open_batch(instance: Instance, snapshots: Sequence[int]) -> int:
    """A batch of these snapshots."""
    with instance.database.connection() as connection:
        return markets.open_batch(connection, snapshots, instance.clock.now())


def snapshots_of(instance: Instance, snapshots: Sequence[int]) -> list[Snapshot]:
    """The snapshots of these ids, which nobody has decided."""
    with instance.database.connection() as connection:
        waiting = {it.snapshot_id: it for it in markets.undecided_snapshots(connection, None)}
    return [waiting[it] for it in snapshots]
