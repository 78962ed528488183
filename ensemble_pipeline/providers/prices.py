"""What a call costs: exactly after it, from above before it. Unknown is refused, never zero.

Belongs here: the order of sources and what is believed. Does not: where money is booked (store.budget), how usage is
read from a reply (the dialects). The price list (``genai-prices``) comes with its package and is read offline. It is
imported on first use: a third of a second that a process which asks no model need not pay.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

from ensemble_pipeline.clock import RealClock
from ensemble_pipeline.domain import MICRO_PER_USD, AnomalyKind, CostAnomaly, Usage
from ensemble_pipeline.errors import UnknownPriceError
from ensemble_pipeline.providers.base import Prompt, RawReply
from ensemble_pipeline.settings import MemberSettings

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice, PriceCalculation

PROMPT_OVERHEAD_TOKENS = 1000
_PER_THOUSAND = 1000

# a provider of one's own is not looked up: a name that merely resembles one in the list must not set a price
_LIST_IDS = {"xai": "x-ai", "openai": "openai", "anthropic": "anthropic", "openrouter": "openrouter"}
_INPUT_PRICES = ("input_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok")
_OUTPUT_PRICES = ("output_mtok", "output_reasoning_mtok", "output_citation_mtok")
_NOT_BELIEVED = frozenset({AnomalyKind.ABSURD_COST, AnomalyKind.ZERO_COST})


class CostSource(StrEnum):
    """Where a cost comes from; `UNKNOWN` means that no source knows it and the reservation stands for it."""

    REPORTED = "reported"
    PRICE_LIST = "price_list"
    SETTINGS = "settings"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a reply cost, in micro-dollars rounded up (``None``: nobody knows), who says so, and what was odd."""

    micro_usd: int | None
    source: CostSource
    anomalies: tuple[CostAnomaly, ...] = ()


@dataclass(frozen=True, slots=True)
class Rates:
    """Dollars per million tokens, per web search (``None``: nobody knows) and per request; the highest there are."""

    input_usd_per_mtok: Decimal
    output_usd_per_mtok: Decimal
    web_search_usd: Decimal | None
    request_usd: Decimal = Decimal(0)

    def micro_usd(self, input_tokens: int, output_tokens: int, web_searches: int) -> int | None:
        """The whole call; ``None`` where it searches and nobody knows what a search costs."""
        if web_searches and self.web_search_usd is None:
            return None
        fees = self.request_usd + web_searches * (self.web_search_usd or Decimal(0))
        # dollars per million tokens are micro-dollars per token
        tokens = self.input_usd_per_mtok * input_tokens + self.output_usd_per_mtok * output_tokens
        return _ceil(tokens + fees * MICRO_PER_USD)


def cost_of(reply: RawReply, member: MemberSettings, held_micro_usd: int, believable_factor: float) -> Cost:
    """What a reply cost, taken from the first source that knows it and can be believed.

    In this order: the provider's own figure, the price list for the model that answered, the member's prices in the
    settings. A cost above `held_micro_usd` times `believable_factor` is not believed, nor is nothing from a member that
    is not free: the next source is asked. One above `held_micro_usd` is believed, and told as an overrun.

    Args:
        reply: As it came.
        member: Who was asked.
        held_micro_usd: The worst case that was reserved for the call.
        believable_factor: At least 1.

    Returns:
        The cost; with ``UNKNOWN`` where no source is left, so that the worst case stands.
    """
    odd = [] if reply.unusable_report is None else [CostAnomaly(AnomalyKind.UNUSABLE_REPORT, reply.unusable_report)]
    for micro_usd, source in _known_costs(reply, member):
        claim = f"{source} says {micro_usd} micro-dollars where {held_micro_usd} were held"
        if micro_usd > held_micro_usd * believable_factor:
            odd.append(CostAnomaly(AnomalyKind.ABSURD_COST, claim, micro_usd))
            continue
        if micro_usd == 0 and not _may_be_free(member, held_micro_usd):
            odd.append(CostAnomaly(AnomalyKind.ZERO_COST, claim, micro_usd))
            continue
        if micro_usd > held_micro_usd:
            odd.append(CostAnomaly(AnomalyKind.OVERRUN, claim, micro_usd))
        return Cost(micro_usd, source, _once_each(odd))
    if reply.usage is None and held_micro_usd == 0:
        # whatever it used, the settings say that it is free
        return Cost(0, CostSource.SETTINGS, _once_each(odd))
    if reply.usage is None:
        odd.append(CostAnomaly(AnomalyKind.USAGE_MISSING, "the reply tells no usage that can be read"))
    elif not any(it.kind in _NOT_BELIEVED for it in odd):
        odd.append(CostAnomaly(AnomalyKind.PRICE_UNKNOWN, str(_unknown(member, reply.response_model))))
    return Cost(None, CostSource.UNKNOWN, _once_each(odd))


def _known_costs(reply: RawReply, member: MemberSettings) -> Iterator[tuple[int, CostSource]]:
    if reply.reported_cost_micro_usd is not None:
        yield reply.reported_cost_micro_usd, CostSource.REPORTED
    if reply.usage is None:
        return
    if (listed := _listed_cost(reply.usage, reply.response_model, member)) is not None:
        yield listed, CostSource.PRICE_LIST
    if (by_settings := _settings_cost(reply.usage, member)) is not None:
        yield by_settings, CostSource.SETTINGS


def _may_be_free(member: MemberSettings, held_micro_usd: int) -> bool:
    if held_micro_usd == 0 or (member.provider == "openrouter" and member.model.endswith(":free")):
        return True
    # the list may know a price where the settings say 0: whoever set that expects no bill
    rates = _settings_rates(member)
    return rates is not None and rates.micro_usd(1, 1, member.max_web_searches) == 0


def _once_each(odd: Iterable[CostAnomaly]) -> tuple[CostAnomaly, ...]:
    first: dict[AnomalyKind, CostAnomaly] = {}
    for anomaly in odd:
        first.setdefault(anomaly.kind, anomaly)
    return tuple(first.values())


def worst_case_micro_usd(prompt: Prompt, member: MemberSettings) -> int:
    """The most that one call can cost, in micro-dollars rounded up; 0 only where the settings say that it is free.

    The prompt is taken to have as many tokens as UTF-8 bytes, plus 1,000: byte-level tokenizers make no token out of
    less than a byte, and the rest is room for the answer's schema and the provider's own framing. Each of the
    member's `max_web_searches` adds its fee and `web_search_tokens` of what it found. The answer is taken to use all
    of `max_output_tokens`. Tokens are priced at the highest rate within reach of so many input tokens (cached,
    written to a cache or neither; long-prompt tiers where the prompt could be that long). A call is one request to the
    provider: a retry is a call of its own, with a worst case of its own.

    Raises:
        UnknownPriceError: neither the price list nor the settings know what the model, or a search of it, costs.
    """
    rates, input_tokens = highest_rates(prompt, member), _most_input_tokens(prompt, member)
    micro_usd = rates.micro_usd(input_tokens, member.max_output_tokens, member.max_web_searches)
    if micro_usd is None:
        raise _unknown(member, member.model)
    return micro_usd


def highest_rates(prompt: Prompt, member: MemberSettings) -> Rates:
    """The rates that `worst_case_micro_usd` rests on: each the highest of what the price list and the settings say.

    Raises:
        UnknownPriceError: neither knows what the model costs.
    """
    either = (_listed_rates(member, _most_input_tokens(prompt, member)), _settings_rates(member))
    # the settled cost may come from either: from the settings where another model answers that the list lacks
    known = [it for it in either if it is not None]
    if not known:
        raise _unknown(member, member.model)
    return Rates(
        max(it.input_usd_per_mtok for it in known),
        max(it.output_usd_per_mtok for it in known),
        max((it.web_search_usd for it in known if it.web_search_usd is not None), default=None),
        max(it.request_usd for it in known),
    )


def max_input_tokens(prompt: Prompt) -> int:
    """A bound from above on the prompt's tokens, as `worst_case_micro_usd` explains it."""
    return len(prompt.system.encode()) + len(prompt.user.encode()) + PROMPT_OVERHEAD_TOKENS


def _most_input_tokens(prompt: Prompt, member: MemberSettings) -> int:
    return max_input_tokens(prompt) + member.max_web_searches * member.web_search_tokens


def _settings_cost(usage: Usage, member: MemberSettings) -> int | None:
    rates = _settings_rates(member)
    return None if rates is None else rates.micro_usd(usage.input_tokens, usage.output_tokens, usage.web_searches)


def _settings_rates(member: MemberSettings) -> Rates | None:
    if member.input_usd_per_mtok is None or member.output_usd_per_mtok is None:
        return None
    return Rates(member.input_usd_per_mtok, member.output_usd_per_mtok, member.web_search_usd)


def _listed_cost(usage: Usage, model: str, member: MemberSettings) -> int | None:
    calculation = _look_up(
        member.provider,
        model,
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        output_tokens=usage.output_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
        web_searches=usage.web_searches,
    )
    if calculation is None:
        return None
    extra = Decimal(0)
    if usage.web_searches and calculation.model_price.web_searches_kcount is None:
        # the list leaves out what it has no price for
        if member.web_search_usd is None:
            return None
        extra = usage.web_searches * member.web_search_usd
    return _ceil((calculation.total_price + extra) * MICRO_PER_USD)


def _listed_rates(member: MemberSettings, input_tokens: int) -> Rates | None:
    calculation = _look_up(member.provider, member.model, input_tokens=0)
    if calculation is None:
        return None
    price = calculation.model_price
    has_search_price = price.web_searches_kcount is not None
    return Rates(
        _highest(price, _INPUT_PRICES, input_tokens),
        _highest(price, _OUTPUT_PRICES, input_tokens),
        _highest(price, ("web_searches_kcount",), input_tokens) / _PER_THOUSAND
        if has_search_price
        else member.web_search_usd,
        _highest(price, ("requests_kcount",), input_tokens) / _PER_THOUSAND,
    )


def _look_up(provider: str, model: str, **tokens: int) -> "PriceCalculation | None":
    from genai_prices import Usage, calc_price

    list_id = _LIST_IDS.get(provider)
    if list_id is None:
        return None
    try:
        calculation = calc_price(Usage(**tokens), model, provider_id=list_id, genai_request_timestamp=_today())
    except LookupError:
        return None
    # an entry without one of the two prices, or at nothing, is a gap in the list and no gift
    price = calculation.model_price
    has_prices = all(_highest(price, (key,), 0) > 0 for key in ("input_mtok", "output_mtok"))
    return calculation if has_prices else None


def _highest(price: "ModelPrice", keys: Iterable[str], input_tokens: int) -> Decimal:
    from genai_prices.types import TieredPrices

    rates = [Decimal(0)]
    for key in keys:
        value = getattr(price, key)
        if isinstance(value, TieredPrices):
            rates += [value.base, *(tier.price for tier in value.tiers if tier.start < input_tokens)]
        elif value is not None:
            rates.append(value)
    return max(rates)


def _today() -> datetime:
    # prices follow the provider's calendar, in a world with a clock of its own too
    return RealClock().now().astimezone(UTC)


def _unknown(member: MemberSettings, model: str) -> UnknownPriceError:
    return UnknownPriceError(
        f"No price is known for model {model!r} of member {member.name!r} (provider {member.provider}). Set "
        "`input_usd_per_mtok` and `output_usd_per_mtok` of this member in ENSEMBLE_MEMBERS, and `web_search_usd` where "
        "it searches the web; 0 means free."
    )


def _ceil(micro_usd: Decimal) -> int:
    return int(micro_usd.to_integral_value(ROUND_CEILING))
