import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.ensemble.performance import PerformanceTracker
from ensemble_pipeline.errors import DatabaseError
from ensemble_pipeline.store import migrations
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.migrate import (
    current_revision,
    known_revisions,
    migrate,
    pending_revisions,
)
from ensemble_pipeline_tests.conftest import opened
from ensemble_pipeline_tests.ensemble.history import HOUR, NOW, put_forecasts, settle, table
from ensemble_pipeline_tests.ensemble.parts import instance_of, settings_of


def tables_of(database: Database) -> set[str]:
    with database.connection() as connection:
        rows = connection.execute("select table_name from information_schema.tables where table_schema = 'ensemble'")
        return {row["table_name"] for row in rows}


def downgrade(url: str, revision: str = "base") -> None:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool)
    config = Config()
    config.set_main_option("script_location", str(Path(next(iter(migrations.__path__)))))
    with engine.begin() as connection:
        connection.execute(text("set local search_path to ensemble"))
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
    engine.dispose()


def test_migrate_when_database_is_empty_applies_everything_once(empty_url: str) -> None:
    with opened(empty_url) as database:
        assert pending_revisions(database) == known_revisions()
        assert migrate(database) == known_revisions()
        with database.connection() as connection:
            assert current_revision(connection) == known_revisions()[-1]
        assert pending_revisions(database) == ()
        assert migrate(database) == ()


def test_migrate_when_several_start_at_once_lets_exactly_one_apply(empty_url: str) -> None:
    gate = threading.Barrier(4)
    applied: list[tuple[str, ...]] = []

    def start() -> None:
        with opened(empty_url) as database:
            gate.wait()
            applied.append(migrate(database))

    run_all(start, 4)
    assert sorted(applied) == [(), (), (), known_revisions()]


def run_all(work: Callable[[], None], times: int) -> None:
    threads = [threading.Thread(target=work) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_migrate_when_database_is_newer_says_what_to_do(empty_url: str) -> None:
    with opened(empty_url) as database:
        migrate(database)
        with database.connection() as connection:
            connection.execute("update schema_version set version_num = '9999'")
        with pytest.raises(DatabaseError, match=r"9999.*install the newer release.*ENSEMBLE_DATABASE_URL"):
            migrate(database)


def test_downgrade_to_base_and_up_again_gives_the_same_tables(empty_url: str) -> None:
    with opened(empty_url) as database:
        migrate(database)
        before = tables_of(database)
        downgrade(empty_url)
        assert tables_of(database) == {"schema_version"}
        assert migrate(database) == known_revisions()
        assert tables_of(database) == before


def test_migrate_leaves_what_else_lives_in_the_database_alone(empty_url: str) -> None:
    with opened(empty_url) as database:
        with database.connection() as connection:
            connection.execute("create table public.runs (id int)")
        migrate(database)
        downgrade(empty_url)
        with database.connection() as connection:
            assert connection.execute("select * from public.runs").fetchall() == []


def test_upgrade_places_scores_taken_back_where_what_they_take_back_lies(empty_url: str) -> None:
    with opened(empty_url) as database:
        migrate(database)
        put_forecasts(database, {"a": 0.8})
        tracker = PerformanceTracker(instance_of(settings_of(), database, SteppedClock(NOW + 50 * HOUR)))
        for outcome, hours in ((True, 1), (False, 26)):
            settle(database, "RAIN-1", outcome, resolved_at=NOW + hours * HOUR)
            tracker.record_prediction_result()
        before = table(database, "scored_forecasts", "score_id")
        assert [row["sign"] for row in before] == [1, -1, 1]
        downgrade(empty_url, "0005")
        assert migrate(database)[0] == "0006"
        assert [row["window_at"] for row in table(database, "scored_forecasts", "score_id")] == [
            NOW + HOUR,
            NOW + HOUR,
            NOW + 26 * HOUR,
        ]
