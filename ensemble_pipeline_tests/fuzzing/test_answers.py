"""Made-up texts through the reader: none crashes it, and it reads nothing that is not stated."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble_pipeline.domain import Answer
from ensemble_pipeline.providers.answers import REASONING_LENGTH, UnreadableAnswerError, read_answer
from ensemble_pipeline_tests.fuzzing.answers import Said, answers, broken, is_stated

QUICK, FULL = 150, 3000


def read(text: str) -> Answer | None:
    """What the reader makes of a text; whatever it raises but the one error that it promises is a crash."""
    try:
        answer = read_answer(text)
    except UnreadableAnswerError:
        return None
    assert 0 <= answer.p_yes <= 1
    assert 0 <= answer.confidence <= 1
    assert len(answer.reasoning) <= REASONING_LENGTH
    assert not any(unicodedata.category(char)[0] == "C" for char in answer.reasoning)
    return answer


def check_known(said: Said) -> None:
    answer = read(said.text)
    assert (None if answer is None else answer.p_yes) == said.p_yes


def check_broken(text: str) -> None:
    answer = read(text)
    assert answer is None or is_stated(answer.p_yes, text)


@settings(max_examples=QUICK)
@given(answers())
def test_text_whose_truth_is_known_is_read_so(said: Said) -> None:
    check_known(said)


@settings(max_examples=QUICK)
@given(answers().flatmap(lambda said: broken(said.text)))
def test_text_that_was_broken_yields_no_probability_that_it_does_not_state(text: str) -> None:
    check_broken(text)


@pytest.mark.slow
@settings(max_examples=FULL)
@given(answers())
def test_thousands_of_texts_whose_truth_is_known_are_read_so(said: Said) -> None:
    check_known(said)


@pytest.mark.slow
@settings(max_examples=FULL)
@given(st.one_of(answers().flatmap(lambda said: broken(said.text)), st.text()))
def test_thousands_of_broken_texts_yield_no_probability_that_they_do_not_state(text: str) -> None:
    check_broken(text)
