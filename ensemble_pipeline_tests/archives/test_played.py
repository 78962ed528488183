"""Real archives played headless through the `ensemble` command."""

import resource
from pathlib import Path
from typing import Any

import pytest

from ensemble_pipeline_tests.journeys.running import count, data_folder, play, postgres_of
from ensemble_pipeline_tests.replay.test_real_archives import DATA

POLYMARKET = "polymarket_live_2025"


def folder_of(name: str) -> Path:
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"no archive at {folder}; ENSEMBLE_TEST_DATA can name the folder that holds it")
    return folder


@pytest.mark.slow
def test_days_of_polymarket_end_with_every_forecast_scored_or_failed() -> None:
    with data_folder() as folder:
        report = play(folder, "--archive", str(folder_of(POLYMARKET)), "--from", "2025-08-01", "--to", "2025-08-02")
        with postgres_of(folder):
            twice = count(folder, "(select 1 from forecasts group by snapshot_id, model_id having count(*) > 1) t")
    _assert_all_scored_or_failed(report)
    assert twice == 0
    assert report["truth"]["failed_forecasts"] > 0
    assert report["brier"]["where_price_known"]["market"] is not None


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_days_of_polymarket_play_within_ten_minutes_and_two_gigabytes() -> None:
    with data_folder() as folder:
        report = play(folder, "--archive", str(folder_of(POLYMARKET)), timeout_s=800)
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    _assert_all_scored_or_failed(report)
    assert (report["forecasts"]["asked"], report["forecasts"]["failed"]) == (15264, 1165)
    assert report["markets"]["settled"] == 53
    assert report["played"]["elapsed_s"] < 600
    assert most < 2 * 2**30


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_days_of_forecastbench_llm_end_with_every_forecast_scored() -> None:
    with data_folder() as folder:
        report = play(
            folder, "--archive", str(folder_of("forecastbench_llm_2025")), "--to", "2025-10-28", timeout_s=800
        )
    _assert_all_scored_or_failed(report)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_metaculus_without_prices_is_decided_and_scored_and_trades_nothing() -> None:
    with data_folder() as folder:
        report = play(folder, "--archive", str(folder_of("metaculus_q2_2025")), timeout_s=800)
    _assert_all_scored_or_failed(report)
    assert report["paper"]["trades"] == 0
    assert report["brier"]["all"]["market"] is None


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_archive_without_forecasts_is_played_with_synthetic_models() -> None:
    with data_folder() as folder:
        archive = folder_of("forecastbench_markets")
        report = play(folder, "--archive", str(archive), "--to", "2025-10-16", timeout_s=800)
    assert report["truth"]["has_synthetic_models"]
    assert report["forecasts"]["asked"] > 0
    assert report["markets"]["undecided"] == 0


def _assert_all_scored_or_failed(report: dict[str, Any]) -> None:
    forecasts, truth = report["forecasts"], report["truth"]
    assert forecasts["asked"] == truth["forecasts"] > 0
    assert forecasts["failed"] == truth["failed_forecasts"]
    assert forecasts["answered"] == forecasts["scored"] == truth["forecasts"] - truth["failed_forecasts"]
    assert report["markets"]["undecided"] == report["markets"]["rejected_rows"] == 0
    assert report["played"]["failed_runs"] == 0
