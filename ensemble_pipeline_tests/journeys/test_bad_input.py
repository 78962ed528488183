"""Input, settings and machines that do not fit: one message that says what is wrong and what to do, no traceback."""

import json
import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.worlds import claim_world, world_key_of
from ensemble_pipeline_tests.journeys.running import assert_one_message, run
from ensemble_pipeline_tests.replay.small_archive import FORECAST, PRICE, QUESTION, write_archive, write_file

PLAY = ("demo", "--until-done", "--days", "2", "--markets-per-day", "1")
PASSWORD = "correct-horse"


def test_archive_without_a_needed_column_is_refused_by_file_and_column(tmp_path: Path) -> None:
    folder = write_archive(tmp_path / "archive")
    write_file(folder / "questions.csv.gz", ["question_id,event_id,question", "q1,,Will it rain?"])
    done = run(tmp_path / "data", "demo", "--until-done", "--archive", str(folder))
    assert_one_message(done, r"questions\.csv\.gz", "line 1", "column category is missing", "header must name")
    assert not (tmp_path / "data").exists(), "nothing was started for an archive that cannot be played"


def test_archive_with_a_price_of_1_30_is_refused_by_file_line_and_column(tmp_path: Path) -> None:
    bad = PRICE.replace("0.65", "1.3")
    folder = write_archive(tmp_path / "archive", [QUESTION], [FORECAST], [bad])
    done = run(tmp_path / "data", "demo", "--until-done", "--archive", str(folder))
    assert_one_message(done, r"prices\.csv\.gz", "line 2", "probability", r"1\.3")


def test_archive_with_a_forecast_that_is_no_number_is_refused_by_file_line_and_column(tmp_path: Path) -> None:
    folder = write_archive(tmp_path / "archive", [QUESTION], [FORECAST.replace("0.7", "NaN")], [PRICE])
    done = run(tmp_path / "data", "demo", "--until-done", "--archive", str(folder))
    assert_one_message(done, r"forecasts\.csv\.gz", "line 2", "probability", "NaN")


def test_archive_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "demo", "--until-done", "--archive", str(tmp_path / "nowhere"))
    assert_one_message(done, "--archive", "nowhere", "does not exist")


def test_archive_folder_without_questions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run(tmp_path, "demo", "--until-done", "--archive", str(tmp_path / "empty"))
    assert_one_message(done, r"questions\.csv\.gz is missing", "an archive is a folder")


def test_days_without_anything_in_the_archive_are_refused(tmp_path: Path) -> None:
    folder = write_archive(tmp_path / "archive", [QUESTION], [FORECAST], [PRICE])
    done = run(tmp_path, "demo", "--until-done", "--archive", str(folder), "--from", "2031-01-01")
    assert_one_message(done, "2031-01-01", "name other days")


def test_world_of_no_days_is_refused(tmp_path: Path) -> None:
    assert_one_message(run(tmp_path, "demo", "--until-done", "--days", "0"), "days ≥ 2", "0")


def test_unknown_provider_of_a_member_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    members = json.dumps([{"name": "m", "provider": "nobody", "model": "m"}])
    done = run(tmp_path, *PLAY, variables={"ENSEMBLE_MEMBERS": members})
    assert_one_message(done, "nobody", "known: anthropic, local", "ENSEMBLE_MEMBERS", "start again")


def test_setting_out_of_its_range_is_refused_by_its_variable(tmp_path: Path) -> None:
    done = run(tmp_path, *PLAY, variables={"ENSEMBLE_BUDGET__DAY_HARD_USD": "lots"})
    assert_one_message(done, "ENSEMBLE_BUDGET__DAY_HARD_USD", "start again")


def test_taken_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        done = run(tmp_path / "data", "demo", "--port", str(port))
    assert_one_message(done, f"port {port}", "in use", "--port")
    assert not (tmp_path / "data").exists()


def test_data_folder_below_a_file_is_refused_by_its_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert_one_message(run(tmp_path / "file" / "data", *PLAY), "data folder", "ENSEMBLE_DATA_DIR")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_data_folder_that_may_not_be_written_is_refused_by_its_variable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert_one_message(run(tmp_path / "data", *PLAY), "data folder", "ENSEMBLE_DATA_DIR")


def test_database_that_does_not_answer_is_named_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql://ann:{PASSWORD}@127.0.0.1:1/prod"
    done = run(tmp_path, *PLAY, variables={"ENSEMBLE_DATABASE_URL": url})
    assert_one_message(done, r"ann@127\.0\.0\.1:1/prod", "ENSEMBLE_DATABASE_URL")
    assert PASSWORD not in done.err + done.out


def test_database_of_another_world_is_refused_and_left_alone(database: Database, tmp_path: Path) -> None:
    with database.connection() as connection:
        claim_world(connection, "synthetic-s8-d2-m1", "synthetic")
    done = run(tmp_path, *PLAY, variables={"ENSEMBLE_DATABASE_URL": database.url})
    assert_one_message(
        done, "holds the world 'synthetic-s8-d2-m1'", "not 'synthetic-s7-d2-m1-selected'", "ENSEMBLE_DATABASE_URL"
    )
    fresh = run(tmp_path, *PLAY, "--fresh", variables={"ENSEMBLE_DATABASE_URL": database.url})
    assert_one_message(fresh, "--fresh", "ENSEMBLE_DATABASE_URL")
    with database.connection() as connection:
        assert world_key_of(connection) == "synthetic-s8-d2-m1"


def test_status_where_nothing_was_ever_started_says_what_to_start(tmp_path: Path) -> None:
    assert_one_message(run(tmp_path, "status"), "ensemble demo", "ensemble up")
