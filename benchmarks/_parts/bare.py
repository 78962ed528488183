"""A model call as one writes it without this package: `httpx`, and pydantic for the reply and the answer."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import httpx
from pydantic import BaseModel, Field

from benchmarks._parts.sandbox import MODELS
from ensemble_pipeline.domain import Snapshot
from ensemble_pipeline.network import ssl_context
from ensemble_pipeline.providers.answers import ANSWER_SCHEMA
from ensemble_pipeline.providers.prompts import build_prompt

Messages = list[dict[str, str]]

_FORMAT = {"type": "json_schema", "json_schema": {"name": "forecast", "strict": True, "schema": ANSWER_SCHEMA}}
_PROVIDERS = {spec.model.wire_model: spec.model.provider for spec in MODELS}


class _Message(BaseModel):
    content: str


class _Choice(BaseModel):
    message: _Message
    finish_reason: str


class _Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class _Reply(BaseModel):
    id: str
    model: str
    choices: list[_Choice]
    usage: _Usage


class Answer(BaseModel):
    """What a model says of a market."""

    p_yes: float = Field(ge=0, le=1)
    confidence: float = Field(ge=0, le=1)
    reasoning: str


def messages_on(snapshots: Sequence[Snapshot], now: datetime) -> list[Messages]:
    """The prompts about snapshots as chat messages, word for word those that a decision at `now` sends."""
    prompts = [build_prompt("forecaster", it.market, now) for it in snapshots]
    return [[{"role": "system", "content": it.system}, {"role": "user", "content": it.user}] for it in prompts]


def client(url: str, connections: int, timeout_s: float = 60) -> httpx.AsyncClient:
    """A client of the sandbox at `url` with one pool of so many connections."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    headers = {"authorization": "Bearer sandbox"}
    return httpx.AsyncClient(base_url=url, limits=limits, headers=headers, timeout=timeout_s, verify=ssl_context())


async def ask(sender: httpx.AsyncClient, model: str, messages: Messages) -> Answer:
    """One call.

    Raises:
        httpx.HTTPError: there was no reply, or one that is an error.
        pydantic.ValidationError: the reply is not one, or its text no answer.
    """
    body: dict[str, Any] = {
        "model": model,
        "messages": messages,
        "max_completion_tokens": 1024,
        "response_format": _FORMAT,
    }
    reply = await sender.post(f"/providers/{_PROVIDERS[model]}/v1/chat/completions", json=body)
    reply.raise_for_status()
    return Answer.model_validate_json(_Reply.model_validate_json(reply.content).choices[0].message.content)
