"""Decision runs whose PostgreSQL is restarted under them, at several moments, over real HTTP to the sandbox."""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest

from ensemble_pipeline.ensemble import decide
from ensemble_pipeline.ensemble.consult import Consultation
from ensemble_pipeline.errors import DatabaseLostError
from ensemble_pipeline.sandbox.asking import Completion, Desk, Question, Refusal, find_ticker
from ensemble_pipeline.store import audit, breakers, budget, calls, decisions
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.ledger import Booking, Ledger
from ensemble_pipeline_tests.ensemble.venue import Play, playing
from ensemble_pipeline_tests.sandbox.small_world import MODELS
from ensemble_pipeline_tests.store.own_server import Mode, OwnServer
from ensemble_pipeline_tests.store.rows import DAY
from ensemble_pipeline_tests.store.test_restart import wait_until_locked

TICKERS = ("A-1", "B-1", "C-1")
CALLS = len(TICKERS) * len(MODELS)
ALL = {"member_policy": "all"}


@contextmanager
def billing(
    database: Database, monkeypatch: pytest.MonkeyPatch, calls_at_once: int = 8
) -> Iterator[tuple[Play, Counter[tuple[str, str | None]]]]:
    """Three markets put before five members, and what the sandbox bills for (model, ticker)."""
    billed: Counter[tuple[str, str | None]] = Counter()
    answer = Desk.ask

    def ask(desk: Desk, provider: str, question: Question, at: datetime) -> Completion | Refusal:
        reply = answer(desk, provider, question, at)
        if isinstance(reply, Completion):
            billed[question.model, find_ticker(question.prompt)] += 1
        return reply

    monkeypatch.setattr(Desk, "ask", ask)
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    with playing(database, monkeypatch, *TICKERS, ensemble=ALL) as play:
        providers = play.instance.settings.model_dump()["providers"]
        for provider in {model.provider for model in MODELS}:
            providers[provider] |= {"max_concurrency": calls_at_once}
        play.change(providers=providers)
        play.scan()
        yield play, billed
    logging.getLogger("psycopg.pool").setLevel(logging.NOTSET)


def at(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, times: int, act: Callable[[], object]) -> None:
    """When `owner.name` is called for the `times`-th time, `act` before it does its work."""
    before, passed, lock = getattr(owner, name), [0], threading.Lock()

    def call(*arguments: Any, **options: Any) -> Any:
        with lock:
            passed[0] += 1
            is_now = passed[0] == times
        if is_now:
            act()
        return before(*arguments, **options)

    monkeypatch.setattr(owner, name, call)


def hold_back(play: Play) -> None:
    """Let every call wait at its provider until all have left."""
    for model in MODELS:
        play.fault(model.provider, "stall", count=len(TICKERS), stall_s=0.4)


def assert_decided_and_paid_once(play: Play, billed: Counter[tuple[str, str | None]]) -> None:
    with play.instance.database.connection() as connection:
        budget.expire_abandoned(connection, play.clock.now())
        assert audit.ledger_differences(connection, play.clock.now().date() - DAY) == []
        assert audit.call_differences(connection, play.clock.now().date() - DAY) == []
    assert play.rows("select from budget_reservations where state = 'held'") == []
    assert play.rows("select market_id from decisions order by 1") == [{"market_id": f"kalshi:{it}"} for it in TICKERS]
    assert set(billed.values()) == {1}
    (kept,) = play.rows("select count(*) as n from budget_reservations where state <> 'released'")
    assert kept["n"] >= sum(billed.values())


@pytest.mark.parametrize(
    ("owner", "name", "times"),
    [
        pytest.param(Desk, "ask", 1, id="calls under way"),
        pytest.param(breakers, "report", 2, id="an outcome being told"),
        pytest.param(calls, "save_query", 2, id="a call being recorded"),
        pytest.param(budget, "close", 1, id="a reservation being closed", marks=pytest.mark.slow),
    ],
)
def test_run_whose_calls_have_all_left_outlives_a_restart(
    own: OwnServer, restarted: Database, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, times: int
) -> None:
    with billing(restarted, monkeypatch) as (play, billed):
        hold_back(play)
        at(monkeypatch, owner, name, times, own.restart)
        assert len(play.decide(1).decision_ids) == len(TICKERS)
        assert play.rows("select status, count(*) as n from llm_queries group by 1") == [
            {"status": "answered", "n": CALLS}
        ]
        assert_decided_and_paid_once(play, billed)


@pytest.mark.parametrize(
    ("owner", "name", "times", "mode", "says"),
    [
        pytest.param(calls, "forecasts_on", 1, "fast", "in the middle of work", id="planning"),
        pytest.param(budget, "reserve", 2, "immediate", "middle of work|went away", id="a call about to leave"),
        pytest.param(Desk, "ask", 4, "fast", "went away", id="some under way, some to leave"),
        pytest.param(Desk, "ask", 9, "immediate", "went away", id="most answered", marks=pytest.mark.slow),
        pytest.param(calls, "consulted_on", 1, "fast", "middle of work", id="combining", marks=pytest.mark.slow),
        pytest.param(decisions, "save_decision", 2, "immediate", "in the middle of work", id="recording"),
    ],
)
def test_run_that_cannot_go_on_fails_with_one_error_and_its_retry_completes(
    own: OwnServer,
    restarted: Database,
    monkeypatch: pytest.MonkeyPatch,
    owner: object,
    name: str,
    times: int,
    mode: Mode,
    says: str,
) -> None:
    with billing(restarted, monkeypatch, calls_at_once=1) as (play, billed):
        at(monkeypatch, owner, name, times, lambda: own.restart(mode))
        with pytest.raises(DatabaseLostError, match=says):
            play.decide(1)
        # what had left was booked before the run gave up
        with restarted.connection() as connection:
            assert budget.expire_abandoned(connection, play.clock.now()) <= 1
        assert len(play.decide(1).decision_ids) == len(TICKERS)
        assert_decided_and_paid_once(play, billed)


def test_call_of_a_living_run_is_not_taken_for_that_of_a_dead_one_after_a_restart(
    own: OwnServer, restarted: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    expired = []

    def restart_and_look() -> None:
        own.restart()
        wait_until_locked(restarted, 1)
        with restarted.connection() as connection:
            expired.append(budget.expire_abandoned(connection, play.clock.now()))

    with billing(restarted, monkeypatch) as (play, billed):
        hold_back(play)
        at(monkeypatch, Desk, "ask", 1, restart_and_look)
        play.decide(1)
        assert expired == [0]
        assert play.rows("select count(*) as n from forecasts") == [{"n": CALLS}]
        assert_decided_and_paid_once(play, billed)


def test_answers_that_were_booked_before_the_server_could_say_so_are_not_booked_again(
    restarted: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    book, times = Ledger._book_together, []

    async def lose_the_word(ledger: Ledger, bookings: Sequence[Booking]) -> None:
        await book(ledger, bookings)
        times.append(len(bookings))
        raise DatabaseLostError("the word that it was done")

    monkeypatch.setattr(Ledger, "_book_together", lose_the_word)
    with billing(restarted, monkeypatch) as (play, billed):
        context, plans = play.plan(1)
        asked = asyncio.run(decide.consult(play.instance, context, plans))
        assert asked == Consultation(CALLS, 0, 0, 0, 0)
        assert sum(times) == CALLS
        play.decide(1)
        assert_decided_and_paid_once(play, billed)


def test_answer_whose_reservation_another_closed_while_the_server_was_away_is_told_as_lost(
    restarted: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def overtaken(ledger: Ledger, bookings: Sequence[Booking]) -> None:
        del ledger
        with restarted.connection() as connection:
            budget.expire_left_over(connection, [it.query.snapshot_id for it in bookings], play.clock.now())
        raise DatabaseLostError("the server has gone")

    monkeypatch.setattr(Ledger, "_book_together", overtaken)
    with billing(restarted, monkeypatch) as (play, billed):
        context, plans = play.plan(1)
        with pytest.raises(DatabaseLostError, match="another run closed the reservations"):
            asyncio.run(decide.consult(play.instance, context, plans))
        monkeypatch.undo()
        play.decide(1)
        assert set(billed.values()) == {1}
