"""What the body of an error says: its machine-readable codes, and the words of its message.

Belongs here: finding both in the shapes that providers and servers use. Does not: which error they make
(``http_errors``). Nothing of a body is trusted: some repeat what they were sent, with the words of a market in it. So
only a message is searched, and only its beginning; the rest may be shown.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

WORDS_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Said:
    """What an error body says. `words` are the first 500 characters of its message, empty where it has none.

    `shown` is for a person to read: the whole message, or the body where there is none. `is_own` tells an error object
    in a shape that providers use from what a gateway in front of them may say.
    """

    codes: frozenset[str]
    words: str
    shown: str
    is_own: bool = False


def said_in(text: str) -> Said:
    """What the body `text` says, JSON or not."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, Mapping):
        return Said(frozenset(), "", text)
    said = said_by(body)
    return said if said.shown else replace(said, shown=text)


def said_by(body: Mapping[str, Any]) -> Said:
    """What a JSON error body says: OpenAI's and Anthropic's nested form, xAI's flat one, FastAPI's details."""
    nested = body.get("error")
    parts = [body, nested] if isinstance(nested, Mapping) else [body]
    if isinstance(nested, Mapping) and isinstance(nested.get("details"), Mapping):
        parts.append(nested["details"])
    codes = {part[key] for part in parts for key in ("code", "type", "error_code") if isinstance(part.get(key), str)}
    candidates = [part.get("message") for part in reversed(parts)] + [nested, _detail(body), body.get("code")]
    message = next((text for text in candidates if isinstance(text, str) and text), "")
    is_own = _is_own(body) and (message != "" or bool(codes))
    return Said(frozenset(codes), message[:WORDS_LENGTH], message, is_own)


def _detail(body: Mapping[str, Any]) -> object:
    detail = body.get("detail")
    return "; ".join(_complaints(detail)) if isinstance(detail, list) else detail


def _complaints(details: list[Any]) -> Iterator[str]:
    """Where and what, of each field that does not fit; not the `input` beside them, which is the request's."""
    for row in details:
        if isinstance(row, Mapping) and isinstance(row.get("msg"), str):
            path = row.get("loc")
            where = ".".join(map(str, path)) if isinstance(path, list) else ""
            yield f"{where}: {row['msg']}" if where else row["msg"]


def _is_own(body: Mapping[str, Any]) -> bool:
    # gateways too answer in JSON, such as {"message": …} or {"status": …, "error": "Bad Gateway"}
    error = body.get("error")
    return isinstance(error, Mapping) or (isinstance(error, str) and isinstance(body.get("code"), str))
