"""The time of one decision: what one call may take of it, and what is too little to begin or to judge by."""

import asyncio

import pytest

from ensemble_pipeline.ensemble.deadline import Deadline


def test_call_may_take_two_thirds_of_what_is_left_where_another_could_follow() -> None:
    deadline = Deadline(30)
    assert deadline.for_a_call_s(may_be_followed=True) == pytest.approx(20)
    assert deadline.for_a_call_s(may_be_followed=False) == 30


def test_call_that_had_less_than_two_fifths_of_the_time_shows_nothing_about_who_was_asked() -> None:
    deadline = Deadline(30)
    assert [deadline.is_fair(limit_s) for limit_s in (11.9, 12, 30)] == [False, True, True]


def test_call_is_put_off_only_where_time_for_it_and_for_one_that_could_follow_is_left() -> None:
    deadline = Deadline(30)
    followed = [deadline.has_time_to_wait(seconds, may_be_followed=True) for seconds in (0, 9.9, 10.1, 28)]
    assert followed == [True, True, False, False]
    alone = [deadline.has_time_to_wait(seconds, may_be_followed=False) for seconds in (10.1, 26.9, 27.1)]
    assert alone == [True, True, False]


def test_no_call_begins_once_the_time_is_all_but_over() -> None:
    async def left(deadline: Deadline) -> bool:
        deadline.begin()
        await asyncio.sleep(0.002)
        return deadline.has_time_for_a_call()

    assert asyncio.run(left(Deadline(3600)))
    assert not asyncio.run(left(Deadline(0.002)))
    assert Deadline(0.002).has_time_for_a_call()
