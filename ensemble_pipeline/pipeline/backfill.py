"""`ensemble backfill`: cube and windows of a range of days built anew from the ledger, in a single run."""

import os
from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING

from ensemble_pipeline.clock import Stopwatch
from ensemble_pipeline.errors import EnsembleError, PartitionRangeError
from ensemble_pipeline.pipeline import launcher
from ensemble_pipeline.pipeline.worlds import Home, current_home, history_environment
from ensemble_pipeline.settings import load_history, load_settings
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.migrate import require_migrated
from ensemble_pipeline.store.world_clock import StoredClock
from ensemble_pipeline.store.worlds import claimed_world

if TYPE_CHECKING:
    import dagster as dg

Say = Callable[[str], None]


def run_backfill(first: date, last: date, load_definitions: "Callable[[], dg.Definitions]", say: Say) -> None:
    """Rebuild the days from `first` to `last` of the instance last started here, or of the database that is named.

    `load_definitions` is called once the days of the instance's history are known, which its partitions rest on.

    Raises:
        PartitionRangeError: the range is empty, or reaches outside the history or into the future.
        EnsembleError: the run failed; nothing of the days it had not reached was lost.
    """
    with current_home(load_settings()) as home:
        os.environ.update(home.environment())
        _require_days(home, first, last)
        launcher.prepare_dagster_home(home)
        load_settings.cache_clear()
        import dagster as dg

        from ensemble_pipeline.pipeline.jobs import QUIET_CONSOLE
        from ensemble_pipeline.pipeline.partitions import range_tags

        job = load_definitions().resolve_job_def("backfill")
        watch = Stopwatch()
        with dg.DagsterInstance.from_config(str(home.folder), launcher.HEADLESS_CONFIG) as dagster:
            result = job.execute_in_process(
                run_config=QUIET_CONSOLE, instance=dagster, tags=range_tags(first, last), raise_on_error=False
            )
        days = (last - first).days + 1
        if not result.success:
            raise EnsembleError(f"the backfill of {first} to {last} failed; see run {result.run_id} in the UI")
        say(f"{days} days rebuilt in {watch.elapsed_s():.1f} s, in one run: {result.run_id}")


def _require_days(home: Home, first: date, last: date) -> None:
    """Check the range against the history and the clock, and put the history where the partitions read it."""
    database = Database(home.database_url)
    require_migrated(database)
    with database.connection() as connection:
        world = claimed_world(connection)
    now = StoredClock(database).now()
    database.close()
    if world is not None and world.first_day is not None and world.last_day is not None:
        os.environ.update(history_environment(world.first_day, world.last_day))
    begins = date.fromisoformat(load_history().history_start)
    if first > last:
        raise PartitionRangeError(f"the range from {first} to {last} is empty: name the earlier day with --from")
    if first < begins:
        raise PartitionRangeError(f"the range from {first} to {last} begins before the history does, on {begins}")
    if last > now.date():
        raise PartitionRangeError(
            f"the range from {first} to {last} reaches into the future: the clock stands at {now.isoformat()}"
        )
