"""`ensemble doctor` and `ensemble status`, as a person and as a machine read them."""

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.pipeline.worlds import world_environment
from ensemble_pipeline.sandbox.synthetic import SyntheticWorld
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.worlds import claim_world
from ensemble_pipeline_tests.journeys.running import assert_one_message, run
from ensemble_pipeline_tests.sandbox.running import running_sandbox


@pytest.fixture(scope="module")
def reachable() -> Iterator[dict[str, str]]:
    """The environment of an instance whose venue and providers all answer."""
    world = SyntheticWorld(seed=5, days=2, markets_per_day=2)
    with running_sandbox(world, SteppedClock(world.starts_at)) as client:
        yield world_environment(world, str(client.base_url).rstrip("/"), "selected")


def test_doctor_finds_all_well_where_everything_answers(
    reachable: dict[str, str], database: Database, tmp_path: Path
) -> None:
    done = run(
        tmp_path, "doctor", "--json", "--port", "0", variables={**reachable, "ENSEMBLE_DATABASE_URL": database.url}
    )
    findings = json.loads(done.out)
    assert (done.status, done.err) == (0, ""), done.out
    assert {finding["state"] for finding in findings} == {"ok"}
    providers = {f"provider {name}" for name in ("anthropic", "local", "openai", "openrouter", "xai")}
    assert {finding["subject"] for finding in findings} == {
        "settings", "database", "migrations", "port", "venue kalshi", *providers
    }  # fmt: skip


def test_doctor_names_what_is_missing_and_what_to_do(reachable: dict[str, str], empty_url: str, tmp_path: Path) -> None:
    away = "http://127.0.0.1:9"
    broken = {**reachable, "ENSEMBLE_PROVIDERS__OPENAI__BASE_URL": away, "ENSEMBLE_KALSHI_BASE_URL": away}
    broken["ENSEMBLE_PROVIDERS__XAI__API_KEY_ENV"] = "XAI_API_KEY"
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        extra = {**broken, "ENSEMBLE_DATABASE_URL": empty_url, "XAI_API_KEY": ""}
        done = run(tmp_path, "doctor", "--port", port, variables=extra)
    lines = {line[9:31].strip(): line for line in done.out.splitlines()}
    assert done.status == 1
    assert lines["provider openai"].startswith("MISSING")
    assert "set XAI_API_KEY" in lines["provider xai"]
    assert "ENSEMBLE_KALSHI_BASE_URL" in lines["venue kalshi"]
    assert f"port {port}" in lines["port"]
    assert "0001" in lines["migrations"]
    assert "applies them" in lines["migrations"]


def test_doctor_names_models_that_will_be_shut_down(tmp_path: Path, database: Database) -> None:
    world = SyntheticWorld(seed=5, days=2, markets_per_day=2)
    world.models = tuple(replace(it, shutdown_date=date(2026, 12, 11)) for it in world.models)
    with running_sandbox(world, SteppedClock(world.starts_at)) as client:
        variables = world_environment(world, str(client.base_url).rstrip("/"), "selected")
        variables["ENSEMBLE_DATABASE_URL"] = database.url
        done = run(tmp_path, "doctor", "--json", "--port", "0", variables=variables)
    notes = {it["subject"]: it["text"] for it in json.loads(done.out) if it["state"] == "note"}
    assert done.status == 0
    assert "openai shuts down aspen-mini on 2026-12-11" in notes["member aspen-mini"]
    # whose list tells no last days names none
    assert "member maple-sonnet" not in notes


def test_doctor_without_any_database_says_how_to_get_one(tmp_path: Path, reachable: dict[str, str]) -> None:
    done = run(tmp_path / "data", "doctor", "--port", "0", variables=reachable)
    assert done.status == 0
    assert "run `ensemble demo` or `ensemble up` first" in done.out
    assert not (tmp_path / "data").exists(), "the doctor changes nothing"


def test_doctor_names_settings_that_do_not_fit(tmp_path: Path) -> None:
    done = run(tmp_path, "doctor", "--json", variables={"ENSEMBLE_GATES__MAX_DISAGREEMENT": "2"})
    (finding,) = json.loads(done.out)
    assert (done.status, finding["state"]) == (1, "missing")
    assert "ENSEMBLE_GATES__MAX_DISAGREEMENT" in finding["text"]


def test_status_of_an_empty_instance_in_text_and_json(database: Database, tmp_path: Path) -> None:
    with database.connection() as connection:
        claim_world(connection, "live", "live")
    text = run(tmp_path, "status", variables={"ENSEMBLE_DATABASE_URL": database.url})
    as_json = run(tmp_path, "status", "--json", variables={"ENSEMBLE_DATABASE_URL": database.url})
    state = json.loads(as_json.out)
    assert (text.status, text.err, as_json.status) == (0, "", 0)
    assert "none yet" in text.out
    assert "nothing settled yet" in text.out
    assert (state["world"], state["decisions"]["total"], state["model_calls"]) == ("live", 0, {})


def test_status_of_a_database_without_tables_says_what_to_do(empty_url: str, tmp_path: Path) -> None:
    assert_one_message(
        run(tmp_path, "status", variables={"ENSEMBLE_DATABASE_URL": empty_url}), "ensemble (demo|up|doctor)"
    )
