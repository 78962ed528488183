"""From the text of a model to a checked ``Answer``, or to the reason why it cannot be read.

Strict on purpose: a probability that the text does not state is never made up from "60%", from 60 or from words.
"""

import json
import math
import re
from typing import Any, NoReturn

from ensemble_pipeline.domain import Answer, AnswerFormat
from ensemble_pipeline.errors import EnsembleError
from ensemble_pipeline.providers.texts import one_line

REASONING_LENGTH = 2000
TEXT_LENGTH = 100_000

ANSWER_SCHEMA: dict[str, Any] = {
    "type": "object",
    # models write in this order, and a number that follows its reasons is a better number
    "properties": {
        "reasoning": {"type": "string", "description": "The evidence and how it was weighed, at most 150 words."},
        "p_yes": {"type": "number", "description": "Probability that the market resolves YES, from 0 to 1."},
        "confidence": {"type": "number", "description": "How much the evidence supports p_yes, from 0 to 1."},
    },
    "required": ["reasoning", "p_yes", "confidence"],
    "additionalProperties": False,
}
ANSWER_SCHEMA_NAME = "forecast"

_BRACE = re.compile(r"[{}]")


class UnreadableAnswerError(EnsembleError):
    """A model's text holds no answer; the message says why. ``ProviderManager`` turns it into a billed reply."""


def read_answer(text: str) -> Answer:
    """The answer that `text` states.

    The text must hold exactly one JSON object, alone, in a code fence or amid prose without braces, within 100,000
    characters: no answer of a few hundred words is longer. `p_yes` must be
    a number in [0, 1]. `confidence` in [0, 1] may be missing or null and is then ``max(p_yes, 1 - p_yes)``.
    `reasoning` may be missing; it comes back on one line of at most 2,000 characters. Other keys are ignored.

    Raises:
        UnreadableAnswerError: the text states no such answer.

    >>> read_answer('I think so. {"p_yes": 0.7, "reasoning": "Polls."}')
    Answer(p_yes=0.7, confidence=0.7, reasoning='Polls.')
    """
    if len(text) > TEXT_LENGTH:
        raise UnreadableAnswerError(f"the text has over {TEXT_LENGTH} characters")
    fields = _only_object(text)
    if "p_yes" not in fields:
        raise UnreadableAnswerError("the object has no p_yes")
    p_yes = _unit_number(fields["p_yes"], "p_yes")
    stated = fields.get("confidence")
    confidence = max(p_yes, 1 - p_yes) if stated is None else _unit_number(stated, "confidence")
    reasoning = fields.get("reasoning", "")
    if not isinstance(reasoning, str):
        raise UnreadableAnswerError("reasoning is not a text")
    return Answer(p_yes, confidence, one_line(reasoning, REASONING_LENGTH))


def keeps_form(text: str, answer_format: AnswerFormat) -> bool:
    """Whether `text` is in the form that was asked for, whatever its numbers.

    >>> [keeps_form('{"p_yes": "60%"}', answer_format) for answer_format in AnswerFormat]
    [False, True, True]
    """
    if answer_format is AnswerFormat.TEXT:
        return True
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if not isinstance(fields, dict):
        return False
    return answer_format is AnswerFormat.JSON_OBJECT or (
        fields.keys() == ANSWER_SCHEMA["properties"].keys()
        and isinstance(fields["reasoning"], str)
        and all(type(fields[name]) in (int, float) for name in ("p_yes", "confidence"))
    )


def _only_object(text: str) -> dict[str, Any]:
    start = text.find("{")
    if start < 0:
        raise UnreadableAnswerError("the text holds no JSON object")
    decoder = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    try:
        fields, end = decoder.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise UnreadableAnswerError(f"the JSON object is broken or cut: {error.msg}") from None
    except (ValueError, RecursionError):
        # a number of thousands of digits, or thousands of nested brackets
        raise UnreadableAnswerError("the JSON object is beyond all bounds") from None
    if _BRACE.search(text, 0, start) or _BRACE.search(text, end):
        raise UnreadableAnswerError("the text holds more than one JSON object")
    if not isinstance(fields, dict):
        raise UnreadableAnswerError("the text holds no JSON object")
    return fields


def _unit_number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UnreadableAnswerError(f"{name} is not a number")
    # compared before conversion: an int may be too large for a float
    if not 0 <= value <= 1 or not math.isfinite(value):
        raise UnreadableAnswerError(f"{name} is not within [0, 1]")
    return abs(float(value))


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise UnreadableAnswerError("the JSON object states a key twice")
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise UnreadableAnswerError(f"the JSON object holds {name}")
