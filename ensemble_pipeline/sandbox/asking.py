"""One question to a world's model, apart from any provider's wire format.

Belongs here: which market a prompt is about, what the answer reads like, billed tokens and cost. Does not: how a
provider words requests, replies and errors (``openai_wire``, ``anthropic_wire``).
"""

import json
import re
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from ensemble_pipeline.sandbox.searching import PAGE_TOKENS, SEARCH_USD, Page, count_searches, find_pages
from ensemble_pipeline.sandbox.world import FailureKind, World, WorldAnswer, WorldModel

SANDBOX_KEY = "sandbox"
CHARS_PER_TOKEN = 4
_LONG_KEY = 16
_MARKET_DATA = re.compile(r"^BEGIN MARKET DATA[ \t]*\r?\n([^\r\n]*)\r?\nEND MARKET DATA[ \t]*\r?$", re.MULTILINE)
_UNREADABLE_TEXT = "There is not enough to go on here, and I would rather not put a number on it."


class RefusalKind(StrEnum):
    """Why a provider gives no completion; each dialect words it in its own way."""

    BAD_REQUEST = "bad_request"
    NO_KEY = "no_key"
    WRONG_KEY = "wrong_key"
    UNKNOWN_MODEL = "unknown_model"
    FLAGGED = "flagged"
    RATE_LIMITED = "rate_limited"
    OUT_OF_CREDIT = "out_of_credit"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that ends in an error; `message` is shown where the dialect lets one.

    `retry_after_s` is when to come back, where the provider says so.
    """

    kind: RefusalKind
    message: str
    retry_after_s: float | None = None


def masked(key: str) -> str:
    """A key as error messages show it: its ends, where it is long enough to keep the rest to itself.

    >>> masked("sk-proj-0123456789abcdef")
    'sk-proj-***cdef'
    >>> masked("sandbox")
    'sa***ox'
    """
    front, end = (8, 4) if len(key) >= _LONG_KEY else (2, 2)
    return f"{key[:front]}***{key[-end:]}"


@dataclass(frozen=True, slots=True)
class Question:
    """What a chat request asks, whatever its dialect. `prompt` is the last user message, `prompt_chars` counts all.

    The highest prices are in dollars per million tokens, ``None`` where the request sets none. `answer_format` is the
    form of JSON that the model is held to, ``None`` where it writes as it likes; `max_web_searches` is 0 where the
    request brings no search tool.
    """

    model: str
    prompt: str
    prompt_chars: int
    wants_json: bool
    max_output_tokens: int | None
    max_input_usd_per_mtok: float | None = None
    max_output_usd_per_mtok: float | None = None
    answer_format: str | None = None
    is_told_schema: bool = False
    max_web_searches: int = 0

    def allows_prices_of(self, model: WorldModel) -> bool:
        """Whether the model costs no more than the request lets it."""
        bounds = (
            (self.max_input_usd_per_mtok, model.input_usd_per_mtok),
            (self.max_output_usd_per_mtok, model.output_usd_per_mtok),
        )
        return all(most is None or float(price) <= most for most, price in bounds)


@dataclass(frozen=True, slots=True)
class Completion:
    """A billed reply. `output_tokens` includes `reasoning_tokens`; `is_cut` where the token limit ended the text.

    `is_refused` where the model declined; `text` is then what it says instead.
    """

    model: str
    text: str
    input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost_usd: Decimal
    latency_ms: int | None
    is_cut: bool
    is_refused: bool = False
    pages: tuple[Page, ...] = ()
    web_searches: int = 0


class Desk:
    """Takes questions for the models of a world, by provider."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._models: dict[tuple[str, str], WorldModel] = {
            (model.provider, model.wire_model): model for model in world.models
        }

    def models_of(self, provider: str) -> list[WorldModel]:
        """The models a provider serves."""
        return [model for model in self._models.values() if model.provider == provider]

    def ask(self, provider: str, question: Question, at: datetime) -> Completion | Refusal:
        """The model's completion as of `at`, or why there is none."""
        model = self._models.get((provider, question.model))
        if model is None or not question.allows_prices_of(model):
            return Refusal(RefusalKind.UNKNOWN_MODEL, question.model)
        ticker = find_ticker(question.prompt)
        if ticker is None or ticker not in self._world.markets:
            return Refusal(
                RefusalKind.BAD_REQUEST,
                "The last user message must hold a line BEGIN MARKET DATA, one line with a JSON object whose market_id "
                f"names a market of this world, and a line END MARKET DATA; found {ticker!r}.",
            )
        answer = self._world.answer(question.model, ticker, at)
        if answer is None or answer.failure is FailureKind.UNAVAILABLE:
            return Refusal(RefusalKind.OVERLOADED, "The service is overloaded. Try again later.")
        completion = _complete(model, question, answer)
        return _with_search(completion, model, ticker, question.max_web_searches, at)


def find_ticker(prompt: str) -> str | None:
    """The ticker a prompt names between its market data lines, or ``None``.

    >>> find_ticker('BEGIN MARKET DATA' + chr(10) + '{"market_id": "kalshi:KXA-1"}' + chr(10) + 'END MARKET DATA')
    'KXA-1'
    """
    found = _MARKET_DATA.search(prompt)
    if found is None:
        return None
    try:
        data = json.loads(found[1])
    except ValueError:
        return None
    market_id = data.get("market_id") if isinstance(data, dict) else None
    if not isinstance(market_id, str):
        return None
    venue, _, ticker = market_id.partition(":")
    return ticker if venue == "kalshi" else None


def count_tokens(chars: int) -> int:
    """Tokens of a text of so many characters, at least 1."""
    return max(1, chars // CHARS_PER_TOKEN)


def _complete(model: WorldModel, question: Question, answer: WorldAnswer) -> Completion:
    text = _write(answer, question)
    visible = count_tokens(len(text))
    output = max(visible, answer.output_tokens or 0)
    reasoning = output - visible
    limit = question.max_output_tokens
    is_cut = limit is not None and output > limit
    if limit is not None and output > limit:
        output, reasoning = limit, min(reasoning, limit)
        text = text[: (limit - reasoning) * CHARS_PER_TOKEN]
    tokens_in = answer.input_tokens or count_tokens(question.prompt_chars)
    price = tokens_in * model.input_usd_per_mtok + output * model.output_usd_per_mtok
    return Completion(
        model=model.wire_model,
        text=text,
        input_tokens=tokens_in,
        output_tokens=output,
        reasoning_tokens=reasoning,
        cost_usd=price / 1_000_000 if answer.cost_usd is None else answer.cost_usd,
        latency_ms=answer.latency_ms,
        is_cut=is_cut,
    )


def _with_search(completion: Completion, model: WorldModel, ticker: str, most: int, at: datetime) -> Completion:
    """The same after as many searches as the model finds useful: what it read, and what both cost."""
    searches = count_searches(ticker, model.wire_model, most)
    if not searches:
        return completion
    pages = find_pages(ticker, at, searches)
    read = len(pages) * PAGE_TOKENS
    return replace(
        completion,
        pages=pages,
        web_searches=searches,
        input_tokens=completion.input_tokens + read,
        cost_usd=completion.cost_usd + read * model.input_usd_per_mtok / 1_000_000 + searches * SEARCH_USD,
    )


def tells_schema(*texts: str) -> bool:
    """Whether a prompt holds the schema of the answer itself."""
    return any('"additionalProperties"' in text for text in texts)


def _write(answer: WorldAnswer, question: Question) -> str:
    p = answer.p_yes
    if p is None or answer.failure is not None:
        return _UNREADABLE_TEXT
    confidence = max(p, 1 - p) if answer.confidence is None else answer.confidence
    lean = "YES" if p >= 0.5 else "NO"
    reasoning = f"Rules, base rate and the time left, taken together, lean to {lean}."
    if question.wants_json:
        fields = json.dumps({"p_yes": round(p, 6), "confidence": round(confidence, 6), "reasoning": reasoning})
        # who is not held to JSON wraps it up
        is_held = question.answer_format is not None
        return fields if is_held else f"Here is my estimate:\n```json\n{fields}\n```\nIt may change with the news."
    return f"{reasoning} Probability of YES: {p:.6f}. Confidence: {confidence:.6f}."
