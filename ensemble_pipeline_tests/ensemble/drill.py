"""Runs killed at random points and taken up again, and what must be true after it.

Belongs here: the killing, and the count of what was lost, decided twice or paid twice. Does not: what a run is
(rush.py), runs of a real Dagster (journeys).
"""

import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from ensemble_pipeline.clock import Stopwatch
from ensemble_pipeline.store import audit, budget
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.rush import STEPS, Decision, Run, start_decision
from ensemble_pipeline_tests.ensemble.venue import KEYS, Play, playing
from ensemble_pipeline_tests.sandbox.small_world import MODELS

PER_BATCH = 2
LATENCY_S = 0.03
# how long each step takes here: a kill comes at a random moment of it
_LONGEST_S = {
    "starting": 0.02, "load": 0.02, "plan": 0.06, "consult": 0.15, "combine": 0.02, "size": 0.04, "record": 0.03,
}  # fmt: skip
_AT_ONCE = 4
# like a run that Dagster retries; after that a batch is let through, for its members have all been cut off by then
_MOST_KILLS_OF_A_BATCH = 3


@dataclass
class Toll:
    """What a drill did and what it cost; all but the kills should be nothing."""

    kills: Counter[str] = field(default_factory=Counter)
    recovered_by_dagster: int = 0
    lost: int = 0
    decided_twice: int = 0
    paid_twice: int = 0
    cut_off: int = 0
    is_ledger_even: bool = True

    def __str__(self) -> str:
        by_step = ", ".join(f"{step} {self.kills[step]}" for step in STEPS if self.kills[step])
        return (
            f"{self.kills.total()} kills ({by_step}), {self.recovered_by_dagster} of them recovered by Dagster's run "
            f"retries: {self.lost} markets lost, {self.decided_twice} decided twice, {self.paid_twice} paid twice, "
            f"{self.cut_off} calls cut off, the ledger is {'even' if self.is_ledger_even else 'UNEVEN'}"
        )

    def __add__(self, other: "Toll") -> "Toll":
        return Toll(
            self.kills + other.kills,
            self.recovered_by_dagster + other.recovered_by_dagster,
            self.lost + other.lost,
            self.decided_twice + other.decided_twice,
            self.paid_twice + other.paid_twice,
            self.cut_off + other.cut_off,
            self.is_ledger_even and other.is_ledger_even,
        )

    @property
    def harm(self) -> tuple[int, int, int, bool]:
        """What must be (0, 0, 0, False)."""
        return self.lost, self.decided_twice, self.paid_twice, not self.is_ledger_even


def take_toll(play: Play) -> Toll:
    """What a drill over the markets of a play came to, by the record and by the sandbox's own count."""
    with play.instance.database.connection() as connection:
        budget.expire_abandoned(connection, play.clock.now())
    decided = Counter(row["market_id"].removeprefix("kalshi:") for row in play.rows("select market_id from decisions"))
    billed = billed_by_sandbox(play)
    (cut_off,) = play.rows("select count(*) as n from budget_reservations where state = 'expired'")
    return Toll(
        lost=len(set(play.world.markets) - set(decided)),
        decided_twice=sum(n > 1 for n in decided.values()),
        paid_twice=sum(n - 1 for n in billed.values() if n > 1),
        cut_off=cut_off["n"],
        is_ledger_even=_is_ledger_even(play, sum(billed.values())),
    )


def billed_by_sandbox(play: Play) -> Counter[tuple[str, str]]:
    """How often the sandbox says it billed a model's answer about a market."""
    completions = play.client.get("/calls").raise_for_status().json()["completions"]
    billed: Counter[tuple[str, str]] = Counter()
    for it in completions:
        billed[it["model"], it["ticker"]] += it["billed"]
    return billed


def _is_ledger_even(play: Play, billed: int) -> bool:
    """Accounts equal what was booked on them, nothing is held any more, and every billed call counts as spent."""
    first = play.clock.now().date()
    with play.instance.database.connection() as connection:
        differences = audit.ledger_differences(connection, first) + audit.call_differences(connection, first)
    (row,) = play.rows(
        "select count(*) filter (where state = 'held') as held, count(*) filter (where state in ('settled', 'expired'))"
        " as counted from budget_reservations"
    )
    return not differences and not row["held"] and bool(row["counted"] >= billed)


@contextmanager
def drilled_world(database: Database, monkeypatch: pytest.MonkeyPatch, batches: int) -> Iterator[Play]:
    """Markets in batches of two before five models that take their time."""
    tickers = [f"M{number:04}-1" for number in range(batches * PER_BATCH)]
    scan = {"batch_size": PER_BATCH, "max_open_markets": 10_000}
    with playing(database, monkeypatch, *tickers, scan=scan) as play:
        slow = [{"target": model.provider, "kind": "stall", "count": None, "stall_s": LATENCY_S} for model in MODELS]
        play.client.post("/faults", json=slow).raise_for_status()
        yield play


@dataclass
class _Fate:
    """A run under way, and when it dies: so long after it has come to a step; never, where there is none."""

    batch_id: int
    decision: Decision
    step: str | None
    delay_s: float
    reached: Stopwatch | None = None

    def is_due(self) -> bool:
        """Whether its moment has come."""
        if self.step is None:
            return False
        if self.reached is None and STEPS.index(self.decision.step) >= STEPS.index(self.step):
            self.reached = Stopwatch()
        return self.reached is not None and self.reached.elapsed_s() >= self.delay_s

    def has_died_by(self, kills: Counter[str]) -> bool:
        """Kill it where it is due, and count it; False where it goes on, or had ended before."""
        if not self.is_due() or not self.decision.process.is_alive():
            return False
        self.decision.process.kill()
        self.decision.process.join()
        if self.decision.process.exitcode == 0:
            return False
        kills[self.decision.step] += 1
        return True


class Drill:
    """Kills runs until so many have died, and lets the others come to their end."""

    def __init__(self, play: Play, seed: int, start: Callable[[Run], Decision] = start_decision) -> None:
        self._play = play
        self._start = start
        self._draw = random.Random(seed)  # noqa: S311 - no secret
        self._kills: Counter[str] = Counter()
        self._killed: Counter[int] = Counter()

    def run(self, kills: int) -> Toll:
        """Put all markets before the models, kill that many runs, and see what came of it."""
        killed = self.kill(kills)
        toll = take_toll(self._play)
        toll.kills = killed
        return toll

    def kill(self, kills: int) -> Counter[str]:
        """The kills by step, once all that was killed was taken up again and has ended."""
        waiting = deque(self._play.scan().batches)
        under_way: list[_Fate] = []
        while waiting or under_way:
            while waiting and len(under_way) < _AT_ONCE:
                under_way.append(self._begin(waiting.popleft(), may_die=self._kills.total() < kills))
            for fate in list(under_way):
                if self._kills.total() < kills and fate.has_died_by(self._kills):
                    self._killed[fate.batch_id] += 1
                    waiting.appendleft(fate.batch_id)
                    self._look_like_a_watch_run()
                elif fate.decision.process.is_alive():
                    continue
                else:
                    assert fate.decision.process.exitcode == 0
                under_way.remove(fate)
            threading.Event().wait(0.001)
        return self._kills

    def _begin(self, batch_id: int, *, may_die: bool) -> _Fate:
        may_die &= self._killed[batch_id] < _MOST_KILLS_OF_A_BATCH
        step = self._draw.choice(list(_LONGEST_S)) if may_die else None
        delay_s = 0.0 if step is None else self._draw.uniform(0, _LONGEST_S[step])
        return _Fate(batch_id, self._start(self._run_of(batch_id)), step, delay_s)

    def _run_of(self, batch_id: int) -> Run:
        settings = self._play.instance.settings.model_dump_json(exclude={"database_url"})
        run_id = f"run {batch_id}.{self._killed[batch_id]}"
        return Run(self._play.instance.database.url, settings, batch_id, self._play.clock.now(), KEYS, run_id)

    def _look_like_a_watch_run(self) -> None:
        """Close what dead runs held, as is done every quarter of an hour, while others have calls under way."""
        if self._draw.random() < 0.2:
            with self._play.instance.database.connection() as connection:
                budget.expire_abandoned(connection, self._play.clock.now())
