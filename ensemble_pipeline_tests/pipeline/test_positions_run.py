"""Marks and exits through Dagster: asked for by the schedule, run by the job, and in a headless world."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import dagster as dg
import pytest

from ensemble_pipeline.definitions import defs
from ensemble_pipeline.pipeline.headless import Conductor
from ensemble_pipeline.pipeline.resources import EnsembleResource
from ensemble_pipeline.pipeline.schedules import positions_schedule
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.world_clock import StoredClock
from ensemble_pipeline_tests.ensemble.held import hold
from ensemble_pipeline_tests.ensemble.venue import Play, playing
from ensemble_pipeline_tests.pipeline.test_schedules import add_run, tick
from ensemble_pipeline_tests.sandbox.small_world import HOUR, START

# Dagster asks pydantic for the fields of a resource by their old name
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")


@pytest.fixture
def play(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """Two markets, of which one settles an hour after the other's price falls."""
    with playing(database, monkeypatch, "A-1", "B-1", closes=5, settles=6) as made:
        monkeypatch.setattr("ensemble_pipeline.pipeline.resources.open_instance", lambda: made.instance)
        yield made


def run_positions(play: Play, dagster: dg.DagsterInstance) -> dict[str, dg.MetadataValue]:
    """Run the job, and return what its asset says."""
    resources = {"ensemble": EnsembleResource.of(play.instance)}
    result = defs.resolve_job_def("positions").execute_in_process(instance=dagster, resources=resources)
    assert result.success
    [event] = result.asset_materializations_for_node("paper_positions")
    return dict(event.metadata)


def test_job_marks_and_sells_and_shows_both_books(play: Play, dagster_instance: dg.DagsterInstance) -> None:
    hold(play, "A-1")
    hold(play, "B-1", "no")
    play.clock.advance_to(START + 2 * HOUR)
    play.price("A-1", "0.16", "0.18")
    said = run_positions(play, dagster_instance)
    plain = {name: value.value for name, value in said.items()}
    assert (plain["dagster/row_count"], plain["marked"], plain["exits"]) == (2, 2, {"stop": 1})
    # 16 less 0.9408, against 41.68
    assert (plain["exits_net_usd"], plain["realised_net_usd"]) == (-26.6208, -26.6208)
    # NO, bought at 0.40, is sold at 1 - 0.42
    assert plain["unrealised_usd"] == pytest.approx(58 - 41.68)
    assert "| kalshi:B-1 | no | 100 |" in str(plain["open"])
    assert "| kalshi:A-1 | yes | 100 |" in str(plain["closed_last"])
    assert "stop" in str(plain["closed_last"])


def test_job_without_any_position_materialises_empty_books(play: Play, dagster_instance: dg.DagsterInstance) -> None:
    plain = {name: value.value for name, value in run_positions(play, dagster_instance).items()}
    assert (plain["dagster/row_count"], plain["marked"], plain["open"]) == (0, 0, "no rows yet")


def test_schedule_asks_every_five_minutes_while_a_position_is_open(
    play: Play, dagster_instance: dg.DagsterInstance
) -> None:
    def is_asked() -> bool:
        return isinstance(tick(positions_schedule, play.instance, dagster_instance), dg.RunRequest)

    assert not is_asked()
    hold(play, "A-1")
    assert is_asked()
    run_positions(play, dagster_instance)
    play.clock.advance_to(play.clock.now() + 4 / 60 * HOUR)
    assert not is_asked()
    play.clock.advance_to(play.clock.now() + 1 / 60 * HOUR)
    assert is_asked()
    add_run(dagster_instance, "positions", dg.DagsterRunStatus.STARTED)
    assert not is_asked()


class Ahead:
    """Every hour up to the last; the sandbox's clock goes along, and prices fall on the way."""

    def __init__(self, play: Play, last: datetime) -> None:
        self._play, self._last = play, last

    def next_event_after(self, at: datetime) -> datetime | None:
        """The next hour."""
        if at >= self._last:
            return None
        self._play.clock.advance_to(at + HOUR)
        if at + HOUR == START + 4 * HOUR:
            self._play.price("A-1", "0.05", "0.07")
        return at + HOUR


@pytest.mark.slow
def test_headless_world_marks_at_every_instant_while_a_position_is_open_and_ends(
    play: Play, dagster_instance: dg.DagsterInstance
) -> None:
    clock = StoredClock(play.instance.database)
    clock.start_stepped(play.clock.now())
    play.instance = replace(play.instance, clock=clock)
    hold(play, "A-1")
    hold(play, "B-1", "no")
    conductor = Conductor(defs, play.instance, clock, dagster_instance, Ahead(play, START + 7 * HOUR))
    played = conductor.play(lambda _: None)
    assert played.failed_runs == 0
    marks = play.rows("select market_id, k.marked_at, bid from position_marks k join positions p using (position_id)"
                      " where p.decision_id <= 2 order by market_id, k.marked_at")  # fmt: skip
    hours = {ticker: [(row["marked_at"] - START) / HOUR for row in marks if row["market_id"] == f"kalshi:{ticker}"]
             for ticker in ("A-1", "B-1")}  # fmt: skip
    # A-1 is sold at 4; B-1 closes at 5, when nobody buys any more, and settles at 6
    assert hours == {"A-1": [1, 2, 3, 4], "B-1": [1, 2, 3, 4, 5]}
    assert marks[-1]["bid"] is None
    assert play.rows("select exit_reason from positions where decision_id <= 2 order by position_id") == [
        {"exit_reason": "stop"},
        {"exit_reason": None},
    ]
    assert play.rows("select count(*) as n from positions where closed_at is null") == [{"n": 0}]
    log = play.rows("select kind from trade_log join positions using (position_id) where decision_id <= 2"
                    " and kind <> 'open' order by position_id")  # fmt: skip
    assert [row["kind"] for row in log] == ["exit", "settle"]
