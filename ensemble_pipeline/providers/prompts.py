"""Versioned prompt files (``prompts/*.md``) and how a market is put into them.

The words of a market and of evidence are untrusted: they enter as one line of ASCII JSON between two marker lines, so
no title can end the block, open another or forge a line. Nor can one forge the marks by which some servers tell roles
apart: these read them in whatever a prompt holds. The market's price is shown only to who asks for it: a
forecast that has seen it says nothing new.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from ensemble_pipeline.clock import require_utc
from ensemble_pipeline.domain import Evidence, Market, PromptWording
from ensemble_pipeline.errors import InputError, SettingsError
from ensemble_pipeline.providers.answers import ANSWER_SCHEMA
from ensemble_pipeline.providers.base import Prompt

BEGIN_MARKER = "BEGIN MARKET DATA"
END_MARKER = "END MARKET DATA"
RULES_LENGTH = 8000
QUESTION_LENGTH = 1000
CATEGORY_LENGTH = 100
# longer than any a venue gives, so that one that is read from a venue is never cut
MARKET_ID_LENGTH = 300
EVIDENCE_PIECES = 8
EVIDENCE_LENGTH = 600
SOURCE_LENGTH = 120
PLACEHOLDER = "{{market}}"

# Written as JSON escapes, which models read as well. None belongs to JSON's own syntax, where a bracket stands before a
# quotation mark, a brace or another bracket. Mistral's marks are words in capitals between brackets.
_ROLE_MARKS = re.compile(r"[<>]|\[(?=/?(?:INST|[A-Z_]+\]))")
_SYSTEM_LINE = "--- system\n"
_USER_LINE = "--- user\n"


def build_prompt(
    role: str,
    market: Market,
    asked_at: datetime,
    evidence: Sequence[Evidence] = (),
    price: float | None = None,
) -> Prompt:
    """The prompt of `role` about `market`, as asked at `asked_at` (timezone-aware).

    Rules beyond 8,000, questions beyond 1,000 and categories beyond 100 characters are cut, with a mark. Of the
    evidence the 8 newest pieces are shown, each cut after 600 characters, and how many older ones are not. `price`,
    the market's probability of YES, is shown where it is given.

    Raises:
        SettingsError: no prompt file has the name `role`; the message lists those there are.
        InputError: a time carries no time zone, or a piece of evidence was published after `asked_at`.
    """
    wording = prompt_wording(role)
    data = _market_data(market, asked_at) | _evidence_data(evidence, asked_at)
    if price is not None:
        data["market_price"] = round(price, 4)
    block = f"{BEGIN_MARKER}\n{_quoted(data)}\n{END_MARKER}"
    user = wording.template.replace(PLACEHOLDER, block)
    return Prompt(role, wording.version, wording.prompt_hash, wording.system, user)


@cache
def prompt_wording(role: str) -> PromptWording:
    """What the prompt file of `role` says, the same for every market.

    Raises:
        SettingsError: no prompt file has the name `role`; the message lists those there are.
    """
    if role not in known_roles():
        raise SettingsError(
            f"no prompt file for role {role!r}; known roles: {', '.join(known_roles())}. "
            "Correct the member's `role` in ENSEMBLE_MEMBERS."
        )
    return read_wording(role, (files("ensemble_pipeline.providers") / "prompts" / f"{role}.md").read_bytes())


def read_wording(role: str, content: bytes) -> PromptWording:
    """The wording in the `content` of a prompt file: its version, then the system's and the user's part."""
    front, _, body = content.decode("utf-8").partition(_SYSTEM_LINE)
    system, _, user = body.partition(_USER_LINE)
    version = int(front.strip().removeprefix("version:"))
    return PromptWording(hashlib.sha256(content).hexdigest(), role, version, system.strip(), user.strip())


def with_schema(prompt: Prompt) -> Prompt:
    """`prompt` with the schema of the answer in its system part, for servers that are not told it otherwise.

    What it adds is within what a worst case reckons for the schema (see ``prices``).
    """
    schema = json.dumps(ANSWER_SCHEMA, separators=(",", ":"))
    return replace(prompt, system=f"{prompt.system}\n\nThe JSON object must fit this JSON schema:\n{schema}")


def known_roles() -> tuple[str, ...]:
    """The roles that have a prompt file, sorted."""
    folder = files("ensemble_pipeline.providers") / "prompts"
    return tuple(sorted(entry.name.removesuffix(".md") for entry in folder.iterdir() if entry.name.endswith(".md")))


def _market_data(market: Market, asked_at: datetime) -> dict[str, Any]:
    return {
        "market_id": _cut(market.market_id, MARKET_ID_LENGTH),
        "question": _cut(market.question, QUESTION_LENGTH),
        "rules": _cut(market.rules, RULES_LENGTH),
        "category": _cut(market.category, CATEGORY_LENGTH),
        "closes_at": require_utc(market.closes_at, "closes_at").isoformat(),
        "today": require_utc(asked_at, "asked_at").date().isoformat(),
    }


def _quoted(data: dict[str, Any]) -> str:
    return _ROLE_MARKS.sub(lambda mark: f"\\u{ord(mark[0]):04x}", json.dumps(data, ensure_ascii=True))


def _evidence_data(evidence: Sequence[Evidence], asked_at: datetime) -> dict[str, Any]:
    for piece in evidence:
        if require_utc(piece.published_at, "published_at") > asked_at:
            raise InputError(
                f"evidence from {piece.source!r} was published at {piece.published_at.isoformat()}, after the question "
                f"is asked at {asked_at.isoformat()}: give what was known by then"
            )
    # source and text decide between pieces of one instant, so that equal evidence makes equal prompts
    newest_first = sorted(evidence, key=lambda it: (it.published_at, it.source, it.text), reverse=True)
    data: dict[str, Any] = {}
    if newest_first:
        data["evidence"] = [_shown(piece) for piece in newest_first[:EVIDENCE_PIECES]]
    if len(newest_first) > EVIDENCE_PIECES:
        data["older_evidence_left_out"] = len(newest_first) - EVIDENCE_PIECES
    return data


def _shown(piece: Evidence) -> dict[str, str]:
    return {
        "date": require_utc(piece.published_at, "published_at").date().isoformat(),
        "source": _cut(piece.source, SOURCE_LENGTH),
        "text": _cut(piece.text, EVIDENCE_LENGTH),
    }


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]} [cut after {length} characters]"
