"""A provider that asks for patience gets it, whoever keeps the call back: its breaker, or the call itself."""

import asyncio
from collections.abc import Iterator

import pytest
from stamina.instrumentation import RetryDetails, get_on_retry_hooks, set_on_retry_hooks

from ensemble_pipeline.ensemble.consult import Consultation, consult
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.venue import Play, playing

WANTED_S = 0.4


@pytest.fixture
def waits_s() -> Iterator[list[float]]:
    """For how long each call that is made again is put off by itself."""
    found: list[float] = []

    def note(details: RetryDetails) -> None:
        found.append(details.wait_for)

    before = get_on_retry_hooks()
    set_on_retry_hooks([note])
    yield found
    set_on_retry_hooks(before)


def ask(play: Play) -> Consultation:
    play.scan()
    context, plans = play.plan()
    return asyncio.run(consult(play.instance, context, plans))


def test_who_heeds_no_breaker_waits_as_long_as_was_asked(
    database: Database, monkeypatch: pytest.MonkeyPatch, waits_s: list[float]
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble={"member_policy": "all"}) as play:
        play.fault("xai", "rate_limited", retry_after_s=WANTED_S)
        assert ask(play) == Consultation(5, 0, 0, 0, 0)
        assert waits_s == [WANTED_S]


@pytest.mark.parametrize("kind", ["overloaded", "server_error"])
@pytest.mark.parametrize("target", ["xai", "anthropic"])
def test_call_is_put_off_where_a_server_that_fails_says_when_to_come_back(
    database: Database, monkeypatch: pytest.MonkeyPatch, waits_s: list[float], target: str, kind: str
) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        play.fault(target, kind, retry_after_s=WANTED_S)
        assert ask(play) == Consultation(5, 0, 0, 0, 0)
        assert waits_s == [WANTED_S]


@pytest.mark.parametrize("kind", ["overloaded", "rate_limited"])
def test_stand_in_answers_where_patience_would_take_the_time_of_the_decision(
    database: Database, monkeypatch: pytest.MonkeyPatch, waits_s: list[float], kind: str
) -> None:
    options = {"max_members": 4, "exploration_share": 0, "decision_deadline_s": 20}
    with playing(database, monkeypatch, "A-1", ensemble=options) as play:
        play.scan()
        context, [plan] = play.plan()
        play.fault(plan.members[0].provider, kind, retry_after_s=16)
        asked = asyncio.run(consult(play.instance, context, [plan]))
        assert asked.answered == 4
        # one who asks to slow down is asked no more than that, and one who fails is not waited for
        assert waits_s == []
        assert [it.name for it in plan.standby] != []


def test_who_heeds_breakers_leaves_the_waiting_to_them(
    database: Database, monkeypatch: pytest.MonkeyPatch, waits_s: list[float]
) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        play.fault("xai", "rate_limited", retry_after_s=WANTED_S)
        assert ask(play) == Consultation(5, 0, 0, 0, 0)
        [wait_s] = waits_s
        assert wait_s < WANTED_S
