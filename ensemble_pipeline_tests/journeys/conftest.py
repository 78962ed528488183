"""One small synthetic world, played headless once for all journeys that only look at what it left."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from ensemble_pipeline_tests.journeys.running import data_folder, play, postgres_of, read_report

SMALL = ("--days", "2", "--markets-per-day", "4", "--members", "all")


@dataclass(frozen=True)
class Played:
    """A world that was played to its end: where its data are, with their server up, and its report."""

    folder: Path
    report: dict[str, Any]


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    kept = _shared_by_workers(tmp_path_factory) / "small-world"
    with data_folder() as folder:
        with FileLock(f"{kept}.lock"):
            if kept.exists():
                _copy(kept, folder)
            else:
                play(folder, *SMALL)
                _copy(folder, kept)
        with postgres_of(folder):
            yield Played(folder, read_report(folder / "report.json"))


def _shared_by_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def _copy(folder: Path, to: Path) -> None:
    # with owners and modes, without which PostgreSQL does not start
    subprocess.run(["cp", "-a", f"{folder}/.", str(to)], check=True)
