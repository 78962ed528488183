"""``/responses`` as OpenAI and xAI speak it: one shape, and each one's own way to count and cite searches.

Belongs here: request and reply bodies. Does not: keys and errors, which are those of chat completions
(``openai_wire``), what a model answers (``asking``).
"""

from typing import Any

from ensemble_pipeline.sandbox.asking import Completion, Question, Refusal, RefusalKind
from ensemble_pipeline.sandbox.openai_wire import TICKS_PER_USD, Reply, answer_form, text_of
from ensemble_pipeline.sandbox.searching import Page


def parse_request(provider: str, body: Any) -> Question | Refusal:  # noqa: ANN401 - JSON as it came
    """Read a request for a response."""
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        return Refusal(RefusalKind.BAD_REQUEST, "Missing required parameter: 'model'.")
    items = body.get("input")
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        return Refusal(RefusalKind.BAD_REQUEST, "'input' must be a non-empty array of objects")
    limit = body.get("max_output_tokens")
    if limit is not None and (not isinstance(limit, int) or limit < 16):
        return Refusal(RefusalKind.BAD_REQUEST, "'max_output_tokens' must be an integer of at least 16")
    searches = _max_searches(provider, body)
    form = body["text"].get("format") if isinstance(body.get("text"), dict) else None
    kind = form.get("type") if isinstance(form, dict) else None
    if provider == "openai" and searches and kind == "json_object":
        return Refusal(RefusalKind.BAD_REQUEST, "Web Search cannot be used with JSON mode.")
    texts = [(item.get("role"), text_of(item.get("content"))) for item in items]
    return Question(
        model=body["model"],
        prompt=next((text for role, text in reversed(texts) if role == "user"), ""),
        prompt_chars=sum(len(text) for _, text in texts),
        **answer_form(kind, [text for _, text in texts]),
        max_output_tokens=limit,
        max_web_searches=searches,
    )


def _max_searches(provider: str, body: dict[str, Any]) -> int:
    """How often the request lets the model search: OpenAI bounds calls of tools, xAI turns."""
    tools = body.get("tools")
    if not isinstance(tools, list) or not any(isinstance(it, dict) and it.get("type") == "web_search" for it in tools):
        return 0
    most = body.get("max_turns" if provider == "xai" else "max_tool_calls")
    return most if isinstance(most, int) else 100


def write_response(provider: str, number: int, created: int, completion: Completion) -> Reply:
    """The body and headers of a response; `created` in Unix seconds."""
    body = {
        "id": f"resp_{number:012d}",
        "object": "response",
        "created_at": created,
        "status": "incomplete" if completion.is_cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if completion.is_cut else None,
        "error": None,
        "model": completion.model,
        "output": [*_calls(provider, number, completion), _message(number, completion)],
        "usage": _usage(provider, completion),
    }
    if provider == "xai":
        body["citations"] = [page.url for page in completion.pages]
    return 200, body, {"x-request-id": f"req_{number:012d}"}


def _calls(provider: str, number: int, completion: Completion) -> list[dict[str, Any]]:
    """One item a search, and one for a page that was opened after the first."""
    items = [
        {
            "type": "web_search_call",
            "id": f"ws_{number:012d}{search:02d}",
            "status": "completed",
            "action": {"type": "search", "query": "latest news"} | _looked_at(provider, search, completion.pages),
        }
        for search in range(completion.web_searches)
    ]
    opened = [
        {
            "type": "web_search_call",
            "id": f"wo_{number:012d}",
            "status": "completed",
            "action": {"type": "open_page", "url": page.url},
        }
        for page in completion.pages[:1]
    ]
    return items + opened


def _looked_at(provider: str, search: int, pages: tuple[Page, ...]) -> dict[str, Any]:
    if provider == "xai":
        return {}
    return {"sources": [{"type": "url", "url": page.url} for page in pages if page.search == search]}


def _message(number: int, completion: Completion) -> dict[str, Any]:
    cited = [
        {"type": "url_citation", "url": page.url, "title": page.title, "start_index": 0, "end_index": 0}
        for page in completion.pages[:1]
    ]
    return {
        "type": "message",
        "id": f"msg_{number:012d}",
        "role": "assistant",
        "status": "incomplete" if completion.is_cut else "completed",
        "content": [
            {"type": "refusal", "refusal": completion.text}
            if completion.is_refused
            else {"type": "output_text", "text": completion.text, "annotations": cited}
        ],
    }


def _usage(provider: str, completion: Completion) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "input_tokens": completion.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": completion.output_tokens,
        "output_tokens_details": {"reasoning_tokens": completion.reasoning_tokens},
        "total_tokens": completion.input_tokens + completion.output_tokens,
    }
    if provider == "xai":
        usage["num_sources_used"] = 0
        usage["num_server_side_tools_used"] = completion.web_searches + min(1, len(completion.pages))
        usage["server_side_tool_usage_details"] = {"web_search_calls": completion.web_searches, "x_search_calls": 0}
        usage["cost_in_usd_ticks"] = round(completion.cost_usd * TICKS_PER_USD)
    return usage
