"""What a decide run says in Dagster where another run has decided its markets."""

import dagster as dg
import pytest

from ensemble_pipeline.definitions import defs
from ensemble_pipeline.pipeline.jobs import decide_request
from ensemble_pipeline.pipeline.resources import EnsembleResource
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.venue import Play, playing

# Dagster asks pydantic for the fields of a resource by their old name
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")


def already_decided(play: Play, dagster: dg.DagsterInstance) -> tuple[object, list[str]]:
    """Run the job on the first batch: what its asset says of others, and the lines of its log that do."""
    result = defs.resolve_job_def("decide").execute_in_process(
        instance=dagster,
        run_config=decide_request(1, 2).run_config,
        resources={"ensemble": EnsembleResource.of(play.instance)},
    )
    assert result.success
    (said,) = (
        event.materialization.metadata["already_decided"].value
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey("ensemble_decisions")
    )
    lines = [entry.user_message for entry in dagster.all_logs(result.run_id) if not entry.is_dagster_event]
    return said, [line for line in lines if "another run" in line]


def test_run_names_the_snapshots_that_another_run_decided_with_their_decisions(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        playing(database, monkeypatch, "A-1", "B-1", ensemble={"member_policy": "all"}) as play,
        dg.DagsterInstance.ephemeral() as dagster,
    ):
        monkeypatch.setattr("ensemble_pipeline.pipeline.resources.open_instance", lambda: play.instance)
        play.scan()
        assert already_decided(play, dagster) == ([], [])
        decided = {row["snapshot_id"]: row["decision_id"] for row in play.rows("select * from decisions")}
        assert len(decided) == 2
        assert already_decided(play, dagster) == (
            [{"snapshot": snapshot, "decision": decision} for snapshot, decision in sorted(decided.items())],
            [f"snapshot {it} was decided by another run: decision {decided[it]}" for it in sorted(decided)],
        )
