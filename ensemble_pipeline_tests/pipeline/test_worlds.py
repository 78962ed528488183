from collections.abc import Iterator

import dagster as dg
import pytest

from ensemble_pipeline.definitions import defs
from ensemble_pipeline.errors import DatabaseError, UserError
from ensemble_pipeline.pipeline.jobs import bury_dead_runs, is_under_way, learn_job
from ensemble_pipeline.pipeline.worlds import database_name, open_home
from ensemble_pipeline.settings import load_settings
from ensemble_pipeline.store.database import Database


@pytest.fixture
def named_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setenv("ENSEMBLE_DATABASE_URL", database.url)
    load_settings.cache_clear()
    yield database
    load_settings.cache_clear()


@pytest.mark.usefixtures("named_database")
def test_world_that_another_process_plays_is_refused_until_that_one_ends() -> None:
    refused = pytest.raises(DatabaseError, match="being played by another process")
    with open_home("live", "live"), refused, open_home("live", "live"):
        pass
    with open_home("live", "live") as home:
        assert home.server is None


@pytest.mark.usefixtures("named_database")
def test_fresh_never_drops_a_database_that_was_named() -> None:
    with (
        pytest.raises(UserError, match="empty the one in ENSEMBLE_DATABASE_URL"),
        open_home("a", "archive", fresh=True),
    ):
        pass


def test_long_world_keys_that_differ_at_their_end_get_databases_of_their_own() -> None:
    names = {database_name("archive-" + "x" * 80 + end) for end in ("-1", "-2")}
    assert len(names) == 2
    assert max(map(len, names)) <= 63


def test_runs_that_a_crash_cut_off_are_buried_and_queued_ones_are_left(dagster_instance: dg.DagsterInstance) -> None:
    job = defs.resolve_job_def(learn_job.name)
    cut_off = dagster_instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert is_under_way(dagster_instance, learn_job.name)
    assert bury_dead_runs(dagster_instance) == 1
    assert not is_under_way(dagster_instance, learn_job.name)
    buried = dagster_instance.get_run_by_id(cut_off.run_id)
    assert buried is not None
    assert buried.status is dg.DagsterRunStatus.FAILURE
