"""The real archives, where they are: in the folder ENSEMBLE_TEST_DATA names, else in ../shared/data."""

import os
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.domain import MarketStatus
from ensemble_pipeline.replay.archive import read_archive
from ensemble_pipeline.replay.archive_names import MAX_TICKER
from ensemble_pipeline.replay.archive_world import ArchiveWorld
from ensemble_pipeline_tests.sandbox.running import ask_openai, prompt_about, running_sandbox

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("ENSEMBLE_TEST_DATA") or REPOSITORY.parent / "shared" / "data")


@dataclass(frozen=True)
class Expected:
    questions: int
    models: int
    forecasts: int
    failed: int
    settled: int


ARCHIVES = {
    "forecastbench_llm_2025": Expected(398, 11, 4378, 0, 398),
    "metaculus_q2_2025": Expected(202, 6, 1212, 0, 202),
    "polymarket_live_2025": Expected(53, 12, 15264, 1165, 53),
    "forecastbench_markets": Expected(1501, 6, 0, 0, 714),
}


def load(name: str, first: date | None = None, last: date | None = None) -> ArchiveWorld:
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"no archive at {folder}; ENSEMBLE_TEST_DATA can name the folder that holds it")
    return ArchiveWorld(read_archive(folder), first, last)


@pytest.mark.parametrize("name", ARCHIVES)
def test_archive_loads_with_every_row(name: str) -> None:
    world, expected = load(name), ARCHIVES[name]
    assert len(world.markets) == expected.questions
    assert len(world.models) == expected.models
    assert (world.forecast_count, world.failed_forecast_count) == (expected.forecasts, expected.failed)
    assert len(world.true_outcomes) == expected.settled
    assert all(len(ticker) <= MAX_TICKER for ticker in world.markets)


@pytest.mark.parametrize("name", ARCHIVES)
def test_archive_played_to_its_end_answers_each_forecast_at_its_time(name: str) -> None:
    world, expected = load(name), ARCHIVES[name]
    answered, failed = 0, 0
    at = world.starts_at
    while True:
        for ticker in world.markets:
            if world.status(ticker, at) is MarketStatus.ACTIVE:
                answers = [world.answer(model.wire_model, ticker, at) for model in world.models]
                given = [answer for answer in answers if answer is not None]
                answered += len(given)
                failed += sum(answer.failure is not None for answer in given)
        following = world.next_event_after(at)
        if following is None:
            break
        at = following
    assert at == world.ends_at
    statuses = [world.status(ticker, at) for ticker in world.markets]
    assert statuses.count(MarketStatus.SETTLED) == expected.settled
    if not world.has_synthetic_models:
        assert (answered, failed) == (expected.forecasts, expected.failed)


def test_days_of_an_archive_hold_the_forecasts_of_these_days() -> None:
    world = load("polymarket_live_2025", date(2025, 8, 1), date(2025, 8, 10))
    assert world.key.startswith("polymarket_live_2025-2025-08-01-2025-08-10-")
    assert 0 < world.forecast_count < 15264
    assert len(world.true_outcomes) == len(world.markets)


def test_archive_over_http_tells_unknown_volume_and_asks_no_future() -> None:
    world = load("polymarket_live_2025")
    clock = SteppedClock(world.starts_at)
    with running_sandbox(world, clock) as client:
        page = client.get("/trade-api/v2/markets", params={"status": "open", "limit": 1000}).json()
        markets = page["markets"]
        assert len(markets) == sum(world.status(ticker, clock.now()) is MarketStatus.ACTIVE for ticker in world.markets)
        assert all(market["result"] == "" and market["settlement_ts"] is None for market in markets)
        assert any(market["volume_fp"] is None for market in markets)
        model = next(model for model in world.models if model.provider == "openrouter")
        response = ask_openai(client, model.provider, model.wire_model, prompt_about(markets[0]["ticker"]))
        assert response.status_code in (200, 503)
        clock.advance_to(world.ends_at)
        settled = client.get("/trade-api/v2/markets", params={"status": "settled", "limit": 1000}).json()["markets"]
    assert {row["ticker"]: row["result"] == "yes" for row in settled} == world.true_outcomes
