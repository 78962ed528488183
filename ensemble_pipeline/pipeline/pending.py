"""Whether anything is left to do at the present instant of the clock."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ensemble_pipeline.ensemble.instance import Instance

MARKETS, SETTLEMENTS = "markets", "settlements"


def has_looked(instance: "Instance", *subjects: str) -> bool:
    """Whether `subjects` (none named: all) were read from the venue to the last page at this instant."""
    from ensemble_pipeline.store import worlds

    now = instance.clock.now()
    with instance.database.connection() as connection:
        looks = worlds.last_looks(connection)
    return all(looks.get(subject) == now for subject in subjects or (MARKETS, SETTLEMENTS))


def is_learnt(instance: "Instance") -> bool:
    """Settlements were read at this instant, and what they teach is in windows and ranking."""
    from ensemble_pipeline.ensemble.performance import PerformanceTracker

    tracker = PerformanceTracker(instance)
    return (
        has_looked(instance, SETTLEMENTS)
        and tracker.unlearnt_resolution() is None
        and not tracker.days_to_learn()
        and not tracker.days_to_restate()
    )


def is_quiet(instance: "Instance") -> bool:
    """Everything was read at this instant, and nothing waits to be learnt or decided."""
    from ensemble_pipeline.store import markets

    with instance.database.connection() as connection:
        waiting = markets.undecided_batches(connection)
    return not waiting and has_looked(instance, MARKETS) and is_learnt(instance)
