"""`ensemble breakers`: who is left alone and why, and the way to have somebody asked again at once."""

from collections.abc import Sequence

from ensemble_pipeline.errors import InputError
from ensemble_pipeline.pipeline.worlds import current_instance
from ensemble_pipeline.store import breakers
from ensemble_pipeline.store.breakers import PROVIDER, Breaker


def read_breakers() -> list[Breaker]:
    """Every breaker of the instance last started here, or of the database that is named."""
    with current_instance() as instance, instance.database.connection() as connection:
        return list(breakers.all_breakers(connection).values())


def show_breakers(found: Sequence[Breaker]) -> str:
    """The same as text, one a line."""
    return "\n".join(map(_line, found)) or "nobody was asked yet"


def close_breaker(name: str, cause: str) -> str:
    """Close the breaker of a model or a provider, whoever asks next; says what became of it.

    Raises:
        InputError: no breaker has that name, or no cause is given.
    """
    if not cause.strip():
        raise InputError("a breaker is closed for a cause: say it with --cause")
    with current_instance() as instance, instance.database.connection() as connection:
        known = breakers.all_breakers(connection).values()
        wanted = [it for it in known if it.name == name]
        if not wanted:
            names = sorted({it.name for it in known})
            raise InputError(f"no breaker is that of {name!r}; there are: {', '.join(names) or 'none yet'}")
        closed = [it for it in wanted if breakers.close_by_hand(connection, it, cause, instance.clock.now())]
    return f"{name} may be asked" if closed else f"the breaker of {name} was closed already"


def _line(it: Breaker) -> str:
    name = f"{it.name} (provider)" if it.model_id == PROVIDER else it.name
    if it.state == "closed":
        return f"{name:<32} closed     {it.consecutive_failures} failures in a row"
    return f"{name:<32} {it.state:<10} since {it.since}, one call may try from {it.open_until} on: {it.cause}"
