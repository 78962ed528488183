import asyncio
import multiprocessing
import threading
from datetime import timedelta

import psycopg
import pytest

from ensemble_pipeline.errors import BudgetRefusedError
from ensemble_pipeline.store import audit, budget
from ensemble_pipeline.store.budget import DaySpend, Limits
from ensemble_pipeline.store.database import AsyncDatabase, Database
from ensemble_pipeline_tests.store.rows import NOW, market_of, quote_of, save_models, save_snapshot

UNLIMITED = Limits(None, None, None)
PROCESSES, CALLS = 8, 500


def prepare(database: Database, snapshots: int = 1) -> list[int]:
    with database.connection() as connection:
        save_models(connection, "a", "b")
        return [save_snapshot(connection, market_of(f"RAIN-{n}"), quote_of()) for n in range(snapshots)]


def reserve(database: Database, snapshot_id: int, amount: int, limits: Limits) -> int:
    async def run() -> int:
        async with database.async_pool(1) as pool, pool.connection() as connection:
            return await budget.reserve(connection, snapshot_id, "a", amount, limits, NOW)

    return asyncio.run(run())


def settle(database: Database, reservation: int, actual: int) -> None:
    async def run() -> None:
        async with database.async_pool(1) as pool, pool.connection() as connection:
            await budget.settle(connection, reservation, actual)

    asyncio.run(run())


def spent_and_held(database: Database) -> tuple[int, int]:
    with database.connection() as connection:
        day = budget.day_spend(connection, NOW.date())
    return day.spent, day.held


def test_reserve_settle_and_expire_worked_by_hand(database: Database) -> None:
    [snapshot] = prepare(database)
    limits = Limits(None, 100, 100)
    first, _second = (reserve(database, snapshot, 40, limits) for _ in range(2))
    assert spent_and_held(database) == (0, 80)
    settle(database, first, 15)
    assert spent_and_held(database) == (15, 40)
    third = reserve(database, snapshot, 45, limits)
    assert spent_and_held(database) == (15, 85)
    settle(database, third, 0)
    with database.connection() as connection:
        assert budget.expire_left_over(connection, [snapshot]) == 1
    assert spent_and_held(database) == (55, 0)
    with database.connection() as connection:
        assert budget.expire_left_over(connection, [snapshot]) == 0
        rows = connection.execute("select state, held_micro_usd, actual_micro_usd from budget_reservations order by 1")
        assert [tuple(row.values()) for row in rows] == [("expired", 40, None), ("settled", 40, 15), ("settled", 45, 0)]


def test_reserve_when_it_fits_to_the_micro_dollar_passes_and_one_more_refuses(database: Database) -> None:
    [snapshot] = prepare(database)
    limits = Limits(None, 100, None)
    reserve(database, snapshot, 99, limits)
    reserve(database, snapshot, 1, limits)
    with pytest.raises(BudgetRefusedError):
        reserve(database, snapshot, 1, limits)


def test_reserve_when_day_is_spent_refuses_and_names_scope_and_numbers(database: Database) -> None:
    first, second = prepare(database, 2)
    limits = Limits(None, 1_000_000, 800_000)
    settle(database, reserve(database, first, 700_000, limits), 600_000)
    reserve(database, second, 250_000, limits)
    with pytest.raises(BudgetRefusedError, match=r"\$0\.2.*day budget of \$1 has \$0\.6 spent and \$0\.25 held") as day:
        reserve(database, second, 200_000, limits)
    assert day.value.scope == "day"
    assert spent_and_held(database) == (600_000, 250_000)


def test_reserve_when_decision_is_spent_refuses_while_another_decision_passes(database: Database) -> None:
    first, second = prepare(database, 2)
    limits = Limits(None, 1_000_000, 80_000)
    reserve(database, first, 80_000, limits)
    with pytest.raises(BudgetRefusedError, match="decision budget") as refused:
        reserve(database, first, 1, limits)
    assert refused.value.scope == "decision"
    reserve(database, second, 80_000, limits)


def test_reserve_when_day_changes_starts_from_nothing(database: Database) -> None:
    [snapshot] = prepare(database)
    reserve(database, snapshot, 10, Limits(None, 10, None))

    async def tomorrow() -> int:
        async with database.async_pool(1) as pool, pool.connection() as connection:
            return await budget.reserve(connection, snapshot, "a", 10, Limits(None, 10, None), NOW + timedelta(days=1))

    asyncio.run(tomorrow())
    assert spent_and_held(database) == (0, 10)


@pytest.mark.parametrize("amount", [0, 1])
@pytest.mark.parametrize("limits", [Limits(None, 0, None), Limits(None, None, 0)])
def test_reserve_when_limit_is_zero_lets_nothing_pass(database: Database, amount: int, limits: Limits) -> None:
    [snapshot] = prepare(database)
    with pytest.raises(BudgetRefusedError):
        reserve(database, snapshot, amount, limits)
    assert spent_and_held(database) == (0, 0)


def test_reserve_when_unlimited_passes_whatever_it_costs(database: Database) -> None:
    [snapshot] = prepare(database)
    for _ in range(3):
        reserve(database, snapshot, 10**15, UNLIMITED)
    assert spent_and_held(database) == (0, 3 * 10**15)


def test_settle_when_settled_or_expired_or_unknown_refuses(database: Database) -> None:
    [snapshot] = prepare(database)
    first = reserve(database, snapshot, 40, UNLIMITED)
    settle(database, first, 10)
    second = reserve(database, snapshot, 40, UNLIMITED)
    with database.connection() as connection:
        budget.expire_left_over(connection, [snapshot])
    for reservation, state in ((first, "settled"), (second, "expired"), (99, "unknown")):
        with pytest.raises(psycopg.errors.RaiseException, match=f"is {state}, not held"):
            settle(database, reservation, 10)
    assert spent_and_held(database) == (50, 0)


def test_day_spend_when_nothing_was_reserved_is_zero(database: Database) -> None:
    with database.connection() as connection:
        assert budget.day_spend(connection, NOW.date()) == DaySpend(NOW.date(), 0, 0)


def test_audit_when_account_was_tampered_with_names_the_day(database: Database) -> None:
    [snapshot] = prepare(database)
    reserve(database, snapshot, 40, UNLIMITED)
    with database.connection() as connection:
        assert audit.ledger_differences(connection) == []
        connection.execute("update budget_accounts set spent_micro_usd = 7 where scope = 'day'")
        assert [row["day"] for row in audit.ledger_differences(connection)] == [NOW.date().isoformat()]


def reserve_many(url: str, snapshots: list[int], results: "multiprocessing.Queue[tuple[int, int]]") -> None:
    """Ask for 500 reservations, 25 at a time; some of those that pass are settled to what they held."""

    async def one(pool: AsyncDatabase, turn: asyncio.Semaphore, number: int) -> int | None:
        async with turn, pool.connection() as connection:
            try:
                return await budget.reserve(
                    connection, snapshots[number % len(snapshots)], "a", 10, Limits(None, 100, None), NOW
                )
            except BudgetRefusedError:
                return None

    async def run() -> int:
        async with Database(url).async_pool(4) as pool:
            turn = asyncio.Semaphore(25)
            reservations = await asyncio.gather(*(one(pool, turn, number) for number in range(CALLS)))
            held = [reservation for reservation in reservations if reservation is not None]
            for reservation in held[::2]:
                async with pool.connection() as connection:
                    await budget.settle(connection, reservation, 10)
            return len(held)

    passed = asyncio.run(run())
    results.put((passed, CALLS - passed))


def test_reserve_when_eight_processes_rush_never_overshoots(database: Database) -> None:
    snapshots = prepare(database, 5)
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[tuple[int, int]] = context.Queue()
    processes = [
        context.Process(target=reserve_many, args=(database.url, snapshots, results)) for _ in range(PROCESSES)
    ]
    done = threading.Event()
    seen: list[int] = []

    def watch() -> None:
        with database.session() as connection:
            while not done.is_set():
                day = budget.day_spend(connection, NOW.date())
                seen.append(day.spent + day.held)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for process in processes:
        process.start()
    counts = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    done.set()
    watcher.join()
    assert sum(passed for passed, _ in counts) == 10
    assert sum(refused for _, refused in counts) == PROCESSES * CALLS - 10
    assert max(seen) == 100
    assert seen == sorted(seen)
    with database.connection() as connection:
        assert connection.execute("select count(*) as n from budget_reservations").fetchone() == {"n": 10}
    assert sum(spent_and_held(database)) == 100


@pytest.mark.parametrize("first_day_first", [True, False])
def test_expire_when_two_days_are_left_over_books_each_on_its_own(database: Database, *, first_day_first: bool) -> None:
    [snapshot] = prepare(database)
    days = [NOW, NOW + timedelta(days=1)]

    async def run() -> None:
        async with database.async_pool(1) as pool, pool.connection() as connection:
            for at in days if first_day_first else days[::-1]:
                await budget.reserve(connection, snapshot, "a", 7, UNLIMITED, at)

    asyncio.run(run())
    with database.connection() as connection:
        assert budget.expire_left_over(connection, [snapshot]) == 2
        assert [budget.day_spend(connection, at.date()).spent for at in days] == [7, 7]
