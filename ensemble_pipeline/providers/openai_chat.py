"""The OpenAI-shaped ``/chat/completions`` dialect: xAI, OpenAI, OpenRouter and local servers."""

from decimal import ROUND_CEILING, Decimal
from typing import Any

from ensemble_pipeline.domain import MICRO_PER_USD, CallStatus, Usage
from ensemble_pipeline.errors import BadReplyError, EnsembleError
from ensemble_pipeline.providers.answers import ANSWER_SCHEMA, ANSWER_SCHEMA_NAME
from ensemble_pipeline.providers.base import ModelCatalogue, Prompt, RawReply
from ensemble_pipeline.providers.http_errors import Endpoint, bad_reply
from ensemble_pipeline.providers.prices import Rates, highest_rates
from ensemble_pipeline.providers.texts import one_line, storable
from ensemble_pipeline.providers.wire import Fields, Wire, read_catalogue, read_usage
from ensemble_pipeline.settings import MemberSettings

XAI_TICKS_PER_MICRO_USD = 10_000
MAX_REPORTED_USD = 1_000_000
_CLAIM_LENGTH = 80


class OpenAIChatClient:
    """A provider that speaks ``/chat/completions``."""

    def __init__(self, endpoint: Endpoint, max_connections: int) -> None:
        self._endpoint = endpoint
        headers = {"authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}
        self._wire = Wire(endpoint, headers, max_connections)

    async def ask(self, member: MemberSettings, prompt: Prompt) -> RawReply:
        """Exactly one HTTP attempt at an answer.

        Raises:
            ProviderError: the subclass says what happened.
            UnknownPriceError: OpenRouter has to be told a price that nobody knows; nothing was sent.
        """
        reply = await self._wire.post("/chat/completions", self._body(member, prompt))
        top = Fields(reply.data, self._endpoint)
        choices = top.objects("choices")
        if not choices:
            raise bad_reply(self._endpoint, "it holds no choice")
        status, text, problem = _read_choice(choices[0], member.max_output_tokens)
        reported, unusable = self._reported_cost(top)
        return RawReply(
            text=storable(text),
            response_model=top.name("model", member.model),
            usage=read_usage(top, _read_usage),
            reported_cost_micro_usd=reported,
            latency_ms=reply.latency_ms,
            status=status,
            problem=problem,
            unusable_report=unusable,
        )

    async def list_models(self) -> ModelCatalogue:
        """The models on offer; costs nothing."""
        return read_catalogue(await self._wire.get("/models"), self._endpoint)

    async def aclose(self) -> None:
        """Release the connections."""
        await self._wire.aclose()

    def _body(self, member: MemberSettings, prompt: Prompt) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": member.model,
            "messages": [
                {"role": "system", "content": prompt.system},
                {"role": "user", "content": prompt.user},
            ],
            "max_completion_tokens": member.max_output_tokens,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": ANSWER_SCHEMA_NAME, "strict": True, "schema": ANSWER_SCHEMA},
            },
        }
        if self._endpoint.api_key_env is None:
            # local servers know the bound by its older name; the hosted ones refuse a request that gives both
            body["max_tokens"] = member.max_output_tokens
        if self._endpoint.provider == "openrouter":
            # else a request may be routed to a host that ignores the schema, or that is dearer than what is held for it
            body["provider"] = {"require_parameters": True, "max_price": _max_price(highest_rates(prompt, member))}
        return body

    def _reported_cost(self, top: Fields) -> tuple[int | None, str | None]:
        """What the provider says the call cost, in micro-dollars; or what it said instead of an amount."""
        try:
            return self._amounts(top.optional_child("usage")), None
        except _UnusableReportError as error:
            return None, str(error)
        except BadReplyError:
            # usage is no object: told as missing usage
            return None, None

    def _amounts(self, usage: Fields) -> int | None:
        ticks = usage.data.get("cost_in_usd_ticks")
        if ticks is not None:
            return _micro_usd(ticks, Decimal(1) / XAI_TICKS_PER_MICRO_USD, "usage.cost_in_usd_ticks")
        # other servers may use so plain a name for something else
        if self._endpoint.provider != "openrouter" or usage.data.get("cost") is None:
            return None
        micro_usd = _micro_usd(usage.data["cost"], Decimal(MICRO_PER_USD), "usage.cost")
        if usage.data.get("is_byok") is not True:
            return micro_usd
        # with a key of one's own `cost` is OpenRouter's fee alone
        upstream = usage.optional_child("cost_details").data.get("upstream_inference_cost")
        if upstream in (None, 0):
            return None
        return micro_usd + _micro_usd(upstream, Decimal(MICRO_PER_USD), "usage.cost_details.upstream_inference_cost")


def _max_price(rates: Rates) -> dict[str, float]:
    # dollars per million tokens, as OpenRouter counts them too
    return {"prompt": float(rates.input_usd_per_mtok), "completion": float(rates.output_usd_per_mtok)}


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


def _read_choice(choice: Fields, max_output_tokens: int) -> tuple[CallStatus, str, str | None]:
    message = choice.child("message")
    content = message.text("content")
    finish = choice.name("finish_reason", "stop")
    if refusal := message.text("refusal"):
        return CallStatus.REFUSED_BY_MODEL, refusal, "the model refused to answer"
    if finish == "content_filter":
        return CallStatus.REFUSED_BY_MODEL, content or "", "the provider's content filter stopped the answer"
    if finish == "error":
        # OpenRouter: the host failed half-way, and what it wrote until then may be billed
        return CallStatus.UNREADABLE, content or "", "the provider broke the answer off with an error"
    if finish == "length":
        return CallStatus.UNREADABLE, content or "", f"cut at {max_output_tokens} output tokens, reasoning included"
    if content is None:
        return CallStatus.UNREADABLE, "", f"the reply holds no text (finish_reason {finish})"
    return CallStatus.ANSWERED, content, None


def _read_usage(usage: Fields) -> Usage:
    prompt_tokens = usage.tokens("prompt_tokens")
    completion_tokens = usage.tokens("completion_tokens", 0)
    total_tokens = usage.tokens("total_tokens", prompt_tokens + completion_tokens)
    prompt_details = usage.optional_child("prompt_tokens_details")
    cached = min(prompt_details.tokens("cached_tokens", 0), prompt_tokens)
    output_tokens = max(completion_tokens, total_tokens - prompt_tokens)
    reasoning = usage.optional_child("completion_tokens_details").tokens("reasoning_tokens", 0)
    return Usage(
        input_tokens=prompt_tokens,
        # xAI leaves reasoning out of completion_tokens, OpenAI counts it in; the total always holds it
        output_tokens=output_tokens,
        cached_input_tokens=cached,
        reasoning_tokens=min(reasoning, output_tokens),
        cache_write_tokens=min(prompt_details.tokens("cache_write_tokens", 0), prompt_tokens - cached),
        web_searches=usage.optional_child("server_tool_use").tokens("web_search_requests", 0),
    )
