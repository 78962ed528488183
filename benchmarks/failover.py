"""What providers that fail cost: calls that reach them, time that decisions lose, calls that are refused.

Each drill goes over HTTP to the sandbox, twice: with the real plan and consult, and with the same questions in a retry
loop around each call, as most programs have it (`stamina` over `httpx`, answers checked by pydantic, Retry-After
honoured, as many attempts as ours, then the other model).
"""

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

from benchmarks._failover import loop, ours
from benchmarks._parts.asking import instance_on, look, snapshots_of
from benchmarks._parts.bare import messages_on
from benchmarks._parts.processes import together
from benchmarks._parts.sandbox import MODELS, PRIMARY, SECOND, Sandbox, running_sandbox
from benchmarks._parts.server import Server, running_server

PROCESSES, CALLS, RESTS = 4, 100, 2
DECISIONS, LATENCY_S = 10, 0.5
FOLLOWING, PAUSE_S = 20, 6.0
HANGING, DEADLINE_S = 12, 3.0
_LOOK_EVERY_S = 0.02
_IN_TURN = (PRIMARY, SECOND)
_PROVIDERS = tuple(spec.model.provider for spec in MODELS)


def run() -> str:
    """The four drills, each on a database of its own."""
    ours.be_quiet()
    lines = []
    with running_sandbox(CALLS * (RESTS + 1)) as sandbox, running_server() as server:
        for drill in (_down, _slower, _slow_down, _hanging):
            lines.append(f"failover: {drill(sandbox, server)}")
            sandbox.mend()
    return "\n".join(lines)


def _down(sandbox: Sandbox, server: Server) -> str:
    """How many calls reach a provider that is down, and how many again once its breaker has rested."""
    instance = instance_on(server.migrated("down"), sandbox, 1, CALLS)
    # selection prefers the second by then: an exploration draw asks the first beside it, each time
    exploring = instance_on(instance.database.url, sandbox, 1, CALLS, exploration_share=1)
    snapshots, at, reached = look(instance), sandbox.now, []
    sandbox.fault("xai", "unavailable")
    for turn in range(RESTS + 1):
        at += turn * timedelta(minutes=1)
        hundred = snapshots[turn * CALLS : (turn + 1) * CALLS]
        asking = exploring if turn else instance
        tasks = [ours.task_of(asking, hundred[number::PROCESSES], at) for number in range(PROCESSES)]
        reached.append(_reaching(sandbox, partial(together, ours.work, tasks)))
    questions = messages_on(snapshots_of(instance, snapshots[:CALLS]), sandbox.now)
    loops = [loop.Task(sandbox.url, _IN_TURN, questions[number::PROCESSES]) for number in range(PROCESSES)]
    theirs = _reaching(sandbox, partial(together, loop.work, loops))
    first, *later = reached
    return (
        f"of {CALLS} calls from {PROCESSES} processes {first} reach a provider that is down, and of as many more after "
        f"each rest of its breaker {' and '.join(map(str, later))}; 3 and 1 are wanted; with a retry loop in each "
        f"process {theirs} reach it, ratio {theirs / first:.0f}"
    )


def _reaching(sandbox: Sandbox, work: Callable[[], object]) -> int:
    before = sandbox.reached("xai")
    work()
    return sandbox.reached("xai") - before


def _slower(sandbox: Sandbox, server: Server) -> str:
    """How much longer a decision takes while a provider is down than while all is well."""
    instance = instance_on(server.migrated("slower"), sandbox, 1, CALLS)
    snapshots = look(instance)
    questions = messages_on(snapshots_of(instance, snapshots[:DECISIONS]), sandbox.now)

    def medians(decided: Sequence[int]) -> tuple[float, float]:
        """Seconds of a decision: ours, theirs."""
        mine = [ours.decided_in_s(instance, [it]) for it in decided]
        theirs = [loop.asked_in_s(loop.Task(sandbox.url, _IN_TURN, [it])) for it in questions]
        return statistics.median(mine), statistics.median(theirs)

    for provider in _PROVIDERS:
        sandbox.fault(provider, "stall", stall_s=LATENCY_S)
    # imports and connections to the database are there before time is taken
    ours.decided_in_s(instance, snapshots[:1])
    healthy = medians(snapshots[1 : DECISIONS + 1])
    sandbox.mend()
    sandbox.fault("xai", "unavailable")
    sandbox.fault("openai", "stall", stall_s=LATENCY_S)
    ours.decided_in_s(instance, snapshots[CALLS : 2 * CALLS])
    failing = medians(snapshots[DECISIONS + 1 : 2 * DECISIONS + 1])
    mine, theirs = (after / before for before, after in zip(healthy, failing, strict=True))
    return (
        f"a decision whose models take {LATENCY_S} s takes {failing[0]:.2f} s once the breaker of a provider that is "
        f"down has opened, {healthy[0]:.2f} s while all is well, ratio {mine:.2f}; below 1.2 is wanted; with a retry "
        f"loop {failing[1]:.2f} and {healthy[1]:.2f} s, ratio {theirs:.2f}"
    )


def _slow_down(sandbox: Sandbox, server: Server) -> str:
    """How many calls are refused after two providers have each refused one and said for how long."""
    instance = instance_on(server.migrated("slow_down"), sandbox, 2, CALLS)
    snapshots = look(instance)
    # both have answered before, so that nobody holds calls back for want of knowing them
    ours.decided_in_s(instance, snapshots[:1])
    first, following = snapshots[1:2], snapshots[2 : 2 + FOLLOWING // 2]
    mine = _refused(
        sandbox,
        partial(together, ours.work, [ours.task_of(instance, first, sandbox.now)]),
        partial(ours.decided_in_s, instance, following),
    )
    task = loop.Task(sandbox.url, _IN_TURN, messages_on(snapshots_of(instance, first), sandbox.now), is_each=True)
    questions = messages_on(snapshots_of(instance, following), sandbox.now)
    theirs = _refused(
        sandbox,
        partial(together, loop.work, [task]),
        partial(loop.asked_in_s, loop.Task(sandbox.url, _IN_TURN, questions, is_each=True)),
    )
    return (
        f"after one 429 each from two providers {mine} of {FOLLOWING} calls from another process are refused, with a "
        f"retry loop in each process {theirs}; at most 1 is wanted"
    )


def _refused(sandbox: Sandbox, first: Callable[[], object], following: Callable[[], object]) -> int:
    """Refusals of calls from a second process after a first one's were refused, until the pause is nearly over."""

    def refusals() -> list[int]:
        return [sandbox.reached(provider, "rate_limited") for provider in _PROVIDERS]

    before = refusals()
    for provider in _PROVIDERS:
        sandbox.fault(provider, "rate_limited", retry_after_s=PAUSE_S)
    with ThreadPoolExecutor() as threads:
        one = threads.submit(first)
        while min(now - then for now, then in zip(refusals(), before, strict=True)) < 1:
            time.sleep(_LOOK_EVERY_S)
        other = threads.submit(following)
        # whoever waits as long as was asked finds them well, also where this process was slow to notice
        time.sleep(PAUSE_S / 2)
        sandbox.mend()
        one.result()
        other.result()
    return sum(refusals()) - sum(before) - len(_PROVIDERS)


def _hanging(sandbox: Sandbox, server: Server) -> str:
    """The longest that a decision takes where a provider never answers."""
    instance = instance_on(server.migrated("hanging"), sandbox, 1, CALLS, decision_deadline_s=DEADLINE_S)
    snapshots = look(instance)[:HANGING]
    sandbox.fault("xai", "hang")
    # all begin together: the batch takes as long as the longest of them
    mine = ours.decided_in_s(instance, snapshots)
    questions = messages_on(snapshots_of(instance, snapshots), sandbox.now)
    theirs = loop.asked_in_s(loop.Task(sandbox.url, _IN_TURN, questions, timeout_s=DEADLINE_S))
    return (
        f"the longest of {HANGING} decisions with a deadline of {DEADLINE_S:.0f} s and a provider that hangs takes "
        f"{mine:.1f} s, at most {DEADLINE_S + 1:.0f} are wanted; with a retry loop and a time-out of as many seconds "
        f"{theirs:.1f} s, ratio {theirs / mine:.1f}"
    )
