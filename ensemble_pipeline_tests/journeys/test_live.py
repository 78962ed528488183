"""`ensemble demo` with the UI: the real webserver, daemon and code server over a world on an accelerated clock."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from ensemble_pipeline.pipeline.family import free_port
from ensemble_pipeline_tests.journeys.living import end, freeze, is_up
from ensemble_pipeline_tests.journeys.running import (
    count,
    data_folder,
    peek,
    postgres_of,
    started,
    wait_for,
)

# six hours of this world pass in 4 s: its first settlements come within the test, its end does not
WORLD = ("--days", "60", "--markets-per-day", "4", "--speed", "5000")
LEARNT_FROM = (
    "decisions d join model_rankings k using (ranking_id) where k.known_forecasts > 0 and exists"
    " (select from model_ranking_rows w where w.ranking_id = k.ranking_id and w.sample_size > 0)"
)
WORKSPACE = """{ repositoriesOrError { ... on RepositoryConnection { nodes {
  sensors { name sensorState { status } }
  schedules { name scheduleState { status } }
} } } }"""
LINEAGE = "{ assetNodes { assetKey { path } dependencyKeys { path } } }"
RUNS = '{ runsOrError(filter: {pipelineName: "decide"}) { ... on Runs { results { runId status } } } }'


@pytest.mark.timeout(280)
def test_live_world_decides_settles_learns_ends_with_everything_it_started_and_resumes() -> None:
    with data_folder() as folder:
        port = free_port()
        with started(folder, "demo", "--port", str(port), *WORLD) as process:
            ask = _ask(port)
            wait_for("the UI answers", lambda: is_up(port), 90, process)
            _assert_everything_runs_without_a_click(ask)
            _assert_lineage_reaches_from_markets_to_costs(ask)
            wait_for("a decision is recorded", lambda: count(folder, "decisions"), 90, process)
            _assert_decided_by_a_real_run(folder, ask)
            wait_for("a later decision rests on what was learnt", lambda: count(folder, LEARNT_FROM), 150, process)
            # schedules tick by the machine's minutes: so long the world stands still, for nobody needs what it would do
            freeze(folder)
            wait_for("health and budget are read", lambda: count(folder, "model_health"), 120, process)
            _assert_learnt(folder)
            end(process, folder, port)
        before = _what_was_left(folder)
        with started(folder, "demo", "--port", str(port), *WORLD) as process:
            wait_for("the UI answers again", lambda: is_up(port), 90, process)
            wait_for(
                "decisions go on where they stopped",
                lambda: count(folder, "decisions") > before["decisions"],
                90,
                process,
            )
            assert _clock(folder) >= before["clock"]
            end(process, folder, port)


def _ask(port: int) -> Callable[[str], dict[str, Any]]:
    def ask(query: str) -> dict[str, Any]:
        reply = httpx.post(f"http://127.0.0.1:{port}/graphql", json={"query": query}, timeout=60, trust_env=False)
        body = reply.json()
        assert "errors" not in body, body
        data: dict[str, Any] = body["data"]
        return data

    return ask


def _assert_everything_runs_without_a_click(ask: Callable[[str], dict[str, Any]]) -> None:
    def nodes() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = ask(WORKSPACE)["repositoriesOrError"].get("nodes", [])
        return found

    (repository,) = wait_for("the code server's definitions are loaded", nodes, 60)
    states = {it["name"]: it["sensorState"]["status"] for it in repository["sensors"]}
    states |= {it["name"]: it["scheduleState"]["status"] for it in repository["schedules"]}
    assert {"market_sensor", "settlement_sensor", "windows_schedule", "health_and_budget_schedule"} <= set(states)
    assert set(states.values()) == {"RUNNING"}


def _assert_lineage_reaches_from_markets_to_costs(ask: Callable[[str], dict[str, Any]]) -> None:
    upstream = {
        "/".join(node["assetKey"]["path"]): {"/".join(key["path"]) for key in node["dependencyKeys"]}
        for node in ask(LINEAGE)["assetNodes"]
    }
    reached = {"cost_report"}
    while (more := set().union(*(upstream.get(name, set()) for name in reached))) - reached:
        reached |= more
    assert "markets" in reached
    assert {"forecast_log", "scored_forecasts", "skill_cube", "performance_windows", "model_rankings"} <= reached
    linked = reached.union(*([name, *names] for name, names in upstream.items() if names))
    assert set(upstream) <= linked, "an asset stands alone"


def _assert_decided_by_a_real_run(folder: Path, ask: Callable[[str], dict[str, Any]]) -> None:
    (first,) = peek(folder, "select run_id from decisions order by decision_id limit 1")
    runs = {run["runId"]: run["status"] for run in ask(RUNS)["runsOrError"]["results"]}
    assert runs[first["run_id"]] in ("STARTED", "SUCCESS")


def _assert_learnt(folder: Path) -> None:
    for what in ("resolutions", "scored_forecasts", "skill_cube", "performance_windows", "budget_status"):
        assert count(folder, what) > 0, what
    assert count(folder, "decisions d join model_rankings k using (ranking_id) where k.as_of > d.decided_at") == 0


def _what_was_left(folder: Path) -> dict[str, Any]:
    with postgres_of(folder):
        rows = peek(folder, "select mode from world_clock")
        assert rows == [{"mode": "stepped"}], "the world's time stands still while nothing runs"
        return {"decisions": count(folder, "decisions"), "clock": _clock(folder)}


def _clock(folder: Path) -> datetime:
    (row,) = peek(folder, "select world_at from world_clock")
    at: datetime = row["world_at"]
    return at
