"""Texts of models: built from a grammar, so that what each states is known, and broken at random after that.

The oracle for broken ones shares nothing with the reader: a probability that is accepted must stand in the text as a
JSON number behind the key ``p_yes``.
"""

import re
from dataclasses import dataclass
from decimal import Decimal

from hypothesis import strategies as st

_NUMBER = r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?"
# in the body of a reply the text is a JSON string: quotes and line ends are escaped there
_BLANK = r"(?:\s|\\[nrt])*"
_STATED = re.compile(rf'\\?"p_yes\\?"{_BLANK}:{_BLANK}({_NUMBER})(?![\w.%])')


@dataclass(frozen=True, slots=True)
class Said:
    """A text, and the probability that it states; ``None`` where it states none."""

    text: str
    p_yes: float | None


def is_stated(p_yes: float, text: str) -> bool:
    """Whether `text` holds `p_yes` as a JSON number behind its key.

    >>> is_stated(0.6, '{"p_yes": 6e-1}'), is_stated(0.6, '{"p_yes": "60%"}'), is_stated(0.6, '{"p_no": 0.6}')
    (True, False, False)
    """
    return any(float(it) == p_yes for it in _STATED.findall(text))


units = st.one_of(
    st.floats(0, 1).map(repr),
    st.decimals(0, 1, places=3).map(str),
    st.sampled_from(["0", "1", "0.0", "1.0", "-0.0", "2.5e-1", "1E-3", "0.5000", "1e-400", "0.99999999999999999999"]),
)
_USUAL = ("60", '"60%"', "60%", "1.2", "NaN", '"0.6"', "-0.1")
no_units = st.sampled_from(_USUAL) | st.sampled_from(
    [
        *("60", "60%", '"60%"', '"0.6"', "1.2", "-0.1", "1.0000001", "-1e-9", "1e999", "NaN", "-Infinity", "null"),
        *("true", "false", "[0.6]", '{"p": 0.6}', "", "0.6.1", ".6", "6e", "0x1", "0,6", "٠.٦", "０.６", "0.6 0.4"),
        *("1" * 5000, "0." + "3" * 5000 + "%", "[" * 3000, '"' + "0.6", "0.6f", "+0.6", "00.6", "1/2", "~0.6"),
    ]
)
confidences = st.one_of(units, st.just("null"))
prose = st.one_of(
    st.text(st.characters(exclude_characters="{}"), max_size=40),
    st.sampled_from(
        ["", "```json\n", "60% sure: ", '"p_yes": 0.9 is too much. ', "\ufeff", "p_yes = 0.9\n", "[", "//"]
    ),
)
reasons = st.text(max_size=40).map(
    lambda text: '"' + re.sub(r'[\x00-\x1f"\\]', lambda it: f"\\u{ord(it[0]):04x}", text) + '"'
)


@st.composite
def objects(draw: st.DrawFn) -> Said:
    """One object of the wanted shape, with every value valid, or one of them not."""
    p_yes, confidence, reasoning = draw(units), draw(confidences), draw(reasons)
    key, stated = "p_yes", True
    match draw(st.sampled_from(["valid", "valid", "p_yes", "p_yes", "confidence", "reasoning", "key", "twice"])):
        case "p_yes":
            p_yes, stated = draw(no_units), False
        case "confidence":
            # null is as good as none
            confidence = draw(no_units.filter(lambda it: it != "null"))
            stated = False
        case "reasoning":
            reasoning, stated = draw(st.sampled_from(["5", "null", "[]", "true", "{}"])), False
        case "key":
            key, stated = draw(st.sampled_from(["p_no", "P_YES", "p_yes ", "probability", "p-yes", "pyes", ""])), False
        case "twice":
            confidence, stated = f'{confidence}, "p_yes": {draw(units)}', False
    fields = draw(st.permutations([f'"{key}": {p_yes}', f'"confidence": {confidence}', f'"reasoning": {reasoning}']))
    blank = draw(st.sampled_from(["", " ", "\n", "\t\r\n"]))
    text = "{" + blank + f",{blank}".join(fields) + blank + "}"
    return Said(text, abs(float(Decimal(p_yes))) if stated else None)


@st.composite
def answers(draw: st.DrawFn) -> Said:
    """An object amid prose, cut, nested, doubled, or whole."""
    said, before, after = draw(objects()), draw(prose), draw(prose)
    match draw(st.sampled_from(["whole", "whole", "cut", "nested", "doubled", "braces", "words"])):
        case "cut":
            return Said(before + said.text[: draw(st.integers(0, len(said.text) - 1))], None)
        case "nested":
            return Said(f'{before}{{"answer": {said.text}}}{after}', None)
        case "doubled":
            return Said(before + said.text + after + said.text, None)
        case "braces":
            return Said(before + "{" + after + "} " + said.text, None)
        case "words":
            return Said(before + after, None)
    return Said(before + said.text + after, said.p_yes)


_PIECES = st.sampled_from(
    [*'{}[]":,.%-+eE0169 \\\n\x00\u202e', "\ud800", '"p_yes":', "0.6", "NaN", "null", "{", "}", "```", "1e9", "'"]
)


@st.composite
def broken(draw: st.DrawFn, whole: str) -> str:
    """`whole` after a few random cuts, repeats and insertions."""
    text = whole
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 8)))
        piece = draw(st.one_of(st.just(""), st.just(text[start:end] * 2), _PIECES))
        text = text[:start] + piece + text[end:]
    return text
