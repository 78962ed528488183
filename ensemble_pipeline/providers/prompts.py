"""Versioned prompt files (``prompts/*.md``) and how a market is put into them.

A market's words are untrusted: they enter as one line of ASCII JSON between two marker lines, so no title can end
the block, open another or forge a line. The market's price is not shown: a forecast that has seen it says nothing new.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files

from ensemble_pipeline.clock import require_utc
from ensemble_pipeline.domain import Market
from ensemble_pipeline.errors import SettingsError
from ensemble_pipeline.providers.base import Prompt

BEGIN_MARKER = "BEGIN MARKET DATA"
END_MARKER = "END MARKET DATA"
RULES_LENGTH = 8000
QUESTION_LENGTH = 1000

_PLACEHOLDER = "{{market}}"
_SYSTEM_LINE = "--- system\n"
_USER_LINE = "--- user\n"


@dataclass(frozen=True, slots=True)
class _Template:
    version: int
    sha256: str
    system: str
    user: str


def build_prompt(role: str, market: Market, asked_at: datetime) -> Prompt:
    """The prompt of `role` about `market`, as asked at `asked_at` (timezone-aware).

    Rules beyond 8,000 and questions beyond 1,000 characters are cut, with a mark.

    Raises:
        SettingsError: no prompt file has the name `role`; the message lists those there are.
        InputError: `asked_at` carries no time zone.
    """
    template = _template(role)
    block = f"{BEGIN_MARKER}\n{_market_line(market, asked_at)}\n{END_MARKER}"
    return Prompt(role, template.version, template.sha256, template.system, template.user.replace(_PLACEHOLDER, block))


def known_roles() -> tuple[str, ...]:
    """The roles that have a prompt file, sorted."""
    folder = files("ensemble_pipeline.providers") / "prompts"
    return tuple(sorted(entry.name.removesuffix(".md") for entry in folder.iterdir() if entry.name.endswith(".md")))


def _market_line(market: Market, asked_at: datetime) -> str:
    data = {
        "market_id": market.market_id,
        "question": _cut(market.question, QUESTION_LENGTH),
        "rules": _cut(market.rules, RULES_LENGTH),
        "category": market.category,
        "closes_at": require_utc(market.closes_at, "closes_at").isoformat(),
        "today": require_utc(asked_at, "asked_at").date().isoformat(),
    }
    return json.dumps(data, ensure_ascii=True)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]} [cut after {length} characters]"


@cache
def _template(role: str) -> _Template:
    if role not in known_roles():
        raise SettingsError(
            f"no prompt file for role {role!r}; known roles: {', '.join(known_roles())}. "
            "Correct the member's `role` in ENSEMBLE_MEMBERS."
        )
    content = (files("ensemble_pipeline.providers") / "prompts" / f"{role}.md").read_bytes()
    front, _, body = content.decode("utf-8").partition(_SYSTEM_LINE)
    system, _, user = body.partition(_USER_LINE)
    version = int(front.strip().removeprefix("version:"))
    return _Template(version, hashlib.sha256(content).hexdigest(), system.strip(), user.strip())
