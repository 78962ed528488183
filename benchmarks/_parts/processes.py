"""Work in processes of its own, begun by all of them at the same moment."""

import multiprocessing
import queue
from collections.abc import Callable, Sequence
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import TypeVar

# imports are paid once, and a process costs a fork
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["ensemble_pipeline.ensemble.decide", "genai_prices"])
_LOOK_EVERY_S = 1.0

TaskT = TypeVar("TaskT")
DoneT = TypeVar("DoneT")


def together(work: Callable[[TaskT, Barrier, "Queue[DoneT]"], None], tasks: Sequence[TaskT]) -> list[DoneT]:
    """What each task comes to, each in a process of its own; `work` waits at the gate until everybody is ready.

    Raises:
        RuntimeError: a process ended with an error, which it has printed.
    """
    gate, results = CONTEXT.Barrier(len(tasks)), CONTEXT.Queue()
    processes = [CONTEXT.Process(target=work, args=(task, gate, results)) for task in tasks]
    for process in processes:
        process.start()
    done: list[DoneT] = []
    while len(done) < len(tasks):
        try:
            done.append(results.get(timeout=_LOOK_EVERY_S))
        except queue.Empty:
            if any(process.exitcode for process in processes):
                gate.abort()
                raise RuntimeError("a process of the benchmark failed; its error is above") from None
    for process in processes:
        process.join()
    return done
