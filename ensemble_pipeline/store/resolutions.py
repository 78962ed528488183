"""What markets settled to. Append-only: a correction is a new version, never an update."""

from collections.abc import Sequence
from datetime import datetime

from ensemble_pipeline.domain import Settlement
from ensemble_pipeline.store.database import Connection

# condition on a resolution `r`: no later version has overtaken it
IS_NEWEST = "r.version = (select max(version) from resolutions l where l.market_id = r.market_id)"


def awaited_tickers(connection: Connection, resolved_after: datetime) -> list[str]:
    """Tickers of markets once put before the ensemble whose settlement may still come, or change.

    That is: they have none, or one from after `resolved_after`, or it was withdrawn.
    """
    rows = connection.execute(
        "select m.ticker from markets m where exists (select from market_snapshots s where s.market_id = m.market_id)"
        " and not exists (select from resolutions r where r.market_id = m.market_id and r.known_at <= %s"
        f" and not r.is_withdrawn and {IS_NEWEST}) order by m.ticker",
        [resolved_after],
    )
    return [row["ticker"] for row in rows]


def settled_among(connection: Connection, market_ids: Sequence[str]) -> frozenset[str]:
    """Those of the markets whose settlement stands."""
    rows = connection.execute(
        f"select r.market_id from resolutions r where r.market_id = any(%s) and not r.is_withdrawn and {IS_NEWEST}",
        [list(market_ids)],
    )
    return frozenset(row["market_id"] for row in rows)


def save_settlements(connection: Connection, settlements: Sequence[Settlement], now: datetime) -> list[str]:
    """Append settlements that say something new about a known market; returns the markets concerned.

    The first word on a market is version 1; another outcome later is the next version. Repeats change nothing.
    Settlements of unknown markets are left out.
    """
    changed = []
    for settlement in settlements:
        outcome = None if settlement.outcome is None else int(settlement.outcome)
        row = connection.execute(
            "with latest as (select version, outcome, is_withdrawn from resolutions where market_id = %(id)s"
            " order by version desc limit 1)"
            " insert into resolutions (market_id, version, outcome, resolved_at, known_at)"
            " select %(id)s, coalesce((select version from latest), 0) + 1, %(outcome)s, %(at)s,"
            " greatest(%(now)s, %(at)s)"
            " where exists (select from markets where market_id = %(id)s)"
            " and not exists (select from latest where outcome is not distinct from %(outcome)s and not is_withdrawn)"
            " returning market_id",
            {"id": settlement.market_id, "outcome": outcome, "at": settlement.resolved_at, "now": now},
        ).fetchone()
        if row is not None:
            changed.append(settlement.market_id)
    connection.execute("update markets set status = 'settled' where market_id = any(%s)", [changed])
    return changed


def withdraw(connection: Connection, market_ids: Sequence[str], now: datetime) -> list[str]:
    """Append to each market whose settlement stands that the venue took it back; returns the markets concerned."""
    rows = connection.execute(
        "insert into resolutions (market_id, version, outcome, resolved_at, known_at, is_withdrawn)"
        " select r.market_id, r.version + 1, null, r.resolved_at, greatest(%s, r.known_at), true from resolutions r"
        f" where r.market_id = any(%s) and not r.is_withdrawn and {IS_NEWEST} returning market_id",
        [now, list(market_ids)],
    ).fetchall()
    withdrawn = [row["market_id"] for row in rows]
    connection.execute("update markets set status = 'closed' where market_id = any(%s)", [withdrawn])
    return withdrawn
