"""What is measured of a running family every few seconds, and how far any of it grows.

Belongs here: one look at processes and database, the comparison of two stretches of looks, the summary in words. Does
not: starting and ending the family (``living``), and which growth is too much (``test_soak``).
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ensemble_pipeline.clock import Stopwatch
from ensemble_pipeline.ensemble.operating import mode_in_force
from ensemble_pipeline.store.database import Connection, Database, Row, require_row
from ensemble_pipeline.store.world_clock import StoredClock
from ensemble_pipeline_tests.journeys.running import children_of, family_of

LONG_LIVED = ("launcher", "code server", "daemon", "webserver", "sandbox")
# by what their command lines hold
_CHILDREN = {
    "code server": "dagster api grpc",
    "daemon": "dagster._daemon",
    "webserver": "dagster_webserver",
    "sandbox": "ensemble_pipeline.cli sandbox",
}
# Dagster's runs that are still to end, as its table has them
_UNDER_WAY = "('QUEUED', 'NOT_STARTED', 'STARTING', 'STARTED', 'CANCELING')"
_COUNTS = f"""
with undecided as (
    select s.snapshot_id from market_snapshots s
    where not exists (select from decisions d where d.snapshot_id = s.snapshot_id))
select
    (select count(*) from pg_stat_activity where datname = current_database()
        and backend_type = 'client backend' and pid <> pg_backend_pid()) as connections,
    (select count(*) from undecided) as waiting,
    (select min(b.requested_at) from undecided join decision_requests using (snapshot_id)
        join decision_batches b using (batch_id)) as asked_at,
    (select max(as_of) from learnt_days) as learnt_until,
    (select count(*) from budget_reservations where state = 'held') as held,
    (select count(*) from decisions) as decisions,
    (select count(*) from llm_queries) as calls,
    (select count(*) from llm_queries where status <> 'answered') as unanswered,
    (select count(*) from public.runs where status not in {_UNDER_WAY}) as runs,
    (select count(*) from public.runs where status in {_UNDER_WAY}) as runs_under_way,
    (select count(*) from public.runs where status = 'FAILURE') as failed_runs,
    pg_database_size(current_database()) / 1048576.0 as database_mb
"""


@dataclass(frozen=True)
class Sample:
    """One look.

    `rss_mb` and `descriptors` are by long-lived process; `connections` those of everybody but the looker; of the
    `waiting` snapshots, which have no decision, the first was asked for `waiting_s` ago. Lags of the world are told in
    seconds of the machine.
    """

    at_s: float
    rss_mb: dict[str, float]
    descriptors: dict[str, int]
    processes: int
    connections: int
    waiting: int
    waiting_s: float
    unlearnt_s: float
    held: int
    decisions: int
    calls: int
    unanswered: int
    runs: int
    runs_under_way: int
    failed_runs: int
    database_mb: float
    mode: str

    def line(self) -> str:
        """The sample in a line."""
        memory = " ".join(f"{name} {mb:.0f}" for name, mb in self.rss_mb.items())
        return (
            f"{self.at_s:5.0f} s  MB {memory} · descriptors {sum(self.descriptors.values())} · processes"
            f" {self.processes} · connections {self.connections} · waiting {self.waiting} for {self.waiting_s:.0f} s ·"
            f" unlearnt {self.unlearnt_s:.0f} s · held {self.held} · decisions {self.decisions} · calls {self.calls} ·"
            f" runs {self.runs}, failed {self.failed_runs} · database {self.database_mb:.0f} MB · {self.mode}"
        )


class Looker:
    """Looks at the family of one `ensemble demo` and its database, whose world passes at `speed`."""

    def __init__(self, pid: int, database: Database, speed: float) -> None:
        self._pid, self._database, self._speed = pid, database, speed
        self._clock, self._watch = StoredClock(database), Stopwatch()

    def look(self) -> Sample:
        """One sample."""
        pids, now = self._long_lived(), self._clock.now()
        with self._database.connection() as connection:
            mode = mode_in_force(connection, now).mode
            counted = counts(connection)
        asked_at, learnt_until = counted.pop("asked_at"), counted.pop("learnt_until")
        return Sample(
            at_s=self._watch.elapsed_s(),
            rss_mb={name: _rss_mb(pid) for name, pid in pids.items()},
            descriptors={name: _descriptors(pid) for name, pid in pids.items()},
            processes=len(family_of(self._pid)) + 1,
            waiting_s=self._machine_s(now, asked_at),
            unlearnt_s=self._machine_s(now, learnt_until),
            mode=str(mode),
            **counted,
        )

    def _long_lived(self) -> dict[str, int]:
        children = children_of(self._pid)
        found = {"launcher": self._pid}
        for name, mark in _CHILDREN.items():
            (found[name],) = (pid for pid, command in children.items() if mark in command)
        return found

    def _machine_s(self, now: datetime, since: datetime | None) -> float:
        return 0.0 if since is None else max(0.0, (now - since).total_seconds()) / self._speed


def counts(connection: Connection) -> Row:
    """What the database says of itself and of the instance."""
    return require_row(connection.execute(_COUNTS).fetchone())


def _rss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmRSS:"))
    return int(kilobytes) / 1024


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@dataclass(frozen=True)
class Growth:
    """The medians of one figure over the second and over the last quarter of a soak, and the highest of all."""

    what: str
    before: float
    after: float
    highest: float

    def is_within(self, share: float, amount: float) -> bool:
        """Whether it grew by at most this share, or by at most this amount where that is more."""
        return self.after - self.before <= max(share * self.before, amount)

    def row(self) -> str:
        """A row of the summary."""
        return f"| {self.what} | {self.before:.0f} | {self.after:.0f} | {self.highest:.0f} |"


def growth(what: str, values: Sequence[float]) -> Growth:
    """How a figure grew; the first quarter is left out, in which everything is loaded for the first time."""
    quarter = len(values) // 4
    before, after = (statistics.median(part) for part in (values[quarter : 2 * quarter], values[-quarter:]))
    return Growth(what, before, after, max(values))


def memory(samples: Sequence[Sample]) -> list[Growth]:
    """Resident memory of each long-lived process, in MB."""
    return [growth(f"{name}, MB", [it.rss_mb[name] for it in samples]) for name in LONG_LIVED]


def lags(samples: Sequence[Sample]) -> list[Growth]:
    """What waits, since when, and how far learning is behind."""
    return [
        growth("snapshots without a decision", [it.waiting for it in samples]),
        growth("age of the oldest of them, s", [it.waiting_s for it in samples]),
        growth("windows behind the clock, s", [it.unlearnt_s for it in samples]),
    ]


@dataclass(frozen=True)
class Kept:
    """The lowest of a count over the second quarter of a soak, and once all work has ended: what leaked stays."""

    what: str
    before: int
    at_rest: int

    def row(self) -> str:
        """A row of the summary."""
        return f"| {self.what} | {self.before} | {self.at_rest} |"


def kept(samples: Sequence[Sample], at_rest: Sequence[Sample]) -> list[Kept]:
    """Descriptors of each long-lived process, processes, connections, and reservations."""
    quarter = len(samples) // 4
    before = _counted(samples[quarter : 2 * quarter])
    return [Kept(what, before[what], count) for what, count in _counted(at_rest).items()]


def _counted(samples: Sequence[Sample]) -> dict[str, int]:
    descriptors = {f"{name}, descriptors": min(it.descriptors[name] for it in samples) for name in LONG_LIVED}
    return descriptors | {
        "processes": min(it.processes for it in samples),
        "connections to PostgreSQL": min(it.connections for it in samples),
        "reservations held": min(it.held for it in samples),
    }


def summary(samples: Sequence[Sample], at_rest: Sequence[Sample]) -> str:
    """What a soak came to, as the tables that docs/operations.md holds."""
    first, last = samples[0], samples[-1]
    minutes = (last.at_s - first.at_s) / 60
    done = {name: getattr(last, name) - getattr(first, name) for name in ("decisions", "calls", "unanswered", "runs")}
    counted = (
        f"{minutes:.0f} minutes, {len(samples)} looks: {done['decisions']} decisions"
        f" ({done['decisions'] / minutes:.0f} a minute), {done['calls']} model calls of which {done['unanswered']}"
        f" failed, {done['runs']} runs of which {last.failed_runs - first.failed_runs} failed;"
        f" database {first.database_mb:.0f} to {last.database_mb:.0f} MB"
    )
    grown = ["| median | 2nd quarter | last quarter | highest |", "|---|---|---|---|"]
    grown += [it.row() for it in (*memory(samples), *lags(samples))]
    left = ["| lowest | 2nd quarter | all work ended |", "|---|---|---|"]
    left += [it.row() for it in kept(samples, at_rest)]
    return "\n".join([counted, "", *grown, "", *left])
