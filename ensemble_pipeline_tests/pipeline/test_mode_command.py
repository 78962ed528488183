"""`ensemble mode`, as a person and as a machine use it; and where else the mode is shown and reviewed."""

import json
from datetime import timedelta

import dagster as dg
import pytest

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.errors import InputError
from ensemble_pipeline.pipeline.assets.monitoring import model_health
from ensemble_pipeline.pipeline.resources import EnsembleResource
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.history import table
from ensemble_pipeline_tests.ensemble.parts import instance_of, settings_of
from ensemble_pipeline_tests.ensemble.test_health import tell
from ensemble_pipeline_tests.pipeline.conftest import Command, said
from ensemble_pipeline_tests.store.rows import NOW

# Dagster asks pydantic for the fields of a resource by their old name
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")


def test_mode_without_a_name_shows_what_is_in_force_and_changes_nothing(command: Command, database: Database) -> None:
    assert said(command("mode")) == "normal, by evidence: nothing calls for another mode\n"
    assert table(database, "operating_modes", "mode_id") == []


def test_mode_that_is_set_is_shown_with_cause_time_and_who_set_it_until_normal_ends_it(command: Command) -> None:
    shown = said(command("mode", "conservative", "--cause", "new keys", "--for", "1h30m")).splitlines()
    assert shown == [
        "conservative since 2026-03-02T12:30:00+00:00, until 2026-03-02T14:00:00+00:00, by hand: new keys",
        "2026-03-02T12:30:00+00:00  hand     conservative new keys until 2026-03-02T14:00:00+00:00",
    ]
    state = json.loads(said(command("mode", "--json")))
    assert state["in_force"] == {
        "mode": "conservative",
        "cause": "new keys",
        "origin": "hand",
        "since": NOW.isoformat(),
        "until": (NOW + timedelta(minutes=90)).isoformat(),
    }
    assert "mode           conservative since" in said(command("status"))
    assert "operating_mode (conservative)" in said(command("status"))
    assert said(command("mode", "normal", "--cause", "done")).startswith("normal since")
    assert [it["mode"] for it in json.loads(said(command("mode", "--json")))["transitions"]] == [
        "normal",
        "conservative",
    ]
    assert "alerts         none" in said(command("status"))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["suspended"], "--cause TEXT"),
        (["panic", "--cause", "x"], "'panic' is not one of"),
        (["--cause", "x"], "name the mode"),
        (["--for", "2h"], "name the mode"),
        (["minimal", "--cause", "x", "--for", "soon"], "'soon' is no time"),
        (["minimal", "--cause", "x", "--for", "2h?"], "'2h?' is no time"),
        (["minimal", "--cause", "x", "--for", "2"], "'2' is no time"),
    ],
)
def test_mode_that_is_named_wrongly_is_refused_with_what_to_write(
    command: Command, database: Database, words: list[str], named: str
) -> None:
    done = command("mode", *words)
    assert done.exit_code == 2
    assert named in done.stderr
    assert table(database, "operating_modes", "mode_id") == []


@pytest.mark.parametrize("words", [["minimal", "--cause", " "], ["minimal", "--cause", "x", "--for", "0h"]])
def test_mode_without_cause_or_length_is_refused(command: Command, words: list[str]) -> None:
    with pytest.raises(InputError):
        command("mode", *words)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86_400), ("1d2h", 93_600)]
)
def test_mode_lasts_as_long_as_is_written(command: Command, database: Database, text: str, seconds: int) -> None:
    said(command("mode", "minimal", "--cause", "x", "--for", text))
    [row] = table(database, "operating_modes", "mode_id")
    assert row["expires_at"] - row["since"] == timedelta(seconds=seconds)


def test_asset_of_health_reviews_the_mode_and_shows_it(database: Database) -> None:
    instance = instance_of(settings_of("a", "b"), database, SteppedClock(NOW))
    tell(database, "a", "failure", times=3)
    done = dg.materialize([model_health], resources={"ensemble": EnsembleResource.of(instance)})
    [event] = done.get_asset_materialization_events()
    assert event.materialization.metadata["operating_mode"].value == "minimal"
    assert event.materialization.metadata["operating_mode_cause"].value == "1 of 2 models are available"
    assert [row["origin"] for row in table(database, "operating_modes", "mode_id")] == ["evidence"]
