"""Whether anything is left to do at the present instant of the clock."""

from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.performance import PerformanceTracker
from ensemble_pipeline.store import markets, worlds


def is_quiet(instance: Instance) -> bool:
    """Both subjects were read from the venue at this instant, and nothing waits to be decided or learnt."""
    now = instance.clock.now()
    with instance.database.connection() as connection:
        looks = worlds.last_looks(connection)
        waiting = markets.undecided_batches(connection)
    has_looked = all(looks.get(subject) == now for subject in ("markets", "settlements"))
    if not has_looked or waiting:
        return False
    tracker = PerformanceTracker(instance)
    return tracker.unlearnt_resolution() is None and tracker.days_to_learn() is None
