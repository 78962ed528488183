"""Whole replies of providers in both dialects: a right one whose fields are replaced, or whose bytes are broken."""

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from ensemble_pipeline_tests.fuzzing.answers import Said, answers, broken
from ensemble_pipeline_tests.providers.helpers import chat_body, messages_body

STATUSES = (400, 401, 402, 403, 404, 408, 410, 413, 422, 429, 499, 500, 502, 503, 504, 520, 529)

junk = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from([10**40, -1, 0.5, "60%", "\x00\x1b[2J", '{"p_yes": 0.9}', "error", "refusal", "end_turn"]),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@dataclass(frozen=True, slots=True)
class Sent:
    """What a server sends: its status, and its body."""

    status: int
    body: bytes


def _paths(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, inner in items for found in _paths(inner, (*path, key)))]


def _with_other(value: Any, path: tuple[Any, ...], other: object) -> Any:
    """A copy of `value` with `other` at the end of the path."""
    if not path:
        return other
    key, *rest = path
    if isinstance(value, list):
        return [_with_other(it, tuple(rest), other) if index == key else it for index, it in enumerate(value)]
    return {name: _with_other(it, tuple(rest), other) if name == key else it for name, it in value.items()}


def body_of(provider: str, said: Said) -> dict[str, Any]:
    """A right reply that carries a text."""
    if provider != "anthropic":
        return chat_body(said.text)
    # without the thinking, which holds a probability of its own that is nobody's answer
    whole = messages_body(said.text)
    return whole | {"content": whole["content"][1:]}


@st.composite
def bodies(draw: st.DrawFn, provider: str) -> Sent:
    """A reply of `provider`, right or with some of it replaced or broken."""
    body: Any = body_of(provider, draw(answers()))
    for _ in range(draw(st.integers(0, 3))):
        body = _with_other(body, draw(st.sampled_from(_paths(body))), draw(junk))
    text = json.dumps(body, ensure_ascii=draw(st.booleans()))
    if draw(st.booleans()):
        text = draw(broken(text))
    status = draw(st.one_of(st.just(200), st.sampled_from(STATUSES)))
    return Sent(status, text.encode("utf-8", "surrogatepass"))
