import json
import math
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble_pipeline.domain import Answer
from ensemble_pipeline.providers.answers import ANSWER_SCHEMA, UnreadableAnswerError, read_answer

unit = st.floats(0, 1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
prose = st.text(st.characters(exclude_characters="{}"), max_size=60)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "60%",
        "I would say 0.6.",
        "{}",
        "[0.6]",
        '{"p_yes": 60}',
        '{"p_yes": "60%"}',
        '{"p_yes": "0.6"}',
        '{"p_yes": 1.0000001}',
        '{"p_yes": -0.1}',
        '{"p_yes": true}',
        '{"p_yes": null}',
        '{"p_yes": [0.6]}',
        '{"p_yes": NaN}',
        '{"p_yes": Infinity}',
        '{"p_yes": 1e999}',
        '{"p_yes": 0.6',
        '{"p_yes": 0.6, "reasoning": "cut',
        '{"p_no": 0.4}',
        '{"p_yes": 0.6, "p_yes": 0.4}',
        '{"p_yes": 0.6} {"p_yes": 0.4}',
        'Of {A, B} I choose {"p_yes": 0.6}',
        '{"p_yes": 0.6}}',
        '{"answer": {"p_yes": 0.6}}',
        '{"outer": {"p_yes": 0.6}',
        '{"p_yes": 0.6, "confidence": 80}',
        '{"p_yes": 0.6, "confidence": "high"}',
        '{"p_yes": 0.6, "confidence": false}',
        '{"p_yes": 0.6, "reasoning": 5}',
        '{"p_yes": ' + "1" * 5000 + "}",
        '{"p_yes": ' + "[" * 100_000,
    ],
)
def test_text_that_states_no_probability_is_unreadable(text: str) -> None:
    with pytest.raises(UnreadableAnswerError) as caught:
        read_answer(text)
    assert 0 < len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('{"p_yes": 0.6, "confidence": 0.9, "reasoning": "r"}', Answer(0.6, 0.9, "r")),
        ('{"p_yes": 0.2}', Answer(0.2, 0.8, "")),
        ('{"p_yes": 1, "confidence": null}', Answer(1.0, 1.0, "")),
        ('{"p_yes": 0, "more": {"p_yes": 0.5}}', Answer(0.0, 1.0, "")),
        ('```json\n{"p_yes": 0.25, "confidence": 0.5}\n```', Answer(0.25, 0.5, "")),
        ('Sure, 90%! {"p_yes": 0.25, "confidence": 0.5} Hope that helps.', Answer(0.25, 0.5, "")),
        ('{"p_yes": 2.5e-1, "confidence": 0.5, "reasoning": "a\\n\\u0000b{}"}', Answer(0.25, 0.5, "a b{}")),
    ],
)
def test_stated_probability_is_read(text: str, answer: Answer) -> None:
    assert read_answer(text) == answer


def test_minus_zero_is_zero() -> None:
    assert math.copysign(1, read_answer('{"p_yes": -0.0}').p_yes) == 1


def test_reasoning_is_cut_to_its_length() -> None:
    reasoning = read_answer(json.dumps({"p_yes": 0.5, "reasoning": "x" * 9000})).reasoning
    assert len(reasoning) == 2000


def test_schema_demands_what_strict_mode_needs() -> None:
    assert ANSWER_SCHEMA["required"] == list(ANSWER_SCHEMA["properties"])
    assert ANSWER_SCHEMA["additionalProperties"] is False


@given(unit, unit, st.text(max_size=100), prose, prose)
def test_answer_amid_prose_comes_back_as_stated(
    p_yes: float, confidence: float, reasoning: str, before: str, after: str
) -> None:
    stated = json.dumps({"p_yes": p_yes, "confidence": confidence, "reasoning": reasoning})
    answer = read_answer(before + stated + after)
    assert (answer.p_yes, answer.confidence) == (p_yes, confidence)
    assert not any(unicodedata.category(char).startswith("C") for char in answer.reasoning)


@given(st.text(max_size=200))
def test_no_text_crashes_the_reader(text: str) -> None:
    try:
        answer = read_answer(text)
    except UnreadableAnswerError:
        return
    assert "p_yes" in text
    assert 0 <= answer.p_yes <= 1


@given(json_values, json_values, json_values)
def test_no_object_yields_what_it_does_not_state(p_yes: Any, confidence: Any, reasoning: Any) -> None:
    text = json.dumps({"p_yes": p_yes, "confidence": confidence, "reasoning": reasoning})
    try:
        answer = read_answer(text)
    except UnreadableAnswerError:
        return
    assert not isinstance(p_yes, bool)
    assert answer.p_yes == p_yes
    assert answer.confidence == (max(p_yes, 1 - p_yes) if confidence is None else confidence)


@given(unit, st.integers(0, 60))
def test_cut_object_is_unreadable(p_yes: float, length: int) -> None:
    text = json.dumps({"reasoning": "because", "p_yes": p_yes, "confidence": 0.5})
    with pytest.raises(UnreadableAnswerError):
        read_answer(text[: min(length, len(text) - 1)])
