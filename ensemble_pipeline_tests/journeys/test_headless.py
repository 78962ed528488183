"""A synthetic world played to its end without a UI."""

from typing import Any

import pytest

from ensemble_pipeline_tests.journeys.conftest import SMALL, Played
from ensemble_pipeline_tests.journeys.running import (
    count,
    data_folder,
    differences,
    peek,
    play,
    postgres_pid,
    run,
    without_passing,
)

TABLES = (
    "markets", "market_snapshots", "decisions", "decision_batches", "llm_queries", "forecasts", "budget_reservations",
    "resolutions", "scored_forecasts", "skill_cube", "performance_windows", "positions", "trade_log",
)  # fmt: skip


def test_report_of_a_played_world_is_complete(played: Played) -> None:
    assert set(played.report) == {
        "world", "clock", "markets", "decisions", "model_calls", "forecasts", "spend", "paper", "windows", "brier",
        "calibration", "ranking", "contributions", "played", "truth",
    }  # fmt: skip
    assert played.report["world"] == "synthetic-s7-d3-m4-all"
    assert played.report["played"]["failed_runs"] == 0


def test_report_of_a_played_world_adds_up(played: Played) -> None:
    report = played.report
    markets, forecasts, ranking = report["markets"], report["forecasts"], report["ranking"]["rows"]
    assert sum(report["decisions"]["by_terminal_reason"].values()) == report["decisions"]["total"]
    assert report["decisions"]["total"] == markets["snapshots"] > 0
    assert (markets["seen"], markets["settled"], markets["undecided"]) == (8, 8, 0)
    assert sum(report["model_calls"]["by_status"].values()) == report["model_calls"]["total"]
    assert forecasts["answered"] + forecasts["failed"] == forecasts["asked"]
    assert report["model_calls"]["by_status"]["answered"] == forecasts["answered"] > 0
    assert sum(forecasts["failed_by_model"].values()) == forecasts["failed"] > 0
    assert forecasts["scored"] == forecasts["answered"]
    assert report["spend"]["unconfirmed_after_crash_usd"] == 0
    assert sum(row["weight"] for row in ranking) == pytest.approx(1)
    assert [row["rank"] for row in ranking] == [1, 2, 3, 4, 5, 6]
    assert sum(row["sample_size"] for row in ranking) == forecasts["scored"]
    assert report["windows"]["learnt_until"] == report["clock"]


def test_record_of_a_played_world_agrees_with_its_report(played: Played) -> None:
    folder, report = played.folder, played.report
    spent = peek(folder, "select sum(cost_micro_usd)::bigint as calls from llm_queries")[0]["calls"]
    accounts = peek(folder, "select sum(spent_micro_usd)::bigint as n from budget_accounts where scope = 'day'")
    held = count(folder, "budget_accounts where held_micro_usd <> 0")
    rested = peek(folder, "select bool_and(a.as_of <= d.decided_at and c.as_of <= d.decided_at) as ok from"
                          " decisions d join model_rankings a using (ranking_id)"
                          " join calibration_tables c using (calibration_id)")  # fmt: skip
    used = count(folder, "decisions d join model_rankings r using (ranking_id) where known_forecasts > 0")
    unscored = count(
        folder, "forecasts f where not exists (select from scored_forecasts s where s.forecast_id = f.forecast_id)"
    )
    flows = peek(folder, "select sum(cash_micro_usd)::bigint as n from trade_log")[0]["n"]
    assert spent == round(report["spend"]["usd"] * 1_000_000) == accounts[0]["n"]
    assert (held, unscored) == (0, 0)
    assert rested == [{"ok": True}]
    assert used > 0
    assert (flows or 0) == round(report["paper"]["net_profit_usd"] * 1_000_000)


def test_finished_world_started_again_changes_nothing(played: Played) -> None:
    before = _rows(played)
    again = play(played.folder, *SMALL)
    assert differences(without_passing(again), without_passing(played.report)) == []
    assert again["played"]["runs"] == 0
    assert _rows(played) == before


def test_status_after_the_end_tells_the_same_in_text_and_json(played: Played) -> None:
    as_json, as_text = run(played.folder, "status", "--json"), run(played.folder, "status")
    assert (as_json.status, as_text.status) == (0, 0)
    assert f'"total": {played.report["decisions"]["total"]}' in as_json.out
    assert f"decisions      {played.report['decisions']['total']} (" in as_text.out
    assert "$0.0000 held" in as_text.out


@pytest.mark.slow
def test_same_world_played_afresh_gives_the_same_report_and_leaves_no_server() -> None:
    world = ("--days", "2", "--markets-per-day", "3", "--seed", "11")
    with data_folder() as folder:
        first = play(folder, *world)
        assert postgres_pid(folder) is None
        second = play(folder, *world, "--fresh")
    assert differences(without_passing(second), without_passing(first)) == []


def _rows(played: Played) -> dict[str, Any]:
    return {table: count(played.folder, table) for table in TABLES}
