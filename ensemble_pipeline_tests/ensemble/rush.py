"""Decision runs in processes of their own, which may be killed at any point: one batch each, all at once."""

import asyncio
import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.ensemble import decide
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.settings import Settings
from ensemble_pipeline.store.database import Database

# imported once, so that a run costs a fork and not seconds of imports
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__, "ensemble_pipeline.providers.manager", "genai_prices"])


@dataclass(frozen=True)
class Run:
    """What one process works on."""

    url: str
    settings: str
    batch_id: int
    at: datetime
    keys: tuple[str, ...]


def start_runs(runs: Sequence[Run]) -> list[BaseProcess]:
    """A process for each."""
    processes: list[BaseProcess] = [_CONTEXT.Process(target=_consult, args=(run, None)) for run in runs]
    for process in processes:
        process.start()
    return processes


def run_together(runs: Sequence[Run]) -> list[int | None]:
    """A process for each; they begin their calls at the same moment. Returns how each ended."""
    gate = _CONTEXT.Barrier(len(runs))
    processes = [_CONTEXT.Process(target=_consult, args=(run, gate)) for run in runs]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def _consult(run: Run, gate: Barrier | None) -> None:
    os.environ.update(dict.fromkeys(run.keys, "sandbox"))
    database = Database(run.url, max_size=1)
    instance = Instance(Settings.model_validate_json(run.settings), database, SteppedClock(run.at))
    batch_id, waiting = decide.load(instance, run.batch_id)
    context, plans = decide.plan(instance, waiting, batch_id, "rush")
    if gate is not None:
        gate.wait(timeout=120)
    asyncio.run(decide.consult(instance, context, plans))
    database.close()
