"""Breakers by themselves, on a real database: when they open, who may try, what is kept of it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from ensemble_pipeline.store import breakers, locks
from ensemble_pipeline.store.breakers import PROVIDER, Admission, Ask, Outcome, Report, Rules
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.store.rows import NOW

RULES = Rules(failures=3, open_s=60, max_open_s=200, long_open_s=3600, trusted=timedelta(minutes=15))
MINUTE = timedelta(minutes=1)
A, B = Ask("xai", "a", 1), Ask("xai", "b", 1)


class Talk:
    """One session's talk with the breakers; snapshots are locked as a living run locks them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = NOW

    def ask(self, ask: Ask = A) -> Admission:
        async def run() -> Admission:
            async with self.database.async_pool(1) as pool, pool.statement() as connection:
                key = (ask.provider, ask.model_id)
                if key in await breakers.trusted(connection, [key], self.now, RULES):
                    return Admission("trusted")
                return await breakers.admit(connection, ask, self.now, RULES)

        return asyncio.run(run())

    def tell(
        self,
        of_model: Outcome,
        ask: Ask = A,
        trial: Admission | None = None,
        provider: Outcome | None = None,
        **more: Any,
    ) -> None:
        of_provider: Outcome = provider or ("none" if of_model == "slow_down" else of_model)
        told = Report(
            ask.provider,
            ask.model_id,
            None if trial is None else trial.trial_id,
            of_provider,
            of_model,
            "it broke",
            **more,
        )
        with self.database.connection() as connection:
            connection.execute(breakers.REPORT, breakers.report_arguments(told, self.now, RULES))

    def state(self, model_id: str = "a") -> str:
        with self.database.connection() as connection:
            return breakers.all_breakers(connection)["xai", model_id].state

    def transitions(self) -> list[tuple[str, str, str]]:
        with self.database.connection() as connection:
            rows = breakers.transitions_since(connection, NOW)
        return [(row["model_id"], row["from_state"], row["to_state"]) for row in rows]


@contextmanager
def at_work(database: Database, *snapshot_ids: int) -> Iterator[None]:
    """A run that asks about these snapshots."""
    with database.session() as session:
        locks.lock_snapshots(session, snapshot_ids)
        yield


@pytest.fixture
def talk(database: Database) -> Iterator[Talk]:
    with at_work(database, 1):
        yield Talk(database)


def test_model_nobody_knows_is_tried_by_as_many_calls_at_once_as_failures_open_its_breaker(talk: Talk) -> None:
    assert [talk.ask().verdict for _ in range(4)] == ["trial", "trial", "trial", "wait"]


def test_first_answer_lets_all_calls_leave_for_a_quarter_of_an_hour(talk: Talk) -> None:
    talk.tell("success", trial=talk.ask())
    assert {talk.ask().verdict for _ in range(20)} == {"trusted"}
    talk.now += 15 * MINUTE
    assert talk.ask().verdict == "trusted"
    talk.now += timedelta(seconds=1)
    assert talk.ask().verdict == "trial"


def test_three_failures_in_a_row_open_the_breaker_and_two_do_not(talk: Talk) -> None:
    talk.tell("failure")
    talk.tell("failure")
    talk.tell("success")
    talk.tell("failure")
    talk.tell("failure")
    assert talk.state() == "closed"
    talk.tell("failure")
    assert talk.state() == "open"
    assert talk.ask() == Admission("open", said="it broke")
    assert talk.transitions() == [("a", "closed", "open")]


def test_after_failures_as_many_go_as_are_missing_to_open_it(talk: Talk) -> None:
    talk.tell("success")
    talk.tell("failure")
    assert [talk.ask().verdict for _ in range(3)] == ["trial", "trial", "wait"]


def test_half_open_breaker_lets_one_call_through_whoever_asks_and_closes_on_its_answer(talk: Talk) -> None:
    for _ in range(3):
        talk.tell("failure")
    talk.now += MINUTE - timedelta(seconds=1)
    assert talk.ask().verdict == "open"
    talk.now += timedelta(seconds=1)
    probe = talk.ask()
    assert probe.verdict == "trial"
    assert [talk.ask().verdict for _ in range(5)] == ["open"] * 5
    assert talk.state() == "half_open"
    talk.tell("success", trial=probe)
    assert talk.state() == "closed"
    assert talk.ask().verdict == "trusted"
    assert talk.transitions() == [("a", "closed", "open"), ("a", "open", "half_open"), ("a", "half_open", "closed")]


def test_each_try_that_fails_doubles_the_rest_up_to_its_bound(talk: Talk) -> None:
    for _ in range(3):
        talk.tell("failure")
    for rest_s in (60, 120, 200, 200):
        talk.now += timedelta(seconds=rest_s - 1)
        assert talk.ask().verdict == "open"
        talk.now += timedelta(seconds=1)
        talk.tell("failure", trial=talk.ask())


def test_trial_of_a_run_that_died_does_not_keep_others_out(database: Database) -> None:
    talk = Talk(database)
    for _ in range(3):
        talk.tell("failure")
    talk.now += MINUTE
    with at_work(database, 1):
        assert talk.ask().verdict == "trial"
        assert talk.ask(replace(A, snapshot_id=2)).verdict == "open"
    with at_work(database, 2):
        assert talk.ask(replace(A, snapshot_id=2)).verdict == "trial"


def test_provider_opens_where_two_of_its_models_fail_and_not_for_one_alone(talk: Talk) -> None:
    for _ in range(5):
        talk.tell("failure")
    assert talk.state(PROVIDER) == "closed"
    assert talk.ask(B).verdict == "trial"
    talk.tell("failure", B)
    assert talk.state(PROVIDER) == "open"
    assert talk.ask(Ask("xai", "c", 1)).verdict == "open"
    assert talk.state("b") == "closed"


def test_empty_account_closes_every_model_of_the_provider_for_an_hour(talk: Talk) -> None:
    talk.tell("success")
    talk.tell("none", provider="shut")
    talk.now += timedelta(minutes=59)
    assert {talk.ask(it).verdict for it in (A, B)} == {"open"}
    talk.now += MINUTE
    assert [talk.ask(it).verdict for it in (A, B)] == ["trial", "open"]


def test_slow_down_pauses_one_model_for_as_long_as_was_asked_and_opens_nothing(talk: Talk) -> None:
    talk.tell("success")
    talk.tell("success", B)
    for _ in range(9):
        # all of one burst
        talk.tell("slow_down", wait_s=30.0)
    said = talk.ask()
    assert (said.verdict, said.said) == ("wait", "it broke")
    assert said.wait_s is not None
    assert 25 < said.wait_s <= 30
    assert talk.ask(B).verdict == "trusted"
    assert talk.transitions() == []


def test_answer_to_a_call_that_was_under_way_ends_no_pause(talk: Talk) -> None:
    talk.tell("success")
    talk.tell("slow_down", wait_s=30.0)
    talk.tell("success")
    assert talk.ask().verdict == "wait"


def test_of_a_burst_the_longest_wait_holds(talk: Talk) -> None:
    talk.tell("success")
    for wait_s in (None, 30.0, 2.0):
        talk.tell("slow_down", wait_s=wait_s)
    said = talk.ask()
    assert said.wait_s is not None
    assert 25 < said.wait_s <= 30


@pytest.mark.parametrize(("wait_s", "rest_s"), [(600.0, 600), (1e13, 3600)])
def test_wait_beyond_a_rest_opens_the_breaker_where_it_is_seen_and_ended_by_hand(
    talk: Talk, wait_s: float, rest_s: int
) -> None:
    talk.tell("slow_down", wait_s=wait_s)
    # to a call that was under way
    talk.tell("success")
    with talk.database.connection() as connection:
        it = breakers.all_breakers(connection)["xai", "a"]
        assert (it.state, it.cause, it.open_until) == ("open", "it broke", NOW + timedelta(seconds=rest_s))
        assert breakers.close_by_hand(connection, it, "they said so", talk.now)
    assert talk.ask().verdict == "trusted"


def test_pause_of_a_closed_breaker_is_ended_by_hand_too(talk: Talk) -> None:
    talk.tell("slow_down", wait_s=50.0)
    with talk.database.connection() as connection:
        it = breakers.all_breakers(connection)["xai", "a"]
        assert it.state == "closed"
        assert breakers.close_by_hand(connection, it, "they said so", talk.now)
        assert not breakers.close_by_hand(connection, it, "they said so", talk.now)
    assert talk.ask().verdict == "trial"
    assert talk.transitions() == []


def test_own_pauses_open_no_breaker_whose_rest_is_shorter(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.RULES", replace(RULES, open_s=0.5))
    talk.tell("slow_down")
    assert talk.state() == "closed"


def test_try_that_is_cut_short_rests_again_as_long_and_says_nothing_else(talk: Talk) -> None:
    talk.tell("cut_short")
    assert talk.state() == "closed"
    for _ in range(3):
        talk.tell("failure")
    talk.now += MINUTE
    talk.tell("cut_short", trial=talk.ask())
    talk.now += MINUTE - timedelta(seconds=1)
    assert talk.ask().verdict == "open"
    talk.now += timedelta(seconds=1)
    assert talk.ask().verdict == "trial"
    changes = [
        ("a", "closed", "open"),
        *[("a", "open", "half_open"), ("a", "half_open", "open")],
        ("a", "open", "half_open"),
    ]
    assert talk.transitions() == changes


def test_wait_that_comes_with_failures_is_the_rest_of_the_breaker_they_open(talk: Talk) -> None:
    for _ in range(3):
        talk.tell("failure", wait_s=90.0)
    talk.now += timedelta(seconds=89)
    assert talk.ask().verdict == "open"
    talk.now += timedelta(seconds=1)
    assert talk.ask().verdict == "trial"


def test_provider_that_asks_to_slow_down_again_and_again_is_left_alone(talk: Talk) -> None:
    for _ in range(3):
        talk.tell("slow_down", wait_s=0.0)
    assert talk.state() == "open"
    assert talk.ask(B).verdict == "trial"


def test_failure_that_comes_late_neither_extends_the_rest_nor_is_told_twice(talk: Talk) -> None:
    for _ in range(8):
        talk.tell("failure")
    talk.now += MINUTE
    assert talk.ask().verdict == "trial"
    assert talk.transitions() == [("a", "closed", "open"), ("a", "open", "half_open")]


def test_call_that_never_left_says_nothing(talk: Talk) -> None:
    trial = talk.ask()
    talk.tell("none", trial=trial)
    assert [talk.ask().verdict for _ in range(4)] == ["trial", "trial", "trial", "wait"]


class Model(RuleBasedStateMachine):
    """One model's breaker against the rule told in a few lines, whatever happens in whatever order."""

    talk: Talk

    def __init__(self) -> None:
        super().__init__()
        with self.talk.database.connection() as connection:
            for table in ("breakers", "breaker_trials", "breaker_transitions"):
                connection.execute(f"delete from {table}".encode())
        self.talk.now = NOW
        self.failures, self.open_until, self.rest_s = 0, NOW, 0.0
        self.is_open = False
        self.under_way: list[Admission] = []

    @rule()
    def ask(self) -> None:
        said = self.talk.ask()
        if self.is_open and (self.talk.now < self.open_until or self.under_way):
            assert said.verdict == "open"
        elif said.verdict == "wait":
            assert len(self.under_way) >= max(1, 3 - self.failures)
        else:
            assert said.verdict in ("trial", "trusted")
            assert not (said.verdict == "trusted" and self.failures)
            if said.verdict == "trial":
                self.under_way.append(said)

    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        self.talk.tell("success", trial=self._ended(data), provider="none")
        self.failures, self.is_open = 0, False

    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        was_trying = self.is_open and self.talk.state() == "half_open"
        self.talk.tell("failure", trial=self._ended(data), provider="none")
        self.failures += 1
        if was_trying or (not self.is_open and self.failures >= 3):
            self.rest_s = min(2 * self.rest_s, 200) if was_trying else 60
            self.is_open, self.open_until = True, self.talk.now + timedelta(seconds=self.rest_s)

    @rule(seconds=st.sampled_from([1, 30, 60, 250]))
    def wait(self, seconds: int) -> None:
        self.talk.now += timedelta(seconds=seconds)

    @invariant()
    def state_is_that_of_the_rule(self) -> None:
        with self.talk.database.connection() as connection:
            found = breakers.all_breakers(connection).get(("xai", "a"))
        assert (found is not None and found.state != "closed") == self.is_open
        assert (0 if found is None else found.consecutive_failures) == self.failures

    def _ended(self, data: st.DataObject) -> Admission | None:
        if not self.under_way:
            return None
        return self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))


def test_breaker_follows_its_rule_whatever_happens(talk: Talk) -> None:
    Model.talk = talk
    run_state_machine_as_test(
        Model,
        settings=settings(
            max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
