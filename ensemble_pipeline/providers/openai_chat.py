"""The OpenAI-shaped ``/chat/completions`` dialect: xAI, OpenAI, OpenRouter and local servers.

Belongs here: its requests and replies. Does not: ``/responses``, which whoever searches is asked at
(``openai_responses``).
"""

from typing import Any

from ensemble_pipeline.domain import AnswerFormat, CallStatus, Source, Usage
from ensemble_pipeline.providers import openai_responses
from ensemble_pipeline.providers.answers import ANSWER_SCHEMA, ANSWER_SCHEMA_NAME
from ensemble_pipeline.providers.base import ModelCatalogue, Prompt, RawReply, Way
from ensemble_pipeline.providers.endpoint import Endpoint
from ensemble_pipeline.providers.http_errors import bad_reply
from ensemble_pipeline.providers.prices import Rates, highest_rates
from ensemble_pipeline.providers.reported_cost import reported_cost
from ensemble_pipeline.providers.texts import storable
from ensemble_pipeline.providers.wire import Fields, Wire, bounded_usage, read_catalogue, read_usage
from ensemble_pipeline.settings import MemberSettings


class OpenAIChatClient:
    """A provider that speaks ``/chat/completions``, and ``/responses`` where its tool searches the web."""

    def __init__(self, endpoint: Endpoint, max_connections: int) -> None:
        self._endpoint = endpoint
        self._wire = Wire(endpoint, max_connections)

    async def ask(self, member: MemberSettings, prompt: Prompt, way: Way) -> RawReply:
        """Exactly one HTTP attempt at an answer.

        Raises:
            ProviderError: the subclass says what happened.
            UnknownPriceError: OpenRouter has to be told a price that nobody knows; nothing was sent.
        """
        if way.has_search:
            return await openai_responses.ask(self._wire, member, prompt, way.answer_format)
        reply = await self._wire.post("/chat/completions", self._body(member, prompt, way.answer_format))
        top = Fields(reply.data, self._endpoint)
        choices = top.objects("choices")
        if not choices:
            raise bad_reply(self._endpoint, "it holds no choice")
        status, text, problem = _read_choice(choices[0], member.max_output_tokens)
        reported, unusable = reported_cost(top)
        return RawReply(
            text=storable(text),
            response_model=top.name("model", member.model),
            usage=read_usage(top, _read_usage),
            reported_cost_micro_usd=reported,
            latency_ms=reply.latency_ms,
            status=status,
            problem=problem,
            unusable_report=unusable,
            sources=_read_sources(choices[0].child("message")),
        )

    async def list_models(self) -> ModelCatalogue:
        """The models on offer; costs nothing."""
        return read_catalogue(await self._wire.get("/models"), self._endpoint)

    async def aclose(self) -> None:
        """Release the connections."""
        await self._wire.aclose()

    def _body(self, member: MemberSettings, prompt: Prompt, answer_format: AnswerFormat) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": member.model,
            "messages": [
                {"role": "system", "content": prompt.system},
                {"role": "user", "content": prompt.user},
            ],
            "max_completion_tokens": member.max_output_tokens,
            **_response_format(answer_format),
        }
        if self._endpoint.api_key_env is None:
            # local servers know the bound by its older name; the hosted ones refuse a request that gives both
            body["max_tokens"] = member.max_output_tokens
        if self._endpoint.provider == "openrouter":
            # else a request may be routed to a host that ignores the schema, or that is dearer than what is held for it
            body["provider"] = {"require_parameters": True, "max_price": _max_price(highest_rates(prompt, member))}
        return body


def _response_format(answer_format: AnswerFormat) -> dict[str, Any]:
    if answer_format is AnswerFormat.TEXT:
        return {}
    if answer_format is AnswerFormat.JSON_OBJECT:
        return {"response_format": {"type": "json_object"}}
    schema = {"name": ANSWER_SCHEMA_NAME, "strict": True, "schema": ANSWER_SCHEMA}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _max_price(rates: Rates) -> dict[str, float]:
    # dollars per million tokens, as OpenRouter counts them too
    return {"prompt": float(rates.input_usd_per_mtok), "completion": float(rates.output_usd_per_mtok)}


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


def _read_sources(message: Fields) -> tuple[Source, ...]:
    """The pages that OpenRouter's search found; nobody else names any here, and none is dated."""
    cited = [note.loose_child("url_citation") for note in message.rows("annotations")]
    return tuple(Source(it.text("url") or "", it.text("title") or "") for it in cited if it.data)


def _read_usage(usage: Fields) -> Usage:
    prompt_tokens = usage.tokens("prompt_tokens")
    completion_tokens = usage.tokens("completion_tokens", 0)
    total_tokens = usage.tokens("total_tokens", prompt_tokens + completion_tokens)
    return bounded_usage(
        input_tokens=prompt_tokens,
        # xAI leaves reasoning out of completion_tokens, OpenAI counts it in; the total always holds it
        output_tokens=max(completion_tokens, total_tokens - prompt_tokens),
        input_details=usage.optional_child("prompt_tokens_details"),
        output_details=usage.optional_child("completion_tokens_details"),
        web_searches=usage.optional_child("server_tool_use").tokens("web_search_requests", 0),
    )
