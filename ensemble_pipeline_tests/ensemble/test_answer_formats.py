"""A server that refuses or ignores a form of answers is asked in a plainer one, by every process, for a week.

Each attempt is reserved and booked like any other.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.domain import Answer, AnswerFormat, CallStatus, FormatKey, ModelReply
from ensemble_pipeline.ensemble.answer_formats import MOST_IGNORED, FormatLadder
from ensemble_pipeline.ensemble.consult import Consultation, consult
from ensemble_pipeline.errors import FormatRefusedError
from ensemble_pipeline.sandbox.world import FailureKind, WorldAnswer
from ensemble_pipeline.store import audit
from ensemble_pipeline.store.answer_formats import KEPT_FOR
from ensemble_pipeline.store.database import AsyncDatabase, Database
from ensemble_pipeline_tests.ensemble.venue import Play, playing
from ensemble_pipeline_tests.store.rows import DAY, NOW

ALL: dict[str, Any] = {"member_policy": "all"}
SCHEMA, OBJECT, TEXT = AnswerFormat
KEY = FormatKey("local", "http://127.0.0.1:11434/v1", "llama3.2", has_search=False)


def ask(play: Play) -> Consultation:
    context, plans = play.plan()
    return asyncio.run(consult(play.instance, context, plans))


def again(play: Play, after: timedelta = timedelta(days=1, hours=1)) -> Consultation:
    """Decide what waits, and ask about the same markets once more later."""
    play.decide()
    play.clock.advance_to(play.clock.now() + after)
    play.scan()
    return ask(play)


def asked_of(play: Play, model: str = "local-model") -> list[tuple[int, str, str]]:
    rows = play.rows(
        f"select attempt, status, answer_format from llm_queries where model_id = '{model}' order by query_id"
    )
    return [(row["attempt"], row["status"], row["answer_format"]) for row in rows]


def standing(play: Play) -> dict[str, tuple[str, int]]:
    rows = play.rows("select provider, answer_format, ignored from answer_formats")
    return {row["provider"]: (row["answer_format"], row["ignored"]) for row in rows}


def assert_each_attempt_is_booked(play: Play) -> None:
    first = play.clock.now().date() - 30 * DAY
    with play.instance.database.connection() as connection:
        assert audit.ledger_differences(connection, first) == []
        assert audit.call_differences(connection, first) == []
    assert play.rows("select count(*) as n from budget_reservations") == play.rows(
        "select count(*) as n from llm_queries"
    )


def test_refused_form_is_booked_and_the_next_attempt_and_the_next_run_ask_in_a_plainer_one(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=ALL) as play:
        play.manners("local", refuses=["json_schema"])
        play.scan()
        assert ask(play) == Consultation(5, 0, 0, 0, 0)
        assert asked_of(play) == [(1, "failed", "json_schema"), (2, "answered", "json_object")]
        [failed] = play.rows("select problem, http_status, cost_micro_usd from llm_queries where status = 'failed'")
        assert "must be 'json_object' or 'text'" in failed["problem"]
        assert (failed["http_status"], failed["cost_micro_usd"]) == (400, 0)
        assert standing(play) == {"local": ("json_object", 0)}
        assert again(play).answered == 5
        assert asked_of(play)[2:] == [(1, "answered", "json_object")]
        assert_each_attempt_is_booked(play)


def test_server_that_takes_no_form_at_all_is_asked_for_text_from_the_next_decision_on(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=ALL) as play:
        play.manners("local", refuses=["json_schema", "json_object"])
        play.scan()
        assert ask(play) == Consultation(4, 1, 0, 0, 0)
        assert standing(play) == {"local": ("text", 0)}
        assert again(play).answered == 5
        # the schema stands in the prompt, and the answer amid prose
        assert asked_of(play)[2:] == [(1, "answered", "text")]
        [row] = play.rows("select response from llm_queries where answer_format = 'text'")
        assert row["response"].startswith("Here is my estimate")
        assert_each_attempt_is_booked(play)


def test_form_that_is_ignored_three_times_in_a_row_is_given_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, *(f"A-{n}" for n in range(5)), ensemble=ALL) as play:
        play.manners("local", ignores=["json_schema"])
        play.scan()
        context, plans = play.plan()
        # one after the other: of those asked at once some are under way when it is given up
        for plan in plans:
            asyncio.run(consult(play.instance, context, [plan]))
        ignored, kept = (1, "unreadable", "json_schema"), (1, "answered", "json_object")
        assert asked_of(play) == [ignored] * MOST_IGNORED + [kept] * 2
        assert standing(play) == {"local": ("json_object", 0)}
        assert_each_attempt_is_booked(play)


def test_single_unreadable_answer_moves_no_server_and_a_readable_one_ends_the_row(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=ALL) as play:
        before = play.world.answers["openai-model"]
        play.world.answers["openai-model"] = WorldAnswer(p_yes=None, failure=FailureKind.UNREADABLE)
        play.scan()
        ask(play)
        assert standing(play) == {"openai": ("json_schema", 1)}
        play.world.answers["openai-model"] = before
        assert again(play).answered == 5
        assert standing(play) == {"openai": ("json_schema", 0)}
        assert {it[2] for it in asked_of(play, "openai-model")} == {"json_schema"}


def test_server_is_asked_in_the_strictest_form_again_after_a_week(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=ALL) as play:
        play.manners("local", refuses=["json_schema"])
        play.scan()
        ask(play)
        play.client.delete("/manners").raise_for_status()
        again(play, KEPT_FOR)
        assert asked_of(play)[2:] == [(1, "answered", "json_schema")]


def ladder_run(database: Database, *steps: Callable[[AsyncDatabase], Awaitable[None]]) -> None:
    async def run() -> None:
        async with database.async_pool() as pool:
            for step in steps:
                await step(pool)

    asyncio.run(run())


def ladder(database: Database, clock: SteppedClock) -> FormatLadder:
    with database.connection() as connection:
        return FormatLadder.read(connection, clock)


def reply(used: AnswerFormat, *, is_ignored: bool) -> ModelReply:
    status = CallStatus.UNREADABLE if is_ignored else CallStatus.ANSWERED
    said = None if is_ignored else Answer(0.7, 0.8, "")
    return ModelReply(status, "m", "", None, 1, 0, "settings", said, answer_format=used, is_format_ignored=is_ignored)


def refusal(used: AnswerFormat) -> FormatRefusedError:
    error = FormatRefusedError("no")
    error.answer_format = used
    return error


def note_in_a_process_of_its_own(database: Database, clock: SteppedClock, *, is_ignored: bool) -> None:
    forms = ladder(database, clock)
    ladder_run(database, lambda pool: forms.note_reply(pool, KEY, reply(SCHEMA, is_ignored=is_ignored)))


def test_calls_under_way_at_once_step_down_once(database: Database) -> None:
    clock = SteppedClock(NOW)
    forms = ladder(database, clock)
    ladder_run(database, *[lambda pool: forms.note_refusal(pool, KEY, refusal(SCHEMA))] * 8)
    assert forms.in_force == ladder(database, clock).in_force == {KEY: OBJECT}
    ladder_run(database, lambda pool: forms.note_refusal(pool, KEY, refusal(OBJECT)))
    ladder_run(database, lambda pool: forms.note_refusal(pool, KEY, refusal(TEXT)))
    assert forms.in_force == ladder(database, clock).in_force == {KEY: TEXT}


def test_process_that_comes_late_learns_from_the_row_and_does_not_climb_it(database: Database) -> None:
    clock = SteppedClock(NOW)
    first, second = ladder(database, clock), ladder(database, clock)
    ladder_run(database, lambda pool: first.note_refusal(pool, KEY, refusal(SCHEMA)))
    ladder_run(database, lambda pool: first.note_refusal(pool, KEY, refusal(OBJECT)))
    ladder_run(database, lambda pool: second.note_reply(pool, KEY, reply(SCHEMA, is_ignored=True)))
    assert second.in_force == {KEY: OBJECT}
    assert ladder(database, clock).in_force == {KEY: TEXT}


def test_ignored_answers_are_counted_over_processes_and_not_over_weeks(database: Database) -> None:
    clock = SteppedClock(NOW)

    for _ in range(MOST_IGNORED - 1):
        note_in_a_process_of_its_own(database, clock, is_ignored=True)
    clock.advance_to(NOW + KEPT_FOR)
    for _ in range(MOST_IGNORED):
        assert ladder(database, clock).in_force.get(KEY) is not OBJECT
        note_in_a_process_of_its_own(database, clock, is_ignored=True)
    assert ladder(database, clock).in_force == {KEY: OBJECT}


def test_answer_in_form_ends_the_row_that_another_process_began(database: Database) -> None:
    clock = SteppedClock(NOW)
    for is_ignored in (True, True, False, True, True):
        note_in_a_process_of_its_own(database, clock, is_ignored=is_ignored)
    assert ladder(database, clock).in_force == {KEY: SCHEMA}
