"""What the launcher and a headless play do while the database is away."""

from typing import Any, cast

import pytest
import sqlalchemy
from dagster_postgres.utils import DagsterPostgresException

from ensemble_pipeline.errors import DatabaseError, DatabaseLostError
from ensemble_pipeline.pipeline import demo
from ensemble_pipeline.pipeline.demo import _Away
from ensemble_pipeline.pipeline.headless import Conductor


def look(away: _Away, error: Exception | None) -> None:
    with away.waited_for():
        if error is not None:
            raise error


def test_launcher_waits_for_the_database_and_says_so_until_it_has_been_away_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    away = _Away(said.append)
    look(away, DatabaseError("nobody answers"))
    look(away, DatabaseLostError("it hung up"))
    assert said == ["waiting for the database: nobody answers", "waiting for the database: it hung up"]
    monkeypatch.setattr(demo, "_MOST_AWAY_S", 0.0)
    with pytest.raises(DatabaseError, match="nobody answers"):
        look(away, DatabaseError("nobody answers"))
    look(away, None)
    # the clock starts anew once it has answered
    monkeypatch.undo()
    look(away, DatabaseError("nobody answers"))
    assert len(said) == 3


@pytest.mark.parametrize(
    "error",
    [
        sqlalchemy.exc.OperationalError("select 1", {}, Exception("terminating connection")),
        DagsterPostgresException("too many retries for DB connection"),
    ],
)
def test_headless_play_whose_database_went_away_ends_with_one_error_that_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(Conductor, "_play", fail)
    nothing = cast("Any", None)
    with pytest.raises(DatabaseLostError, match="start anew, and it goes on from there"):
        Conductor(nothing, nothing, nothing, nothing, nothing).play(lambda _: None)
