"""The records every room speaks of: markets, quotes, answers, forecasts and decisions. No behaviour beyond arithmetic.

Prices are ``Decimal`` dollars in [0, 1], money is ``int`` micro-dollars, probabilities are ``float`` for YES,
times are timezone-aware UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from ensemble_pipeline.errors import RefusedRowError

MICRO_PER_USD = 1_000_000


class MarketStatus(StrEnum):
    """Where a market is in its life, in the words of this package (venues map theirs onto it)."""

    UNOPENED = "unopened"
    ACTIVE = "active"
    PAUSED = "paused"
    CLOSED = "closed"
    SETTLED = "settled"


class Side(StrEnum):
    """The outcome a contract pays on."""

    YES = "yes"
    NO = "no"


class Action(StrEnum):
    """What a decision does."""

    TRADE = "trade"
    SKIP = "skip"


class VolatilityRegime(StrEnum):
    """How much the market's log-odds moved per day before the forecast was asked."""

    UNKNOWN = "unknown"
    CALM = "calm"
    NORMAL = "normal"
    VOLATILE = "volatile"


class ExpiryBucket(StrEnum):
    """Time from asking to the market's close."""

    DAY = "0-24h"
    WEEK = "1-7d"
    MONTH = "7-30d"
    LONG = "30d+"

    @classmethod
    def of(cls, remaining: timedelta) -> "ExpiryBucket":
        """The bucket of a remaining time; upper ends are inclusive.

        >>> ExpiryBucket.of(timedelta(days=7)).value
        '1-7d'
        """
        for bucket, days in ((cls.DAY, 1), (cls.WEEK, 7), (cls.MONTH, 30)):
            if remaining <= timedelta(days=days):
                return bucket
        return cls.LONG


class RequestReason(StrEnum):
    """Why a market is put before the models."""

    NEW = "new"
    MOVED = "moved"
    AGED = "aged"
    ASKED = "asked"


class Strategy(StrEnum):
    """How the members' answers become one probability."""

    CONSENSUS = "consensus"
    WEIGHTED_VOTING = "weighted_voting"
    CONFIDENCE_BASED = "confidence_based"
    CASCADING = "cascading"
    UNCERTAINTY_AWARE = "uncertainty_aware"


class Route(StrEnum):
    """How much deliberation a market gets: one model, two that must agree, the ensemble, or the ensemble enhanced."""

    SINGLE = "single"
    PAIR = "pair"
    FULL = "full"
    ENHANCED = "enhanced"


class Mode(StrEnum):
    """How much risk the system may take at present, each mode more careful than the one before it."""

    NORMAL = "normal"
    DEGRADED = "degraded"
    CONSERVATIVE = "conservative"
    MINIMAL = "minimal"
    SUSPENDED = "suspended"

    @property
    def severity(self) -> int:
        """0 for ``normal``, one more for each mode that is more careful.

        >>> Mode.MINIMAL.severity
        3
        """
        return list(Mode).index(self)

    @property
    def and_worse(self) -> "tuple[Mode, ...]":
        """This mode and all that are more careful."""
        return tuple(Mode)[self.severity :]


class CallStatus(StrEnum):
    """How one model call ended."""

    ANSWERED = "answered"
    UNREADABLE = "unreadable"
    REFUSED_BY_MODEL = "refused_by_model"
    FAILED = "failed"
    TIMED_OUT = "timed_out"


class Reason(StrEnum):
    """The one terminal reason in which every market put before the ensemble ends, in the order of the gates.

    ``near_expiry`` and ``route`` refuse nothing: they note which way a decision went, and why.
    """

    NOT_OPEN = "not_open"
    EMERGENCY_MODE = "emergency_mode"
    DAILY_BUDGET = "daily_budget"
    COOLDOWN = "cooldown"
    MARKET_DAY_COUNT = "market_day_count"
    VOLUME = "volume"
    CATEGORY = "category"
    NEAR_EXPIRY = "near_expiry"
    NO_MEMBER = "no_member"
    DECISION_BUDGET = "decision_budget"
    ROUTE = "route"
    BUDGET_REFUSED = "budget_refused"
    NO_ANSWER = "no_answer"
    MODE_MEANWHILE = "mode_meanwhile"
    TOO_FEW_ANSWERS = "too_few_answers"
    CERTAINTY = "certainty"
    DISAGREEMENT = "disagreement"
    NO_CONSENSUS = "no_consensus"
    CONFIDENCE = "confidence"
    CLOSED_MEANWHILE = "closed_meanwhile"
    NO_QUOTE = "no_quote"
    ONE_SIDED_BOOK = "one_sided_book"
    CROSSED_BOOK = "crossed_book"
    PRICE_MOVED = "price_moved"
    EDGE = "edge"
    SIZE = "size"
    POSITION_LIMIT = "position_limit"
    CASH_RESERVE = "cash_reserve"
    TRADED = "traded"


@dataclass(frozen=True, slots=True)
class Market:
    """A binary question at a venue. `market_id` is ``venue:ticker``."""

    market_id: str
    venue: str
    ticker: str
    event_id: str
    series: str
    category: str
    question: str
    rules: str
    opened_at: datetime
    closes_at: datetime
    status: MarketStatus


@dataclass(frozen=True, slots=True)
class Quote:
    """The top of a book, sizes in contracts. ``None`` means that nobody quotes, or that the venue does not say."""

    observed_at: datetime
    yes_bid: Decimal | None
    yes_ask: Decimal | None
    last_price: Decimal | None
    volume: Decimal | None
    yes_bid_size: Decimal | None = None
    yes_ask_size: Decimal | None = None

    @property
    def is_crossed(self) -> bool:
        """Whether the bid is at or above the ask, which no executable book shows."""
        return self.yes_bid is not None and self.yes_ask is not None and self.yes_bid >= self.yes_ask

    @property
    def mid(self) -> float | None:
        """The market's probability of YES: mid of a two-sided book, else the last price, else ``None``.

        A mid or last price of exactly 0 or 1 is returned as it stands; clipping is the pool's business.
        """
        if self.yes_bid is not None and self.yes_ask is not None:
            return float(self.yes_bid + self.yes_ask) / 2
        return None if self.last_price is None else float(self.last_price)


@dataclass(frozen=True, slots=True)
class Listing:
    """A market together with its quote, as one venue row said it."""

    market: Market
    quote: Quote


@dataclass(frozen=True, slots=True)
class Evidence:
    """Something published about a market: a dated claim with its source, untrusted like the market's own words."""

    published_at: datetime
    source: str
    text: str


@dataclass(frozen=True, slots=True)
class PromptWording:
    """One version of a role's prompt file; `prompt_hash` is the SHA-256 of the file, in hex.

    `template` is the user's part, with a placeholder where the data about the market go.
    """

    prompt_hash: str
    role: str
    version: int
    system: str
    template: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a venue says a market settled to; `outcome` is ``None`` where it was voided."""

    market_id: str
    outcome: bool | None
    resolved_at: datetime


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that was refused on the way in, kept so that nothing is lost silently."""

    source: str
    key: str
    why: str

    @classmethod
    def of(cls, source: str, key: str, error: RefusedRowError) -> "RejectedRow":
        """A row that was refused by a named error."""
        return cls(source, key, f"{type(error).__name__}: {error}")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A market as it stood when the ensemble was asked about it; decisions are idempotent on it."""

    snapshot_id: int
    market: Market
    quote: Quote
    reason: RequestReason
    regime: VolatilityRegime

    @property
    def expiry(self) -> ExpiryBucket:
        """The bucket of the time left until the close."""
        return ExpiryBucket.of(self.market.closes_at - self.quote.observed_at)


@dataclass(frozen=True, slots=True)
class Usage:
    """Billed tokens and tool uses of one call.

    `input_tokens` includes those read from a cache and those written to one, `cache_write_tokens` all that were
    written, of which `cache_write_1h_tokens` for an hour; `output_tokens` includes reasoning.
    """

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    web_searches: int = 0


class AnomalyKind(StrEnum):
    """What was odd about the cost of a call.

    ``unusable_report``: the provider reported no amount of money (negative, no number). ``absurd_cost``: a cost so far
    beyond the worst case that it is not believed; the model is closed until somebody decided. ``zero_cost``: nothing,
    told or computed, for a model that is not free; not believed either. ``overrun``: more than was held, and booked.
    ``usage_missing``, ``price_unknown``: nothing to compute a cost from; the worst case stands.
    """

    UNUSABLE_REPORT = "unusable_report"
    ABSURD_COST = "absurd_cost"
    ZERO_COST = "zero_cost"
    OVERRUN = "overrun"
    USAGE_MISSING = "usage_missing"
    PRICE_UNKNOWN = "price_unknown"


@dataclass(frozen=True, slots=True)
class CostAnomaly:
    """One oddity: what was claimed, in the claimant's words, and in micro-dollars where it is an amount."""

    kind: AnomalyKind
    claim: str
    claimed_micro_usd: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What may come back from a model: a checked probability, its confidence and bounded reasons."""

    p_yes: float
    confidence: float
    reasoning: str


class AnswerFormat(StrEnum):
    """How a server is asked for the form of an answer, the strictest first.

    ``json_schema``: it holds the model to the schema. ``json_object``: it holds it to JSON, the schema stands in the
    prompt. ``text``: it is asked for nothing, the schema stands in the prompt.
    """

    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    TEXT = "text"

    @property
    def plainer(self) -> "AnswerFormat | None":
        """What to ask for where a server does not do this; ``None`` below ``text``.

        >>> AnswerFormat.JSON_SCHEMA.plainer, AnswerFormat.TEXT.plainer
        (<AnswerFormat.JSON_OBJECT: 'json_object'>, None)
        """
        following = list(AnswerFormat)[list(AnswerFormat).index(self) + 1 :]
        return following[0] if following else None


@dataclass(frozen=True, slots=True)
class FormatKey:
    """Of whom a form of answers is remembered: a model at an address (without credentials), searching or not."""

    provider: str
    base_url: str
    model: str
    has_search: bool


@dataclass(frozen=True, slots=True)
class Source:
    """A page that a model found when it searched the web, in its provider's words: untrusted.

    `stated_date` is how the provider dates the page, such as "April 30, 2025" or "2 days ago"; empty where it does not.
    """

    url: str
    title: str = ""
    stated_date: str = ""


@dataclass(frozen=True, slots=True)
class ModelReply:
    """One reply of a provider: billed, and readable (`answer` given) or not (`problem` says why).

    `usage` is ``None`` where the provider told none that can be read, `cost_micro_usd` where nobody knows the cost.
    `is_format_ignored` where the model finished, and its text is not in the form that its server was asked for.
    """

    status: CallStatus
    response_model: str
    text: str
    usage: Usage | None
    latency_ms: int
    cost_micro_usd: int | None
    cost_source: str
    answer: Answer | None = None
    problem: str | None = None
    anomalies: tuple[CostAnomaly, ...] = ()
    sources: tuple[Source, ...] = ()
    answer_format: AnswerFormat = AnswerFormat.JSON_SCHEMA
    is_format_ignored: bool = False


@dataclass(frozen=True, slots=True)
class Forecast:
    """One member's recorded probability on one snapshot."""

    forecast_id: int
    snapshot_id: int
    model_id: str
    p_yes: float
    confidence: float


class CacheKind(StrEnum):
    """Whose earlier answer it is: to the same market, or to another that asks the same."""

    SAME = "same"
    SIMILAR = "similar"


@dataclass(frozen=True, slots=True)
class EarlierAnswer:
    """A model's earlier answer that was looked at before it is asked again.

    `refusal` is empty where the answer may be given again, else says what changed since. `age_s` in seconds,
    `price_distance` between the two prices in log-odds (``None``: neither is known), `similarity` of the two markets
    in [0, 1].
    """

    forecast_id: int
    kind: CacheKind
    refusal: str
    age_s: float
    price_distance: float | None
    similarity: float


@dataclass(frozen=True, slots=True)
class Ranked:
    """One model's line in a ranking: shrunk skill (Brier points, negative is better than the panel) and weight.

    `standard_error` and the 95% interval of the skill before shrinkage are ``None`` where fewer than two events say
    anything about them. `sequence_low` and `sequence_high` bound the skill at every look at once, over all `events`
    the model was ever scored on; ``None`` where these are too few to bound anything. `is_tied_with_first`: such a
    sequence of paired differences does not show the model to be worse than the one ranked first. `confidence_gap`:
    stated confidence less the share of forecasts on the right side, shrunk; above 0 the model is too sure of itself.
    """

    model_id: str
    rank: int
    skill: float
    standard_error: float | None
    sample_size: int
    effective_sample_size: float
    weight: float
    interval_low: float | None = None
    interval_high: float | None = None
    sequence_low: float | None = None
    sequence_high: float | None = None
    events: int = 0
    is_tied_with_first: bool = True
    confidence_gap: float = 0.0

    @property
    def is_tied(self) -> bool:
        """Whether the sequence covers zero: the model is not shown to differ from the panel."""
        if self.sequence_low is None or self.sequence_high is None:
            return True
        return self.sequence_low <= 0 <= self.sequence_high


@dataclass(frozen=True, slots=True)
class Ranking:
    """Whom to trust, as of an instant; decisions keep `ranking_id`.

    `correlations` says how alike two models deviate from the panel, by their names in order.
    """

    ranking_id: int
    as_of: datetime
    rows: tuple[Ranked, ...]
    correlations: Mapping[tuple[str, str], float] = field(default_factory=dict)

    @property
    def by_name(self) -> dict[str, Ranked]:
        """The lines by model."""
        return {row.model_id: row for row in self.rows}

    def correlation_of(self, name: str, other: str, unknown: float) -> float:
        """How alike two models are, or `unknown`."""
        return self.correlations.get((name, other) if name < other else (other, name), unknown)


@dataclass(frozen=True, slots=True)
class MemberOpinion:
    """One member in one decision: its answer where it gave one, the weight that answer got, and why it was asked.

    `propensity` is the chance with which the selection asks it under these circumstances: 1 where it was chosen, the
    exploration share where a draw let it in, ``None`` where it stood in for one that failed.
    """

    model_id: str
    forecast_id: int | None
    p_yes: float | None
    confidence: float | None
    weight: float
    propensity: float | None = None


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """One gate of the decision order with the numbers it compared."""

    gate: Reason
    is_passed: bool
    numbers: Mapping[str, float | int | str | None] = field(default_factory=dict)
