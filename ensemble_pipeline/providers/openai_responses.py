"""The ``/responses`` dialect of OpenAI and xAI: where a model searches the web by its provider's own tool.

Belongs here: its requests and replies, and how searches are bounded, counted and cited. Does not: questions without a
search (``openai_chat``). Neither provider dates the pages it names.
"""

from typing import Any

from ensemble_pipeline.domain import AnswerFormat, CallStatus, Source, Usage
from ensemble_pipeline.providers.answers import ANSWER_SCHEMA, ANSWER_SCHEMA_NAME
from ensemble_pipeline.providers.base import Prompt, RawReply
from ensemble_pipeline.providers.reported_cost import reported_cost
from ensemble_pipeline.providers.texts import storable
from ensemble_pipeline.providers.wire import Fields, Wire, bounded_usage, read_usage
from ensemble_pipeline.settings import MemberSettings

# opening a page it found, and looking through it, is part of a search and not paid by itself
_NO_SEARCHES = frozenset({"open_page", "find_in_page"})
_MOST_SEARCHES = 10_000


async def ask(wire: Wire, member: MemberSettings, prompt: Prompt, answer_format: AnswerFormat) -> RawReply:
    """Exactly one HTTP attempt at an answer with at most `max_web_searches`; raises the ``ProviderError`` tree."""
    reply = await wire.post("/responses", _body(wire.endpoint.provider, member, prompt, answer_format))
    top = Fields(reply.data, wire.endpoint)
    items = top.objects("output")
    messages = [item.rows("content") for item in items if item.text("type") == "message"]
    # what a model says before its last message is no answer yet
    status, text, problem = _read_answer(top, messages[-1] if messages else [], member.max_output_tokens)
    searches = _searches(top, items)
    reported, unusable = reported_cost(top)
    return RawReply(
        text=storable(text),
        response_model=top.name("model", member.model),
        usage=read_usage(top, lambda usage: _read_usage(usage, searches)),
        reported_cost_micro_usd=reported,
        latency_ms=reply.latency_ms,
        status=status,
        problem=problem,
        unusable_report=unusable,
        sources=_read_sources(top, items, [part for parts in messages for part in parts]),
    )


def _body(provider: str, member: MemberSettings, prompt: Prompt, answer_format: AnswerFormat) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": member.model,
        # xAI takes no `instructions`
        "input": [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
        "max_output_tokens": member.max_output_tokens,
        "tools": [{"type": "web_search"}],
        # nothing is ever asked about it again
        "store": False,
        **_text_format(answer_format),
    }
    if provider == "xai":
        # it bounds turns, and a turn of one call is one search
        return body | {"max_turns": member.max_web_searches, "parallel_tool_calls": False}
    return body | {"max_tool_calls": member.max_web_searches, "include": ["web_search_call.action.sources"]}


def _text_format(answer_format: AnswerFormat) -> dict[str, Any]:
    if answer_format is AnswerFormat.TEXT:
        return {}
    if answer_format is AnswerFormat.JSON_OBJECT:
        return {"text": {"format": {"type": "json_object"}}}
    schema = {"type": "json_schema", "name": ANSWER_SCHEMA_NAME, "strict": True, "schema": ANSWER_SCHEMA}
    return {"text": {"format": schema}}


def _read_answer(top: Fields, parts: list[Fields], max_output_tokens: int) -> tuple[CallStatus, str, str | None]:
    text = "".join(part.text("text") or "" for part in parts if part.text("type") == "output_text")
    refusal = "".join(part.text("refusal") or "" for part in parts if part.text("type") == "refusal")
    status = top.name("status", "completed")
    reason = top.loose_child("incomplete_details").name("reason", "none")
    if refusal:
        return CallStatus.REFUSED_BY_MODEL, refusal, "the model refused to answer"
    if reason == "content_filter":
        return CallStatus.REFUSED_BY_MODEL, text, "the provider's content filter stopped the answer"
    if reason == "max_output_tokens":
        return CallStatus.UNREADABLE, text, f"cut at {max_output_tokens} output tokens, reasoning included"
    if status != "completed":
        return CallStatus.UNREADABLE, text, f"the answer did not come to its end (status {status}, reason {reason})"
    if not text:
        return CallStatus.UNREADABLE, "", "the reply holds no text"
    return CallStatus.ANSWERED, text, None


def _searches(top: Fields, items: list[Fields]) -> int:
    """Searches that are paid: as xAI counts them in its usage, else the calls of the tool that are searches."""
    counted = top.loose_child("usage").loose_child("server_side_tool_usage_details").data.get("web_search_calls")
    if type(counted) is int and 0 <= counted <= _MOST_SEARCHES:
        return counted
    calls = [item for item in items if item.text("type") == "web_search_call"]
    return sum(call.loose_child("action").text("type") not in _NO_SEARCHES for call in calls)


def _read_sources(top: Fields, items: list[Fields], parts: list[Fields]) -> tuple[Source, ...]:
    """What the answer cites, then all that was looked at: xAI lists it at the top, OpenAI with each search."""
    cited = [note for part in parts for note in part.rows("annotations") if note.text("type") == "url_citation"]
    looked_at = [found for item in items for found in item.loose_child("action").rows("sources")]
    listed = top.data.get("citations")
    urls = [url for url in listed if isinstance(url, str)] if isinstance(listed, list) else []
    return (
        *(Source(it.text("url") or "", it.text("title") or "") for it in (*cited, *looked_at)),
        *(Source(url) for url in urls),
    )


def _read_usage(usage: Fields, searches: int) -> Usage:
    return bounded_usage(
        input_tokens=usage.tokens("input_tokens"),
        output_tokens=usage.tokens("output_tokens"),
        input_details=usage.optional_child("input_tokens_details"),
        output_details=usage.optional_child("output_tokens_details"),
        web_searches=searches,
    )
