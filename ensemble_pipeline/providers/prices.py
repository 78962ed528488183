"""What a call costs: exactly after it, from above before it. Unknown is refused, never zero.

The price list (``genai-prices``) comes with its package and is read offline. It is imported on first use: a third of
a second that a process which asks no model need not pay.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

from ensemble_pipeline.clock import RealClock
from ensemble_pipeline.domain import MICRO_PER_USD
from ensemble_pipeline.errors import UnknownPriceError
from ensemble_pipeline.providers.base import Prompt, RawReply
from ensemble_pipeline.settings import MemberSettings

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice, PriceCalculation

PROMPT_OVERHEAD_TOKENS = 1000

# a provider of one's own is not looked up: a name that merely resembles one in the list must not set a price
_LIST_IDS = {"xai": "x-ai", "openai": "openai", "anthropic": "anthropic", "openrouter": "openrouter"}
_INPUT_PRICES = ("input_mtok", "cache_read_mtok", "cache_write_mtok")
_OUTPUT_PRICES = ("output_mtok", "output_reasoning_mtok")


class CostSource(StrEnum):
    """Where a cost comes from; `UNKNOWN` means that no source knows it and the reservation stands for it."""

    REPORTED = "reported"
    PRICE_LIST = "price_list"
    SETTINGS = "settings"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class _Rates:
    """Dollars per million tokens, the highest that can apply."""

    input_usd_per_mtok: Decimal
    output_usd_per_mtok: Decimal

    def micro_usd(self, input_tokens: int, output_tokens: int) -> int:
        # dollars per million tokens are micro-dollars per token
        return _ceil(self.input_usd_per_mtok * input_tokens + self.output_usd_per_mtok * output_tokens)


def cost_micro_usd(reply: RawReply, member: MemberSettings) -> tuple[int, CostSource]:
    """What a reply cost, in micro-dollars rounded up, and who says so.

    Taken from the first that knows it: the provider's own figure, the price list for the model that answered, the
    member's prices in the settings.

    Raises:
        UnknownPriceError: none of them knows it.
    """
    if reply.reported_cost_micro_usd is not None:
        return reply.reported_cost_micro_usd, CostSource.REPORTED
    if (listed := _listed_cost(reply, member.provider)) is not None:
        return listed, CostSource.PRICE_LIST
    if (rates := _settings_rates(member)) is not None:
        return rates.micro_usd(reply.usage.input_tokens, reply.usage.output_tokens), CostSource.SETTINGS
    raise _unknown(member, reply.response_model)


def worst_case_micro_usd(prompt: Prompt, member: MemberSettings) -> int:
    """The most that one call can cost, in micro-dollars rounded up; 0 only where the settings say that it is free.

    The prompt is taken to have as many tokens as UTF-8 bytes, plus 1,000: byte-level tokenizers make no token out of
    less than a byte, and the rest is room for the answer's schema and the provider's own framing. The answer is taken
    to use all of `max_output_tokens`. Both are priced at the highest rate within reach of so many input tokens
    (cached, written to a cache or neither; long-prompt tiers where the prompt could be that long).

    Raises:
        UnknownPriceError: neither the price list nor the settings know what the model costs.
    """
    input_tokens = max_input_tokens(prompt)
    known = [rates for rates in (_listed_rates(member, input_tokens), _settings_rates(member)) if rates is not None]
    if not known:
        raise _unknown(member, member.model)
    # the settled cost may come from either: from the settings where another model answers that the list lacks
    return max(rates.micro_usd(input_tokens, member.max_output_tokens) for rates in known)


def max_input_tokens(prompt: Prompt) -> int:
    """A bound from above on the prompt's tokens, as `worst_case_micro_usd` explains it."""
    return len(prompt.system.encode()) + len(prompt.user.encode()) + PROMPT_OVERHEAD_TOKENS


def _settings_rates(member: MemberSettings) -> _Rates | None:
    if member.input_usd_per_mtok is None or member.output_usd_per_mtok is None:
        return None
    return _Rates(member.input_usd_per_mtok, member.output_usd_per_mtok)


def _listed_cost(reply: RawReply, provider: str) -> int | None:
    usage = reply.usage
    calculation = _look_up(
        provider,
        reply.response_model,
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cached_input_tokens,
        cache_write_tokens=reply.cache_write_tokens,
        output_tokens=usage.output_tokens,
    )
    return None if calculation is None else _ceil(calculation.total_price * MICRO_PER_USD)


def _listed_rates(member: MemberSettings, input_tokens: int) -> _Rates | None:
    calculation = _look_up(member.provider, member.model, input_tokens=0)
    if calculation is None:
        return None
    price = calculation.model_price
    return _Rates(_highest(price, _INPUT_PRICES, input_tokens), _highest(price, _OUTPUT_PRICES, input_tokens))


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
        "`input_usd_per_mtok` and `output_usd_per_mtok` of this member in ENSEMBLE_MEMBERS; 0 means free."
    )


def _ceil(micro_usd: Decimal) -> int:
    return int(micro_usd.to_integral_value(ROUND_CEILING))
