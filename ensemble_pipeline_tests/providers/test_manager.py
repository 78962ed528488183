import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from ensemble_pipeline.domain import CallStatus, FormatKey, ModelReply
from ensemble_pipeline.errors import CredentialsError, ProviderUnavailableError, SettingsError
from ensemble_pipeline.providers.base import ModelCatalogue
from ensemble_pipeline.providers.manager import ProviderManager
from ensemble_pipeline.settings import MemberSettings
from ensemble_pipeline_tests.providers.helpers import (
    ENVIRON,
    KEY,
    NOW,
    ask,
    chat_body,
    member_of,
    messages_body,
    prompt_of,
    settings_at,
)
from ensemble_pipeline_tests.providers.loopback import always, json_response, serve


def probe(url: str, provider: str) -> ModelCatalogue:
    async def run() -> ModelCatalogue:
        async with ProviderManager(settings_at(url), ENVIRON) as manager:
            return await manager.probe(provider)

    return asyncio.run(run())


@pytest.mark.parametrize("provider", ["xai", "openai", "openrouter", "local", "anthropic"])
def test_each_provider_answers_in_its_dialect(provider: str) -> None:
    body = messages_body() if provider == "anthropic" else chat_body(model=member_of(provider).model)
    with serve(always(body)) as server:
        reply = ask(server.url, provider)
    assert reply.status is CallStatus.ANSWERED
    assert reply.answer is not None
    assert len(server.seen) == 1


def test_failure_is_one_attempt_and_no_more() -> None:
    with serve(always("", 503)) as server, pytest.raises(ProviderUnavailableError):
        ask(server.url, "openai")
    assert len(server.seen) == 1


def test_missing_key_is_named_before_anything_is_sent() -> None:
    with serve(always(chat_body())) as server, pytest.raises(CredentialsError, match="OPENAI_API_KEY"):
        ask(server.url, "openai", environ={"OPENAI_API_KEY": "  "})
    assert server.seen == []


@pytest.mark.parametrize("value", [f"{KEY}\nx", f"{KEY} x", f"{KEY}\u00e9", f"{KEY}\x00"])
def test_key_that_cannot_be_sent_is_refused_without_showing_it(value: str) -> None:
    with pytest.raises(CredentialsError) as caught:
        ask("http://127.0.0.1:9", "openai", environ={"OPENAI_API_KEY": value})
    assert "OPENAI_API_KEY" in str(caught.value)
    assert KEY not in str(caught.value)


def test_blanks_around_a_key_are_left_out() -> None:
    with serve(always(chat_body())) as server:
        ask(server.url, "openai", environ={"OPENAI_API_KEY": f" {KEY}\n"})
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"


def test_missing_key_tells_the_variable_or_nothing() -> None:
    manager = ProviderManager(settings_at("http://127.0.0.1:9"), {"XAI_API_KEY": KEY, "OPENAI_API_KEY": " "})
    assert manager.missing_key(member_of("xai")) is None
    assert manager.missing_key(member_of("openai")) == "OPENAI_API_KEY"
    assert manager.missing_key(member_of("anthropic")) == "ANTHROPIC_API_KEY"
    assert manager.missing_key(member_of("local")) is None


async def _ask_in_turn(manager: ProviderManager, member: MemberSettings, **market: Any) -> ModelReply:
    async with manager.turn(member):
        return await manager.ask(member, prompt_of(**market), 10_000)


def test_unknown_provider_names_the_known_ones() -> None:
    stranger = member_of("openai").model_copy(update={"provider": "elsewhere"})
    manager = ProviderManager(settings_at("http://127.0.0.1:9"), ENVIRON)
    with pytest.raises(SettingsError, match="anthropic, local, openai, openrouter, xai"):
        asyncio.run(_ask_in_turn(manager, stranger))


def test_url_that_is_none_names_its_setting() -> None:
    with pytest.raises(SettingsError, match="ENSEMBLE_PROVIDERS__OPENAI__BASE_URL"):
        ask("http://host:port", "openai")


@pytest.mark.parametrize("bound", [1, 3])
def test_no_more_calls_are_under_way_than_the_settings_allow(bound: int) -> None:
    under_way, most = 0, 0
    is_full = asyncio.Event()

    async def handler(_: Request) -> Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if under_way == bound:
            is_full.set()
        await is_full.wait()
        # lets every request that has arrived be counted before this one leaves
        await asyncio.sleep(0)
        under_way -= 1
        return json_response(chat_body())

    async def run(url: str) -> None:
        async with ProviderManager(settings_at(url, max_concurrency=bound), ENVIRON) as manager:
            replies = await asyncio.gather(*(_ask_in_turn(manager, member_of("openai")) for _ in range(12)))
            assert all(reply.answer is not None for reply in replies)

    with serve(handler) as server:
        asyncio.run(run(server.url))
    assert most == bound


def test_cancelled_call_gives_its_turn_back() -> None:
    async def handler(request: Request) -> Response:
        if "slow" in (await request.body()).decode():
            await asyncio.Event().wait()
        return json_response(chat_body(model="llama3.2"))

    async def run(url: str) -> None:
        async with ProviderManager(settings_at(url, max_concurrency=1), ENVIRON) as manager:
            member = member_of("local")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await _ask_in_turn(manager, member, question="slow")
            assert (await _ask_in_turn(manager, member)).answer is not None

    with serve(handler) as server:
        asyncio.run(run(server.url))


def test_probe_lists_models_and_their_last_days() -> None:
    rows: list[dict[str, Any]] = [
        {"id": "gpt-5", "shutdown_date": "2026-12-11"},
        {"id": "gpt-6", "shutdown_date": None},
    ]
    with serve(always({"object": "list", "data": rows})) as server:
        found = probe(server.url, "openai")
        probe(server.url, "anthropic")
    assert found.models == ("gpt-5", "gpt-6")
    assert found.shutdown_dates == {"gpt-5": "2026-12-11"}
    assert [(seen.method, seen.path) for seen in server.seen] == [("GET", "/models")] * 2
    assert server.seen[0].query == {}
    assert server.seen[1].query == {"limit": "1000"}


def test_probe_of_a_wrong_key_raises_credentials_error() -> None:
    with serve(always({"error": {"message": "no"}}, 401)) as server, pytest.raises(CredentialsError):
        probe(server.url, "openai")


def test_loopback_is_reached_though_the_environment_names_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serve(always(chat_body())) as server:
        assert ask(server.url, "openai").answer is not None


def test_form_is_remembered_by_address_model_and_search_and_without_credentials() -> None:
    settings = settings_at("http://ann:secret@127.0.0.1:9/v1?key=secret")
    manager = ProviderManager(settings, ENVIRON)
    key = manager.format_key(member_of("openai"))
    assert key == FormatKey("openai", "http://127.0.0.1:9/v1", "gpt-5.4-mini", has_search=False)
    others = [
        manager.format_key(member_of("openai", max_web_searches=1)),
        manager.format_key(member_of("openai", model="gpt-6-sol")),
        manager.format_key(member_of("xai")),
        ProviderManager(settings_at("http://127.0.0.1:10/v1"), ENVIRON).format_key(member_of("openai")),
    ]
    assert key not in others
    # in a world that knows a future it does not search
    replayed = ProviderManager(settings, ENVIRON, as_of=NOW)
    assert replayed.format_key(member_of("openai", max_web_searches=1)) == key
