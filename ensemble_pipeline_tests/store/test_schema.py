"""What the schema refuses by itself, whoever writes."""

import psycopg
import pytest

from ensemble_pipeline.domain import PromptWording
from ensemble_pipeline.store import calls
from ensemble_pipeline.store.database import Connection, Database
from ensemble_pipeline_tests.store.rows import NOW, market_of, quote_of, save_context_row, save_models, save_snapshot

SNAPSHOT = (
    "insert into market_snapshots (market_id, observed_at, yes_bid, status, reason, volatility_regime)"
    " values ('kalshi:RAIN-1', now(), {price}, {status}, {reason}, {regime})"
)
DECISION = (
    "insert into decisions (snapshot_id, market_id, decided_at, batch_id, run_id, action, side, terminal_reason,"
    " route, strategy, trade_value_micro_usd, p_final, market_weight, limit_price, contracts, stake_micro_usd,"
    " fee_micro_usd, selected_model, reasoning, gates, inputs, context_id, ranking_id, calibration_id, settings_hash,"
    " code_version) values ({snapshot}, 'kalshi:RAIN-1', now(), 1, 'run', {action}, {side}, {reason}, {route},"
    " {strategy}, 1, {p_final}, {share}, {price}, {contracts}, 0, 0, {model}, '', '[]', {inputs}, {context}, 1, 1,"
    " {settings}, {code})"
)
MEMBER = (
    "insert into decision_members (decision_id, snapshot_id, model_id, forecast_id, p_yes, weight, propensity)"
    " values ({decision}, {snapshot}, {model}, {forecast}, {p}, {weight}, {propensity})"
)


@pytest.fixture
def filled(database: Database) -> Database:
    with database.connection() as connection:
        save_models(connection, "a", "b")
        save_snapshot(connection, market_of(), quote_of())
        save_snapshot(connection, market_of("RAIN-2"), quote_of())
        calls.save_prompt(connection, PromptWording("hash", "forecaster", 1, "", ""), NOW)
        save_context_row(connection)
    return database


def snapshot(price: str = "0.5", status: str = "active", reason: str = "new", regime: str = "calm") -> str:
    return SNAPSHOT.format(price=price, status=f"'{status}'", reason=f"'{reason}'", regime=f"'{regime}'")


def decision(**changes: str) -> str:
    skip = {
        "snapshot": "1",
        "action": "'skip'",
        "side": "null",
        "reason": "'edge'",
        "route": "'full'",
        "strategy": "'weighted_voting'",
        "p_final": "null",
        "share": "null",
        "price": "null",
        "contracts": "null",
        "model": "null",
        "inputs": "'{}'",
        "context": "1",
        "settings": "'hash'",
        "code": "'1'",
    }
    return DECISION.format(**(skip | changes))


def member(**changes: str) -> str:
    heard = {
        "decision": "(select max(decision_id) from decisions)",
        "snapshot": "1",
        "model": "'a'",
        "forecast": "1",
        "p": "0.5",
        "weight": "0.5",
        "propensity": "1",
    }
    return MEMBER.format(**(heard | changes))


def reservation(
    state: str = "held", booked: str = "null", model: str = "a", held: str = "1", closed: str = "null"
) -> str:
    return (
        "insert into budget_reservations (snapshot_id, market_id, provider, model_id, budget_day, state,"
        " held_micro_usd, booked_micro_usd, reserved_at, closed_at) values"
        f" (1, 'kalshi:RAIN-1', 'local', '{model}', now(), '{state}', {held}, {booked}, now(), {closed})"
    )


def query(
    status: str = "answered", response: str = "'{}'", problem: str = "null", attempt: int = 1, model: str = "a"
) -> str:
    return (
        "insert into llm_queries (reservation_id, snapshot_id, model_id, attempt, prompt_hash, prompt, requested_at,"
        " latency_ms, status, response, problem, cost_micro_usd, cost_source) values (1, 1,"
        f" '{model}', {attempt}, 'hash', '', now(), 1, '{status}', {response}, {problem}, 1, 'reported')"
    )


def forecast(
    p: str = "0.5", confidence: str = "0.5", market: str = "kalshi:RAIN-1", model: str = "a", snapshot: str = "1"
) -> str:
    return (
        "insert into forecasts (query_id, snapshot_id, market_id, model_id, asked_at, p_yes, confidence, reasoning,"
        f" volatility_regime, expiry_bucket) values (1, {snapshot}, '{market}', '{model}', now(), {p}, {confidence},"
        " '', 'calm', '1-7d')"
    )


def mode_set(mode: str = "'minimal'", origin: str = "'hand'", expires: str = "null", better: str = "null") -> str:
    return (
        "insert into operating_modes (mode, cause, since, origin, expires_at, better_since)"
        f" values ({mode}, 'drill', now(), {origin}, {expires}, {better})"
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
        decision(route="'detour'"),
        decision(strategy="'full'"),
        decision(share="1.1"),
        decision(inputs="null"),
        # who was heard is named, and nobody is named who was not
        decision(p_final="0.5"),
        decision(model="'a'"),
        reservation(state="lost"),
        reservation(state="settled"),
        reservation(booked="1"),
        reservation(closed="now()"),
        reservation(state="settled", closed="now()"),
        reservation(state="settled", booked="1"),
        reservation(state="released", booked="1", closed="now()"),
        reservation(state="expired", booked="2", closed="now()"),
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
        mode_set(mode="'panic'"),
        mode_set(origin="'chance'"),
        mode_set(expires="now()"),
        mode_set(origin="'evidence'", expires="now() + interval '1 h'"),
        mode_set(better="now()"),
        mode_set(origin="'evidence'", better="now() - interval '1 h'"),
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
        member(forecast="null", p="null", weight="2"),
        member(forecast="null"),
        member(propensity="0"),
        member(propensity="1.5"),
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
        decision(settings="'other'"),
        decision(code="'2'"),
        decision(context="99"),
        query().replace("values (1,", "values (77,"),
        forecast(),
        "insert into decision_requests (batch_id, snapshot_id) values (1, 99)",
        member(decision="99", forecast="null", p="null"),
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


@pytest.fixture
def heard(filled: Database) -> Database:
    """Model a answered about the first snapshot; nothing is decided."""
    with filled.connection() as connection:
        run(connection, reservation(), query(), forecast())
    return filled


@pytest.mark.parametrize(
    "statements",
    [
        ["delete from forecasts", forecast(model="b")],
        ["delete from forecasts", forecast(snapshot="2")],
        [decision(), member(model="'b'")],
        [decision(snapshot="2").replace("RAIN-1", "RAIN-2"), member(snapshot="2")],
        [decision(), member(snapshot="2", forecast="null", p="null")],
        [decision(), member(forecast="77")],
        [decision(), "delete from decision_contexts"],
    ],
    ids=[
        "forecast of another model than was asked",
        "forecast on another snapshot than was asked about",
        "member with the forecast of another model",
        "member with the forecast on another snapshot",
        "member of another snapshot than its decision",
        "member with a forecast nobody made",
        "decision without its context",
    ],
)
def test_schema_when_a_link_from_decision_to_call_is_another_ones_refuses(
    heard: Database, statements: list[str]
) -> None:
    with heard.connection() as connection, pytest.raises(psycopg.errors.ForeignKeyViolation):
        run(connection, *statements)


REPEAT = (
    "insert into forecasts (reused_from, query_id, snapshot_id, market_id, model_id, asked_at, p_yes, confidence,"
    " reasoning, market_p, volatility_regime, expiry_bucket) select {of}, {query}, 2, 'kalshi:RAIN-2', '{model}',"
    " now(), p_yes, confidence, reasoning, market_p, volatility_regime, expiry_bucket from forecasts"
    " where forecast_id = 1"
)


def test_schema_when_a_forecast_repeats_another_models_or_has_two_origins_or_none_refuses(heard: Database) -> None:
    for statement, error in (
        (REPEAT.format(of="1", query="null", model="b"), psycopg.errors.ForeignKeyViolation),
        (REPEAT.format(of="77", query="null", model="a"), psycopg.errors.ForeignKeyViolation),
        (REPEAT.format(of="null", query="null", model="a"), psycopg.errors.CheckViolation),
        (REPEAT.format(of="1", query="1", model="a"), psycopg.errors.CheckViolation),
    ):
        with heard.connection() as connection, pytest.raises(error):
            connection.execute(statement)
    with heard.connection() as connection:
        connection.execute(REPEAT.format(of="1", query="null", model="a"))


def test_schema_when_a_decision_names_a_model_that_is_no_member_of_it_refuses(heard: Database) -> None:
    named = decision(p_final="0.5", model="'a'")
    for statements in ([named], [named, member(model="'b'", forecast="null", p="null")]):
        # checked when the transaction ends: members are written after their decision
        with (
            pytest.raises(psycopg.errors.ForeignKeyViolation, match="decisions_heard"),
            heard.connection() as connection,
        ):
            run(connection, *statements)
    with heard.connection() as connection:
        run(connection, named, member())
