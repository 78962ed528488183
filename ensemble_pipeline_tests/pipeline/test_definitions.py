"""What Dagster loads: without warnings, described throughout, and no slower than it must be."""

import json
import os
import resource
import statistics
import subprocess
import sys

import pytest

from ensemble_pipeline.store.embedded import EmbeddedServer
from ensemble_pipeline_tests.journeys.running import REPOSITORY

LIST = """
import json
from ensemble_pipeline.definitions import defs
repository = defs.get_repository_def()
graph = repository.asset_graph
found = {f"asset {key.to_user_string()}": graph.get(key).description for key in graph.get_all_asset_keys()}
found |= {f"check {spec.key.to_user_string()}": spec.description for c in repository.asset_checks_defs_by_key.values()
          for spec in c.check_specs}
found |= {f"sensor {it.name}": it.description for it in repository.sensor_defs}
found |= {f"schedule {it.name}": it.description for it in repository.schedule_defs}
found |= {f"job {it.name}": it.description for it in repository.get_all_jobs() if not it.name.startswith("__")}
found |= {f"op {node.name}": node.definition.description for node in repository.get_job("decide").graph.nodes}
print(json.dumps(found))
"""
WANTED = {
    "asset markets", "asset resolutions", "asset forecast_log", "asset ensemble_decisions", "asset scored_forecasts",
    "asset skill_cube", "asset performance_windows", "asset calibration_tables", "asset model_rankings",
    "asset model_strengths", "asset model_health", "asset budget_status", "asset cost_report",
    "sensor market_sensor", "sensor settlement_sensor", "sensor restatement_sensor", "schedule windows_schedule",
    "schedule health_and_budget_schedule", "job decide", "job learn", "job backfill", "job watch",
}  # fmt: skip


def python(*arguments: str, **extra: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ENSEMBLE_", "DAGSTER_"))}
    kept |= {"DAGSTER_DISABLE_TELEMETRY": "1", **extra}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=kept, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)


def test_definitions_load_without_a_database_and_without_a_word() -> None:
    # as an operator's Python shows them: deprecations of other packages' own calls stay silent, ours do not
    done = python("-W", "default", "-W", "ignore::DeprecationWarning", "-c", "import ensemble_pipeline.definitions")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_everything_in_the_definitions_says_what_it_is() -> None:
    done = python("-c", LIST)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found) >= WANTED
    assert [name for name, text in found.items() if not (text or "").strip()] == []
    assert len([name for name in found if name.startswith("check ")]) >= 9


def test_workspace_validates_from_the_repository_root_where_a_database_is_named(server: EmbeddedServer) -> None:
    url = server.ensure_database("validated")
    done = python("-m", "dagster", "definitions", "validate", "-w", "workspace.yaml", ENSEMBLE_DATABASE_URL=url)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    server.drop_database("validated")


def test_workspace_without_a_named_database_fails_by_the_variable_to_set() -> None:
    done = python("-m", "dagster", "definitions", "validate", "-w", "workspace.yaml")
    assert done.returncode != 0
    assert "ENSEMBLE_DATABASE_URL" in done.stderr + done.stdout


@pytest.mark.slow
def test_import_of_the_definitions_takes_at_most_half_as_long_again_as_dagster() -> None:
    pairs = [(_user_cpu_s("import dagster"), _user_cpu_s("import ensemble_pipeline.definitions")) for _ in range(5)]
    assert statistics.median(ours / theirs for theirs, ours in pairs) <= 1.5, pairs


def _user_cpu_s(statement: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    assert python("-c", statement).returncode == 0
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def test_commands_that_start_no_dagster_do_not_wait_for_its_import() -> None:
    modules = ("status", "doctor", "budget", "explain", "replaying", "evidence", "demo", "backfill")
    imports = ", ".join(f"ensemble_pipeline.pipeline.{name}" for name in modules)
    code = f"import sys, {imports}; print('dagster' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
