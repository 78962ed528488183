"""Who is asked with which search, live and in a world that knows a future."""

from datetime import timedelta
from typing import Any

import pytest

from ensemble_pipeline.domain import CallStatus, Source
from ensemble_pipeline.errors import ProviderError
from ensemble_pipeline_tests.providers.helpers import (
    NOW,
    ask,
    chat_body,
    member_of,
    messages_body,
    searched_body,
)
from ensemble_pipeline_tests.providers.loopback import always, serve

CLAUDE = member_of("anthropic", max_web_searches=4)
ONLINE = member_of(
    "openrouter",
    model="x-ai/grok-4.6:online",
    max_web_searches=1,
    web_search_usd="0.02",
    input_usd_per_mtok="2",
    output_usd_per_mtok="6",
)
EARLY, LATE = "November 2, 2026", "November 23, 2026"


def test_anthropic_searches_by_its_tool_and_is_told_how_often() -> None:
    with serve(always(searched_body(EARLY))) as server:
        reply = ask(server.url, "anthropic", CLAUDE)
    assert server.seen[0].body["tools"] == [{"type": "web_search_20250305", "name": "web_search", "max_uses": 4}]
    assert reply.answer is not None
    assert reply.answer.p_yes == 0.7
    assert reply.sources == (Source("https://a.org/0", "Page 0", EARLY),)
    assert reply.usage is not None
    assert reply.usage.web_searches == 1
    # 1000 at 0.10, 200 at 0.50 dollars per million, a search at a cent
    assert (reply.cost_micro_usd, reply.anomalies) == (10_200, ())


def test_anthropic_without_searches_gets_no_tool() -> None:
    with serve(always(messages_body())) as server:
        ask(server.url, "anthropic")
    assert "tools" not in server.seen[0].body


def test_turn_that_was_paused_is_no_answer_and_is_paid() -> None:
    body = searched_body(EARLY) | {"stop_reason": "pause_turn"}
    with serve(always(body)) as server:
        reply = ask(server.url, "anthropic", CLAUDE)
    assert (reply.status, reply.answer, reply.cost_micro_usd) == (CallStatus.UNREADABLE, None, 10_200)
    assert "pause_turn" in (reply.problem or "")
    assert reply.sources != ()


def test_search_that_failed_found_nothing() -> None:
    body = searched_body()
    body["content"][2]["content"] = {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}
    with serve(always(body)) as server:
        reply = ask(server.url, "anthropic", CLAUDE, as_of=NOW)
    assert (reply.answer is not None, reply.sources) == (True, ())


@pytest.mark.parametrize("ages", [(EARLY, LATE), (EARLY, None), ("3 days ago",)])
def test_answer_from_pages_that_may_be_later_is_paid_and_not_used(ages: tuple[str | None, ...]) -> None:
    with serve(always(searched_body(*ages))) as server:
        reply = ask(server.url, "anthropic", CLAUDE, as_of=NOW)
    assert (reply.status, reply.answer, reply.cost_micro_usd) == (CallStatus.UNREADABLE, None, 10_200)
    assert f"https://a.org/{len(ages) - 1}" in (reply.problem or "")
    assert not reply.is_format_ignored
    assert len(reply.sources) == len(ages)


@pytest.mark.parametrize("content", ["text", [5], [{"type": "web_search_result"}]])
def test_result_of_a_search_that_cannot_be_read_counts_as_later(content: Any) -> None:
    body = searched_body()
    body["content"][2]["content"] = content
    with serve(always(body)) as server:
        assert ask(server.url, "anthropic", CLAUDE, as_of=NOW).answer is None


def test_answer_from_earlier_pages_is_used() -> None:
    with serve(always(searched_body(EARLY, EARLY))) as server:
        assert ask(server.url, "anthropic", CLAUDE, as_of=NOW).answer is not None


def test_live_question_may_be_answered_from_anything() -> None:
    with serve(always(searched_body(LATE, None))) as server:
        assert ask(server.url, "anthropic", CLAUDE).answer is not None


@pytest.mark.parametrize("provider", ["openai", "xai"])
def test_whose_pages_nobody_dates_is_asked_without_its_tool_where_a_future_is_known(provider: str) -> None:
    member = member_of(provider, max_web_searches=2, web_search_usd="0.005")
    with serve(always(chat_body(model=member.model))) as server:
        reply = ask(server.url, provider, member, as_of=NOW)
    (seen,) = server.seen
    assert seen.path == "/chat/completions"
    assert "tools" not in seen.body
    assert reply.answer is not None


@pytest.mark.parametrize(("as_of", "sent"), [(None, "x-ai/grok-4.6:online"), (NOW, "x-ai/grok-4.6")])
def test_online_model_is_named_without_its_search_where_a_future_is_known(as_of: Any, sent: str) -> None:
    with serve(always(chat_body(model="x-ai/grok-4.6"))) as server:
        ask(server.url, "openrouter", ONLINE, as_of=as_of)
    assert server.seen[0].body["model"] == sent


def test_pages_that_openrouter_cites_are_kept() -> None:
    body = chat_body(model="x-ai/grok-4.6")
    body["choices"][0]["message"]["annotations"] = [
        {"type": "url_citation", "url_citation": {"url": "https://a.org", "title": "A page", "content": "…"}},
        {"type": "file"},
        5,
    ]
    with serve(always(body)) as server:
        assert ask(server.url, "openrouter", ONLINE).sources == (Source("https://a.org", "A page"),)
        # nobody should search here, and whoever did is not believed
        assert ask(server.url, "openrouter", ONLINE, as_of=NOW).answer is None


def test_who_searches_by_itself_is_not_asked_at_all_where_a_future_is_known() -> None:
    member = member_of("local", max_web_searches=1, has_own_search=True, web_search_usd="0")
    with serve(always(chat_body(model="llama3.2"))) as server:
        assert ask(server.url, "local", member).answer is not None
        with pytest.raises(ProviderError, match="searches the web by itself") as caught:
            ask(server.url, "local", member, as_of=NOW + timedelta(days=1))
    assert len(server.seen) == 1
    assert (caught.value.is_retryable, caught.value.may_be_billed) == (False, False)
    assert "tools" not in server.seen[0].body
