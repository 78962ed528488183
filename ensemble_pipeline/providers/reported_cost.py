"""What a provider itself says that a call cost, in micro-dollars: exact where it is an amount, told where it is none.

Belongs here: the fields that hold it, their units and bounds. Does not: whether it is believed (``prices``).
"""

from decimal import ROUND_CEILING, Decimal

from ensemble_pipeline.domain import MICRO_PER_USD
from ensemble_pipeline.errors import BadReplyError, EnsembleError
from ensemble_pipeline.providers.texts import one_line
from ensemble_pipeline.providers.wire import Fields

XAI_TICKS_PER_MICRO_USD = 10_000
MAX_REPORTED_USD = 1_000_000
_CLAIM_LENGTH = 80


def reported_cost(top: Fields) -> tuple[int | None, str | None]:
    """What the provider says the call cost, in micro-dollars; or what it said instead of an amount."""
    try:
        return _amounts(top.optional_child("usage"), top.endpoint.provider), None
    except _UnusableReportError as error:
        return None, str(error)
    except BadReplyError:
        # usage is no object: told as missing usage
        return None, None


def _amounts(usage: Fields, provider: str) -> int | None:
    ticks = usage.data.get("cost_in_usd_ticks")
    if ticks is not None:
        return _micro_usd(ticks, Decimal(1) / XAI_TICKS_PER_MICRO_USD, "usage.cost_in_usd_ticks")
    # other servers may use so plain a name for something else
    if provider != "openrouter" or usage.data.get("cost") is None:
        return None
    micro_usd = _micro_usd(usage.data["cost"], Decimal(MICRO_PER_USD), "usage.cost")
    if usage.data.get("is_byok") is not True:
        return micro_usd
    # with a key of one's own `cost` is OpenRouter's fee alone
    upstream = usage.optional_child("cost_details").data.get("upstream_inference_cost")
    if upstream in (None, 0):
        return None
    return micro_usd + _micro_usd(upstream, Decimal(MICRO_PER_USD), "usage.cost_details.upstream_inference_cost")


class _UnusableReportError(EnsembleError):
    """What a provider reports as the cost is no amount of money; the message names the field and what it holds."""


def _micro_usd(value: object, micro_usd_per_unit: Decimal, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise _UnusableReportError(f"{path} is not a number: {one_line(repr(value), _CLAIM_LENGTH)}")
    # an int of thousands of digits is longer than Python writes out, and a huge exponent would exhaust the memory as
    # an int: compared before anything is made of them
    is_amount = 0 <= value <= MAX_REPORTED_USD * MICRO_PER_USD / micro_usd_per_unit
    if not is_amount or not Decimal(value).is_finite():
        shown = "a number beyond all bounds" if value > 0 else f"{value:.6g}" if value > -(10**30) else "below zero"
        raise _UnusableReportError(f"{path} is no amount of money: {shown}")
    return int((Decimal(value) * micro_usd_per_unit).to_integral_value(ROUND_CEILING))
