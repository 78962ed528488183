"""Daily partitions of the windows, as far as the instance's history reaches."""

from datetime import date, timedelta

import dagster as dg

from ensemble_pipeline.clock import RealClock
from ensemble_pipeline.settings import load_history


def daily_partitions(first: str, last: str | None, today: date) -> dg.DailyPartitionsDefinition:
    """Days from `first` to `last`, or to today where the history is open.

    Dagster counts to the machine's today by itself; a world that reaches past it gets the days in between on top,
    one that ended before is cut there.
    """
    if last is None:
        return dg.DailyPartitionsDefinition(start_date=first, end_offset=1)
    end = date.fromisoformat(last)
    return dg.DailyPartitionsDefinition(
        start_date=first,
        end_date=(end + timedelta(days=1)).isoformat(),
        end_offset=max(0, (end - today).days + 1),
    )


RESTATEMENT_TAG = "ensemble/restatement"
"""Marks runs that add to standing days what came late, in place of rebuilding them."""

_HISTORY = load_history()
DAYS = daily_partitions(_HISTORY.history_start, _HISTORY.history_end, RealClock().now().date())


def range_tags(first: date, last: date) -> dict[str, str]:
    """Run tags that put the days from `first` to `last` into a single run."""
    return {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
    }


def span_of(context: dg.AssetExecutionContext) -> tuple[date, date]:
    """First and last day of the run's partition range."""
    keys = context.partition_key_range
    return date.fromisoformat(keys.start), date.fromisoformat(keys.end)


def is_restatement(context: dg.AssetExecutionContext) -> bool:
    """Whether the run was asked to add what came late, and not to rebuild."""
    return RESTATEMENT_TAG in context.run.tags
