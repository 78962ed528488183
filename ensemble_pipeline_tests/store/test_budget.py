import multiprocessing
import threading
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ensemble_pipeline.store import audit, budget
from ensemble_pipeline.store.budget import Account, BudgetCall, BudgetRefusal, Closing, DaySpend, Limits
from ensemble_pipeline.store.database import Connection, Database, require_row
from ensemble_pipeline.store.locks import lock_snapshots
from ensemble_pipeline_tests.ensemble.history import put_forecasts
from ensemble_pipeline_tests.store.rows import (
    DAY,
    NOW,
    UNLIMITED,
    call_of,
    close,
    hold,
    market_of,
    quote_of,
    save_models,
    save_snapshot,
)

PROCESSES, CALLS = 8, 500
TODAY = NOW.date()


def prepare(database: Database, snapshots: int = 1) -> list[int]:
    with database.connection() as connection:
        save_models(connection, "a", "b", "c")
        return [save_snapshot(connection, market_of(f"RAIN-{n}"), quote_of()) for n in range(snapshots)]


def on(snapshot: int, amount: int = 10, **changes: Any) -> BudgetCall:
    """A call about the market of a prepared snapshot."""
    return call_of(snapshot, amount, **{"market": f"kalshi:RAIN-{snapshot - 1}"} | changes)


def ask(database: Database, call: BudgetCall, limits: Limits) -> int | None:
    with database.connection() as connection:
        return hold(connection, call, limits)


def settle(database: Database, reservation: int | None, booked: int) -> None:
    assert reservation is not None
    with database.connection() as connection:
        close(connection, reservation, booked)


def spent_and_held(database: Database) -> tuple[int, int]:
    with database.connection() as connection:
        day = budget.day_spend(connection, TODAY)
    return day.spent, day.held


def last_refusal(database: Database, snapshot: int) -> BudgetRefusal:
    with database.connection() as connection:
        return budget.refusals_on(connection, [snapshot])[snapshot][-1]


def assert_books_are_even(connection: Connection) -> None:
    assert audit.ledger_differences(connection, TODAY - DAY) == []


def test_reserve_settle_release_and_expire_worked_by_hand(database: Database) -> None:
    [snapshot] = prepare(database)
    limits = Limits(None, 100, 100)
    first, second = (ask(database, on(snapshot, 40), limits) for _ in range(2))
    assert spent_and_held(database) == (0, 80)
    settle(database, first, 15)
    assert spent_and_held(database) == (15, 40)
    third = ask(database, on(snapshot, 45), limits)
    assert spent_and_held(database) == (15, 85)
    with database.connection() as connection:
        closing = Closing(third or 0, TODAY, "released")
        connection.execute(budget.CLOSE, budget.close_arguments([closing], NOW))
    assert spent_and_held(database) == (15, 40)
    with database.connection() as connection:
        assert budget.expire_left_over(connection, [snapshot], NOW) == 1
    assert spent_and_held(database) == (55, 0)
    with database.connection() as connection:
        assert budget.expire_left_over(connection, [snapshot], NOW) == 0
        rows = connection.execute("select state, held_micro_usd, booked_micro_usd from budget_reservations order by 1")
        assert [tuple(row.values()) for row in rows] == [("expired", 40, 40), ("released", 45, 0), ("settled", 40, 15)]
        assert_books_are_even(connection)
    assert second is not None


def test_reserve_when_it_fits_to_the_micro_dollar_passes_and_one_more_refuses(database: Database) -> None:
    [snapshot] = prepare(database)
    limits = Limits(None, 100, None)
    assert ask(database, on(snapshot, 99), limits) is not None
    assert ask(database, on(snapshot, 1), limits) is not None
    assert ask(database, on(snapshot, 1), limits) is None


# what leaves 60 to this very call's account and nothing to the next one's: model a of provider local, market 0
SCOPES = {
    "day": (Limits(None, 100, None), on(2, 60, model="b")),
    "decision": (Limits(None, None, 100), on(1, 60, model="b")),
    "market": (Limits(None, None, None, market_day=100), on(1, 60, model="b")),
    "provider": (Limits(None, None, None, providers={"local": 100}), on(2, 60, model="b")),
    "model": (Limits(None, None, None, models={"a": 100}), on(2, 60)),
}
FREE_OF = {
    "day": on(1, 60, at=NOW + DAY),
    "decision": on(2, 60),
    "market": on(2, 60),
    "provider": BudgetCall(1, "kalshi:RAIN-0", "xai", "a", 60, NOW),
    "model": on(1, 60, model="b"),
}


@pytest.mark.parametrize("scope", SCOPES)
def test_each_scope_refuses_by_its_own_account_and_names_its_numbers(database: Database, scope: str) -> None:
    prepare(database, 2)
    limits, next_call = SCOPES[scope]
    settle(database, ask(database, on(1, 70), limits), 50)
    assert ask(database, next_call, limits) is None
    assert last_refusal(database, next_call.snapshot_id) == BudgetRefusal(next_call.model_id, scope, 60, 50, 0, 100)
    assert ask(database, FREE_OF[scope], limits) is not None
    with database.connection() as connection:
        assert_books_are_even(connection)


@pytest.mark.parametrize("scope", SCOPES)
def test_call_that_one_scope_refuses_is_held_in_none(database: Database, scope: str) -> None:
    prepare(database, 2)
    limits, next_call = SCOPES[scope]
    ask(database, on(1, 70), limits)
    before = accounts(database)
    assert ask(database, next_call, limits) is None
    assert {key: it for key, it in accounts(database).items() if it != (0, 0)} == before


def accounts(database: Database) -> dict[tuple[str, str], tuple[int, int]]:
    with database.connection() as connection:
        rows = connection.execute("select scope, account_key, spent_micro_usd, held_micro_usd from budget_accounts")
        return {(r["scope"], r["account_key"]): (r["spent_micro_usd"], r["held_micro_usd"]) for r in rows}


def test_above_the_soft_limit_what_has_begun_may_finish_and_nothing_new_begins(database: Database) -> None:
    first, second = prepare(database, 2)
    limits = Limits(100, 200, None)
    assert ask(database, on(first, 90), limits) is not None
    assert ask(database, on(second, 20), limits) is None
    assert last_refusal(database, second) == BudgetRefusal("a", "day_soft", 20, 0, 90, 100)
    assert ask(database, on(first, 60, model="b"), limits) is not None
    assert ask(database, on(first, 60, model="c"), limits) is None
    assert last_refusal(database, first).scope == "day"


def test_free_call_begins_nothing_that_could_be_finished_above_the_soft_limit(database: Database) -> None:
    first, second = prepare(database, 2)
    limits = Limits(100, 200, None)
    assert ask(database, on(first, 90), limits) is not None
    assert ask(database, on(second, 0), limits) is not None
    assert ask(database, on(second, 20, model="b"), limits) is None
    assert last_refusal(database, second).scope == "day_soft"


def test_new_decision_fits_below_the_soft_limit_to_the_micro_dollar(database: Database) -> None:
    first, second = prepare(database, 2)
    limits = Limits(100, None, None)
    assert ask(database, on(first, 100), limits) is not None
    assert ask(database, on(second, 1), limits) is None


def test_reserve_when_day_changes_starts_from_nothing(database: Database) -> None:
    [snapshot] = prepare(database)
    limits = Limits(None, 10, None, market_day=10, providers={"local": 10}, models={"a": 10})
    assert ask(database, on(snapshot, 10), limits) is not None
    assert ask(database, on(snapshot, 10, at=NOW + DAY), limits) is not None
    assert spent_and_held(database) == (0, 10)


def test_call_that_ends_after_midnight_is_booked_on_the_day_it_left(database: Database) -> None:
    [snapshot] = prepare(database)
    late = NOW.replace(hour=23, minute=59, second=59)
    reservation = ask(database, on(snapshot, 10, at=late), Limits(None, 10, None))
    with database.connection() as connection:
        assert reservation is not None
        closing = Closing(reservation, late.date(), "settled", 7)
        connection.execute(budget.CLOSE, budget.close_arguments([closing], late + timedelta(seconds=5)))
        assert budget.day_spend(connection, TODAY).spent == 7
        assert budget.day_spend(connection, TODAY + DAY).committed == 0
        assert_books_are_even(connection)


def test_close_under_another_day_than_it_was_reserved_on_refuses(database: Database) -> None:
    [snapshot] = prepare(database)
    reservation = ask(database, on(snapshot), UNLIMITED)
    closing = Closing(reservation or 0, TODAY + DAY, "settled", 1)
    with database.connection() as connection, pytest.raises(psycopg.errors.RaiseException, match="not held"):
        connection.execute(budget.CLOSE, budget.close_arguments([closing], NOW))
    assert spent_and_held(database) == (0, 10)


ZEROS = {
    "day": Limits(None, 0, None),
    "day_soft": Limits(0, None, None),
    "decision": Limits(None, None, 0),
    "market": Limits(None, None, None, market_day=0),
    "provider": Limits(None, None, None, providers={"local": 0}),
    "model": Limits(None, None, None, models={"a": 0}),
}


@pytest.mark.parametrize("amount", [0, 1])
@pytest.mark.parametrize("scope", ZEROS)
def test_reserve_when_limit_is_zero_lets_nothing_pass(database: Database, amount: int, scope: str) -> None:
    [snapshot] = prepare(database)
    assert ask(database, on(snapshot, amount), ZEROS[scope]) is None
    assert last_refusal(database, snapshot).scope == scope
    assert spent_and_held(database) == (0, 0)


def test_reserve_when_unlimited_passes_whatever_it_costs(database: Database) -> None:
    [snapshot] = prepare(database)
    for _ in range(3):
        assert ask(database, on(snapshot, 10**15), UNLIMITED) is not None
    assert spent_and_held(database) == (0, 3 * 10**15)


def test_limit_lowered_below_what_is_spent_refuses_what_costs_and_lets_pass_what_is_free(database: Database) -> None:
    [snapshot] = prepare(database)
    settle(database, ask(database, on(snapshot, 100), UNLIMITED), 100)
    lowered = Limits(50, 50, 50, market_day=50, providers={"local": 50}, models={"a": 50})
    assert ask(database, on(snapshot, 1), lowered) is None
    assert last_refusal(database, snapshot) == BudgetRefusal("a", "day", 1, 100, 0, 50)
    assert ask(database, on(snapshot, 0), lowered) is not None
    assert spent_and_held(database) == (100, 0)


def test_calls_of_one_statement_are_decided_in_turn_as_if_each_came_alone(database: Database) -> None:
    first, second = prepare(database, 2)
    limits = Limits(None, 100, 60)
    calls = [on(first, 40), on(first, 30), on(second, 50), on(second, 20), on(first, 10), on(second, 0)]
    with database.connection() as connection:
        rows = connection.execute(budget.RESERVE, budget.reserve_arguments(calls, limits)).fetchall()
    assert [row["refused_scope"] for row in rows] == [None, "decision", None, "day", None, None]
    assert [(row["spent"], row["held"], row["most"]) for row in (rows[1], rows[3])] == [(0, 40, 60), (0, 90, 100)]
    assert spent_and_held(database) == (0, 100)


def test_close_when_settled_or_expired_or_unknown_refuses_and_closes_none_of_the_others(database: Database) -> None:
    [snapshot] = prepare(database)
    first = ask(database, on(snapshot, 40), UNLIMITED) or 0
    settle(database, first, 10)
    second = ask(database, on(snapshot, 40), UNLIMITED) or 0
    with database.connection() as connection:
        budget.expire_left_over(connection, [snapshot], NOW)
    open_one = ask(database, on(snapshot, 5), UNLIMITED) or 0
    for reservation, state in ((first, "settled"), (second, "expired"), (99, "unknown")):
        closings = [Closing(number, TODAY, "settled", 10) for number in (open_one, reservation)]
        with (
            pytest.raises(psycopg.errors.RaiseException, match=f"reservation {reservation} is {state}, not held"),
            database.connection() as connection,
        ):
            connection.execute(budget.CLOSE, budget.close_arguments(closings, NOW))
    assert spent_and_held(database) == (50, 5)


def test_close_that_names_a_reservation_twice_refuses_by_its_number_and_closes_nothing(database: Database) -> None:
    [snapshot] = prepare(database)
    first, second = (ask(database, on(snapshot, 40), UNLIMITED) or 0 for _ in range(2))
    closings = [Closing(number, TODAY, "settled", 10) for number in (first, second, second)]
    with (
        pytest.raises(psycopg.errors.RaiseException, match=f"reservation {second} is named twice"),
        database.connection() as connection,
    ):
        connection.execute(budget.CLOSE, budget.close_arguments(closings, NOW))
    assert spent_and_held(database) == (0, 80)


def refused_models(database: Database, snapshot: int) -> list[str]:
    with database.connection() as connection:
        return [it.model_id for it in budget.refusals_on(connection, [snapshot]).get(snapshot, ())]


def test_refusal_counts_until_the_model_is_asked_after_all_at_whatever_instant(database: Database) -> None:
    first, second = prepare(database, 2)
    nothing = Limits(None, None, 1)
    for snapshot in (first, second):
        assert ask(database, on(snapshot, model="a"), nothing) is None
        assert ask(database, on(snapshot, model="b"), nothing) is None
    assert ask(database, on(first, model="a"), UNLIMITED) is not None
    assert refused_models(database, first) == ["b"]
    assert refused_models(database, second) == ["a", "b"]


def test_refusal_of_a_retry_counts_though_the_model_was_asked_before_it(database: Database) -> None:
    [snapshot] = prepare(database)
    settle(database, ask(database, on(snapshot), UNLIMITED), 10)
    assert ask(database, on(snapshot), Limits(None, None, 10)) is None
    assert refused_models(database, snapshot) == ["a"]


def test_refusal_of_a_model_whose_earlier_answer_was_given_again_says_nothing(database: Database) -> None:
    snapshot = put_forecasts(database, {"a": 0.5})
    later = put_forecasts(database, {"b": 0.5}, at=NOW + timedelta(hours=1))
    assert ask(database, call_of(later, model="a"), Limits(None, None, 1)) is None
    assert refused_models(database, later) == ["a"]
    with database.connection() as connection:
        connection.execute(
            "insert into forecasts (reused_from, snapshot_id, market_id, model_id, asked_at, p_yes, confidence,"
            " reasoning, volatility_regime, expiry_bucket) select forecast_id, %s, market_id, model_id, asked_at,"
            " p_yes, confidence, '', volatility_regime, expiry_bucket from forecasts where snapshot_id = %s",
            [later, snapshot],
        )
    assert refused_models(database, later) == []


def test_closed_reservation_cannot_be_changed_by_anyone(database: Database) -> None:
    [snapshot] = prepare(database)
    settle(database, ask(database, on(snapshot, 40), UNLIMITED), 10)
    with database.connection() as connection, pytest.raises(psycopg.errors.RaiseException, match="is settled"):
        connection.execute("update budget_reservations set booked_micro_usd = 0")


def test_correction_is_a_row_of_its_own_in_every_account_and_books_stay_even(database: Database) -> None:
    [snapshot] = prepare(database)
    reservation = ask(database, on(snapshot, 40), UNLIMITED) or 0
    with database.connection() as connection, pytest.raises(psycopg.errors.RaiseException, match="only what is closed"):
        budget.correct(connection, reservation, 5, "too early", NOW)
    settle(database, reservation, 10)
    for amount in (25, -3):
        with database.connection() as connection:
            budget.correct(connection, reservation, amount, "the bill said so", NOW)
    with database.connection() as connection:
        assert {row["spent_micro_usd"] for row in connection.execute("select * from budget_accounts")} == {32}
        assert require_row(connection.execute("select * from ledger").fetchone())["spent_micro_usd"] == 32
        assert_books_are_even(connection)


def test_abandoned_reservation_counts_as_spent_and_that_of_a_living_run_stays_held(database: Database) -> None:
    abandoned, living = prepare(database, 2)
    for snapshot in (abandoned, living):
        ask(database, on(snapshot, 7), UNLIMITED)
    with database.session() as run:
        lock_snapshots(run, [living])
        with database.connection() as connection:
            assert budget.expire_abandoned(connection, NOW) == 1
        assert spent_and_held(database) == (7, 7)
    with database.connection() as connection:
        assert budget.expire_abandoned(connection, NOW) == 1
        assert budget.expire_abandoned(connection, NOW) == 0
        assert_books_are_even(connection)
    assert spent_and_held(database) == (14, 0)


def test_day_spend_knows_the_accounts_of_its_providers_and_models(database: Database) -> None:
    [snapshot] = prepare(database)
    with database.connection() as connection:
        assert budget.day_spend(connection, TODAY) == DaySpend(TODAY, 0, 0)
        first = hold(connection, on(snapshot, 40), UNLIMITED)
        hold(connection, BudgetCall(snapshot, "kalshi:RAIN-0", "xai", "b", 5, NOW), UNLIMITED)
        close(connection, first or 0, 15)
        found = budget.day_spend(connection, TODAY)
        assert found == DaySpend(
            TODAY, 15, 5, {"local": Account(15, 0), "xai": Account(0, 5)}, {"a": Account(15, 0), "b": Account(0, 5)}
        )
        assert budget.market_spend(connection, ["kalshi:RAIN-0", "kalshi:RAIN-9"], TODAY) == {"kalshi:RAIN-0": 20}
        assert budget.market_spend(connection, ["kalshi:RAIN-0"], TODAY + DAY) == {}


@pytest.mark.parametrize("column", ["spent_micro_usd", "held_micro_usd", "calls"])
@pytest.mark.parametrize("scope", ["day", "provider", "model", "market", "decision"])
def test_audit_when_an_account_was_tampered_with_names_it(database: Database, scope: str, column: str) -> None:
    [snapshot] = prepare(database)
    ask(database, on(snapshot, 40), UNLIMITED)
    with database.connection() as connection:
        assert_books_are_even(connection)
        connection.execute(f"update budget_accounts set {column} = 7 where scope = %s", [scope])
        assert [row["scope"] for row in audit.ledger_differences(connection, TODAY)] == [scope]
        # what lies before the days audited is not looked at
        assert audit.ledger_differences(connection, TODAY + DAY) == []


def test_audit_when_a_closed_call_has_no_record_names_its_day(database: Database) -> None:
    [snapshot] = prepare(database)
    settle(database, ask(database, on(snapshot, 40), UNLIMITED), 10)
    with database.connection() as connection:
        [row] = audit.call_differences(connection, TODAY)
    assert row == {"day": TODAY, "reservations": 1, "calls": 0, "booked": 10, "cost": 0}


@pytest.fixture
def prepared(database: Database) -> Database:
    prepare(database, 3)
    return database


AMOUNTS = st.integers(0, 60)
OPERATIONS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 3), AMOUNTS, st.sampled_from(["hold", "settle", "release"])),
    max_size=25,
)
LIMITS = st.one_of(st.none(), st.integers(0, 150))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(OPERATIONS, st.fixed_dictionaries(dict.fromkeys(("soft", "day", "decision", "market", "a", "xai"), LIMITS)))
def test_no_sequence_of_calls_overshoots_a_limit_in_any_state(
    prepared: Database, operations: list[tuple[str, int, int, str]], most: dict[str, int | None]
) -> None:
    """Against a plain model of the ledger: who passes, and every account after each step."""
    limits = Limits(most["soft"], most["day"], most["decision"], most["market"], {"xai": most["xai"]}, {"a": most["a"]})
    database = prepared
    with database.connection() as connection:
        connection.execute("truncate budget_refusals, budget_reservations, budget_accounts cascade")
    held: dict[int, tuple[int, list[str]]] = {}
    spent: dict[str, int] = {}
    for model, snapshot, amount, kind in operations:
        if kind == "hold":
            provider = "xai" if model == "b" else "local"
            call = BudgetCall(snapshot, f"kalshi:RAIN-{snapshot - 1}", provider, model, amount, NOW)
            mine = ["day", f"decision {snapshot}", f"market {snapshot}", f"model {model}", f"provider {provider}"]
            bounds = {
                "day": most["day"],
                f"decision {snapshot}": most["decision"],
                f"market {snapshot}": most["market"],
                "model a": most["a"],
                "provider xai": most["xai"],
            }
            used = {key: spent.get(key, 0) + sum(it for it, keys in held.values() if key in keys) for key in mine}
            refused = any(
                (bound := bounds.get(key)) is not None and (bound == 0 or (amount and used[key] + amount > bound))
                for key in mine
            )
            soft = most["soft"]
            if soft is not None and used[f"decision {snapshot}"] == 0:
                refused |= soft == 0 or bool(amount and used["day"] + amount > soft)
            reservation = ask(database, call, limits)
            assert (reservation is None) == refused
            if reservation is not None:
                held[reservation] = amount, mine
        elif held:
            reservation = min(held)
            worst, keys = held.pop(reservation)
            booked = min(amount, worst) if kind == "settle" else 0
            with database.connection() as connection:
                closing = Closing(reservation, TODAY, "settled" if kind == "settle" else "released", booked)
                connection.execute(budget.CLOSE, budget.close_arguments([closing], NOW))
            for key in keys:
                spent[key] = spent.get(key, 0) + booked
        day_held = sum(worst for worst, _ in held.values())
        assert spent_and_held(database) == (spent.get("day", 0), day_held)
        assert most["day"] is None or sum(spent_and_held(database)) <= most["day"]
    with database.connection() as connection:
        assert_books_are_even(connection)


def reserve_many(url: str, results: "multiprocessing.Queue[tuple[int, int]]") -> None:
    """Ask for 500 reservations, 25 in a statement; every other one that passes is settled to what it held."""
    held: list[int] = []
    with psycopg.connect(url, autocommit=True, options="-c search_path=ensemble") as connection:
        for start in range(0, CALLS, 25):
            calls = [on(number % 5 + 1) for number in range(start, start + 25)]
            rows = connection.execute(budget.RESERVE, budget.reserve_arguments(calls, Limits(None, 100, None)))
            held += [row[0] for row in rows if row[0] is not None]
        for reservation in held[::2]:
            closing = Closing(reservation, TODAY, "settled", 10)
            connection.execute(budget.CLOSE, budget.close_arguments([closing], NOW))
    results.put((len(held), CALLS - len(held)))


def test_reserve_when_eight_processes_rush_never_overshoots(database: Database) -> None:
    prepare(database, 5)
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[tuple[int, int]] = context.Queue()
    processes = [context.Process(target=reserve_many, args=(database.url, results)) for _ in range(PROCESSES)]
    done = threading.Event()
    seen: list[int] = []

    def watch() -> None:
        with database.session() as connection:
            while not done.is_set():
                seen.append(budget.day_spend(connection, TODAY).committed)

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
        assert_books_are_even(connection)
    assert sum(spent_and_held(database)) == 100


@pytest.mark.parametrize("first_day_first", [True, False])
def test_expire_when_two_days_are_left_over_books_each_on_its_own(database: Database, *, first_day_first: bool) -> None:
    [snapshot] = prepare(database)
    days = [NOW, NOW + DAY]
    for at in days if first_day_first else days[::-1]:
        ask(database, on(snapshot, 7, at=at), UNLIMITED)
    with database.connection() as connection:
        assert budget.expire_left_over(connection, [snapshot], NOW) == 2
        assert [budget.day_spend(connection, at.date()).spent for at in days] == [7, 7]
