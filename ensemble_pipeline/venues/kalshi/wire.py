"""Kalshi's rows, checked field by field and turned into the records of ``domain``.

A row that makes no sense becomes a ``RejectedRow`` with the field, its value and the reason; the others survive it.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from ensemble_pipeline.clock import require_utc
from ensemble_pipeline.domain import Listing, Market, MarketStatus, Quote, RejectedRow, Settlement

VENUE = "kalshi"
UNKNOWN_CATEGORY = "unknown"

# in characters; far beyond what real markets have
QUESTION_LENGTH = 2000
RULES_LENGTH = 20_000
CATEGORY_LENGTH = 100
FIRST_YEAR, LAST_YEAR = 1900, 9000

_SHOWN_VALUE = 80

Price = Annotated[Decimal, Field(ge=0, le=1)]
# beyond any number of contracts there is; what has millions of digits can neither be kept nor computed with
Contracts = Annotated[Decimal, Field(ge=0, le=10**15)]


def _within_reach(at: datetime) -> datetime:
    # the first and last days of the calendar have no counterpart in other time zones
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise ValueError(f"must lie in the years {FIRST_YEAR} to {LAST_YEAR}")
    return at


def _readable(text: str) -> str:
    if not (clean := _one_line(text)):
        raise ValueError("holds nothing that can be read")
    return clean


Time = Annotated[AwareDatetime, AfterValidator(_within_reach)]
Title = Annotated[str, AfterValidator(_readable)]
# visible ASCII without the comma, which separates tickers in a query
Ticker = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[!-+\--~]+$")]


class ObjectStatus(StrEnum):
    """Status of a market as the object says it (the filter of GET /markets uses other words)."""

    INITIALIZED = "initialized"
    INACTIVE = "inactive"
    ACTIVE = "active"
    CLOSED = "closed"
    DETERMINED = "determined"
    DISPUTED = "disputed"
    AMENDED = "amended"
    FINALIZED = "finalized"


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class StatusRow(_Row):
    """What has to be known of a market before anything else of it is read."""

    ticker: Ticker
    status: ObjectStatus
    market_type: str = "binary"


class QuoteRow(_Row):
    """Top of book, last price and volume of a market."""

    ticker: Ticker
    yes_bid_dollars: Price
    yes_ask_dollars: Price
    last_price_dollars: Price | None = None
    volume_fp: Contracts | None = None


class MarketRow(QuoteRow):
    """One open market, nested in its event."""

    open_time: Time
    close_time: Time
    yes_sub_title: str | None = None
    rules_primary: str | None = None
    rules_secondary: str | None = None


class EventRow(_Row):
    """What the markets of an event share."""

    event_ticker: Ticker
    series_ticker: Ticker
    title: Title
    category: str | None = None


class SettlementRow(_Row):
    """The result of a finalized market; anything but yes and no is a void."""

    ticker: Ticker
    result: Literal["yes", "no", "scalar", ""]
    settlement_ts: Time


def read_event(raw: object, observed_at: datetime) -> tuple[list[Listing], list[RejectedRow]]:
    """The active binary markets of one event, and its rows that made no sense."""
    listings: list[Listing] = []
    rejected: list[RejectedRow] = []
    if not isinstance(raw, Mapping):
        return listings, [_rejection("event", raw, f"is no object: {_shown(raw)}")]
    markets = raw.get("markets")
    if markets is None:
        return listings, rejected
    try:
        event = EventRow.model_validate(raw)
    except ValidationError as error:
        return listings, [_rejection("event", raw, _why(error))]
    if not isinstance(markets, list):
        return listings, [_rejection("event", raw, f"markets={_shown(markets)}: is no list")]
    for row in markets:
        result = _read_listing(event, row, observed_at)
        if isinstance(result, RejectedRow):
            rejected.append(result)
        elif result is not None:
            listings.append(result)
    return listings, rejected


class BookRow(_Row):
    """Resting bids of both sides as [price, contracts]; a bid for NO at q is an offer of YES at 1 - q."""

    yes_dollars: list[tuple[Price, Contracts]]
    no_dollars: list[tuple[Price, Contracts]]


class TickerBookRow(_Row):
    """The order book of one market."""

    ticker: Ticker
    orderbook_fp: BookRow


def read_order_book(raw: object, observed_at: datetime) -> tuple[str, Quote] | RejectedRow:
    """The best level of each side; the venue's documents disagree on the order of levels, so none is assumed."""
    try:
        row = TickerBookRow.model_validate(raw)
    except ValidationError as error:
        return _rejection("order book", raw, _why(error))
    yes = max((level for level in row.orderbook_fp.yes_dollars if level[1] > 0), default=None)
    no = max((level for level in row.orderbook_fp.no_dollars if level[1] > 0), default=None)
    quote = Quote(
        observed_at=observed_at,
        yes_bid=None if yes is None else yes[0],
        yes_ask=None if no is None else 1 - no[0],
        last_price=None,
        volume=None,
        yes_bid_size=None if yes is None else yes[1],
        yes_ask_size=None if no is None else no[1],
    )
    return row.ticker, quote


def read_quote(raw: object, observed_at: datetime) -> tuple[str, Quote] | RejectedRow:
    """The ticker and quote of one market row."""
    try:
        row = QuoteRow.model_validate(raw)
    except ValidationError as error:
        return _rejection("market", raw, _why(error))
    return row.ticker, _quote(row, observed_at)


def read_settlement(raw: object) -> Settlement | RejectedRow | str:
    """The settlement of one market row; the market's id while it is not final, since until then it can still change."""
    try:
        standing = StatusRow.model_validate(raw)
        if standing.status is not ObjectStatus.FINALIZED:
            return f"{VENUE}:{standing.ticker}"
        row = SettlementRow.model_validate(raw)
    except ValidationError as error:
        return _rejection("market", raw, _why(error))
    outcome = {"yes": True, "no": False}.get(row.result)
    return Settlement(f"{VENUE}:{row.ticker}", outcome, require_utc(row.settlement_ts, "settlement_ts"))


def _read_listing(event: EventRow, raw: object, observed_at: datetime) -> Listing | RejectedRow | None:
    try:
        standing = StatusRow.model_validate(raw)
        if standing.status is not ObjectStatus.ACTIVE or standing.market_type != "binary":
            return None
        row = MarketRow.model_validate(raw)
    except ValidationError as error:
        return _rejection("market", raw, _why(error))
    if row.close_time <= row.open_time:
        why = f"close_time={row.close_time.isoformat()}: is not after open_time={row.open_time.isoformat()}"
        return _rejection("market", raw, why)
    return Listing(_market(event, row), _quote(row, observed_at))


def _market(event: EventRow, row: MarketRow) -> Market:
    rules = [part.strip() for part in (row.rules_primary, row.rules_secondary) if part and part.strip()]
    return Market(
        market_id=f"{VENUE}:{row.ticker}",
        venue=VENUE,
        ticker=row.ticker,
        event_id=f"{VENUE}:{event.event_ticker}",
        series=event.series_ticker,
        category=_cut(_one_line(event.category or ""), CATEGORY_LENGTH) or UNKNOWN_CATEGORY,
        question=_cut(_question(event.title, _one_line(row.yes_sub_title or "")), QUESTION_LENGTH),
        rules=_cut(_storable("\n\n".join(rules)), RULES_LENGTH),
        opened_at=require_utc(row.open_time, "open_time"),
        closes_at=require_utc(row.close_time, "close_time"),
        status=MarketStatus.ACTIVE,
    )


def _question(title: str, outcome: str) -> str:
    # an event of one market repeats its title, or says only "Yes", where others name what YES stands for
    is_said_already = outcome.casefold().rstrip("?") in ("", "yes", title.casefold().rstrip("?"))
    return title if is_said_already else f"{title} — {outcome}"


def _one_line(text: str) -> str:
    return _storable(" ".join(text.split()))


def _storable(text: str) -> str:
    # NUL cannot be stored and other control characters only do harm where the text is shown
    lines = ("".join(" " if char.isspace() else char for char in line) for line in text.splitlines())
    return "\n".join("".join(char for char in line if char.isprintable()) for line in lines)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _quote(row: QuoteRow, observed_at: datetime) -> Quote:
    has_traded = bool(row.volume_fp) or bool(row.last_price_dollars)
    return Quote(
        observed_at=observed_at,
        # an empty side is sent as the worst price there is, at which nobody quotes
        yes_bid=row.yes_bid_dollars if row.yes_bid_dollars > 0 else None,
        yes_ask=row.yes_ask_dollars if row.yes_ask_dollars < 1 else None,
        last_price=row.last_price_dollars if has_traded else None,
        volume=row.volume_fp,
    )


def _rejection(kind: str, raw: object, why: str) -> RejectedRow:
    name = "event_ticker" if kind == "event" else "ticker"
    key = raw.get(name) if isinstance(raw, Mapping) else None
    return RejectedRow(source=f"{VENUE} {kind}", key=_shown(key) if key is not None else "?", why=why)


def _why(error: ValidationError) -> str:
    return "; ".join(_describe(detail) for detail in error.errors(include_url=False, include_context=False))


def _describe(detail: Mapping[str, Any]) -> str:
    path = ".".join(str(part) for part in detail["loc"]) or "row"
    if detail["type"] == "missing":
        return f"{path}: is missing"
    return f"{path}={_shown(detail['input'])}: {detail['msg']}"


def _shown(value: object) -> str:
    text = value if isinstance(value, str) and value.isprintable() else ascii(value)
    return text if len(text) <= _SHOWN_VALUE else text[:_SHOWN_VALUE] + "…"
