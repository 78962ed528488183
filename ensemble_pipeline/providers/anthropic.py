"""The Anthropic Messages dialect, API version 2026-10-21 (which knows no temperature)."""

from typing import Any

from ensemble_pipeline.domain import CallStatus, Usage
from ensemble_pipeline.providers.answers import ANSWER_SCHEMA
from ensemble_pipeline.providers.base import ModelCatalogue, Prompt, RawReply
from ensemble_pipeline.providers.http_errors import Endpoint
from ensemble_pipeline.providers.texts import storable
from ensemble_pipeline.providers.wire import Fields, Wire, read_catalogue, read_usage
from ensemble_pipeline.settings import MemberSettings

API_VERSION = "2026-10-21"

_FINISHED = frozenset({"end_turn", "stop_sequence"})


class AnthropicClient:
    """A provider that speaks ``/messages``."""

    def __init__(self, endpoint: Endpoint, max_connections: int) -> None:
        self._endpoint = endpoint
        headers = {"anthropic-version": API_VERSION}
        if endpoint.api_key:
            headers["x-api-key"] = endpoint.api_key
        self._wire = Wire(endpoint, headers, max_connections)

    async def ask(self, member: MemberSettings, prompt: Prompt) -> RawReply:
        """Exactly one HTTP attempt at an answer; raises the ``ProviderError`` tree."""
        reply = await self._wire.post("/messages", _body(member, prompt))
        top = Fields(reply.data, self._endpoint)
        text = "".join(block.text("text") or "" for block in top.objects("content") if block.text("type") == "text")
        status, problem = _read_stop(top.name("stop_reason", "none"), member.max_output_tokens)
        return RawReply(
            text=storable(text),
            response_model=top.name("model", member.model),
            usage=read_usage(top, _read_usage),
            reported_cost_micro_usd=None,
            latency_ms=reply.latency_ms,
            status=status,
            problem=problem,
        )

    async def list_models(self) -> ModelCatalogue:
        """The models on offer; costs nothing."""
        return read_catalogue(await self._wire.get("/models", {"limit": "1000"}), self._endpoint)

    async def aclose(self) -> None:
        """Release the connections."""
        await self._wire.aclose()


def _body(member: MemberSettings, prompt: Prompt) -> dict[str, Any]:
    return {
        "model": member.model,
        "max_tokens": member.max_output_tokens,
        "system": prompt.system,
        "messages": [{"role": "user", "content": prompt.user}],
        "output_config": {"format": {"type": "json_schema", "schema": ANSWER_SCHEMA}},
    }


def _read_stop(stop_reason: str, max_output_tokens: int) -> tuple[CallStatus, str | None]:
    if stop_reason in _FINISHED:
        return CallStatus.ANSWERED, None
    if stop_reason == "refusal":
        return CallStatus.REFUSED_BY_MODEL, "the model refused to answer"
    if stop_reason == "max_tokens":
        return CallStatus.UNREADABLE, f"cut at {max_output_tokens} output tokens, reasoning included"
    return CallStatus.UNREADABLE, f"the answer did not come to its end (stop_reason {stop_reason})"


def _read_usage(usage: Fields) -> Usage:
    written = usage.tokens("cache_creation_input_tokens", 0)
    for_an_hour = usage.optional_child("cache_creation").tokens("ephemeral_1h_input_tokens", 0)
    cached = usage.tokens("cache_read_input_tokens", 0)
    return Usage(
        # on this wire input_tokens leaves out what was read from or written to the cache
        input_tokens=usage.tokens("input_tokens") + written + cached,
        output_tokens=usage.tokens("output_tokens"),
        cached_input_tokens=cached,
        reasoning_tokens=usage.optional_child("output_tokens_details").tokens("thinking_tokens", 0),
        cache_write_tokens=written,
        cache_write_1h_tokens=min(for_an_hour, written),
        web_searches=usage.optional_child("server_tool_use").tokens("web_search_requests", 0),
    )
