import asyncio

import pytest

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.domain import CallStatus, Market, MarketStatus, ModelReply
from ensemble_pipeline.providers.manager import ProviderManager
from ensemble_pipeline.providers.prices import worst_case_micro_usd
from ensemble_pipeline.providers.prompts import build_prompt
from ensemble_pipeline.sandbox.synthetic import SyntheticWorld
from ensemble_pipeline.sandbox.world import FailureKind, WorldMarket
from ensemble_pipeline.settings import Settings
from ensemble_pipeline_tests.sandbox.running import running_sandbox

KEYS = ("XAI_API_KEY", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENROUTER_API_KEY")
PROVIDERS = ("xai", "openai", "anthropic", "openrouter", "local")


def make_settings(world: SyntheticWorld, base_url: str) -> Settings:
    members = [
        {
            "name": model.name,
            "provider": model.provider,
            "model": model.wire_model,
            "input_usd_per_mtok": model.input_usd_per_mtok,
            "output_usd_per_mtok": model.output_usd_per_mtok,
        }
        for model in world.models
    ]
    providers = {name: {"base_url": f"{base_url}/providers/{name}/v1"} for name in PROVIDERS}
    return Settings.model_validate({"members": members, "providers": providers})


def as_listed(market: WorldMarket) -> Market:
    return Market(
        market_id=f"kalshi:{market.ticker}",
        venue="kalshi",
        ticker=market.ticker,
        event_id=f"kalshi:{market.event_ticker}",
        series=market.series_ticker,
        category=market.category,
        question=market.question,
        rules=market.rules,
        opened_at=market.opened_at,
        closes_at=market.closes_at,
        status=MarketStatus.ACTIVE,
    )


async def ask_all(settings: Settings, market: Market) -> dict[str, ModelReply]:
    async with ProviderManager(settings, dict.fromkeys(KEYS, "sandbox")) as manager:
        prompt = build_prompt("forecaster", market, market.opened_at)
        return {
            member.name: await manager.ask(member, prompt, worst_case_micro_usd(prompt, member))
            for member in settings.members
        }


def test_the_packages_own_clients_read_every_models_answer_and_cost() -> None:
    world = SyntheticWorld(days=3, markets_per_day=10)
    ticker, market = next(
        (ticker, market)
        for ticker, market in world.markets.items()
        if all(
            (answer := world.answer(model.wire_model, ticker, market.opened_at)) and answer.failure is None
            for model in world.models
        )
    )
    with running_sandbox(world, SteppedClock(market.opened_at)) as client:
        replies = asyncio.run(ask_all(make_settings(world, str(client.base_url).rstrip("/")), as_listed(market)))
    for model in world.models:
        reply, truth = replies[model.name], world.answer(model.wire_model, ticker, market.opened_at)
        assert truth is not None
        assert reply.status is CallStatus.ANSWERED
        assert reply.answer is not None
        assert reply.answer.p_yes == pytest.approx(truth.p_yes, abs=1e-6)
        assert reply.usage is not None
        assert reply.anomalies == ()
        assert reply.usage.output_tokens == truth.output_tokens
        owed = (
            reply.usage.input_tokens * model.input_usd_per_mtok + reply.usage.output_tokens * model.output_usd_per_mtok
        )
        assert reply.cost_micro_usd == pytest.approx(float(owed), abs=1.01)
        if model.provider == "openai":
            assert reply.latency_ms == truth.latency_ms


def test_answers_that_fail_in_the_world_are_told_apart() -> None:
    world = SyntheticWorld(days=20)
    kinds = {
        answer.failure
        for ticker, market in world.markets.items()
        for model in world.models
        if (answer := world.answer(model.wire_model, ticker, market.opened_at)) is not None
    }
    assert kinds == {None, *FailureKind}
