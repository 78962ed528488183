"""Members, markets, prompts and reply bodies that the provider tests share."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ensemble_pipeline.domain import Market, MarketStatus, ModelReply
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
    **overrides: Any,
) -> ModelReply:
    """One question to the provider at `url`, through the manager, by the usual member unless another is named."""

    async def run() -> ModelReply:
        async with ProviderManager(settings_at(url, **overrides), environ) as manager:
            member, prompt = asked or member_of(provider), prompt_of()
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
