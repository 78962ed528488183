import pytest

from ensemble_pipeline.errors import DatabaseError
from ensemble_pipeline.store import worlds
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.store.rows import HOUR, NOW


def test_claim_when_database_is_empty_takes_it_and_again_confirms(database: Database) -> None:
    with database.connection() as connection:
        assert worlds.world_key_of(connection) is None
        assert worlds.claim_world(connection, "synthetic-s7", "synthetic")
        assert not worlds.claim_world(connection, "synthetic-s7", "synthetic")
        assert worlds.world_key_of(connection) == "synthetic-s7"


def test_claim_when_database_holds_another_world_refuses_and_says_what_to_do(database: Database) -> None:
    with database.connection() as connection:
        worlds.claim_world(connection, "synthetic-s7", "synthetic")
        with pytest.raises(DatabaseError, match=r"'synthetic-s7', not 'live'.*ENSEMBLE_DATABASE_URL"):
            worlds.claim_world(connection, worlds.LIVE, "live")


def test_looks_when_noted_again_keep_the_newest_of_each_subject(database: Database) -> None:
    with database.connection() as connection:
        worlds.note_look(connection, "markets", NOW)
        worlds.note_look(connection, "settlements", NOW)
        worlds.note_look(connection, "markets", NOW + HOUR)
        assert worlds.last_looks(connection) == {"markets": NOW + HOUR, "settlements": NOW}
