"""Decision runs in processes of their own, which may be killed at any point: one batch each, all at once."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ctypes import c_int
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from typing import Any

import psycopg

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.ensemble import decide
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.intake import scan_markets
from ensemble_pipeline.pipeline.resources import open_venue
from ensemble_pipeline.settings import Settings
from ensemble_pipeline.store.database import Database

# imported once, so that a run costs a fork and not seconds of imports
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__, "ensemble_pipeline.providers.manager", "genai_prices"])


STEPS = ("starting", "load", "plan", "consult", "combine", "size", "record", "ended")
_Work = Callable[["Run", Barrier | None], None]


@dataclass(frozen=True)
class Run:
    """What one process works on."""

    url: str
    settings: str
    batch_id: int
    at: datetime
    keys: tuple[str, ...]
    run_id: str = "rush"


def start_runs(runs: Sequence[Run]) -> list[BaseProcess]:
    """A process for each, which asks and decides nothing."""
    return [_start(_consult, run) for run in runs]


@dataclass(frozen=True)
class Decision:
    """A run through all six steps that can be looked at."""

    process: BaseProcess
    progress: c_int

    @property
    def step(self) -> str:
        """The step it is in, or was in when it ended."""
        return STEPS[self.progress.value]


def start_decision(run: Run) -> Decision:
    """A process through all six steps."""
    return start_with(_decide, run)


def start_with(work: Callable[[Run, c_int], None], run: Run) -> Decision:
    """A process that does `work`, which keeps the number of the step it is in up to date."""
    progress = _CONTEXT.RawValue(c_int, 0)
    process = _CONTEXT.Process(target=work, args=(run, progress))
    process.start()
    return Decision(process, progress)


def start_scan(run: Run, dies_at: int) -> BaseProcess:
    """A look at the venue by a process that kills itself before its `dies_at`-th statement, or after its last one."""
    process = _CONTEXT.Process(target=_scan, args=(run, dies_at))
    process.start()
    return process


def run_together(runs: Sequence[Run]) -> list[int | None]:
    """A process for each; they begin their calls at the same moment. Returns how each ended."""
    return _together(_consult, runs)


def decide_together(runs: Sequence[Run]) -> list[int | None]:
    """The same through all six steps."""
    return _together(_decide_with, runs)


def _together(work: _Work, runs: Sequence[Run]) -> list[int | None]:
    gate = _CONTEXT.Barrier(len(runs))
    processes = [_start(work, run, gate) for run in runs]
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def _start(work: _Work, run: Run, gate: Barrier | None = None) -> BaseProcess:
    process = _CONTEXT.Process(target=work, args=(run, gate))
    process.start()
    return process


def _consult(run: Run, gate: Barrier | None) -> None:
    with _instance_of(run) as instance:
        batch_id, waiting = decide.load(instance, run.batch_id)
        context, plans = decide.plan(instance, waiting, batch_id, run.run_id)
        if gate is not None:
            gate.wait(timeout=120)
        asyncio.run(decide.consult(instance, context, plans))


def _scan(run: Run, dies_at: int) -> None:
    execute, passed = psycopg.Cursor.execute, count(1)

    def die_in_time(*arguments: Any, **options: Any) -> Any:
        if next(passed) == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return execute(*arguments, **options)

    setattr(psycopg.Cursor, "execute", die_in_time)  # noqa: B010 - a method of its class
    with _instance_of(run) as instance:
        asyncio.run(_scan_in(instance))
        os.kill(os.getpid(), signal.SIGKILL)


async def _scan_in(instance: Instance) -> None:
    async with open_venue(instance) as venue:
        await scan_markets(instance, venue, None)


def _decide(run: Run, progress: c_int) -> None:
    with _instance_of(run) as instance:
        asyncio.run(_decide_in(instance, run, progress))


def _decide_with(run: Run, gate: Barrier | None) -> None:
    with _instance_of(run) as instance:
        asyncio.run(_decide_in(instance, run, c_int(), gate))


async def _decide_in(instance: Instance, run: Run, progress: c_int, gate: Barrier | None = None) -> None:
    progress.value = STEPS.index("load")
    batch_id, waiting = decide.load(instance, run.batch_id)
    progress.value = STEPS.index("plan")
    context, plans = decide.plan(instance, waiting, batch_id, run.run_id)
    if gate is not None:
        gate.wait(timeout=120)
    progress.value = STEPS.index("consult")
    plans = (await decide.consult(instance, context, plans)).still_open(plans)
    progress.value = STEPS.index("combine")
    opinions = decide.combine(instance, context, plans)
    progress.value = STEPS.index("size")
    async with open_venue(instance) as venue:
        made = await decide.size(instance, venue, context, plans, opinions)
    progress.value = STEPS.index("record")
    decide.record(instance, context, made)
    progress.value = STEPS.index("ended")


@contextmanager
def _instance_of(run: Run) -> Iterator[Instance]:
    os.environ.update(dict.fromkeys(run.keys, "sandbox"))
    database = Database(run.url, max_size=1)
    try:
        yield Instance(Settings.model_validate_json(run.settings), database, SteppedClock(run.at))
    finally:
        database.close()
