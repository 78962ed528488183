"""A budget of ten calls, five hundred at once from eight processes, over real HTTP; and the same with kills."""

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ensemble_pipeline.sandbox.asking import Completion, Desk, Question, Refusal
from ensemble_pipeline.sandbox.world import WorldAnswer
from ensemble_pipeline.store import audit, budget, markets
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.rush import Run, run_together, start_runs
from ensemble_pipeline_tests.ensemble.venue import KEYS, UNLIMITED, Play, playing
from ensemble_pipeline_tests.sandbox.small_world import START

PROCESSES, CALLS, ALLOWED = 8, 500, 10
ONE_MODEL = {"max_members": 1, "exploration_share": 0, "max_attempts": 1}
MODEL = "xai-model"


class Rush:
    """A world of 500 markets, a budget that pays ten calls a day, and eight runs over them."""

    def __init__(self, play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
        self.play = play
        self.arrived: Counter[date] = Counter()
        self._count_calls(monkeypatch)
        members = [it for it in play.instance.settings.members if it.name == MODEL]
        play.change(members=[member.model_dump() for member in members])
        play.scan()
        _, [plan, *_] = play.plan(1)
        self.worst = plan.standing.worst_case_micro_usd[MODEL]
        assert {it.standing.worst_case_micro_usd[MODEL] for it in play.plan(1)[1]} == {self.worst}
        # what a call costs is its worst case: nothing comes back that could pay for an eleventh
        play.world.answers[MODEL] = WorldAnswer(p_yes=0.7, cost_usd=Decimal(self.worst) / 1_000_000)
        self.limit = ALLOWED * self.worst
        limit_usd = str(Decimal(self.limit) / 1_000_000)
        play.change(budget=UNLIMITED | {"day_hard_usd": limit_usd})
        self.snapshots = [
            row["snapshot_id"] for row in play.rows("select snapshot_id from market_snapshots order by 1")
        ]

    def _count_calls(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answer, lock = Desk.ask, threading.Lock()

        def count(desk: Desk, provider: str, question: Question, at: datetime) -> Completion | Refusal:
            day = date.fromisoformat(question.prompt.partition('"today": "')[2][:10])
            with lock:
                self.arrived[day] += 1
            return answer(desk, provider, question, at)

        monkeypatch.setattr(Desk, "ask", count)

    def look_again(self, at: datetime) -> None:
        """See every market anew, as it was and open for ten days more: about that nobody has been asked yet."""
        seen = "yes_bid, yes_ask, last_price, volume, status, reason, volatility_regime"
        with self.play.instance.database.connection() as connection:
            connection.execute("update markets set closes_at = %s", [at + timedelta(days=10)])
            rows = connection.execute(
                f"insert into market_snapshots (market_id, observed_at, {seen}) select market_id, %s, {seen}"
                " from market_snapshots where snapshot_id = any(%s) order by snapshot_id returning snapshot_id",
                [at, self.snapshots],
            ).fetchall()
        self.snapshots = [row["snapshot_id"] for row in rows]

    def runs(self, at: datetime) -> list[Run]:
        """Eight runs over all markets, each over its own."""
        database = self.play.instance.database
        settings = self.play.instance.settings.model_dump_json(exclude={"database_url"})
        with database.connection() as connection:
            batches = [
                markets.open_batch(connection, self.snapshots[start::PROCESSES], at) for start in range(PROCESSES)
            ]
        return [Run(database.url, settings, batch, at, KEYS) for batch in batches]

    def account(self, day: date) -> budget.DaySpend:
        with self.play.instance.database.connection() as connection:
            return budget.day_spend(connection, day)

    @contextmanager
    def watched(self, day: date) -> Iterator[list[int]]:
        """Spent and held together as they could be seen at every moment of the block."""
        seen: list[int] = []
        done = threading.Event()

        def look() -> None:
            with self.play.instance.database.session() as connection:
                while not done.is_set():
                    seen.append(budget.day_spend(connection, day).committed)

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            yield seen
        finally:
            done.set()
            watcher.join()


@contextmanager
def rushing(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rush]:
    tickers = [f"M{number:03}-1" for number in range(CALLS)]
    scan: dict[str, Any] = {"batch_size": CALLS, "max_open_markets": 2000}
    with playing(database, monkeypatch, *tickers, ensemble=ONE_MODEL, scan=scan) as play:
        yield Rush(play, monkeypatch)


def test_ten_of_five_hundred_calls_at_once_from_eight_processes_leave(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rushing(database, monkeypatch) as rush:
        at = START + timedelta(hours=1)
        with rush.watched(at.date()) as seen:
            assert run_together(rush.runs(at)) == [0] * PROCESSES
        assert rush.arrived[at.date()] == ALLOWED
        assert max(seen) == rush.limit
        assert (rush.account(at.date()).spent, rush.account(at.date()).held) == (rush.limit, 0)
        [refused] = rush.play.rows("select count(*) as n, min(scope) as scope from budget_refusals")
        assert refused == {"n": CALLS - ALLOWED, "scope": "day"}
        with database.connection() as connection:
            assert audit.ledger_differences(connection, at.date()) == []
            assert audit.call_differences(connection, at.date()) == []


def kill_and_check(rush: Rush, at: datetime, draw: random.Random) -> int:
    """One round on a day of its own; returns how many of the runs were killed before they ended."""
    day = at.date()
    rush.look_again(at)
    with rush.watched(day) as seen:
        processes = start_runs(rush.runs(at))
        threading.Event().wait(draw.uniform(0, 1.2))
        killed = [it for it in draw.sample(processes, draw.randint(1, PROCESSES)) if it.is_alive()]
        for process in killed:
            process.kill()
        for process in processes:
            process.join()
        with rush.play.instance.database.connection() as connection:
            budget.expire_abandoned(connection, at)
    account = rush.account(day)
    assert max(seen) <= rush.limit
    assert account.held == 0
    assert rush.arrived[day] <= ALLOWED
    assert rush.arrived[day] * rush.worst <= account.spent <= rush.limit
    with rush.play.instance.database.connection() as connection:
        assert audit.ledger_differences(connection, day) == []
        assert audit.call_differences(connection, day) == []
    return len(killed)


@pytest.mark.parametrize("rounds", [2, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.timeout(1800)
def test_runs_killed_at_random_points_let_no_eleventh_call_leave_and_no_call_go_uncounted(
    database: Database, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    draw = random.Random(rounds)  # noqa: S311 - no secret
    with rushing(database, monkeypatch) as rush:
        killed = sum(kill_and_check(rush, START + timedelta(days=number, hours=2), draw) for number in range(rounds))
        assert killed >= rounds
        # the kills did hit runs at work: calls left in most rounds, and in some not all that the budget pays
        assert sum(n > 0 for n in rush.arrived.values()) >= rounds // 2
        assert sum(0 < n < ALLOWED for n in rush.arrived.values()) >= rounds // 20


def test_runs_killed_and_taken_up_again_ask_nobody_twice(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with rushing(database, monkeypatch) as rush:
        at = START + timedelta(hours=1)
        runs = rush.runs(at)
        processes = start_runs(runs)
        while len(rush.play.rows("select from forecasts")) < 3:
            threading.Event().wait(0.01)
        for process in processes:
            process.kill()
            process.join()
        answered = rush.play.rows("select snapshot_id from forecasts")
        for process in start_runs(runs):
            process.join()
        with database.connection() as connection:
            budget.expire_abandoned(connection, at)
        account = rush.account(at.date())
        assert account.held == 0
        assert account.spent <= rush.limit
        assert rush.arrived[at.date()] * rush.worst <= account.spent
        twice = "select snapshot_id from llm_queries group by snapshot_id having count(*) > 1"
        assert rush.play.rows(twice) == []
        # what was answered before the kill is decided on, though the budget is used up now
        _, plans = rush.play.plan(None)
        heard = {plan.snapshot.snapshot_id: plan for plan in plans if plan.standing.heard}
        assert set(heard) >= {row["snapshot_id"] for row in answered}
        assert {tuple(it.name for it in plan.members) for plan in heard.values()} == {(MODEL,)}
        assert {plan.refusal for plan in heard.values()} == {None}
