"""Messages as Anthropic speaks them.

Belongs here: request and reply bodies, error shapes, headers. Does not: what a model answers (``asking``).
"""

from collections.abc import Mapping
from typing import Any

from ensemble_pipeline.sandbox.asking import SANDBOX_KEY, Completion, Question, Refusal, RefusalKind
from ensemble_pipeline.sandbox.openai_wire import Reply, answer_form, text_of
from ensemble_pipeline.sandbox.searching import Page
from ensemble_pipeline.sandbox.world import WorldModel

# from this API version on a request that carries one of these is refused
_SAMPLING_REFUSED_SINCE = "2026-10-21"
_SAMPLING = ("temperature", "top_p", "top_k")

_ERRORS: Mapping[RefusalKind, tuple[int, str, str]] = {
    RefusalKind.BAD_REQUEST: (400, "invalid_request_error", "{0}"),
    RefusalKind.NO_KEY: (401, "authentication_error", "x-api-key header is required"),
    RefusalKind.WRONG_KEY: (401, "authentication_error", "invalid x-api-key"),
    RefusalKind.UNKNOWN_MODEL: (404, "not_found_error", "model: {0}"),
    RefusalKind.FLAGGED: (400, "invalid_request_error", "Output blocked by content filtering policy"),
    RefusalKind.RATE_LIMITED: (429, "rate_limit_error", "This request would exceed your rate limit."),
    RefusalKind.OUT_OF_CREDIT: (402, "billing_error", "Your credit balance is too low."),
    RefusalKind.OVERLOADED: (529, "overloaded_error", "Overloaded"),
    RefusalKind.SERVER_ERROR: (500, "api_error", "Internal server error"),
}


def check_headers(headers: Mapping[str, str], accepted: str = SANDBOX_KEY) -> Refusal | None:
    """The refusal that missing or wrong headers earn; ``None`` where the call may go on."""
    key = headers.get("x-api-key")
    if not key:
        return Refusal(RefusalKind.NO_KEY, "")
    if key != accepted:
        return Refusal(RefusalKind.WRONG_KEY, "")
    if not headers.get("anthropic-version"):
        return Refusal(RefusalKind.BAD_REQUEST, "anthropic-version: header is required")
    return None


def parse_request(body: Any, version: str) -> Question | Refusal:  # noqa: ANN401 - JSON as it came
    """Read a messages request made for API version `version` (a date)."""
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        return Refusal(RefusalKind.BAD_REQUEST, "model: Field required")
    limit = body.get("max_tokens")
    if not isinstance(limit, int) or limit < 1:
        return Refusal(RefusalKind.BAD_REQUEST, "max_tokens: Field required")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(item, dict) for item in messages):
        return Refusal(RefusalKind.BAD_REQUEST, "messages: at least one message is required")
    if version >= _SAMPLING_REFUSED_SINCE and (sent := [name for name in _SAMPLING if name in body]):
        return Refusal(RefusalKind.BAD_REQUEST, f"{sent[0]}: not supported in this API version")
    texts = [(item.get("role"), text_of(item.get("content"))) for item in messages]
    output = body.get("output_config")
    form = output.get("format") if isinstance(output, dict) else None
    system = text_of(body.get("system"))
    return Question(
        model=body["model"],
        prompt=next((text for role, text in reversed(texts) if role == "user"), ""),
        prompt_chars=len(system) + sum(len(text) for _, text in texts),
        **answer_form(form.get("type") if isinstance(form, dict) else None, [system, *(text for _, text in texts)]),
        max_output_tokens=limit,
        max_web_searches=_max_uses(body.get("tools")),
    )


def _max_uses(tools: Any) -> int:  # noqa: ANN401 - JSON as it came
    """How often the request lets the model search."""
    for tool in tools if isinstance(tools, list) else []:
        if isinstance(tool, dict) and str(tool.get("type", "")).startswith("web_search_"):
            uses = tool.get("max_uses")
            return uses if isinstance(uses, int) else 1
    return 0


def write_completion(number: int, completion: Completion) -> Reply:
    """Status, body and headers of a message; one that the model declined has no content."""
    content = [] if completion.is_refused else [{"type": "text", "text": completion.text}]
    body = {
        "id": f"msg_{number:012d}",
        "type": "message",
        "role": "assistant",
        "model": completion.model,
        "content": [*_search_blocks(number, completion), *content],
        "stop_reason": _stop_reason(completion),
        "stop_sequence": None,
        "usage": {
            "input_tokens": completion.input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": completion.output_tokens,
            "output_tokens_details": {"thinking_tokens": completion.reasoning_tokens},
            "server_tool_use": {"web_search_requests": completion.web_searches} if completion.web_searches else None,
            "service_tier": "standard",
        },
    }
    return 200, body, {"request-id": f"req_{number:012d}"}


def _stop_reason(completion: Completion) -> str:
    if completion.is_refused:
        return "refusal"
    return "max_tokens" if completion.is_cut else "end_turn"


def _search_blocks(number: int, completion: Completion) -> list[dict[str, Any]]:
    """What comes before the answer of who searched: an announcement, each search, and what it found."""
    blocks: list[dict[str, Any]] = []
    for search in range(completion.web_searches):
        use_id = f"srvtoolu_{number:012d}{search:02d}"
        query = {"query": "latest news about the market"}
        found = [_result(page) for page in completion.pages if page.search == search]
        blocks += [
            {"type": "text", "text": "I will look for what is new about it."},
            {"type": "server_tool_use", "id": use_id, "name": "web_search", "input": query},
            {"type": "web_search_tool_result", "tool_use_id": use_id, "content": found},
        ]
    return blocks


def _result(page: Page) -> dict[str, Any]:
    return {
        "type": "web_search_result",
        "url": page.url,
        "title": page.title,
        "encrypted_content": "c2FuZGJveA==",
        "page_age": None
        if page.published_on is None
        else f"{page.published_on:%B} {page.published_on.day}, {page.published_on.year}",
    }


def write_refusal(number: int, refusal: Refusal) -> Reply:
    """Status, body and headers of an error."""
    status, kind, message = _ERRORS[refusal.kind]
    request_id = f"req_{number:012d}"
    body = {
        "type": "error",
        "error": {"type": kind, "message": message.format(refusal.message)},
        "request_id": request_id,
    }
    headers = {"request-id": request_id}
    if refusal.retry_after_s is not None:
        headers["retry-after"] = f"{refusal.retry_after_s:g}"
    return status, body, headers


def write_models(models: list[WorldModel], created_at: str) -> dict[str, Any]:
    """The body of a models listing; `created_at` in RFC 3339."""
    ids = [model.wire_model for model in models]
    return {
        "data": [{"type": "model", "id": name, "display_name": name, "created_at": created_at} for name in ids],
        "has_more": False,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
    }
