"""What the schema refuses by itself, whoever writes."""

import psycopg
import pytest

from ensemble_pipeline.store.database import Connection, Database
from ensemble_pipeline_tests.store.rows import market_of, quote_of, save_models, save_snapshot

SNAPSHOT = (
    "insert into market_snapshots (market_id, observed_at, yes_bid, status, reason, volatility_regime)"
    " values ('kalshi:RAIN-1', now(), {price}, {status}, {reason}, {regime})"
)
DECISION = (
    "insert into decisions (snapshot_id, market_id, decided_at, batch_id, run_id, action, side, terminal_reason,"
    " strategy, trade_value_micro_usd, limit_price, contracts, stake_micro_usd, fee_micro_usd, reasoning, gates,"
    " ranking_id, calibration_id, settings_hash, code_version) values ({snapshot}, 'kalshi:RAIN-1', now(), 1, 'run',"
    " {action}, {side}, {reason}, 'full', 1, {price}, {contracts}, 0, 0, '', '[]', 1, 1, 'hash', '1')"
)
MEMBER = "insert into decision_members (decision_id, model_id, p_yes, weight) values (1, 'a', {p}, {weight})"


@pytest.fixture
def filled(database: Database) -> Database:
    with database.connection() as connection:
        save_models(connection, "a")
        save_snapshot(connection, market_of(), quote_of())
        connection.execute("insert into decision_batches (requested_at) values (now())")
        connection.execute("insert into settings_snapshots values ('hash', '{}', now())")
        connection.execute("insert into prompts values ('hash', 'forecaster', 1, now())")
        connection.execute(
            "insert into model_rankings (as_of, partition_day, known_forecasts) values (now(), now(), 0)"
        )
        connection.execute("insert into calibration_tables (as_of, slope, n, effective_n) values (now(), 1, 0, 0)")
    return database


def snapshot(price: str = "0.5", status: str = "active", reason: str = "new", regime: str = "calm") -> str:
    return SNAPSHOT.format(price=price, status=f"'{status}'", reason=f"'{reason}'", regime=f"'{regime}'")


def decision(**changes: str) -> str:
    skip = {"snapshot": "1", "action": "'skip'", "side": "null", "reason": "'edge'", "price": "null"}
    return DECISION.format(**(skip | {"contracts": "null"} | changes))


def reservation(state: str = "held", actual: str = "null", model: str = "a", held: str = "1") -> str:
    return (
        "insert into budget_reservations (snapshot_id, model_id, budget_day, state, held_micro_usd, actual_micro_usd,"
        f" reserved_at) values (1, '{model}', now(), '{state}', {held}, {actual}, now())"
    )


def query(status: str = "answered", response: str = "'{}'", problem: str = "null", attempt: int = 1) -> str:
    return (
        "insert into llm_queries (reservation_id, snapshot_id, model_id, attempt, prompt_hash, prompt, requested_at,"
        f" latency_ms, status, response, problem, cost_micro_usd, cost_source) values (1, 1, 'a', {attempt}, 'hash',"
        f" '', now(), 1, '{status}', {response}, {problem}, 1, 'reported')"
    )


def forecast(p: str = "0.5", confidence: str = "0.5", market: str = "kalshi:RAIN-1") -> str:
    return (
        "insert into forecasts (query_id, snapshot_id, market_id, model_id, asked_at, p_yes, confidence, reasoning,"
        f" volatility_regime, expiry_bucket) values (1, 1, '{market}', 'a', now(), {p}, {confidence}, '', 'calm',"
        " '1-7d')"
    )


def run(connection: Connection, *statements: str) -> None:
    for statement in statements:
        connection.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        snapshot(price="1.3"),
        snapshot(price="-0.01"),
        snapshot(status="open"),
        snapshot(reason="bored"),
        snapshot(regime="wild"),
        decision(action="'hold'"),
        decision(action="'trade'", reason="'traded'"),
        decision(action="'trade'", reason="'traded'", side="'yes'", price="0.5"),
        decision(action="'trade'", reason="'edge'", side="'yes'", price="0.5", contracts="1"),
        decision(reason="'traded'"),
        decision(side="'maybe'"),
        reservation(state="lost"),
        reservation(state="settled"),
        reservation(actual="1"),
        reservation(held="-1"),
        (
            "insert into resolutions (market_id, version, outcome, resolved_at, known_at)"
            " values ('kalshi:RAIN-1', 1, 2, now(), now())"
        ),
        (
            "insert into resolutions (market_id, version, outcome, resolved_at, known_at)"
            " values ('kalshi:RAIN-1', 1, 1, now(), now() - interval '1 s')"
        ),
        "insert into world_clock (mode) values ('accelerated')",
        "insert into world (world_key, kind) values ('x', 'dream')",
        "insert into operating_modes (mode, cause, since) values ('panic', '', now())",
        "insert into model_ranking_rows values (1, 'a', 1, 0, null, 0, 0, 2)",
        "insert into model_ranking_rows values (1, 'a', 1, 0, -0.1, 0, 0, 0.5)",
        "update markets set closes_at = opened_at",
        "update markets set question = ''",
    ],
)
def test_schema_when_value_is_impossible_refuses(filled: Database, statement: str) -> None:
    with filled.connection() as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(statement)
    filled.close()


@pytest.mark.parametrize(
    "statement",
    [
        forecast(p="1.2"),
        forecast(confidence="-0.1"),
        query(attempt=2).replace("values (1,", "values (2,").replace("'answered'", "'dreamt'"),
        query(attempt=2, status="failed", response="null").replace("values (1,", "values (2,"),
        query(attempt=2, status="unreadable", response="null", problem="'?'").replace("values (1,", "values (2,"),
        MEMBER.format(p="null", weight="2"),
        MEMBER.format(p="0.5", weight="0.5"),
    ],
)
def test_schema_when_answer_is_impossible_refuses(filled: Database, statement: str) -> None:
    with filled.connection() as connection:
        run(connection, reservation(), reservation(), query(), decision())
    with filled.connection() as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        snapshot().replace("RAIN-1", "GONE-1"),
        reservation(model="nobody"),
        decision(snapshot="99"),
        decision().replace("'hash'", "'other'"),
        query().replace("values (1,", "values (77,"),
        forecast(),
        "insert into decision_requests (batch_id, snapshot_id) values (1, 99)",
        "insert into decision_members (decision_id, model_id, weight) values (99, 'a', 0.5)",
        "insert into model_health values ('nobody', now(), true, 0, null, 0, 0, 'closed')",
        "delete from markets",
        "delete from market_events",
        "delete from market_snapshots where snapshot_id in (select snapshot_id from decision_requests)",
    ],
)
def test_schema_when_row_points_at_nothing_refuses(filled: Database, statement: str) -> None:
    with filled.connection() as connection:
        connection.execute("insert into decision_requests (batch_id, snapshot_id) values (1, 1)")
    with filled.connection() as connection, pytest.raises(psycopg.errors.ForeignKeyViolation):
        connection.execute(statement)


def test_schema_when_snapshot_is_decided_twice_refuses(filled: Database) -> None:
    with filled.connection() as connection:
        connection.execute(decision())
    with filled.connection() as connection, pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute(decision())


def test_schema_when_a_second_world_or_clock_is_written_refuses(filled: Database) -> None:
    for statement in (
        "insert into world (world_key, kind) values ('x', 'live')",
        "insert into world_clock (mode) values ('real')",
    ):
        with filled.connection() as connection:
            connection.execute(statement)
        with filled.connection() as connection, pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(statement)


def test_schema_when_outcome_has_no_resolution_order_refuses_a_repeated_version(filled: Database) -> None:
    statement = (
        "insert into resolutions (market_id, version, outcome, resolved_at, known_at)"
        " values ('kalshi:RAIN-1', 1, 1, now(), now())"
    )
    with filled.connection() as connection:
        connection.execute(statement)
    with filled.connection() as connection, pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute(statement)
