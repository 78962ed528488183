"""A headless run killed half-way and started again: nothing lost, nothing decided or paid twice."""

import os
import random
import signal
from pathlib import Path

import pytest

from ensemble_pipeline_tests.journeys.conftest import SMALL, Played
from ensemble_pipeline_tests.journeys.running import (
    count,
    data_folder,
    differences,
    family_of,
    is_running,
    peek,
    play,
    postgres_of,
    started,
    wait_for,
    without_passing,
)


def test_run_killed_at_random_calls_ends_in_the_report_of_an_unkilled_one(played: Played) -> None:
    calls = played.report["model_calls"]["total"]
    # moments by the count of calls booked: most lie within a batch, between two of its answers
    moments = sorted(random.Random(20).sample(range(5, calls - 5), 2))  # noqa: S311 - no secret
    with data_folder() as folder:
        for moment in moments:
            _start_and_kill(folder, "llm_queries", moment, *SMALL)
        report = play(folder, *SMALL)
        with postgres_of(folder):
            _assert_nothing_twice(folder)
    assert differences(without_passing(report), without_passing(played.report)) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_run_of_selected_members_killed_at_random_decisions_loses_and_repeats_nothing(seed: int) -> None:
    world = ("--days", "4", "--markets-per-day", "6", "--members", "selected")
    moments = sorted(random.Random(seed).sample(range(1, 60), 3))  # noqa: S311 - no secret
    with data_folder() as folder:
        for moment in moments:
            _start_and_kill(folder, "decisions", moment, *world)
        report = play(folder, *world)
        with postgres_of(folder):
            _assert_nothing_twice(folder)
    assert report["markets"]["undecided"] == 0
    assert report["forecasts"]["scored"] == report["forecasts"]["answered"]


def _start_and_kill(folder: Path, table: str, moment: int, *world: str) -> None:
    with started(folder, "demo", "--until-done", *world) as process:
        (sandbox,) = wait_for("its sandbox is started", lambda: _sandboxes_of(process.pid), 60, process)
        # where the last kill came late the moment may have passed already: then this one dies while it starts
        wait_for(f"{moment} {table}", lambda: count(folder, table) >= moment, 120, process)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        wait_for("the sandbox has ended by itself", lambda: not is_running(sandbox), 20)


def _sandboxes_of(pid: int) -> list[int]:
    return [child for child, command in family_of(pid).items() if "cli sandbox" in command]


def _assert_nothing_twice(folder: Path) -> None:
    answered_twice = peek(
        folder,
        "select snapshot_id, model_id from llm_queries where status = 'answered' group by 1, 2 having count(*) > 1",
    )
    decided_twice = peek(
        folder, "select market_id, decided_at from decisions group by market_id, decided_at having count(*) > 1"
    )
    unpaid = count(
        folder,
        "budget_reservations r full join llm_queries q using (reservation_id)"
        " where r.state is distinct from 'expired' and (q.query_id is null or r.booked_micro_usd <> q.cost_micro_usd)",
    )
    settled_twice = peek(
        folder, "select position_id from trade_log where kind = 'settle' group by 1 having count(*) > 1"
    )
    assert (answered_twice, decided_twice, unpaid, settled_twice) == ([], [], 0, [])
    assert count(folder, "budget_reservations where state = 'held'") == 0
