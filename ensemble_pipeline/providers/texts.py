"""Text that came from outside, made fit to be stored, shown or put into an error message."""

import re
import unicodedata

_WHITESPACE = re.compile(r"\s+")
# what keys of the known providers look like, also where a provider masks the middle of one
_KEY_SHAPES = re.compile(r"\b(?:sk|xai|gsk|pk)-[^\s\"'<>,;]+|\bBearer\s+[^\s\"'<>,;]+", re.IGNORECASE)


def storable(text: str) -> str:
    r"""`text` without NUL and lone surrogates, which PostgreSQL takes in no string.

    >>> storable("a\x00b\ud800c")
    'ab?c'
    """
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def one_line(text: str, limit: int) -> str:
    r"""`text` on one line of at most `limit` characters, without control, format and unassigned characters.

    A cut is marked with an ellipsis.

    >>> one_line("a\n\tb\x1b[31m", 80)
    'a b[31m'
    >>> one_line("abcdef", 4)
    'abc…'
    """
    spaced = _WHITESPACE.sub(" ", text)
    clean = "".join(char for char in spaced if unicodedata.category(char)[0] != "C").strip()
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def printable(line: str) -> str:
    r"""A line without control, format and unassigned characters, its spaces as they are: safe for a terminal.

    >>> printable("  a\x1b[2Jb")
    '  a[2Jb'
    """
    return "".join(char for char in line if unicodedata.category(char)[0] != "C")


def without_keys(text: str, key: str | None) -> str:
    """`text` with `key`, and anything of the shape of a provider's key, replaced by ``[key]``.

    >>> without_keys("Incorrect API key provided: sk-proj-abc***xyz.", None)
    'Incorrect API key provided: [key]'
    """
    if key:
        text = text.replace(key, "[key]")
    return _KEY_SHAPES.sub("[key]", text)
