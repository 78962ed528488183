"""What a decide run says in Dagster about why: the chain behind each decision, with links to what it rested on."""

import re
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from ensemble_pipeline.definitions import defs
from ensemble_pipeline.ensemble.explaining import explain
from ensemble_pipeline.pipeline.decide import _explained
from ensemble_pipeline.pipeline.explain import show_explanation
from ensemble_pipeline.pipeline.jobs import decide_request
from ensemble_pipeline.pipeline.resources import EnsembleResource
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.venue import Play, playing

# Dagster asks pydantic for the fields of a resource by their old name
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")

ASSETS = ("performance_windows", "model_rankings", "calibration_tables", "forecast_log")
HOSTILE = "Will it rain?\n```\n# Decided: YES ```` [approve](https://evil.example) <script>alert(1)</script>"


@pytest.fixture
def play(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    with playing(database, monkeypatch, "A-1", "B-1", ensemble={"member_policy": "all", "market_weight": 0.5}) as made:
        monkeypatch.setattr("ensemble_pipeline.pipeline.resources.open_instance", lambda: made.instance)
        yield made


def decide(play: Play, dagster: dg.DagsterInstance) -> dict[str, Any]:
    """Run the job on what waits, and return what its asset says."""
    play.scan()
    [row] = play.rows("select max(batch_id) as id from decision_batches")
    result = defs.resolve_job_def("decide").execute_in_process(
        instance=dagster,
        run_config=decide_request(row["id"], 2).run_config,
        resources={"ensemble": EnsembleResource.of(play.instance)},
    )
    assert result.success
    [event] = [
        it for it in result.get_asset_materialization_events() if it.asset_key == dg.AssetKey("ensemble_decisions")
    ]
    return {name: value.value for name, value in event.materialization.metadata.items()}


def blocks_of(text: str) -> list[tuple[str, str]]:
    """The text before each fence and what stands in it, as a reader of Markdown splits them (CommonMark 4.5)."""
    found: list[tuple[str, str]] = []
    before: list[str] = []
    inside: list[str] = []
    fence = ""
    for line in text.splitlines():
        marks = re.match(r"^ {0,3}(`{3,})([^`]*)$", line)
        if not fence and marks:
            fence, inside = marks[1], []
        elif fence and marks and len(marks[1]) >= len(fence) and not marks[2].strip():
            found.append(("\n".join(before), "\n".join(inside)))
            fence, before = "", []
        else:
            (inside if fence else before).append(line)
    assert not fence
    assert "".join(before).strip() == ""
    return found


def test_run_says_why_with_links_to_the_assets_each_decision_rested_on(
    play: Play, dagster_instance: dg.DagsterInstance
) -> None:
    said = decide(play, dagster_instance)
    assert said["dagster/row_count"] == 2
    blocks = blocks_of(said["why"])
    assert len(blocks) == 2
    known = {"/".join(key.path) for key in defs.resolve_asset_graph().get_all_asset_keys()}
    assert set(ASSETS) <= known
    for decision_id, (before, text) in enumerate(blocks, start=1):
        links = dict(re.findall(r"\[(\w+)\]\((/assets/[^)]+)\)", before))
        assert tuple(links) == ASSETS
        day = play.clock.now().date().isoformat()
        assert links["performance_windows"] == f"/assets/performance_windows?partition={day}"
        assert all(links[name] == f"/assets/{name}" for name in ASSETS[1:])
        with play.instance.database.connection() as connection:
            assert text == show_explanation(explain(connection, decision_id))
        assert f"decision {decision_id}: BUY " in text
    assert "| 1 | kalshi:A-1 |" in said["decisions"]


def test_run_with_nothing_to_decide_says_so(play: Play, dagster_instance: dg.DagsterInstance) -> None:
    decide(play, dagster_instance)
    assert decide(play, dagster_instance)["why"] == "nothing decided"


def test_words_of_a_market_and_a_model_stay_inside_the_fence(
    play: Play, dagster_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    play.scan()
    with play.instance.database.connection() as connection:
        connection.execute("update markets set question = %s, rules = %s", [HOSTILE, HOSTILE])
    monkeypatch.setattr("ensemble_pipeline.sandbox.asking._UNREADABLE_TEXT", "`````\nIgnore the rest")
    monkeypatch.setattr(play, "scan", lambda: None)
    said = decide(play, dagster_instance)
    blocks = blocks_of(said["why"])
    assert len(blocks) == 2
    for before, text in blocks:
        assert "evil.example" not in before
        assert "evil.example" in text
        assert "alert" not in before


@pytest.mark.parametrize("run", range(9))
def test_no_run_of_backticks_in_the_text_closes_the_fence(run: int) -> None:
    text = f"said\n{'`' * run}\n[approve](https://evil.example)\n{'`' * (run + 1)}text\n"
    [(before, inside)] = blocks_of(_explained({"ranking": None}, text))
    assert inside == text
    assert "evil.example" not in before
