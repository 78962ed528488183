"""Decision runs killed with SIGKILL at random points of all six steps, and taken up again until all is decided."""

import pytest

from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.drill import Drill, drilled_world


@pytest.mark.parametrize("kills", [12, pytest.param(450, marks=pytest.mark.slow)])
@pytest.mark.timeout(3600)
def test_runs_killed_at_random_points_lose_no_market_and_decide_and_pay_nothing_twice(
    database: Database, monkeypatch: pytest.MonkeyPatch, kills: int
) -> None:
    with drilled_world(database, monkeypatch, batches=kills * 2 // 3) as play:
        toll = Drill(play, seed=kills).run(kills)
    print(f"kill drill: {toll}")  # noqa: T201 - the figures of the drill
    assert toll.kills.total() == kills
    assert toll.harm == (0, 0, 0, False)
    # the kills did hit runs at work: in several of their steps, and, of many, some with calls under way
    assert len(toll.kills) >= 4
    assert toll.cut_off > 0 or kills < 100
