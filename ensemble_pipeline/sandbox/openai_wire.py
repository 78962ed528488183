"""Chat completions as OpenAI, xAI, OpenRouter and local servers speak them: one shape, and each one's own quirks.

Belongs here: request and reply bodies, error shapes, headers. Does not: what a model answers (``asking``).
What differs on the real wire: xAI leaves reasoning out of ``completion_tokens`` and bills in ticks, answers 400 to a
wrong key; OpenRouter tells the cost in USD and heeds a highest price; OpenAI tells its processing time; local servers
want no key.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ensemble_pipeline.sandbox.asking import (
    SANDBOX_KEY,
    Completion,
    Question,
    Refusal,
    RefusalKind,
    masked,
    tells_schema,
)
from ensemble_pipeline.sandbox.world import WorldModel

Reply = tuple[int, dict[str, Any], dict[str, str]]

KEYLESS = frozenset({"local"})
TICKS_PER_USD = 10_000_000_000


def check_key(provider: str, authorization: str | None, accepted: str = SANDBOX_KEY) -> Refusal | None:
    """The refusal a missing or wrong bearer key earns; ``None`` where the call may go on."""
    if provider in KEYLESS:
        return None
    key = key_in(authorization)
    if not key:
        return Refusal(RefusalKind.NO_KEY, "")
    return None if key == accepted else Refusal(RefusalKind.WRONG_KEY, masked(key))


def key_in(authorization: str | None) -> str:
    """The bearer key of a request; empty where it has none."""
    scheme, _, key = (authorization or "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def parse_request(body: Any) -> Question | Refusal:  # noqa: ANN401 - JSON as it came
    """Read a chat completions request."""
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        return Refusal(RefusalKind.BAD_REQUEST, "you must provide a model parameter")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(item, dict) for item in messages):
        return Refusal(RefusalKind.BAD_REQUEST, "'messages' must be a non-empty array of objects")
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        return Refusal(RefusalKind.BAD_REQUEST, "max_completion_tokens must be an integer of at least 1")
    texts = [(item.get("role"), text_of(item.get("content"))) for item in messages]
    response_format = body.get("response_format")
    form = response_format.get("type") if isinstance(response_format, dict) else None
    return Question(
        model=body["model"],
        prompt=next((text for role, text in reversed(texts) if role == "user"), ""),
        prompt_chars=sum(len(text) for _, text in texts),
        **answer_form(form, [text for _, text in texts]),
        max_output_tokens=limit,
        max_input_usd_per_mtok=_max_price(body, "prompt"),
        max_output_usd_per_mtok=_max_price(body, "completion"),
    )


def answer_form(form: object, texts: Sequence[str]) -> dict[str, Any]:
    """The fields of a ``Question`` that say in which form the answer comes, from what the request asks and tells."""
    held = form if form in ("json_schema", "json_object") else None
    is_told = tells_schema(*texts)
    return {"wants_json": held is not None or is_told, "answer_format": held, "is_told_schema": is_told}


def _max_price(body: Mapping[str, Any], kind: str) -> float | None:
    wishes = body.get("provider")
    prices = wishes.get("max_price") if isinstance(wishes, dict) else None
    price = prices.get(kind) if isinstance(prices, dict) else None
    return price if isinstance(price, (int, float)) else None


def text_of(content: Any) -> str:  # noqa: ANN401 - JSON as it came
    """The text of a message's content, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "\n".join(part for part in parts if isinstance(part, str))
    return ""


def write_completion(provider: str, number: int, created: int, completion: Completion) -> Reply:
    """The body and headers of a completion; `created` in Unix seconds."""
    body = {
        "id": f"chatcmpl-{number:012d}",
        "object": "chat.completion",
        "created": created,
        "model": completion.model,
        "choices": [
            {
                "index": 0,
                **_said(provider, completion),
                "logprobs": None,
            }
        ],
        "usage": _usage(provider, completion),
        "system_fingerprint": None,
    }
    headers = {"x-request-id": f"req_{number:012d}"}
    if provider == "openai" and completion.latency_ms is not None:
        headers["openai-processing-ms"] = str(completion.latency_ms)
    return 200, body, headers


def _said(provider: str, completion: Completion) -> dict[str, Any]:
    """The message and why it ended; a model that declines says so in a field, by its filter, or in words alone."""
    message: dict[str, Any] = {"role": "assistant", "content": completion.text, "refusal": None}
    finish = "length" if completion.is_cut else "stop"
    if completion.is_refused and provider == "openai":
        message |= {"content": None, "refusal": completion.text}
    elif completion.is_refused and provider != "local":
        message["content"], finish = "", "content_filter"
    return {"message": message, "finish_reason": finish}


def write_refusal(provider: str, refusal: Refusal) -> Reply:
    """Status, body and headers of an error, in the provider's own words."""
    writers = {"xai": _xai_error, "openrouter": _openrouter_error, "local": _local_error}
    status, body = writers.get(provider, _openai_error)(refusal)
    return status, body, _waiting_time(provider, refusal.retry_after_s)


def _waiting_time(provider: str, retry_after_s: float | None) -> dict[str, str]:
    if retry_after_s is None:
        return {}
    headers = {"retry-after": f"{retry_after_s:g}"}
    if provider == "openai":
        headers["retry-after-ms"] = f"{retry_after_s * 1000:.0f}"
    return headers


def write_models(models: list[WorldModel], created: int) -> dict[str, Any]:
    """The body of a models listing."""
    return {
        "object": "list",
        "data": [
            {
                "id": model.wire_model,
                "object": "model",
                "created": created,
                "owned_by": model.provider,
                "shutdown_date": None if model.shutdown_date is None else model.shutdown_date.isoformat(),
            }
            for model in models
        ],
    }


def _usage(provider: str, completion: Completion) -> dict[str, Any]:
    tokens_in, tokens_out = completion.input_tokens, completion.output_tokens
    usage: dict[str, Any] = {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
    }
    if provider == "local":
        return usage
    usage["prompt_tokens_details"] = {"cached_tokens": 0}
    usage["completion_tokens_details"] = {"reasoning_tokens": completion.reasoning_tokens}
    if provider == "xai":
        usage["completion_tokens"] = tokens_out - completion.reasoning_tokens
        usage["num_sources_used"] = 0
        usage["cost_in_usd_ticks"] = round(completion.cost_usd * TICKS_PER_USD)
    elif provider == "openrouter":
        usage["cost"] = float(completion.cost_usd)
    return usage


_OPENAI_ERRORS: Mapping[RefusalKind, tuple[int, str, str | None, str]] = {
    RefusalKind.BAD_REQUEST: (400, "invalid_request_error", None, "{0}"),
    RefusalKind.NO_KEY: (401, "invalid_request_error", None, "You didn't provide an API key."),
    RefusalKind.WRONG_KEY: (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided: {0}."),
    RefusalKind.UNKNOWN_MODEL: (
        404,
        "invalid_request_error",
        "model_not_found",
        "The model `{0}` does not exist or you do not have access to it.",
    ),
    RefusalKind.FLAGGED: (
        400,
        "invalid_request_error",
        "invalid_prompt",
        "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
    ),
    RefusalKind.RATE_LIMITED: (429, "requests", "rate_limit_exceeded", "Rate limit reached. Slow down."),
    RefusalKind.OUT_OF_CREDIT: (
        429,
        "insufficient_quota",
        "credit_balance_exhausted",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    RefusalKind.OVERLOADED: (503, "service_unavailable_error", "server_is_overloaded", "{0}"),
    RefusalKind.SERVER_ERROR: (500, "server_error", None, "The server had an error while processing your request."),
}


def _openai_error(refusal: Refusal) -> tuple[int, dict[str, Any]]:
    status, kind, code, message = _OPENAI_ERRORS[refusal.kind]
    return status, {"error": {"message": message.format(refusal.message), "type": kind, "param": None, "code": code}}


_XAI_ERRORS: Mapping[RefusalKind, tuple[int, str, str]] = {
    RefusalKind.BAD_REQUEST: (400, "Client specified an invalid argument", "{0}"),
    RefusalKind.NO_KEY: (401, "Unauthenticated", "No API key provided. Send it in the Authorization header."),
    RefusalKind.WRONG_KEY: (400, "Client specified an invalid argument", "Incorrect API key provided: {0}."),
    RefusalKind.UNKNOWN_MODEL: (
        404,
        "Some requested entity was not found",
        "The model {0} does not exist or your team does not have access to it.",
    ),
    RefusalKind.FLAGGED: (
        403,
        "The caller does not have permission to execute the specified operation",
        "Content violates usage guidelines. API key ID: 0000, Model: {0}, Failed check: SAFETY_CHECK_TYPE_BIO",
    ),
    RefusalKind.RATE_LIMITED: (429, "Some resource has been exhausted", "Too many requests. Slow down."),
    RefusalKind.OUT_OF_CREDIT: (
        403,
        "The caller does not have permission to execute the specified operation",
        "Your team has used all available credits or reached its monthly spending limit.",
    ),
    RefusalKind.OVERLOADED: (503, "The service is currently unavailable", "server_is_overloaded: {0}"),
    RefusalKind.SERVER_ERROR: (500, "Internal error", "An internal error occurred while processing your request."),
}


def _xai_error(refusal: Refusal) -> tuple[int, dict[str, Any]]:
    status, code, message = _XAI_ERRORS[refusal.kind]
    return status, {"code": code, "error": message.format(refusal.message)}


_OPENROUTER_ERRORS: Mapping[RefusalKind, tuple[int, str]] = {
    RefusalKind.BAD_REQUEST: (400, "{0}"),
    RefusalKind.NO_KEY: (401, "No auth credentials found"),
    RefusalKind.WRONG_KEY: (401, "User not found."),
    RefusalKind.UNKNOWN_MODEL: (404, "No endpoints found for {0}."),
    RefusalKind.FLAGGED: (403, 'The model {0} requires moderation and your input was flagged for "violence".'),
    RefusalKind.RATE_LIMITED: (429, "Rate limit exceeded"),
    RefusalKind.OUT_OF_CREDIT: (402, "Insufficient credits. Add more to continue."),
    RefusalKind.OVERLOADED: (503, "server_is_overloaded: {0}"),
    RefusalKind.SERVER_ERROR: (500, "Internal Server Error"),
}


def _openrouter_error(refusal: Refusal) -> tuple[int, dict[str, Any]]:
    status, message = _OPENROUTER_ERRORS[refusal.kind]
    error: dict[str, Any] = {"message": message.format(refusal.message), "code": status}
    if refusal.kind is RefusalKind.FLAGGED:
        error["metadata"] = {"reasons": ["violence"], "flagged_input": "BEGIN MARKET DATA"}
    return status, {"error": error}


def _local_error(refusal: Refusal) -> tuple[int, dict[str, Any]]:
    if refusal.kind is RefusalKind.UNKNOWN_MODEL:
        message = f'model "{refusal.message}" not found, try pulling it first'
        return 404, {"error": {"message": message, "type": "not_found_error", "param": None, "code": None}}
    return _openai_error(refusal)
