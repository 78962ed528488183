"""A year of performance windows through Dagster into PostgreSQL in a single run, and one late settlement folded in.

Alternatives, measured in the same run on the same database:

- one run per partition, as a backfill without a single-run policy does it: some partitions of the year, each as a
  Dagster run in a process of its own (`dagster job execute`), times 365;
- a bare COPY: the very rows the single run wrote, from a binary file into an empty table of the same definition, with
  the same indexes and checks;
- for the late settlement: building anew the days it touches, and the whole year.

The run reads the ledger, rebuilds cube and windows of 365 days, and records its events in Dagster's storage.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ensemble_pipeline.pipeline import launcher
from ensemble_pipeline.pipeline.worlds import Home, history_environment, open_home
from ensemble_pipeline.settings import load_settings
from ensemble_pipeline.store.database import Connection, Database
from ensemble_pipeline.store.world_clock import StoredClock

if TYPE_CHECKING:
    from ensemble_pipeline.ensemble.performance import PerformanceTracker

N_MODELS, N_CATEGORIES, N_FORECASTS = 12, 8, 500_000
FIRST, LAST = date(2025, 1, 1), date(2025, 12, 31)
SAMPLED_DAYS = (date(2025, 2, 3), date(2025, 5, 17), date(2025, 8, 9), date(2025, 11, 26))
LATE_AT = datetime(2025, 12, 1, 23, 30, tzinfo=UTC)
_DAYS = (LAST - FIRST).days + 1

_MODELS = """
insert into models (model_id, provider, wire_model, first_seen_at)
    select 'model-' || lpad(m::text, 2, '0'), 'local', 'm', now() from generate_series(1, %(models)s) m
"""
_LEDGER = """
insert into scored_forecasts (forecast_id, resolution_id, sign, model_id, market_id, event_id, category,
    volatility_regime, expiry_bucket, asked_at, resolved_at, known_at, window_at, p_yes, market_p, outcome, brier,
    log_loss, is_correct, confidence, latency_ms, cost_micro_usd)
select q.i * 100 + m, q.i, 1, 'model-' || lpad(m::text, 2, '0'), 'kalshi:Q' || q.i, 'E' || q.i / 3,
    'category-' || q.i %% %(categories)s, (array['unknown', 'calm', 'normal', 'volatile'])[1 + q.i %% 4],
    (array['0-24h', '1-7d', '7-30d', '30d+'])[1 + q.i %% 4], q.known - interval '3 days', q.known, q.known, q.known,
    f.p, q.market, q.y, (f.p - q.y) ^ 2, 0.5, true, 0.8, 1000 + (f.p * 5000)::integer, 2500
from (select i, random() as market, (random() < 0.4)::integer as y,
        %(first)s::timestamptz + i * (interval '365 days' / %(questions)s) as known
    from generate_series(1, %(questions)s) i) q,
    generate_series(1, %(models)s) m, lateral (select random() + 0 * m as p) f
"""

_LATE = """
insert into scored_forecasts (forecast_id, resolution_id, sign, model_id, market_id, event_id, category,
    volatility_regime, expiry_bucket, asked_at, resolved_at, known_at, window_at, p_yes, market_p, outcome, brier,
    log_loss, is_correct, confidence, latency_ms, cost_micro_usd)
select 900000000 + m, 900000000, 1, 'model-' || lpad(m::text, 2, '0'), 'kalshi:LATE', 'LATE', 'category-1', 'calm',
    '1-7d', %(at)s - interval '3 days', %(at)s, %(at)s, %(at)s, 0.6, 0.5, 1, 0.16, 0.5, true, 0.8, 1000, 2500
from generate_series(1, %(models)s) m
"""


def run() -> str:
    """In a process of its own: Dagster's partitions take the days of the history from the environment."""
    folder = Path(tempfile.mkdtemp(prefix="ensemble-backfill-", dir="/tmp"))
    environment = {**os.environ, "ENSEMBLE_DATA_DIR": str(folder), **history_environment(FIRST, LAST)}
    environment.pop("ENSEMBLE_DATABASE_URL", None)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.backfill"], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        return done.stdout.strip()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure() -> str:
    with open_home("backfill-benchmark", "synthetic", (FIRST, LAST)) as home:
        os.environ.update(home.environment())
        launcher.prepare_dagster_home(home)
        load_settings.cache_clear()
        database = Database(home.database_url)
        StoredClock(database).start_stepped(datetime(2025, 12, 31, 23, tzinfo=UTC))
        with database.connection() as connection:
            _without_foreign_keys(connection)
            connection.execute(_MODELS, {"models": N_MODELS})
            connection.execute("select setseed(0.5)")
            connection.execute(
                _LEDGER,
                {
                    "models": N_MODELS,
                    "categories": N_CATEGORIES,
                    "questions": N_FORECASTS // N_MODELS,
                    "first": datetime(2025, 1, 1, tzinfo=UTC),
                },
            )
        year_s, rows = _single_run(home, database)
        copy_s = _bare_copy(database)
        partition_s = _run_per_partition(home)
        fold_s, days_s, touched = _late_settlement(database)
        database.close()
    return (
        f"backfill: {_DAYS} days, {_DAYS * 24:,} as-of hours, {N_FORECASTS:,} forecasts, {rows:,} window rows in a"
        f" single Dagster run: {year_s:.1f} s; one run per partition {partition_s:.2f} s each (mean of"
        f" {len(SAMPLED_DAYS)}), "
        f"{partition_s * _DAYS:.0f} s in all, ratio {partition_s * _DAYS / year_s:.0f}; bare binary COPY of the same"
        f" rows {copy_s:.1f} s, the run is {year_s / copy_s:.2f} times that\n"
        f"late settlement: {N_MODELS} forecasts, 30 days back, folded into {touched:,} windows in PostgreSQL:"
        f" {fold_s:.2f} s; building the touched days anew {days_s:.1f} s, ratio {days_s / fold_s:.0f}; the year anew"
        f" {year_s:.1f} s, ratio {year_s / fold_s:.0f}"
    )


def _without_foreign_keys(connection: Connection) -> None:
    """The ledger alone is measured: markets, calls and forecasts behind it are left out."""
    connection.execute("set local session_replication_role = replica")


def _single_run(home: Home, database: Database) -> tuple[float, int]:
    import dagster as dg

    from ensemble_pipeline.definitions import defs
    from ensemble_pipeline.pipeline.jobs import QUIET_CONSOLE
    from ensemble_pipeline.pipeline.partitions import range_tags

    job = defs.resolve_job_def("backfill")
    with dg.DagsterInstance.from_config(str(home.folder), launcher.HEADLESS_CONFIG) as dagster:
        started = time.perf_counter()
        result = job.execute_in_process(run_config=QUIET_CONSOLE, instance=dagster, tags=range_tags(FIRST, LAST))
        spent = time.perf_counter() - started
        assert result.success
        assert len(dagster.get_materialized_partitions(dg.AssetKey("performance_windows"))) == _DAYS
    return spent, _count(database)


def _count(database: Database) -> int:
    with database.connection() as connection:
        row = connection.execute("select count(*) as n from performance_windows").fetchone()
    return 0 if row is None else int(row["n"])


def _bare_copy(database: Database) -> float:
    with tempfile.NamedTemporaryFile() as file:
        with database.connection() as connection:
            with connection.cursor().copy("copy performance_windows to stdout (format binary)") as copy:
                for chunk in copy:
                    file.write(chunk)
            connection.execute("create table bare_copy (like performance_windows including all)")
        file.seek(0)
        started = time.perf_counter()
        with (
            database.connection() as connection,
            connection.cursor().copy("copy bare_copy from stdin (format binary)") as copy,
        ):
            while chunk := file.read(1 << 20):
                copy.write(chunk)
        spent = time.perf_counter() - started
    with database.connection() as connection:
        connection.execute("drop table bare_copy")
    return spent


def _run_per_partition(home: Home) -> float:
    environment = launcher.inherited() | home.environment() | {"DAGSTER_HOME": str(home.folder)}
    started = time.perf_counter()
    for day in SAMPLED_DAYS:
        tags = json.dumps({"dagster/partition": day.isoformat()})
        command = ["-m", "dagster", "job", "execute", "-m", "ensemble_pipeline.definitions", "-j", "backfill"]
        done = subprocess.run(
            [sys.executable, *command, "--tags", tags], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
    return (time.perf_counter() - started) / len(SAMPLED_DAYS)


def _late_settlement(database: Database) -> tuple[float, float, int]:
    from ensemble_pipeline.ensemble.instance import Instance
    from ensemble_pipeline.ensemble.performance import PerformanceTracker

    tracker = PerformanceTracker(Instance(load_settings(), database, StoredClock(database)))
    with database.connection() as connection:
        _without_foreign_keys(connection)
        connection.execute(_LATE, {"models": N_MODELS, "at": LATE_AT})
    [span] = tracker.days_to_restate()
    assert span == (LATE_AT.date() + timedelta(days=1), LAST)
    started = time.perf_counter()
    tracker.update_skill_cube(*span, is_restatement=True)
    touched = tracker.update_rolling_windows(*span, is_restatement=True).rows
    fold_s = time.perf_counter() - started
    folded = _digest(database, span[0])
    days_s = _rebuild(tracker, *span)
    assert _digest(database, span[0]) == folded
    return fold_s, days_s, touched


def _rebuild(tracker: "PerformanceTracker", first: date, last: date) -> float:
    started = time.perf_counter()
    tracker.update_skill_cube(first, last)
    tracker.update_rolling_windows(first, last)
    return time.perf_counter() - started


def _digest(database: Database, first: date) -> object:
    with database.connection() as connection:
        return _hash(connection, first)


def _hash(connection: Connection, first: date) -> object:
    return connection.execute(
        "select count(*) as n, sum(hashtextextended(w::text, 0)) as hash from performance_windows w where as_of >= %s",
        [first],
    ).fetchone()


if __name__ == "__main__":
    print(measure())
