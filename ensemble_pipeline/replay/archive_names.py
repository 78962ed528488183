"""Names an archive's questions and models get on the wire: tickers, providers, prices.

Belongs here: pure functions of names. Does not: anything that depends on time.
"""

import hashlib
import re
import unicodedata
from decimal import Decimal

from ensemble_pipeline.sandbox.world import WorldModel

MAX_TICKER = 40
_SOURCE_LENGTH, _ID_LENGTH = 14, 18

_PROVIDERS = (("claude", "anthropic"), ("gpt", "openai"), ("openai", "openai"), ("grok", "xai"))

# USD per million tokens, input and output. Archives do not say what was paid; these are the rounded list prices of
# each family in the year the archives were asked, so that costs differ about as much as they did. First match wins.
_PRICES = (
    (":free|-free", "0", "0"),
    ("gpt-3-5", "1.50", "2"),
    ("gpt-4o-mini", "0.15", "0.60"),
    ("gpt-5", "1.25", "10"),
    ("claude.*haiku", "1", "5"),
    ("claude.*sonnet", "3", "15"),
    ("claude.*opus", "5", "25"),
    ("gemini.*flash", "0.30", "2.50"),
    ("gemini", "1.25", "10"),
    ("grok", "1.25", "2.50"),
    ("kimi", "0.60", "2.50"),
    ("gemma", "0.05", "0.10"),
    ("deepseek", "0.30", "1.20"),
    ("", "1", "4"),
)


def make_ticker(source: str, *identity: str) -> str:
    """A readable, stable ticker of at most 40 characters; different identities get different ones.

    The last part of `identity` is what shows; all of it goes into the six hexadecimal digits at the end.

    >>> make_ticker("polymarket", "question", "513304")[:18]
    'POLYMARKET-513304-'
    """
    shown = identity[-1].removeprefix(f"{source}:")
    digits = hashlib.sha256("\x1f".join((source, *identity)).encode()).hexdigest()[:6].upper()
    parts = (slug(source, _SOURCE_LENGTH), slug(shown, _ID_LENGTH), digits)
    return "-".join(part for part in parts if part)


def make_series(source: str, category: str) -> str:
    """The series of all questions of a source in a category."""
    return "-".join(part for part in (slug(source, _SOURCE_LENGTH), slug(category, _ID_LENGTH)) if part) or "OTHER"


def slug(text: str, length: int) -> str:
    """Uppercase ASCII letters and digits joined by single hyphens, at most `length` characters.

    >>> slug("metaculus_aib_q2_2025", 14)
    'METACULUS-AIB'
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().upper()
    return re.sub(r"[^A-Z0-9]+", "-", plain).strip("-")[:length].strip("-")


def make_model(name: str) -> WorldModel:
    """The model as it is asked: provider and price by its name's pattern, the name itself on the wire."""
    lower = name.lower()
    provider = next((provider for part, provider in _PROVIDERS if part in lower), "openrouter")
    _, input_usd, output_usd = next(row for row in _PRICES if re.search(row[0], lower))
    return WorldModel(name, provider, name, Decimal(input_usd), Decimal(output_usd))
