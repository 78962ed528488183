"""The Anthropic Messages dialect, API version 2026-10-21 (which knows no temperature)."""

from collections.abc import Iterator, Mapping
from typing import Any

from ensemble_pipeline.domain import AnswerFormat, CallStatus, Source, Usage
from ensemble_pipeline.providers.answers import ANSWER_SCHEMA
from ensemble_pipeline.providers.base import ModelCatalogue, Prompt, RawReply, Way
from ensemble_pipeline.providers.endpoint import Endpoint
from ensemble_pipeline.providers.texts import storable
from ensemble_pipeline.providers.wire import Fields, Wire, read_catalogue, read_usage
from ensemble_pipeline.settings import MemberSettings

API_VERSION = "2026-10-21"
# later versions let the model filter what it found by a program: of this one every page it read is in the reply
SEARCH_TOOL = "web_search_20250305"

_FOUND = "web_search_tool_result"
_FINISHED = frozenset({"end_turn", "stop_sequence"})


class AnthropicClient:
    """A provider that speaks ``/messages``."""

    def __init__(self, endpoint: Endpoint, max_connections: int) -> None:
        self._endpoint = endpoint
        self._wire = Wire(endpoint, max_connections, "x-api-key", {"anthropic-version": API_VERSION})

    async def ask(self, member: MemberSettings, prompt: Prompt, way: Way) -> RawReply:
        """Exactly one HTTP attempt at an answer; raises the ``ProviderError`` tree."""
        reply = await self._wire.post("/messages", _body(member, prompt, way))
        top = Fields(reply.data, self._endpoint)
        blocks = top.objects("content")
        text = "".join(block.text("text") or "" for block in _last_words(blocks) if block.text("type") == "text")
        status, problem = _read_stop(top.name("stop_reason", "none"), member.max_output_tokens)
        return RawReply(
            text=storable(text),
            response_model=top.name("model", member.model),
            usage=read_usage(top, _read_usage),
            reported_cost_micro_usd=None,
            latency_ms=reply.latency_ms,
            status=status,
            problem=problem,
            sources=tuple(source for block in blocks for source in _read_sources(block)),
        )

    async def list_models(self) -> ModelCatalogue:
        """The models on offer; costs nothing."""
        return read_catalogue(await self._wire.get("/models", {"limit": "1000"}), self._endpoint)

    async def aclose(self) -> None:
        """Release the connections."""
        await self._wire.aclose()


def _body(member: MemberSettings, prompt: Prompt, way: Way) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": member.model,
        "max_tokens": member.max_output_tokens,
        "system": prompt.system,
        "messages": [{"role": "user", "content": prompt.user}],
    }
    # it knows no JSON without a schema
    if way.answer_format is AnswerFormat.JSON_SCHEMA:
        body["output_config"] = {"format": {"type": "json_schema", "schema": ANSWER_SCHEMA}}
    if way.has_search:
        body["tools"] = [{"type": SEARCH_TOOL, "name": "web_search", "max_uses": member.max_web_searches}]
    return body


def _last_words(blocks: list[Fields]) -> list[Fields]:
    """What follows the last search: before it a model says what it is about to do."""
    ends = [index for index, block in enumerate(blocks, start=1) if block.text("type") == _FOUND]
    return blocks[ends[-1] :] if ends else blocks


def _read_sources(block: Fields) -> Iterator[Source]:
    """The pages in the result of a search, also those of which nothing can be read; a failed search found none."""
    found = block.data.get("content")
    if block.text("type") != _FOUND or isinstance(found, Mapping):
        return
    for page in found if isinstance(found, list) else [found]:
        fields = Fields(page if isinstance(page, Mapping) else {}, block.endpoint)
        yield Source(fields.text("url") or "", fields.text("title") or "", fields.text("page_age") or "")


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
