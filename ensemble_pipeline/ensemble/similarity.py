"""Whether two markets ask the same thing in other words: a likeness in [0, 1], 0 wherever anything could differ.

Strict on purpose. A win and a loss, a strike and the next, a Senate and a House differ in one word; a measure of
likeness that looks at the whole finds them nearly equal. So the words that carry meaning must be the same, in the same
order, in question and rules; what is measured is the rest. Pure: no database, no network, no model of language.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from datetime import timedelta

from ensemble_pipeline.domain import Market

# a number with its sign, a word with its apostrophe, or any other sign: what is not known to mean nothing is kept
_TOKEN = re.compile(r"(?<![\w.])[-+]?(?:\d+(?:\.\d+)?|\.\d+)|\d+(?:\.\d+)?|[^\W\d_]+(?:'[^\W\d_]+)*|[^\s\w]|_")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_DASHES = re.compile("[\u2010-\u2015\u2212]")
# what parts words and sentences; beside a number it may be part of it
_PAUSE = re.compile(r"""(?<!\w)'|(?<!\d)["\u201c\u201d\u2018,;:]|[,;?](?!\d)|\.(?!\d)|!(?!=)|(?<=\d)[,;:](?=\s)""")
# how rules say what they are about to say, whatever the market is about
_BOILERPLATE = re.compile(
    r"(?:\b(?:this|the) (?:(?:kalshi|polymarket|manifold) )?(?:market|contract) |^|(?<=\. ))"
    r"(?:will )?resolves?(?: to)?\b"
)

_MONTHS = "january february march april may june july august september october november december".split()  # noqa: SIM905
_SAME = {name[:3]: name for name in _MONTHS} | {"sept": "september", "percent": "%", "usd": "$"}

_CLOSE_TOGETHER = timedelta(hours=1)
_SEPARATOR = "\x1f"

# beyond these a text is no rule that somebody reads; putting endless runs of accents in order takes time by the square
_LONGEST = 20_000
_ENDLESS_MARKS = re.compile("[\u0300-\u036f]{9}")


def similarity(market: Market, other: Market) -> float:
    """How alike two markets are worded; 0 where they could settle differently.

    The share of equal words of question and of rules, the smaller of the two, whichever market comes first. 0 where
    markets are of one event or one series (neighbouring strikes, the other candidate, the next day), of two categories,
    close more than an hour apart, or differ in any word, number or sign that carries meaning, or in their order: all
    of them do but "the", the "will" that a question begins with, and the phrase that opens rules ("This market
    resolves to").

    >>> _words("Will the high be above 1,000.5° on Dec. 3?")
    ['will', 'the', 'high', 'be', 'above', '1000.5', '°', 'on', 'december', '3']
    """
    if market.market_id == other.market_id:
        return 1.0
    is_apart = (
        market.event_id == other.event_id
        or market.series == other.series
        or market.category != other.category
        or abs(market.closes_at - other.closes_at) > _CLOSE_TOGETHER
    )
    if is_apart or twin_key(market) != twin_key(other):
        return 0.0
    return min(_likeness(market.question, other.question), _likeness(market.rules, other.rules))


def twin_key(market: Market) -> str:
    """SHA-256 in hex of what a market asks, without what carries no meaning: twins share it.

    A market whose texts are longer than 20,000 characters has no twin.
    """
    if _is_unreadable(market.question) or _is_unreadable(market.rules):
        return _digest(market.market_id)
    rules = _BOILERPLATE.sub(" ", " ".join(_plain(market.rules).split()))
    asked = _meaning(_words(market.question)), _meaning(_words(rules)), [market.category]
    return _digest(f"{_SEPARATOR}{_SEPARATOR}".join(_SEPARATOR.join(words) for words in asked))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _is_unreadable(text: str) -> bool:
    return len(text) > _LONGEST or _ENDLESS_MARKS.search(text) is not None


def _likeness(text: str, other: str) -> float:
    words, others = _words(text), _words(other)
    if words == others:
        return 1.0
    return 2 * (Counter(words) & Counter(others)).total() / (len(words) + len(others))


def _meaning(words: list[str]) -> list[str]:
    kept = words[1:] if words[:1] == ["will"] else words
    return [word for word in kept if word != "the"]


def _words(text: str) -> list[str]:
    return [_same(word) for word in _TOKEN.findall(_PAUSE.sub(" ", _plain(text)))]


def _plain(text: str) -> str:
    """In one spelling; not compatibility forms, by which ² would be a 2 and ½ a 1 and a 2."""
    plain = unicodedata.normalize("NFC", text).casefold().replace("\u2019", "'")
    return _THOUSANDS.sub("", _DASHES.sub("-", plain))


def _same(word: str) -> str:
    return f"0{word}" if word.startswith(".") and len(word) > 1 else _SAME.get(word, word)
