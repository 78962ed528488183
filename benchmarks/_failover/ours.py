"""Decisions by this package, in a process of their own or in this one."""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

import stamina.instrumentation

from benchmarks._parts.asking import KEYS, open_batch
from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.ensemble import decide
from ensemble_pipeline.ensemble.consult import Consultation
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.settings import Settings
from ensemble_pipeline.store.database import Database


@dataclass(frozen=True)
class Task:
    """A batch that one process decides on, as of `at`."""

    url: str
    settings: str
    batch_id: int
    at: datetime


def task_of(instance: Instance, snapshots: Sequence[int], at: datetime) -> Task:
    """What another process needs in order to decide on these snapshots."""
    settings = instance.settings.model_dump_json(exclude={"database_url"})
    return Task(instance.database.url, settings, open_batch(instance, snapshots), at)


def work(task: Task, gate: Barrier, results: "Queue[Consultation]") -> None:
    """Ask what the task's batch needs, once everybody is ready."""
    os.environ.update(KEYS)
    be_quiet()
    database = Database(task.url, max_size=1)
    instance = Instance(Settings.model_validate_json(task.settings), database, SteppedClock(task.at))
    batch_id, waiting = decide.load(instance, task.batch_id)
    context, plans = decide.plan(instance, waiting, batch_id, "bench")
    gate.wait()
    results.put(asyncio.run(decide.consult(instance, context, plans)))
    database.close()


def decided_in_s(instance: Instance, snapshots: Sequence[int]) -> float:
    """Seconds that a decision on these snapshots takes, from planning to the last answer; every one has to come."""
    batch = open_batch(instance, snapshots)
    start = time.perf_counter()
    batch_id, waiting = decide.load(instance, batch)
    context, plans = decide.plan(instance, waiting, batch_id, "bench")
    done = asyncio.run(decide.consult(instance, context, plans))
    elapsed = time.perf_counter() - start
    assert done.answered == sum(len(plan.members) for plan in plans), done
    return elapsed


def be_quiet() -> None:
    """Print nothing where a call is tried again: here they are meant to fail."""
    stamina.instrumentation.set_on_retry_hooks([])
