"""`ensemble budget` and `ensemble costs`, as a person and as a machine read them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from ensemble_pipeline.cli import cli
from ensemble_pipeline.errors import InputError
from ensemble_pipeline.settings import load_settings
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.world_clock import StoredClock
from ensemble_pipeline.store.worlds import claim_world
from ensemble_pipeline_tests.ensemble.history import NOW, put_call, put_forecasts, table
from ensemble_pipeline_tests.journeys.running import assert_one_message, environment, run

MEMBERS = json.dumps(
    [{"name": "a", "provider": "local", "model": "a", "input_usd_per_mtok": "0", "output_usd_per_mtok": "0"}]
)


@pytest.fixture
def billed(database: Database) -> Database:
    """A world in which $0.0004 were spent, and one call's provider claims $9."""
    with database.connection() as connection:
        claim_world(connection, "live", "live")
    StoredClock(database).start_stepped(NOW)
    snapshot = put_forecasts(database, {"a": 0.5})
    with database.connection() as connection:
        put_call(connection, snapshot, "a", attempt=2, cost=300)
        connection.execute(
            "insert into cost_anomalies (reservation_id, model_id, kind, claim, claimed_micro_usd, booked_micro_usd,"
            " held_micro_usd, noticed_at) values (2, 'a', 'absurd_cost', 'ticks say $9', 9000000, 300, 500, %s)",
            [NOW],
        )
    return database


Command = Callable[..., str]


@pytest.fixture
def ensemble(billed: Database, tmp_path: Path) -> Iterator[Command]:
    """Run a command in this process and say what it printed."""

    def command(*words: str, **variables: str) -> str:
        load_settings.cache_clear()
        settings = {"ENSEMBLE_DATABASE_URL": billed.url, "ENSEMBLE_MEMBERS": MEMBERS, **variables}
        done = CliRunner().invoke(cli, words, env=environment(tmp_path, settings), catch_exceptions=False)
        assert (done.exit_code, done.stderr) == (0, "")
        return done.stdout

    yield command
    load_settings.cache_clear()


def test_budget_as_text_and_json(ensemble: Command) -> None:
    variables = {"ENSEMBLE_BUDGET__DAY_HARD_USD": "0.0008", "ENSEMBLE_BUDGET__DAY_SOFT_USD": "unlimited"}
    assert ensemble("budget", "show", **variables).splitlines()[:2] == [
        "2026-03-02  $0.0004 spent, $0.0000 held",
        "day, hard                $0.0004 of $0.0008, 50%",
    ]
    found = json.loads(ensemble("budget", "show", "--json", **variables))
    assert (found["day"], found["spent_usd"], found["alerts"]) == ("2026-03-02", 0.0004, [])
    assert found["limits"] == [{"limit": "day, hard", "committed_usd": 0.0004, "limit_usd": 0.0008, "share": 0.5}]


@pytest.mark.parametrize(("word", "booked"), [("accept", 9_000_100), ("reject", 400)])
def test_dispute_is_listed_and_decided_once(ensemble: Command, billed: Database, word: str, booked: int) -> None:
    listed = ensemble("budget", "disputes")
    assert listed.startswith("1  2026-03-02 12:30  a: $9.0000 claimed, $0.0005 were held, $0.0003 are booked")
    with pytest.raises(InputError, match="say why in --cause"):
        ensemble("budget", word, "1", "--cause", " ")
    with pytest.raises(InputError, match="no dispute 7 is open"):
        ensemble("budget", word, "7", "--cause", "x")
    assert "a may be asked again" in ensemble("budget", word, "1", "--cause", "looked at the bill")
    with pytest.raises(InputError, match="no dispute 1 is open"):
        ensemble("budget", word, "1", "--cause", "again")
    assert ensemble("budget", "disputes") == "no bill is in dispute\n"
    assert {row["spent_micro_usd"] for row in table(billed, "budget_accounts", "scope")} == {booked}
    [row] = table(billed, "cost_anomalies", "anomaly_id")
    assert (row["resolution"], row["resolution_cause"]) == (f"{word}ed", "looked at the bill")


def test_costs_as_text_and_json_say_what_the_ledger_says(ensemble: Command) -> None:
    text = ensemble("costs")
    assert "$0.0004 for 2 calls (0 failed) and 0 decisions" in text
    assert "by midnight UTC $" in text
    report = json.loads(ensemble("costs", "--json"))
    assert report["periods"]["today"]["cost_usd"] == 0.0004
    assert [(it["model"], it["cost_usd"], it["calls"]) for it in report["by_model"]] == [("a", 0.0004, 2)]


def test_command_on_a_database_without_tables_says_what_to_do(empty_url: str, tmp_path: Path) -> None:
    assert_one_message(
        run(tmp_path, "budget", "show", variables={"ENSEMBLE_DATABASE_URL": empty_url}), "ensemble (demo|up|doctor)"
    )
