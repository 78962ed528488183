"""The ledger against what one would write first: who overshoots, how many bookings a second, and what they cost.

Eight processes, the embedded PostgreSQL, the sandbox over HTTP on loopback. Alternatives, in the same run:

- check-then-add: add up what was spent, call if there is room, write the cost down after it. It is what a counter in a
  gateway does, and what its own database does without a lock;
- for the bookings: the same statements without a guard, one transaction each.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from benchmarks._budget.work import NOW, Done, Task, work
from benchmarks._parts.processes import together
from benchmarks._parts.sandbox import PRIMARY, running_sandbox
from benchmarks._parts.server import Server, running_server
from ensemble_pipeline.domain import Listing, Market, MarketStatus, Quote, RequestReason, VolatilityRegime
from ensemble_pipeline.providers.prompts import prompt_wording
from ensemble_pipeline.store import calls, markets
from ensemble_pipeline.store.database import Database

PROCESSES, CALLS, ALLOWED = 8, 500, 10
AT_ONCE = 8
PAIRS, TIMED_CALLS = 300, 150
_NAIVE = """
create table naive_spend (cost bigint not null);
create table naive_pairs (pair_id bigint generated always as identity primary key, day date not null, cost bigint);
create index naive_pairs_day on naive_pairs (day);
"""


def run() -> str:
    """Race, bookings per second, and the ledger's share of a call's CPU."""
    with running_sandbox(1) as sandbox, running_server() as server:
        url, [ticker] = server.migrated("budget"), sandbox.tickers
        snapshots = _prepared(url, ticker)

        def task(kind: str, number: int, each: int, at_once: int = AT_ONCE, budget: int | None = None) -> Task:
            return Task(kind, url, sandbox.url, snapshots[number], ticker, each, at_once, budget)

        everyone = range(PROCESSES)
        # all at once: as many as a process has
        share = [CALLS // PROCESSES + (number < CALLS % PROCESSES) for number in everyone]
        ours = together(work, [task("ledger", n, share[n], share[n], ALLOWED) for n in everyone])
        naive = together(work, [task("naive", n, share[n], share[n], ALLOWED) for n in everyone])
        lines = [
            (
                f"budget: of {CALLS} calls at once from {PROCESSES} processes {_left(ours)} left on a budget of "
                f"{ALLOWED}, {_left(naive)} past a naive check, ratio {_left(naive) / max(1, _left(ours)):.0f}"
            )
        ]
        for at_once in (AT_ONCE, 1):
            pairs, plain = (
                _rate(together(work, [task(kind, n, PAIRS, at_once) for n in everyone]))
                for kind in ("pairs", "naive_pairs")
            )
            lines.append(
                f"budget: {pairs:.0f} reserve-and-settle pairs a second from {PROCESSES} processes with {at_once} "
                f"under way in each, {plain:.0f} without any guard, ratio {pairs / plain:.2f}"
            )
        booking = _cpu_ms([task("pairs", 0, TIMED_CALLS * 4)], server, TIMED_CALLS * 4)
        whole = _cpu_ms([task("ledger", 1, TIMED_CALLS)], server, TIMED_CALLS)
        lines.append(
            f"budget: a call takes {whole:.2f} CPU ms with {AT_ONCE} under way, its reserve and settle {booking:.2f}"
            f" (PostgreSQL's included in both), share {booking / whole:.2f}; at most .20 is wanted"
        )
    return "\n".join(lines)


def _left(done: Sequence[Done]) -> int:
    return sum(it.left for it in done)


def _rate(done: Sequence[Done]) -> float:
    return _left(done) / max(it.seconds for it in done)


def _cpu_ms(tasks: Sequence[Task], server: Server, calls_made: int) -> float:
    """CPU milliseconds of one call: of the process that makes it and of PostgreSQL's."""
    before = server.cpu_s()
    done = together(work, tasks)
    return (sum(it.cpu_s for it in done) + server.cpu_s() - before) / calls_made * 1000


def _prepared(url: str, ticker: str) -> list[int]:
    """Snapshots in a database, one for each process, and the tables of the alternative."""
    database, snapshots = Database(url), []
    with database.connection() as connection:
        connection.execute(_NAIVE)
        calls.save_models(connection, [(PRIMARY, "xai", PRIMARY)], NOW)
        calls.save_prompt(connection, prompt_wording("forecaster"), NOW)
        for number in range(PROCESSES):
            at = datetime(2026, 3, 2, number, tzinfo=UTC)
            listing = Listing(_listed(ticker), Quote(at, Decimal("0.4"), Decimal("0.42"), None, None))
            markets.save_listings(connection, [listing], at)
            saved = markets.save_snapshot(connection, listing, RequestReason.NEW, VolatilityRegime.CALM)
            snapshots.append(saved or 0)
    database.close()
    return snapshots


def _listed(ticker: str) -> Market:
    return Market(
        f"kalshi:{ticker}", "kalshi", ticker, "kalshi:E", "S", "Economics", "Will it?", "Rules.", NOW,
        NOW + timedelta(days=30), MarketStatus.ACTIVE,
    )  # fmt: skip
