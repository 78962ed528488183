"""The time of one decision: what one call may take of it, and what is too little to begin or to judge by."""

import asyncio

import pytest

from ensemble_pipeline.ensemble.deadline import Deadline


def test_call_may_take_two_thirds_of_what_is_left_where_another_could_follow() -> None:
    deadline = Deadline(30)
    assert deadline.for_a_call_s(may_be_followed=True) == pytest.approx(20)
    assert deadline.for_a_call_s(may_be_followed=False) == 30


def test_call_that_had_less_than_half_of_the_time_shows_nothing_about_who_was_asked() -> None:
    deadline = Deadline(30)
    assert [deadline.is_fair(limit_s) for limit_s in (14.9, 15, 30)] == [False, True, True]


def test_no_call_begins_once_the_time_is_all_but_over() -> None:
    async def left(deadline: Deadline) -> bool:
        deadline.begin()
        await asyncio.sleep(0.002)
        return deadline.has_time_for_a_call()

    assert asyncio.run(left(Deadline(3600)))
    assert not asyncio.run(left(Deadline(0.002)))
    assert Deadline(0.002).has_time_for_a_call()
