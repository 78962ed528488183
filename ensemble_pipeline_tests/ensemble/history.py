"""Forecasts and resolutions put straight into the record, as consulting and settling would have left them."""

import random
import threading
from datetime import datetime, timedelta
from typing import Any

from ensemble_pipeline.domain import PromptWording, Settlement, VolatilityRegime
from ensemble_pipeline.store import calls, resolutions
from ensemble_pipeline.store.database import Connection, Database, require_row
from ensemble_pipeline_tests.store.rows import (
    HOUR,
    NOW,
    call_of,
    close,
    hold,
    market_of,
    quote_of,
    save_models,
    save_snapshot,
)

SKILLS = {"a": 0.9, "b": 0.75, "c": 0.5}


def put_forecasts(
    database: Database,
    said: dict[str, float],
    *,
    ticker: str = "RAIN-1",
    event: str = "RAIN",
    category: str = "Climate",
    at: datetime = NOW,
    bid: str | None = "0.40",
) -> int:
    """One snapshot with one answered call and one forecast of each model; returns the snapshot."""
    with database.connection() as connection:
        save_models(connection, *said)
        calls.save_prompt(connection, PromptWording("hash", "forecaster", 1, "", ""), at)
        quote = quote_of(bid, None if bid is None else f"{float(bid) + 0.02:.2f}", at=at)
        market = market_of(ticker, event=event, category=category)
        snapshot = save_snapshot(connection, market, quote, VolatilityRegime.CALM)
        for name, p_yes in said.items():
            put_call(connection, snapshot, name, at=at)
            connection.execute(
                "insert into forecasts (query_id, snapshot_id, market_id, model_id, asked_at, p_yes, confidence,"
                " reasoning, market_p, volatility_regime, expiry_bucket)"
                " select max(query_id), %s, %s, %s, %s, %s, 0.9, '', %s, 'calm', '7-30d' from llm_queries",
                [snapshot, market.market_id, name, at, p_yes, quote.mid],
            )
    return snapshot


def put_call(
    connection: Connection,
    snapshot: int,
    model: str,
    *,
    status: str = "answered",
    attempt: int = 1,
    at: datetime = NOW,
    cost: int = 100,
    latency_ms: int = 1000,
) -> None:
    """One settled call of a model, as the ledger and the log of calls would hold it."""
    market = connection.execute("select market_id from market_snapshots where snapshot_id = %s", [snapshot]).fetchone()
    reservation = hold(connection, call_of(snapshot, 500, model=model, market=require_row(market)["market_id"], at=at))
    assert reservation is not None
    close(connection, reservation, cost, at=at)
    problem = None if status == "answered" else "it said nothing"
    connection.execute(
        "insert into llm_queries (reservation_id, snapshot_id, model_id, attempt, prompt_hash, prompt, requested_at,"
        " latency_ms, status, response, problem, cost_micro_usd, cost_source, input_tokens, output_tokens)"
        " values (%s, %s, %s, %s, 'hash', '', %s, %s, %s, '{}', %s, %s, 'reported', 10, 20)",
        [reservation, snapshot, model, attempt, at, latency_ms, status, problem, cost],
    )


def settle(
    database: Database, ticker: str, outcome: bool | None, *, resolved_at: datetime, known_at: datetime | None = None
) -> list[str]:
    """What a venue says a market settled to, as it became known."""
    said = Settlement(f"kalshi:{ticker}", outcome, resolved_at)
    with database.connection() as connection:
        return resolutions.save_settlements(connection, [said], known_at or resolved_at)


def table(database: Database, name: str, order: str) -> list[dict[str, Any]]:
    """A whole table."""
    with database.connection() as connection:
        return connection.execute(f"select * from {name} order by {order}").fetchall()


def windows(database: Database) -> list[dict[str, Any]]:
    """All window rows by name, whatever numbers their keys have."""
    return _named(database, "performance_windows", "as_of, window_hours")


def cube(database: Database) -> list[dict[str, Any]]:
    """All cells by name."""
    return _named(database, "skill_cube", "hour_at, seen_from")


def _named(database: Database, name: str, order: str) -> list[dict[str, Any]]:
    with database.connection() as connection:
        rows = connection.execute(
            f"select * from {name} join skill_keys using (key_id) order by {order}, model_id, dimension, segment"
        ).fetchall()
    return [{column: value for column, value in row.items() if column != "key_id"} for row in rows]


def play_history(database: Database, days: int = 3, seed: int = 5) -> None:
    """Some questions a day, settled within the day or the next, a few of them corrected later."""
    draw = random.Random(seed)  # noqa: S311 - a seeded world
    for number in range(days * 6):
        at = NOW + number * 4 * HOUR
        outcome = draw.random() < 0.5
        said = {name: skill if outcome else 1 - skill for name, skill in SKILLS.items()}
        event, category = f"E{number // 2}", ("Climate", "Sports")[number % 2]
        put_forecasts(database, said, ticker=f"M-{number}", event=event, category=category, at=at)
        known = at + timedelta(hours=draw.uniform(0.2, 20))
        settle(database, f"M-{number}", outcome, resolved_at=at + 0.1 * HOUR, known_at=known)
        if number % 5 == 0:
            settle(database, f"M-{number}", not outcome, resolved_at=known, known_at=known + 5 * HOUR)


__all__ = ["HOUR", "NOW", "cube", "play_history", "put_call", "put_forecasts", "settle", "table", "windows"]


def wait_until_it_waits(database: Database, worker: threading.Thread) -> None:
    """Return once a lock keeps `worker` waiting, or it has ended."""
    waiting = (
        "select from pg_locks join pg_database on oid = database where datname = current_database() and not granted"
    )
    is_found = False
    while worker.is_alive() and not is_found:
        with database.connection() as connection:
            is_found = connection.execute(waiting).fetchone() is not None
