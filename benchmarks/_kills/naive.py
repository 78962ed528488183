"""A runner as one would write it first: it asks everybody about every market of its batch, then writes the decisions.

What was asked is in its memory alone, so that a run that is taken up again asks again. Its decisions are unique on the
snapshot, as ours are: what is compared is the asking.
"""

import asyncio
import os
from ctypes import c_int

from ensemble_pipeline.domain import Snapshot
from ensemble_pipeline.errors import ProviderError
from ensemble_pipeline.providers.manager import ProviderManager
from ensemble_pipeline.providers.prompts import build_prompt
from ensemble_pipeline.settings import MemberSettings, Settings
from ensemble_pipeline.store import markets
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.rush import STEPS, Run

TABLE = "create table naive_decisions (snapshot_id bigint primary key)"


def decide(run: Run, progress: c_int) -> None:
    """Ask and decide one batch; `progress` tells the step, by its number."""
    os.environ.update(dict.fromkeys(run.keys, "sandbox"))
    progress.value = STEPS.index("load")
    database = Database(run.url, max_size=1)
    with database.connection() as connection:
        done = {row["snapshot_id"] for row in connection.execute("select snapshot_id from naive_decisions")}
        snapshots = [it for it in markets.undecided_snapshots(connection, run.batch_id) if it.snapshot_id not in done]
    progress.value = STEPS.index("consult")
    asyncio.run(_ask(Settings.model_validate_json(run.settings), snapshots, run))
    progress.value = STEPS.index("record")
    with database.connection() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "insert into naive_decisions values (%s) on conflict do nothing", [[it.snapshot_id] for it in snapshots]
        )
    progress.value = STEPS.index("ended")
    database.close()


async def _ask(settings: Settings, snapshots: list[Snapshot], run: Run) -> None:
    async with ProviderManager(settings, os.environ) as manager:

        async def ask(member: MemberSettings, snapshot: Snapshot) -> None:
            prompt = build_prompt(member.role, snapshot.market, run.at)
            async with manager.turn(member):
                try:
                    await manager.ask(member, prompt, 10**6)
                except ProviderError:
                    # it goes on with who answered, as ours does
                    return

        await asyncio.gather(*(ask(member, it) for it in snapshots for member in settings.enabled_members))
