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
