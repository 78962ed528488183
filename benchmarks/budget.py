"""The ledger against what one would write first: who overshoots, how many bookings a second, and what they cost.

Eight processes, the embedded PostgreSQL, the sandbox over HTTP on loopback. Alternatives, in the same run:

- check-then-add: add up what was spent, call if there is room, write the cost down after it. It is what a counter in a
  gateway does, and what its own database does without a lock;
- for the bookings: the same statements without a guard, one transaction each.
"""

import multiprocessing
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from benchmarks._budget.work import NOW, Done, Task, work
from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.domain import Listing, Market, MarketStatus, Quote, RequestReason, VolatilityRegime
from ensemble_pipeline.providers.prompts import prompt_wording
from ensemble_pipeline.sandbox.app import create_app
from ensemble_pipeline.sandbox.serve import HOST, bind, create_server
from ensemble_pipeline.sandbox.synthetic import SyntheticWorld
from ensemble_pipeline.store import calls, markets
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.embedded import start_embedded
from ensemble_pipeline.store.migrate import migrate

PROCESSES, CALLS, ALLOWED = 8, 500, 10
AT_ONCE = 8
PAIRS, TIMED_CALLS = 300, 150
_HZ = 100
_CONTEXT = multiprocessing.get_context("forkserver")
_NAIVE = """
create table naive_spend (cost bigint not null);
create table naive_pairs (pair_id bigint generated always as identity primary key, day date not null, cost bigint);
create index naive_pairs_day on naive_pairs (day);
"""


def run() -> str:
    """Race, bookings per second, and the ledger's share of a call's CPU."""
    _CONTEXT.set_forkserver_preload(["benchmarks._budget.work", "genai_prices"])
    with _sandbox() as sandbox, _database() as (url, postmaster, snapshots, ticker):

        def task(kind: str, number: int, each: int, at_once: int = AT_ONCE, budget: int | None = None) -> Task:
            return Task(kind, url, sandbox, snapshots[number], ticker, each, at_once, budget)

        everyone = range(PROCESSES)
        # all at once: as many as a process has
        share = [CALLS // PROCESSES + (number < CALLS % PROCESSES) for number in everyone]
        ours = _together([task("ledger", n, share[n], share[n], ALLOWED) for n in everyone])
        naive = _together([task("naive", n, share[n], share[n], ALLOWED) for n in everyone])
        lines = [
            (
                f"budget: of {CALLS} calls at once from {PROCESSES} processes {_left(ours)} left on a budget of "
                f"{ALLOWED}, {_left(naive)} past a naive check, ratio {_left(naive) / max(1, _left(ours)):.0f}"
            )
        ]
        for at_once in (AT_ONCE, 1):
            pairs, plain = (
                _rate(_together([task(kind, n, PAIRS, at_once) for n in everyone])) for kind in ("pairs", "naive_pairs")
            )
            lines.append(
                f"budget: {pairs:.0f} reserve-and-settle pairs a second from {PROCESSES} processes with {at_once} "
                f"under way in each, {plain:.0f} without any guard, ratio {pairs / plain:.2f}"
            )
        booking = _cpu_ms([task("pairs", 0, TIMED_CALLS * 4)], postmaster, TIMED_CALLS * 4)
        whole = _cpu_ms([task("ledger", 1, TIMED_CALLS)], postmaster, TIMED_CALLS)
        lines.append(
            f"budget: a call takes {whole:.2f} CPU ms with {AT_ONCE} under way, its reserve and settle {booking:.2f}"
            f" (PostgreSQL's included in both), share {booking / whole:.2f}; at most .20 is wanted"
        )
    return "\n".join(lines)


def _together(tasks: Sequence[Task]) -> list[Done]:
    gate, results = _CONTEXT.Barrier(len(tasks)), _CONTEXT.Queue()
    processes = [_CONTEXT.Process(target=work, args=(task, gate, results)) for task in tasks]
    for process in processes:
        process.start()
    done = [results.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    return done


def _left(done: Sequence[Done]) -> int:
    return sum(it.left for it in done)


def _rate(done: Sequence[Done]) -> float:
    return _left(done) / max(it.seconds for it in done)


def _cpu_ms(tasks: Sequence[Task], postmaster: int, calls_made: int) -> float:
    """CPU milliseconds of one call: of the process that makes it and of PostgreSQL's."""
    before = _server_cpu_s(postmaster)
    done = _together(tasks)
    server = _server_cpu_s(postmaster) - before
    return (sum(it.cpu_s for it in done) + server) / calls_made * 1000


def _server_cpu_s(postmaster: int) -> float:
    """CPU seconds of the server: of its living processes, and of those that ended."""
    total = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except FileNotFoundError:
                continue
            if postmaster in (int(entry.name), int(fields[1])):
                # own time, and for the postmaster that of the children it has buried
                total += sum(map(int, fields[11:15] if int(entry.name) == postmaster else fields[11:13]))
    return total / _HZ


@contextmanager
def _sandbox() -> Iterator[str]:
    world = SyntheticWorld(days=2, markets_per_day=4)
    listener = bind(0)
    server = create_server(create_app(world, SteppedClock(world.starts_at)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://{HOST}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def _database() -> Iterator[tuple[str, int, list[int], str]]:
    """A migrated database with a snapshot for each process; its postmaster, and a ticker the sandbox knows."""
    folder = Path(tempfile.mkdtemp(prefix="ensemble-budget-", dir="/tmp"))
    # as root, PostgreSQL runs as a user of its own, which must get through
    folder.chmod(0o755)
    server = start_embedded(folder)
    server.hold()
    try:
        url = server.ensure_database("bench")
        database = Database(url)
        migrate(database)
        ticker = next(iter(SyntheticWorld(days=2, markets_per_day=4).markets))
        with database.connection() as connection:
            connection.execute(_NAIVE)
            calls.save_models(connection, [("cedar-pro", "xai", "cedar-pro")], NOW)
            calls.save_prompt(connection, prompt_wording("forecaster"), NOW)
            snapshots = []
            for number in range(PROCESSES):
                at = datetime(2026, 3, 2, number, tzinfo=UTC)
                listing = Listing(_listed(ticker), Quote(at, Decimal("0.4"), Decimal("0.42"), None, None))
                markets.save_listings(connection, [listing], at)
                saved = markets.save_snapshot(connection, listing, RequestReason.NEW, VolatilityRegime.CALM)
                snapshots.append(saved or 0)
        database.close()
        yield url, int((folder / "postgres" / "postmaster.pid").read_text().split()[0]), snapshots, ticker
    finally:
        server.release()
        shutil.rmtree(folder, ignore_errors=True)


def _listed(ticker: str) -> Market:
    return Market(
        f"kalshi:{ticker}", "kalshi", ticker, "kalshi:E", "S", "Economics", "Will it?", "Rules.", NOW,
        NOW + timedelta(days=30), MarketStatus.ACTIVE,
    )  # fmt: skip
