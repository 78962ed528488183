"""Pages of the venue: right ones whose fields are replaced by likely and unlikely values, or whose bytes are broken."""

import json
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from hypothesis import strategies as st

from ensemble_pipeline_tests.fuzzing.answers import broken
from ensemble_pipeline_tests.fuzzing.bodies import STATUSES, junk

Kind = Literal["events", "markets", "orderbooks"]

_TIMES = (
    *("2026-11-20T00:00:00Z", "2026-11-22T10:00:00+14:00", "2027-01-01T00:00:00.123456789Z", "2026-11-20", "soon", ""),
    *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"),
    *(0, 1_800_000_000, 10**12, -(10**12), 1e300, None),
)
_NUMBERS = (
    *("0.0000", "1.0000", "0.4100", "0.41234567", "1.30", "-0.01", "NaN", "Infinity", "1e999999", "1e-999999", "", "x"),
    *(0, 1, 0.5, 10**400, 1e300, 1e-300, True, None, "1e15", "1e16", "0_1", " 0.5 "),
)
_WORDS = ("active", "finalized", "determined", "disputed", "binary", "scalar", "yes", "no", "void", "", "YES")
_TEXTS = ("\ud800", "\u202e" * 9, "x" * 50_000, "A,B", "\x00", "a\x1c\x85b", "<img src=x>", "KXA-1", "é", " ")
_LEVELS: tuple[Any, ...] = (
    [],
    [["0.4100", "0"]],
    [["0.4", "1", "2"]],
    [["1.2", "5"]],
    [[0.5, 3], [0.6, 1]],
    {"0.4": "1"},
)
_ANYTHING = st.one_of(junk, st.sampled_from([*_TIMES, *_NUMBERS, *_WORDS, *_TEXTS]))


def _likely(name: str) -> st.SearchStrategy[Any]:
    """Values that a field of this name might have, some of them at or beyond an edge."""
    if name.endswith(("_time", "_ts")):
        return st.sampled_from(_TIMES)
    if name.endswith(("_dollars", "_fp")) and name != "orderbook_fp":
        return st.sampled_from(_NUMBERS)
    if name == "orderbook_fp":
        sides = st.fixed_dictionaries({"yes_dollars": st.sampled_from(_LEVELS), "no_dollars": st.sampled_from(_LEVELS)})
        return st.one_of(sides, _ANYTHING)
    return st.sampled_from(_WORDS if name in {"status", "result", "market_type"} else _TEXTS)


@dataclass(frozen=True, slots=True)
class Page:
    """What the venue sends for one kind of page, and the status it sends it with."""

    kind: Kind
    status: int
    body: bytes


def market(ticker: str) -> dict[str, Any]:
    """A right row of an open market."""
    return {
        "ticker": ticker,
        "event_ticker": "KXRAIN",
        "market_type": "binary",
        "status": "active",
        "yes_sub_title": "Over 1 inch",
        "open_time": "2026-11-20T00:00:00Z",
        "close_time": "2026-12-01T00:00:00Z",
        "yes_bid_dollars": "0.4100",
        "yes_ask_dollars": "0.4400",
        "last_price_dollars": "0.4200",
        "volume_fp": "1234.00",
        "rules_primary": "Any rain counts.",
        "rules_secondary": "",
        "result": "",
    }


def settled(ticker: str) -> dict[str, Any]:
    """A right row of one that is over."""
    return market(ticker) | {"status": "finalized", "result": "yes", "settlement_ts": "2026-11-22T10:00:00Z"}


def book(ticker: str) -> dict[str, Any]:
    """A right order book."""
    return {"ticker": ticker, "orderbook_fp": {"yes_dollars": [["0.4100", "10.00"]], "no_dollars": [["0.5600", "5"]]}}


def event(*markets: dict[str, Any]) -> dict[str, Any]:
    """A right event with its markets."""
    title, category = "Rain in NYC?", "Climate"
    return {"event_ticker": "KXRAIN", "series_ticker": "KXR", "title": title, "category": category, "markets": markets}


@st.composite
def _row(draw: st.DrawFn, row: dict[str, Any]) -> Any:
    """A row with some of its fields replaced, taken away or doubled."""
    changed = dict(row)
    for name in draw(st.lists(st.sampled_from(sorted(row)), max_size=3)):
        match draw(st.sampled_from(["likely", "likely", "likely", "anything", "missing"])):
            case "likely":
                changed[name] = draw(_likely(name))
            case "anything":
                changed[name] = draw(_ANYTHING)
            case _:
                changed.pop(name, None)
    return changed


@st.composite
def pages(draw: st.DrawFn, kind: Kind) -> Page:
    """A page of a few rows, of which each may be wrong in a few fields, and the whole in its bytes."""
    tickers = draw(st.lists(st.sampled_from(["KXA-1", "KXA-2", "KXB-1"]), min_size=1, max_size=4))
    if kind == "orderbooks":
        rows = [draw(_row(book(it))) for it in tickers]
    elif kind == "markets":
        rows = [draw(_row(draw(st.sampled_from([market(it), settled(it)])))) for it in tickers]
    else:
        markets = [draw(_row(market(it))) for it in tickers]
        rows = [draw(_row(event(*markets)))]
    page: dict[str, Any] = {kind: draw(st.one_of(st.just(rows), st.just(rows), st.just(rows), _ANYTHING))}
    cursor = draw(st.sampled_from(["", "", "", None, "again", 5]))
    if cursor is not None:
        page["cursor"] = cursor
    text = json.dumps(page)
    if draw(st.integers(0, 2)) == 0:
        text = draw(broken(text))
    status = draw(st.one_of(st.just(200), st.just(200), st.just(200), st.sampled_from(STATUSES)))
    return Page(kind, status, text.encode("utf-8", "surrogatepass"))


_NUMBER = re.compile(r"[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|true|false")


def numbers_in(page: Page) -> set[Decimal]:
    """Every number that stands in a page, as one or in a text."""
    found = set()
    for text in re.findall(
        r"[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|true|false", page.body.decode("utf-8", "replace")
    ):
        try:
            found.add(Decimal({"true": "1", "false": "0"}.get(text, text)))
        except InvalidOperation:
            continue
    return found
