"""Providers and a venue that misbehave during a headless run: recorded, nothing lost, and the run goes on."""

import re
import subprocess
from pathlib import Path
from typing import Any

import httpx

from ensemble_pipeline_tests.journeys.running import (
    data_folder,
    family_of,
    peek,
    postgres_of,
    read_report,
    started,
    wait_for,
)
from ensemble_pipeline_tests.replay.small_archive import FORECAST, PRICE, QUESTION, write_archive

FAULTS = (
    {"target": "openai", "kind": "html", "count": 5},
    {"target": "xai", "kind": "overloaded", "count": 4},
    {"target": "anthropic", "kind": "cut_json", "count": 3},
    {"target": "openrouter", "kind": "wrong_key", "count": 2},
    {"target": "local", "kind": "out_of_credit", "count": 1},
)
# so many that whole looks at the venue fail, with all their attempts
VENUE_FAULTS = ({"target": "kalshi", "kind": "overloaded", "count": 12},)
PROBLEMS = (
    "select m.provider, q.status, q.http_status, q.problem, q.cost_micro_usd, q.cost_source"
    " from llm_queries q join models m using (model_id) where q.status <> 'answered' order by query_id"
)


def test_run_goes_on_and_records_what_failed_where_providers_answer_html_and_errors() -> None:
    with data_folder() as folder:
        path = folder / "report.json"
        world = ("--days", "2", "--markets-per-day", "3", "--members", "all")
        with started(folder, "demo", "--until-done", "--report", str(path), *world) as process:
            _ask_for_faults(process, FAULTS)
            out, err = process.communicate(timeout=200)
        assert (process.returncode, err) == (0, ""), out
        report = read_report(path)
        with postgres_of(folder):
            failed = peek(folder, PROBLEMS)
    forecasts = report["forecasts"]
    assert report["markets"]["undecided"] == report["played"]["failed_runs"] == 0
    assert (report["markets"]["seen"], report["markets"]["settled"]) == (3, 3)
    assert forecasts["answered"] + forecasts["failed"] == forecasts["asked"]
    assert forecasts["scored"] == forecasts["answered"] > 0
    for fault in FAULTS:
        struck = [row for row in failed if row["provider"] == fault["target"]]
        assert len(struck) >= int(str(fault["count"])), fault
        assert all(row["problem"] for row in struck)
    by_provider = {provider: _first(failed, provider) for provider in ("openai", "xai", "anthropic", "openrouter")}
    # a reply that came and cannot be read may have been billed: its worst case is booked
    assert by_provider["openai"]["cost_source"] == by_provider["anthropic"]["cost_source"] == "worst_case"
    assert by_provider["openai"]["cost_micro_usd"] > 0
    assert (by_provider["xai"]["http_status"], by_provider["xai"]["cost_micro_usd"]) == (503, 0)
    assert (by_provider["openrouter"]["http_status"], by_provider["openrouter"]["cost_micro_usd"]) == (401, 0)


def test_world_waits_for_a_venue_that_is_out_for_a_while_and_loses_no_forecast(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "archive", [QUESTION], [FORECAST], [PRICE])
    with data_folder() as folder:
        path = folder / "report.json"
        play = ("demo", "--until-done", "--report", str(path), "--archive", str(archive))
        with started(folder, *play) as process:
            _ask_for_faults(process, VENUE_FAULTS)
            out, err = process.communicate(timeout=200)
        assert (process.returncode, err) == (0, ""), out
        report = read_report(path)
    assert report["truth"]["forecasts"] == report["forecasts"]["asked"] == report["forecasts"]["scored"] == 1
    assert (report["markets"]["seen"], report["markets"]["settled"]) == (1, 1)


def _ask_for_faults(process: "subprocess.Popen[str]", faults: tuple[dict[str, Any], ...]) -> None:
    def find_port() -> str | None:
        found = (re.search(r"sandbox --port (\d+)", command) for command in family_of(process.pid).values())
        return next((match[1] for match in found if match), None)

    port = wait_for("the sandbox is started", find_port, 60, process)
    url = f"http://127.0.0.1:{port}/faults"

    def post(fault: dict[str, Any]) -> bool:
        try:
            return httpx.post(url, json=fault, timeout=5, trust_env=False).status_code == 204
        except httpx.TransportError:
            return False

    for fault in faults:
        wait_for("the sandbox takes the fault", lambda fault=fault: post(fault), 30, process)  # type: ignore[misc]


def _first(rows: list[dict[str, Any]], provider: str) -> dict[str, Any]:
    return next(row for row in rows if row["provider"] == provider)
