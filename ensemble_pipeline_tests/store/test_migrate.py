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
from ensemble_pipeline.ensemble.fallback import FallbackManager
from ensemble_pipeline.ensemble.performance import PerformanceTracker
from ensemble_pipeline.errors import DatabaseError
from ensemble_pipeline.store import audit, budget, migrations
from ensemble_pipeline.store.database import Database, require_row
from ensemble_pipeline.store.migrate import (
    current_revision,
    known_revisions,
    migrate,
    pending_revisions,
)
from ensemble_pipeline_tests.conftest import opened
from ensemble_pipeline_tests.ensemble.history import HOUR, NOW, put_call, put_forecasts, settle, table
from ensemble_pipeline_tests.ensemble.parts import instance_of, mode_of, settings_of
from ensemble_pipeline_tests.store.rows import call_of, close, hold


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


def test_ledger_without_accounts_of_providers_models_and_markets_gets_them_from_what_was_reserved(
    empty_url: str,
) -> None:
    with opened(empty_url) as database:
        migrate(database)
        snapshot = put_forecasts(database, {"a": 0.8, "b": 0.3})
        with database.connection() as connection:
            put_call(connection, snapshot, "a", attempt=2, cost=0, status="failed")
            connection.execute("update llm_queries set cost_source = 'not_billed' where cost_micro_usd = 0")
            assert hold(connection, call_of(snapshot, 70)) is not None
            budget.expire_left_over(connection, [snapshot], NOW)
            assert hold(connection, call_of(snapshot, 7)) is not None
        put_forecasts(database, {"a": 0.6}, ticker="RAIN-2", at=NOW + 24 * HOUR)
        before = table(database, "budget_accounts", "scope, account_key")
        assert [(row["spent_micro_usd"], row["held_micro_usd"]) for row in before if row["scope"] == "day"] == [
            (100 + 100 + 70, 7),
            (100, 0),
        ]
        assert [row["calls"] for row in before if row["scope"] in ("day", "decision")] == [5, 1, 5, 1]
        downgrade(empty_url, "0009")
        assert migrate(database)[0] == "0010"
        assert table(database, "budget_accounts", "scope, account_key") == before
        states = [
            (row["state"], row["booked_micro_usd"]) for row in table(database, "budget_reservations", "reservation_id")
        ]
        with database.connection() as connection:
            assert audit.ledger_differences(connection, NOW.date()) == []
            assert audit.call_differences(connection, NOW.date()) == []
            held = connection.execute("select reservation_id from budget_reservations where state = 'held'").fetchone()
            close(connection, require_row(held)["reservation_id"], 5)
            assert audit.ledger_differences(connection, NOW.date()) == []
        assert states == [
            ("settled", 100),
            ("settled", 100),
            ("released", 0),
            ("expired", 70),
            ("held", None),
            ("settled", 100),
        ]


def test_answers_that_repeat_another_go_with_the_table_that_knew_them(empty_url: str) -> None:
    with opened(empty_url) as database:
        migrate(database)
        first, second = (
            put_forecasts(database, {name: 0.8}, at=NOW + hours * HOUR) for name, hours in (("a", 0), ("b", 1))
        )
        with database.connection() as connection:
            connection.execute(
                "insert into forecasts (reused_from, snapshot_id, market_id, model_id, asked_at, p_yes, confidence,"
                " reasoning, market_p, volatility_regime, expiry_bucket) select forecast_id, %s, market_id, model_id,"
                " asked_at, p_yes, confidence, reasoning, market_p, volatility_regime, expiry_bucket from forecasts"
                " where snapshot_id = %s",
                [second, first],
            )
        downgrade(empty_url, "0012")
        migrate(database)
        assert [row["model_id"] for row in table(database, "forecasts", "forecast_id")] == ["a", "b"]


def test_modes_set_before_were_set_by_hand_and_what_would_expire_goes_with_the_way_back(empty_url: str) -> None:
    with opened(empty_url) as database:
        migrate(database)
    downgrade(empty_url, "0015")
    with opened(empty_url) as database:
        with database.connection() as connection:
            connection.execute(
                "insert into operating_modes (mode, cause, since) values ('minimal', 'drill', %s)", [NOW]
            )
        migrate(database)
        instance = instance_of(settings_of("a"), database, SteppedClock(NOW))
        manager = FallbackManager(instance)
        [row] = table(database, "operating_modes", "mode_id")
        assert (row["origin"], row["expires_at"], mode_of(instance)) == ("hand", None, "minimal")
        manager.enable_emergency_mode("suspended", "for an hour", HOUR)
        manager.enable_emergency_mode("degraded", "until it is ended")
        with database.connection() as connection:
            connection.execute(
                "insert into operating_modes (mode, cause, since, origin) values ('suspended', 'it', %s, 'evidence')",
                [NOW],
            )
    downgrade(empty_url, "0015")
    with opened(empty_url) as database:
        kept = [(row["mode"], row["cause"]) for row in table(database, "operating_modes", "mode_id")]
        assert kept == [("minimal", "drill"), ("conservative", "until it is ended")]
