"""Materialises the windows of a played world again, through Dagster: day by day, then all days in one run.

A program of its own, because Dagster's definitions take the world's days from the environment when they are loaded.
Prints, as JSON, a digest of the table as it was found, after the single days, and after the one range run.
"""

import hashlib
import json
import os
from datetime import date, timedelta

from ensemble_pipeline.pipeline import launcher
from ensemble_pipeline.pipeline.worlds import WorldSpec, history_of, home_key, open_home, world_environment
from ensemble_pipeline.settings import load_settings
from ensemble_pipeline.store.database import Database

WORLD = WorldSpec(None, None, None, seed=7, days=2, markets_per_day=4)


def main() -> None:
    world = WORLD.open()
    with open_home(home_key(world, "all"), world.kind, history_of(world)) as home:
        os.environ.update(home.environment())
        # nobody is asked here, so nothing has to answer at this address
        os.environ.update(world_environment(world, "http://127.0.0.1:9", "all"))
        load_settings.cache_clear()
        import dagster as dg

        from ensemble_pipeline.definitions import defs
        from ensemble_pipeline.pipeline.partitions import DAYS, range_tags

        learn = defs.resolve_job_def("learn")
        first = world.starts_at.date()
        last = (world.ends_at + timedelta(hours=1)).date()
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        assert [day.isoformat() for day in days] == list(DAYS.get_partition_keys())
        database = Database(home.database_url)
        found = {"as_found": _digest(database)}
        with dg.DagsterInstance.from_config(str(home.folder), launcher.HEADLESS_CONFIG) as dagster:
            for day in days:
                _forget(database, day, day)
                assert learn.execute_in_process(instance=dagster, partition_key=day.isoformat()).success
            found["day_by_day"] = _digest(database)
            _forget(database, first, last)
            assert learn.execute_in_process(instance=dagster, tags=range_tags(first, last)).success
            found["range"] = _digest(database)
            partitions = dagster.get_materialized_partitions(dg.AssetKey("performance_windows"))
        found["partitions"] = str(sorted(partitions) == [day.isoformat() for day in days])
        database.close()
    print(json.dumps(found))  # noqa: T201 - a program's answer


def _forget(database: Database, first: date, last: date) -> None:
    """Empty the derived tables of some days, so that nothing of one materialisation can be taken for the next."""
    with database.connection() as connection:
        for table, hour in (("performance_windows", "as_of"), ("skill_cube", "hour_at")):
            connection.execute(
                f"delete from {table} where ({hour} at time zone 'UTC')::date between %s and %s", [first, last]
            )


def _digest(database: Database) -> str:
    """Number of rows, and a hash of all columns of all rows of cube and windows."""
    with database.connection() as connection:
        rows = [
            connection.execute(f"select * from {table} order by {key}").fetchall()
            for table, key in (
                ("skill_cube", "hour_at, seen_from, key_id"),
                ("performance_windows", "as_of, window_hours, key_id"),
            )
        ]
    text = json.dumps(rows, default=str, sort_keys=True)
    return f"{len(rows[0])}+{len(rows[1])} rows {hashlib.sha256(text.encode()).hexdigest()}"


if __name__ == "__main__":
    main()
