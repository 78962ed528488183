from dataclasses import replace
from datetime import datetime, timedelta, timezone

import psycopg
import pytest

from ensemble_pipeline.domain import Evidence, PromptWording
from ensemble_pipeline.errors import InputError
from ensemble_pipeline.store import calls
from ensemble_pipeline.store.database import Connection, Database
from ensemble_pipeline.store.evidence import evidence_known, save_evidence
from ensemble_pipeline.store.migrate import migrate
from ensemble_pipeline_tests.conftest import opened
from ensemble_pipeline_tests.ensemble.history import table
from ensemble_pipeline_tests.store.rows import DAY, HOUR, NOW, market_of, quote_of, save_snapshot
from ensemble_pipeline_tests.store.test_migrate import downgrade

RAIN, SNOW = "kalshi:RAIN-1", "kalshi:SNOW-1"
TICK = timedelta(microseconds=1)
PIECE = Evidence(NOW - HOUR, "Wire", "It rains.")


@pytest.fixture
def listed(database: Database) -> Database:
    with database.connection() as connection:
        for ticker in ("RAIN-1", "SNOW-1"):
            save_snapshot(connection, market_of(ticker), quote_of())
    return database


def known(connection: Connection, as_of: datetime) -> tuple[Evidence, ...]:
    return evidence_known(connection, [RAIN], as_of).get(RAIN, ())


def test_evidence_comes_back_by_market_newest_first(listed: Database) -> None:
    older = Evidence(NOW - DAY, "Gazette", 'Dry, said \\ "he".\n漢字 ' + "x" * 20_000)
    with listed.connection() as connection:
        assert save_evidence(connection, RAIN, [older, PIECE], NOW) == 2
        assert save_evidence(connection, SNOW, [PIECE], NOW) == 1
        found = evidence_known(connection, [RAIN, SNOW, "kalshi:GONE-1"], NOW)
        assert found == {RAIN: (PIECE, older), SNOW: (PIECE,)}
        assert evidence_known(connection, [SNOW], NOW) == {SNOW: (PIECE,)}
        assert evidence_known(connection, [], NOW) == {}


def test_evidence_kept_already_keeps_the_time_it_was_first_known(listed: Database) -> None:
    with listed.connection() as connection:
        assert save_evidence(connection, RAIN, [PIECE, PIECE], NOW) == 1
        assert save_evidence(connection, RAIN, [PIECE], NOW + DAY) == 0
        others = [replace(PIECE, text="It pours."), replace(PIECE, source="Blog")]
        assert save_evidence(connection, RAIN, others, NOW + DAY) == 2
        assert known(connection, NOW) == (PIECE,)


def test_nothing_is_known_before_it_was_added_or_published(listed: Database) -> None:
    with listed.connection() as connection:
        save_evidence(connection, RAIN, [PIECE], NOW)
        # published long ago and yet unknown here until now
        assert known(connection, NOW - TICK) == ()
        assert known(connection, NOW) == (PIECE,)
        planted = Evidence(NOW + HOUR, "Wire", "It will have rained.")
        save_evidence(connection, RAIN, [planted], NOW + 2 * HOUR)
        assert known(connection, NOW + 2 * HOUR - TICK) == (PIECE,)
        assert known(connection, NOW + 2 * HOUR) == (planted, PIECE)


def test_time_of_publication_may_be_given_in_any_zone(listed: Database) -> None:
    there = (NOW - HOUR).astimezone(timezone(timedelta(hours=9)))
    with listed.connection() as connection:
        save_evidence(connection, RAIN, [replace(PIECE, published_at=there)], NOW)
        assert known(connection, NOW) == (PIECE,)


@pytest.mark.parametrize(
    ("piece", "says"),
    [
        (replace(PIECE, published_at=NOW + TICK), "after the instance's present .* correct the date"),
        (replace(PIECE, published_at=NOW.replace(tzinfo=None)), "published_at.* time zone"),
        (replace(PIECE, text=""), "needs a text .* and a source .* have 0 and 4"),
        (replace(PIECE, source=""), "needs a text .* and a source .* have 9 and 0"),
        (replace(PIECE, text="t" * 50_001), "at most 50000 .* these have 50001 and 4"),
        (replace(PIECE, source="s" * 201), "at most 200 characters; these have 9 and 201"),
    ],
)
def test_evidence_that_makes_no_sense_is_refused(listed: Database, piece: Evidence, says: str) -> None:
    with listed.connection() as connection:
        with pytest.raises(InputError, match=says):
            save_evidence(connection, RAIN, [piece], NOW)
        assert known(connection, NOW + DAY) == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"known_at": "now() - interval '1 s'"},
        {"content": "''", "content_sha256": "encode(sha256(''), 'hex')"},
        {"content_sha256": "'made up'"},
        {"source": "''"},
        {"source": "repeat('s', 201)"},
    ],
)
def test_schema_when_evidence_is_impossible_refuses(listed: Database, changes: dict[str, str]) -> None:
    sane = {
        "market_id": f"'{RAIN}'",
        "published_at": "now()",
        "known_at": "now()",
        "source": "'Wire'",
        "content": "'Rain'",
        "content_sha256": "encode(sha256('Rain'), 'hex')",
    }
    for fields, is_sane in ((sane, True), (sane | changes, False)):
        statement = f"insert into market_evidence ({', '.join(fields)}) values ({', '.join(fields.values())})"
        with listed.connection() as connection:
            if is_sane:
                connection.execute(statement)
            else:
                with pytest.raises(psycopg.errors.CheckViolation):
                    connection.execute(statement)


def test_schema_when_market_of_evidence_is_unknown_refuses(database: Database) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation), database.connection() as connection:
        save_evidence(connection, RAIN, [PIECE], NOW)


def test_prompt_is_kept_with_its_wording_once(database: Database) -> None:
    wording = PromptWording("hash", "forecaster", 2, "You forecast.", "{{market}} Well?")
    with database.connection() as connection:
        calls.save_prompt(connection, wording, NOW)
        calls.save_prompt(connection, wording, NOW + HOUR)
    [row] = table(database, "prompts", "prompt_hash")
    assert row.pop("first_used_at") == NOW
    assert PromptWording(**row) == wording


def test_migration_keeps_prompts_of_before_without_a_wording(empty_url: str) -> None:
    with opened(empty_url) as database:
        migrate(database)
        downgrade(empty_url, "0006")
        with database.connection() as connection:
            connection.execute("insert into prompts values ('old', 'forecaster', 1, now())")
        migrate(database)
        [row] = table(database, "prompts", "prompt_hash")
        assert (row["prompt_hash"], row["system"], row["template"]) == ("old", None, None)
        downgrade(empty_url, "0006")
        assert set(table(database, "prompts", "prompt_hash")[0]) == {"prompt_hash", "role", "version", "first_used_at"}
