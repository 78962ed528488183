"""Performance windows come out the same however they are materialised."""

import json
import subprocess
import sys

from ensemble_pipeline_tests.journeys.conftest import Played
from ensemble_pipeline_tests.journeys.running import REPOSITORY, environment


def test_windows_hour_by_hour_day_by_day_and_in_one_range_are_identical_rows(played: Played) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ensemble_pipeline_tests.journeys.rematerialise"],
        env=environment(played.folder),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["as_found"].split()[0].endswith(f"+{played.report['windows']['rows']}")
    assert found["day_by_day"] == found["as_found"]
    assert found["range"] == found["as_found"]
    assert found["partitions"] == "True"


def test_backfill_command_rebuilds_a_range_in_one_run_and_refuses_days_that_cannot_be(played: Played) -> None:
    def backfill(first: str, last: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "ensemble_pipeline.cli", "backfill", "--from", first, "--to", last]
        kept = environment(played.folder)
        return subprocess.run(command, env=kept, capture_output=True, text=True, timeout=120, check=False)

    done = backfill("2026-01-05", "2026-01-07")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1].startswith("3 days rebuilt in ")
    assert ", in one run: " in done.stdout
    for first, last, why in (
        ("2026-01-07", "2026-01-06", "is empty: name the earlier day with --from"),
        ("2025-12-31", "2026-01-06", "begins before the history does, on 2026-01-05"),
        ("2026-01-06", "2026-02-06", "reaches into the future: the clock stands at"),
    ):
        refused = backfill(first, last)
        assert refused.returncode == 1
        assert why in refused.stderr
        assert "Traceback" not in refused.stderr
