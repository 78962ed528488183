"""Evidence as an operator adds it to the instance that the environment names."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from ensemble_pipeline.domain import Evidence
from ensemble_pipeline.errors import DatabaseError, InputError
from ensemble_pipeline.pipeline.evidence import add_evidence
from ensemble_pipeline.settings import load_settings
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.evidence import evidence_known
from ensemble_pipeline.store.world_clock import StoredClock
from ensemble_pipeline_tests.store.rows import HOUR, NOW, market_of, quote_of, save_snapshot

RAIN = "kalshi:RAIN-1"


@pytest.fixture(autouse=True)
def _fresh_settings() -> Iterator[None]:
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


@pytest.fixture
def named(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The database named in the environment, with one market and a clock of its own."""
    monkeypatch.setenv("ENSEMBLE_DATABASE_URL", database.url)
    StoredClock(database).start_stepped(NOW)
    with database.connection() as connection:
        save_snapshot(connection, market_of(), quote_of())
    return database


def test_evidence_added_is_known_from_the_instances_present_on(named: Database) -> None:
    assert add_evidence(RAIN, " Wire ", NOW - HOUR, "It\x00 rains.\udcff\n") is True
    assert add_evidence(RAIN, "Wire", NOW - HOUR, "It rains.?") is False
    with named.connection() as connection:
        assert evidence_known(connection, [RAIN], NOW) == {RAIN: (Evidence(NOW - HOUR, "Wire", "It rains.?"),)}
        assert evidence_known(connection, [RAIN], NOW - timedelta(microseconds=1)) == {}


def test_evidence_about_an_unknown_market_names_it_and_says_what_to_do(named: Database) -> None:
    del named
    with pytest.raises(InputError, match=r"'kalshi:RAIN-2' is not known here.*venue:ticker.*correct the name, or add"):
        add_evidence("kalshi:RAIN-2", "Wire", NOW - HOUR, "It rains.")


def test_evidence_from_the_future_of_the_instance_is_refused(named: Database) -> None:
    del named
    with pytest.raises(InputError, match="after the instance's present"):
        add_evidence(RAIN, "Wire", NOW + HOUR, "It rains.")
    with pytest.raises(InputError, match="published_at"):
        add_evidence(RAIN, "Wire", (NOW - HOUR).replace(tzinfo=None), "It rains.")
    with pytest.raises(InputError, match="needs a text"):
        add_evidence(RAIN, "Wire", NOW - HOUR, " \n")


def test_evidence_where_tables_are_missing_says_what_to_do(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENSEMBLE_DATABASE_URL", empty_url)
    with pytest.raises(DatabaseError, match="ensemble up"):
        add_evidence(RAIN, "Wire", NOW - HOUR, "It rains.")
