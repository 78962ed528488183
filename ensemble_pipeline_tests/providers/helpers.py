"""Members, markets, prompts and reply bodies that the provider tests share."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ensemble_pipeline.domain import AnswerFormat, FormatKey, Market, MarketStatus, ModelReply
from ensemble_pipeline.providers.base import Prompt
from ensemble_pipeline.providers.manager import ProviderManager
from ensemble_pipeline.providers.prices import worst_case_micro_usd
from ensemble_pipeline.providers.prompts import build_prompt
from ensemble_pipeline.settings import MemberSettings, Settings

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
KEY = "sk-planted-1234567890abcdef"
ENVIRON = dict.fromkeys(("XAI_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENROUTER_API_KEY"), KEY)
ANSWER = json.dumps({"reasoning": "Polls agree.", "p_yes": 0.7, "confidence": 0.8})

MODELS = {
    "xai": "grok-4.3",
    "openai": "gpt-5.4-mini",
    "anthropic": "claude-haiku-5-5",
    "openrouter": "x-ai/grok-4.6",
    "local": "llama3.2",
}


def settings_at(url: str, **overrides: Any) -> Settings:
    """Settings whose providers all live at `url`."""
    return Settings.model_validate({"providers": {name: {"base_url": url, **overrides} for name in MODELS}})


def member_of(provider: str, **overrides: Any) -> MemberSettings:
    """A member of `provider` with a model the price list knows."""
    given: dict[str, Any] = {"name": f"{provider}-member", "provider": provider, "model": MODELS[provider]}
    if provider == "local":
        given |= {"input_usd_per_mtok": "0", "output_usd_per_mtok": "0"}
    return MemberSettings.model_validate(given | overrides)


def market_of(**overrides: Any) -> Market:
    """A market that closes in ten days."""
    fields: dict[str, Any] = {
        "market_id": "kalshi:KXRAIN-26DEC01",
        "venue": "kalshi",
        "ticker": "KXRAIN-26DEC01",
        "event_id": "kalshi:KXRAIN-26",
        "series": "KXRAIN",
        "category": "Climate",
        "question": "Will it rain in NYC on Dec 1?",
        "rules": "Resolves YES if any rain is recorded.",
        "opened_at": NOW - timedelta(days=1),
        "closes_at": NOW + timedelta(days=10),
        "status": MarketStatus.ACTIVE,
    }
    return Market(**(fields | overrides))


def prompt_of(**overrides: Any) -> Prompt:
    """The forecaster's prompt about a market."""
    return build_prompt("forecaster", market_of(**overrides), NOW)


def ask(
    url: str,
    provider: str,
    asked: MemberSettings | None = None,
    environ: Mapping[str, str] = ENVIRON,
    answer_format: AnswerFormat | None = None,
    as_of: datetime | None = None,
    **overrides: Any,
) -> ModelReply:
    """One question to the provider at `url`, through the manager, by the usual member unless another is named.

    `answer_format` is the form that is remembered for the server, `as_of` when a question that is not live is asked.
    """

    async def run() -> ModelReply:
        formats: dict[FormatKey, AnswerFormat] = {}
        async with ProviderManager(settings_at(url, **overrides), environ, formats, as_of) as manager:
            member, prompt = asked or member_of(provider), prompt_of()
            if answer_format is not None:
                formats[manager.format_key(member)] = answer_format
            async with manager.turn(member):
                return await manager.ask(member, prompt, worst_case_micro_usd(prompt, member))

    return asyncio.run(run())


def chat_body(text: str | None = ANSWER, model: str = "gpt-5.4-mini", **changes: Any) -> dict[str, Any]:
    """A reply of /chat/completions."""
    body: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": changes.pop("refusal", None)},
                "finish_reason": changes.pop("finish_reason", "stop"),
            }
        ],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200},
    }
    return body | changes


def response_body(text: str = ANSWER, model: str = "gpt-5.4-mini", **changes: Any) -> dict[str, Any]:
    """A reply of /responses that searched twice, opened a page and cites another."""
    cited = {"type": "url_citation", "url": "https://a.org/rain", "title": "Rain ahead", "start_index": 0}
    sources = [{"type": "url", "url": "https://a.org/rain"}, {"type": "url", "url": "https://b.org/sun"}]
    body: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "web_search_call", "status": "completed", "action": {"type": "search", "sources": sources}},
            {"type": "web_search_call", "status": "completed", "action": {"type": "open_page", "url": "https://a.org"}},
            {"type": "web_search_call", "status": "completed", "action": {"type": "search"}},
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": text, "annotations": [cited]}],
            },
        ],
        "usage": {
            "input_tokens": 9000,
            "input_tokens_details": {"cached_tokens": 1000},
            "output_tokens": 500,
            "output_tokens_details": {"reasoning_tokens": 300},
            "total_tokens": 9500,
        },
    }
    return body | changes


def searched_body(*page_ages: str | None, **usage: Any) -> dict[str, Any]:
    """A reply of /messages that searched once and found a page of each of these ages."""
    pages = [
        {"type": "web_search_result", "url": f"https://a.org/{i}", "title": f"Page {i}", "page_age": age}
        for i, age in enumerate(page_ages)
    ]
    body = messages_body(**{"server_tool_use": {"web_search_requests": 1}} | usage)
    answer = body["content"][-1]
    return body | {
        "content": [
            {"type": "text", "text": "I will look {first}."},
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "rain"}},
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": pages},
            answer,
        ]
    }


def messages_body(text: str = ANSWER, stop_reason: str = "end_turn", **usage: Any) -> dict[str, Any]:
    """A reply of /messages."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-5-5",
        "content": [{"type": "thinking", "thinking": '{"p_yes": 0.1}'}, {"type": "text", "text": text}],
        "stop_reason": stop_reason,
        "usage": {"input_tokens": 1000, "output_tokens": 200} | usage,
    }
