"""One small synthetic world, played headless once for all journeys that only look at what it left."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ensemble_pipeline_tests.journeys.running import data_folder, play, postgres_of

SMALL = ("--days", "3", "--markets-per-day", "4", "--members", "all")


@dataclass(frozen=True)
class Played:
    """A world that was played to its end: where its data are, with their server up, and its report."""

    folder: Path
    report: dict[str, Any]


@pytest.fixture(scope="session")
def played() -> Iterator[Played]:
    with data_folder() as folder:
        report = play(folder, *SMALL)
        with postgres_of(folder):
            yield Played(folder, report)
