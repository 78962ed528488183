"""Every fault the sandbox knows, against every provider's client: what error or reply comes of it, and what it costs.

Whatever is done to a reply, no probability comes back that the reply does not state.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import pytest

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.domain import AnomalyKind, CallStatus, ModelReply
from ensemble_pipeline.ensemble.cache import is_same_model
from ensemble_pipeline.errors import (
    BadReplyError,
    ContentRefusedError,
    CredentialsError,
    ModelGoneError,
    OutOfCreditError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)
from ensemble_pipeline.providers.manager import ProviderManager
from ensemble_pipeline.providers.prices import worst_case_micro_usd
from ensemble_pipeline.sandbox.faults import OF_THE_VENUE, PROVIDERS, FaultKind
from ensemble_pipeline.sandbox.world import WorldAnswer
from ensemble_pipeline.settings import MemberSettings, Settings
from ensemble_pipeline_tests.providers.helpers import prompt_of
from ensemble_pipeline_tests.sandbox.running import running_sandbox
from ensemble_pipeline_tests.sandbox.small_world import MODELS, START, SmallWorld, make_market

KEYS = ("XAI_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENROUTER_API_KEY")
TRUTH = {"A-1": 0.7, "B-1": 0.2}


class _ByMarket(SmallWorld):
    """Each market has an answer of its own, so that one given for another shows."""

    def answer(self, wire_model: str, ticker: str, at: datetime) -> WorldAnswer | None:
        del wire_model, at
        return WorldAnswer(p_yes=TRUTH[ticker], confidence=0.9)


@dataclass
class Bench:
    """The sandbox and the members that ask it."""

    client: httpx.Client
    settings: Settings

    def put(self, kind: str, *providers: str, **more: Any) -> None:
        """Have each of the providers misbehave once."""
        script = [{"target": it, "kind": kind, **more} for it in providers or PROVIDERS]
        self.client.post("/faults", json=script).raise_for_status()

    def member(self, provider: str) -> MemberSettings:
        """The provider's member."""
        return next(it for it in self.settings.members if it.provider == provider)

    async def ask(self, manager: ProviderManager, provider: str, ticker: str = "A-1") -> ModelReply | ProviderError:
        """What one question comes to."""
        member, prompt = self.member(provider), prompt_of(market_id=f"kalshi:{ticker}")
        try:
            async with manager.turn(member):
                return await manager.ask(member, prompt, worst_case_micro_usd(prompt, member))
        except ProviderError as error:
            return error

    def ask_each(self, key: str = "sandbox") -> dict[str, ModelReply | ProviderError]:
        """One question to each provider at once."""

        async def run() -> dict[str, ModelReply | ProviderError]:
            async with ProviderManager(self.settings, dict.fromkeys(KEYS, key)) as manager:
                said = await asyncio.gather(*(self.ask(manager, it) for it in PROVIDERS))
            return dict(zip(PROVIDERS, said, strict=True))

        return asyncio.run(run())

    def replies(self) -> dict[str, ModelReply]:
        """One question to each provider, each of which must be answered by a reply."""
        said = self.ask_each()
        replies = {provider: it for provider, it in said.items() if isinstance(it, ModelReply)}
        assert replies == said
        return replies


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    world = _ByMarket({it: make_market(it, it[0], opens=0, closes=30, settles=31) for it in TRUTH})
    with running_sandbox(world, SteppedClock(START)) as client:
        url = str(client.base_url).rstrip("/")
        members = [
            {
                "name": it.name,
                "provider": it.provider,
                "model": it.wire_model,
                "input_usd_per_mtok": "2",
                "output_usd_per_mtok": "10",
            }
            for it in MODELS
        ]
        providers = {it: {"base_url": f"{url}/providers/{it}/v1", "timeout_s": 5} for it in PROVIDERS}
        yield Bench(client, Settings.model_validate({"members": members, "providers": providers}))


@pytest.fixture(autouse=True)
def _clear(bench: Bench) -> Iterator[None]:
    yield
    bench.client.delete("/faults").raise_for_status()


# kind, error, whether asking again can help, whether something may be owed
ERRORS: list[tuple[str, type[ProviderError], bool, bool]] = [
    ("rate_limited", RateLimitedError, True, False),
    ("overloaded", ProviderUnavailableError, True, False),
    ("server_error", ProviderUnavailableError, True, False),
    ("out_of_credit", OutOfCreditError, False, False),
    ("wrong_key", CredentialsError, False, False),
    ("retired_model", ModelGoneError, False, False),
    ("key_echo", ProviderError, False, False),
    ("flagged", ContentRefusedError, False, False),
    ("html", BadReplyError, True, True),
    ("bad_gateway", ProviderUnavailableError, True, True),
    ("unavailable", ProviderUnavailableError, True, True),
    ("gateway_timeout", ProviderUnavailableError, True, True),
    ("cut_json", BadReplyError, True, True),
    ("body_twice", BadReplyError, True, True),
    ("reset", ProviderUnavailableError, True, True),
]
TIMEOUTS = ("hang", "slow_drip")
READ = ("prose", "hostile", "stall", "wrong_model", "no_usage")
UNREADABLE = ("p_percent", "p_sixty", "p_nan", "p_above_one", "p_missing")
OF_OTHERS = ("reply_again", "response_twice")


def test_every_fault_of_a_provider_is_tried_here() -> None:
    tried = {kind for kind, *_ in ERRORS} | {*TIMEOUTS, *READ, *UNREADABLE, *OF_OTHERS, "refusal"}
    assert tried == set(FaultKind) - OF_THE_VENUE


@pytest.mark.parametrize(("kind", "error", "is_retryable", "may_be_billed"), ERRORS)
def test_fault_is_an_error_that_says_what_to_do_and_what_may_be_owed(
    bench: Bench, kind: str, error: type[ProviderError], is_retryable: bool, may_be_billed: bool
) -> None:
    bench.put(kind)
    for provider, said in bench.ask_each().items():
        assert type(said) is error, (provider, said)
        assert (said.is_retryable, said.may_be_billed) == (is_retryable, may_be_billed), (provider, said)
        assert said.retry_after_s == (1.0 if kind == "rate_limited" else None)
        assert provider in str(said)
    assert all(isinstance(it, ModelReply) for it in bench.ask_each().values()), "the fault strikes once"


@pytest.mark.parametrize("kind", TIMEOUTS)
def test_answer_that_never_comes_ends_at_the_time_limit_and_may_be_billed(bench: Bench, kind: str) -> None:
    bench.put(kind, stall_s=0.02)
    patient = bench.settings
    raw = {name: it.model_dump() | {"timeout_s": 0.3} for name, it in patient.providers.items()}
    hasty = Bench(bench.client, Settings.model_validate(patient.model_dump() | {"providers": raw}))
    for provider, said in hasty.ask_each().items():
        assert isinstance(said, ProviderTimeoutError), (provider, said)
        assert said.may_be_billed
    assert all(isinstance(it, ModelReply) for it in bench.ask_each().values())


def test_rate_limit_without_a_waiting_time_says_none(bench: Bench) -> None:
    bench.put("rate_limited", retry_after_s=None)
    for said in bench.ask_each().values():
        assert isinstance(said, RateLimitedError)
        assert said.retry_after_s is None


def test_waiting_times_are_read_to_the_millisecond(bench: Bench) -> None:
    bench.put("rate_limited", retry_after_s=0.25)
    for said in bench.ask_each().values():
        assert isinstance(said, RateLimitedError)
        assert said.retry_after_s == 0.25


@pytest.mark.parametrize("kind", ["wrong_key", "key_echo"])
def test_key_that_a_provider_shows_is_in_no_error(bench: Bench, kind: str) -> None:
    key = "sandbox-planted-0123456789-Zq7Q"
    bench.put(kind)
    for provider, said in bench.ask_each(key).items():
        if provider == "local":
            # it is sent none
            continue
        assert isinstance(said, ProviderError)
        assert key not in str(said)
        # an error that names its own cause would show what this one hides
        assert key not in repr(said.__cause__)


@pytest.mark.parametrize("kind", READ)
def test_answer_that_is_stated_is_read_whatever_is_odd_about_the_rest(bench: Bench, kind: str) -> None:
    bench.put(kind, stall_s=0.01)
    for provider, said in bench.replies().items():
        assert said.status is CallStatus.ANSWERED, (provider, said)
        assert said.answer is not None
        assert (said.answer.p_yes, said.answer.confidence) == (0.7, 0.9)


def test_missing_usage_leaves_the_cost_to_the_worst_case(bench: Bench) -> None:
    bench.put("no_usage")
    for said in bench.replies().values():
        assert (said.cost_micro_usd, said.cost_source) == (None, "unknown")
        assert [it.kind for it in said.anomalies] == [AnomalyKind.USAGE_MISSING]


@pytest.mark.parametrize("kind", UNREADABLE)
def test_probability_that_is_not_stated_is_not_made_up(bench: Bench, kind: str) -> None:
    bench.put(kind)
    for provider, said in bench.replies().items():
        assert (said.status, said.answer) == (CallStatus.UNREADABLE, None), (provider, said)
        assert said.problem
        assert said.cost_micro_usd, "it is paid for all the same"


def test_refusal_is_told_in_each_dialects_way_and_paid_for(bench: Bench) -> None:
    bench.put("refusal")
    for provider, said in bench.replies().items():
        # a local server has no word for it: its model says so in prose, which states no probability
        status = CallStatus.UNREADABLE if provider == "local" else CallStatus.REFUSED_BY_MODEL
        assert (said.status, said.answer) == (status, None), (provider, said)
        assert said.cost_micro_usd


def test_model_that_answered_counts_for_price_and_cache(bench: Bench) -> None:
    listed = {"openai": "gpt-5.4-mini", "anthropic": "claude-haiku-5-5"}
    for provider, model in listed.items():
        bench.put("wrong_model", provider, response_model=model)
    replies = bench.replies()
    for provider, model in listed.items():
        said, member = replies[provider], bench.member(provider)
        assert said.response_model == model
        assert not is_same_model(member.model, said.response_model)
        # the list knows the one that answered, and nothing of the one that was asked
        assert said.cost_source == "price_list"
        assert replies["local"].cost_source == "settings"
    assert replies["xai"].cost_source == replies["openrouter"].cost_source == "reported"


def test_model_that_answered_and_no_list_knows_costs_what_the_settings_say(bench: Bench) -> None:
    bench.put("wrong_model", response_model="nobody-knows-it")
    replies = bench.replies()
    assert {it.response_model for it in replies.values()} == {"nobody-knows-it"}
    assert [replies[it].cost_source for it in ("openai", "anthropic", "local")] == ["settings"] * 3


@pytest.mark.parametrize("kind", OF_OTHERS)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_reply_to_one_question_is_never_taken_for_the_answer_to_another(bench: Bench, kind: str, provider: str) -> None:
    # a copy of the first reply comes in place of the second, or stands before it on the connection
    bench.put(kind, provider, after=1 if kind == "reply_again" else 0)
    tickers = ("A-1", "B-1", "A-1", "B-1")

    async def run() -> list[ModelReply | ProviderError]:
        async with ProviderManager(bench.settings, dict.fromkeys(KEYS, "sandbox")) as manager:
            return [await bench.ask(manager, provider, ticker) for ticker in tickers]

    said = asyncio.run(run())
    assert isinstance(said[1], BadReplyError)
    assert (said[1].is_retryable, said[1].may_be_billed) == (True, True)
    assert "another question" in str(said[1])
    for ticker, it in zip(tickers, said, strict=True):
        if it is not said[1]:
            assert isinstance(it, ModelReply)
            assert it.answer is not None
            assert it.answer.p_yes == TRUTH[ticker]


def test_same_reply_to_the_same_question_is_its_answer(bench: Bench) -> None:
    bench.put("reply_again", "openai", after=1)

    async def run() -> list[ModelReply | ProviderError]:
        async with ProviderManager(bench.settings, dict.fromkeys(KEYS, "sandbox")) as manager:
            return [await bench.ask(manager, "openai") for _ in range(2)]

    first, second = asyncio.run(run())
    assert isinstance(first, ModelReply)
    assert isinstance(second, ModelReply)
    assert first.answer == second.answer
