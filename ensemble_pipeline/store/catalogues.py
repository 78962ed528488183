"""What providers said they serve, and until when; kept so that an answer of yesterday counts where there is none today.

Belongs here: the table `catalogue_models`. Does not: what follows from it (``ensemble.retirements``).
"""

from collections.abc import Mapping
from datetime import date, datetime

from ensemble_pipeline.store.database import Connection


def save_catalogue(
    connection: Connection, provider: str, shutdown_dates: Mapping[str, date | None], now: datetime
) -> None:
    """Keep what `provider` lists, and the last day of each model or ``None``; what it listed before stays, as older."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into catalogue_models (provider, model, shutdown_date, seen_at) values (%s, %s, %s, %s)"
            " on conflict (provider, model) do update set shutdown_date = excluded.shutdown_date,"
            " seen_at = excluded.seen_at",
            [(provider, model, day, now) for model, day in sorted(shutdown_dates.items())],
        )


def last_catalogues(connection: Connection) -> dict[str, dict[str, date | None]]:
    """By provider, the models it listed when it was last read, with the last day of those that have one."""
    rows = connection.execute(
        "select provider, model, shutdown_date from catalogue_models c"
        " where seen_at = (select max(seen_at) from catalogue_models l where l.provider = c.provider)"
        ' order by provider collate "C", model collate "C"'
    )
    found: dict[str, dict[str, date | None]] = {}
    for row in rows:
        found.setdefault(row["provider"], {})[row["model"]] = row["shutdown_date"]
    return found
