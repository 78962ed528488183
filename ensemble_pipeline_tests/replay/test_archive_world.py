from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ensemble_pipeline.domain import MarketStatus
from ensemble_pipeline.errors import ArchiveError
from ensemble_pipeline.replay.archive import read_archive
from ensemble_pipeline.replay.archive_names import MAX_TICKER, make_model, make_ticker
from ensemble_pipeline.replay.archive_world import ArchiveWorld
from ensemble_pipeline.sandbox.world import FailureKind
from ensemble_pipeline_tests.replay.small_archive import QUESTION, write_archive

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
EARLY_RESOLUTION = "q3,,Early?,weather,somewhere,,2025-12-31T00:00:00Z,2025-08-04T00:00:00Z,0"


def day(number: int) -> datetime:
    return datetime(2025, 8, number, tzinfo=UTC)


def make_world(folder: Path, first: date | None = None, last: date | None = None) -> ArchiveWorld:
    questions = [QUESTION, "q2,e1,Snow?,weather,somewhere,,2025-08-09T00:00:00Z,,", EARLY_RESOLUTION]
    forecasts = [
        f"{question},{model},2025-08-0{number}T00:00:00Z,{p},,,,"
        for question, model, number, p in [
            ("q1", "gpt-x", 1, 0.7),
            ("q1", "gpt-x", 2, 0.8),
            ("q1", "claude-y", 2, ""),
            ("q2", "gpt-x", 3, 0.2),
        ]
    ]
    prices = [
        "q1,2025-08-02T00:00:00Z,0.65,0.0,0.66001,1200",
        "q1,2025-08-03T00:00:00Z,0.7,0.69,1.0,",
        "q3,2025-08-02T00:00:00Z,0.0,,,",
        "q3,2025-08-05T00:00:00Z,0.1,,,",
    ]
    archive = read_archive(write_archive(folder / "small", questions, forecasts, prices))
    return ArchiveWorld(archive, first, last)


def ticker_of(world: ArchiveWorld, question: str) -> str:
    return next(ticker for ticker in world.markets if f"-{question.upper()}-" in ticker)


def test_status_is_active_for_an_hour_after_each_observation(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    ticker = ticker_of(world, "q1")
    expected = {
        day(1) - MINUTE: MarketStatus.UNOPENED,
        day(1): MarketStatus.ACTIVE,
        day(1) + HOUR - MINUTE: MarketStatus.ACTIVE,
        day(1) + HOUR: MarketStatus.PAUSED,
        day(3): MarketStatus.ACTIVE,
        day(4): MarketStatus.PAUSED,
        day(5): MarketStatus.CLOSED,
        day(6): MarketStatus.SETTLED,
    }
    assert {at: world.status(ticker, at) for at in expected} == expected


def test_question_without_opening_opens_with_its_first_observation(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    assert world.markets[ticker_of(world, "q2")].opened_at == day(3)


def test_resolution_before_the_close_settles(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    ticker = ticker_of(world, "q3")
    assert world.status(ticker, day(4)) is MarketStatus.SETTLED
    assert world.status(ticker, day(5)) is MarketStatus.SETTLED


def test_quote_is_the_latest_row_and_never_invents_a_side(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    first, early = ticker_of(world, "q1"), ticker_of(world, "q3")
    assert world.quote(first, day(2) - MINUTE) is None
    quote = world.quote(first, day(3) - MINUTE)
    assert quote is not None
    assert (quote.observed_at, quote.yes_bid, quote.yes_ask) == (day(2), None, Decimal("0.6600"))
    assert (quote.last_price, quote.volume) == (Decimal("0.6500"), Decimal(1200))
    later = world.quote(first, day(9))
    assert later is not None
    assert (later.yes_bid, later.yes_ask, later.volume) == (Decimal("0.6900"), None, None)
    crowd = world.quote(early, day(2))
    assert crowd is not None
    assert (crowd.yes_bid, crowd.yes_ask, crowd.last_price) == (None, None, Decimal("0.0001"))


def test_answer_is_the_archived_forecast_of_the_last_hour(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    ticker = ticker_of(world, "q1")
    first = world.answer("gpt-x", ticker, day(1) + HOUR - MINUTE)
    second = world.answer("gpt-x", ticker, day(2))
    assert first is not None
    assert second is not None
    assert (first.p_yes, second.p_yes) == (0.7, 0.8)
    assert world.answer("gpt-x", ticker, day(1) + HOUR) is None
    assert world.answer("gpt-x", ticker, day(3)) is None
    assert world.answer("claude-y", ticker, day(1)) is None
    assert world.answer("gpt-x", "NONE", day(1)) is None


def test_failed_call_fails_the_same_way_each_time(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    answers = [world.answer("claude-y", ticker_of(world, "q1"), day(2)) for _ in range(3)]
    assert answers[0] is not None
    assert answers[0].p_yes is None
    assert answers[0].failure in set(FailureKind)
    assert answers[1:] == [answers[0], answers[0]]


def test_counts_and_outcomes_are_those_of_what_is_played(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    assert (world.forecast_count, world.failed_forecast_count) == (4, 1)
    assert world.true_outcomes == {ticker_of(world, "q1"): True, ticker_of(world, "q3"): False}
    assert not world.has_synthetic_models


def test_range_leaves_observations_out_and_settles_all_the_same(tmp_path: Path) -> None:
    whole, world = make_world(tmp_path), make_world(tmp_path, date(2025, 8, 2), date(2025, 8, 2))
    assert whole.key == f"small-{whole.key[-8:]}"
    assert world.key == f"small-2025-08-02-2025-08-02-{whole.key[-8:]}"
    assert len(world.markets) == 2
    assert (world.forecast_count, world.failed_forecast_count) == (2, 1)
    assert (world.starts_at, world.ends_at) == (day(2), day(6))
    assert world.answer("gpt-x", ticker_of(world, "q1"), day(1)) is None
    assert set(world.markets) < set(whole.markets)
    assert len(world.true_outcomes) == 2


def test_range_without_observations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="no forecast and no price from 2026-01-01 to its end"):
        make_world(tmp_path, date(2026, 1, 1))


def test_events_walk_through_everything_that_happens(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    found, at = [], world.next_event_after(day(1) - MINUTE)
    while at is not None:
        found.append(at)
        at = world.next_event_after(at)
    assert found == [day(1), day(2), day(3), day(4), day(5), day(6)]


def test_archive_without_forecasts_is_played_with_synthetic_models(tmp_path: Path) -> None:
    prices = ["q1,2025-08-02T00:00:00Z,0.5,,,"]
    world = ArchiveWorld(read_archive(write_archive(tmp_path, [QUESTION], prices=prices)))
    assert world.has_synthetic_models
    assert (world.forecast_count, len(world.models)) == (0, 6)
    (ticker,) = world.markets
    answers = [world.answer(model.wire_model, ticker, day(2)) for model in world.models]
    assert answers == [world.answer(model.wire_model, ticker, day(2)) for model in world.models]
    assert all(answer is not None and answer.p_yes is not None and 0 < answer.p_yes < 1 for answer in answers)
    assert world.answer("nobody", ticker, day(2)) is None


def test_tickers_are_short_readable_and_different() -> None:
    tickers = {
        make_ticker("a_source_with_a_long_name", kind, f"{'0123456789' * 5}{number}")
        for kind in ("question", "event")
        for number in range(500)
    }
    assert len(tickers) == 1000
    assert all(len(ticker) <= MAX_TICKER and ticker.isascii() for ticker in tickers)
    assert make_ticker("", "question", "¿?").isalnum()


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("claude-sonnet-4.6+search", "anthropic"),
        ("gpt-5+search", "openai"),
        ("openai-o9", "openai"),
        ("grok-4.20", "xai"),
        ("kimi-k2.5+search", "openrouter"),
    ],
)
def test_models_get_their_provider_by_name(name: str, provider: str) -> None:
    model = make_model(name)
    assert (model.name, model.wire_model, model.provider) == (name, name, provider)
    assert model.output_usd_per_mtok >= model.input_usd_per_mtok >= 0
