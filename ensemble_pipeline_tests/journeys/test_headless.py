"""A synthetic world played to its end without a UI, and killed half-way and started again: nothing lost or twice.

One file, so that one worker plays the world that all of these look at.
"""

import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
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
    postgres_pid,
    run,
    started,
    wait_for,
    without_passing,
)

CUT_OFF = "cut off"
TABLES = (
    "markets", "market_snapshots", "decisions", "decision_batches", "llm_queries", "forecasts", "budget_reservations",
    "resolutions", "scored_forecasts", "skill_cube", "performance_windows", "positions", "trade_log",
)  # fmt: skip


def test_report_of_a_played_world_is_complete(played: Played) -> None:
    assert set(played.report) == {
        "world", "clock", "markets", "decisions", "model_calls", "forecasts", "spend", "paper", "windows", "brier",
        "calibration", "ranking", "contributions", "played", "truth",
    }  # fmt: skip
    assert played.report["world"] == "synthetic-s7-d2-m4-all"
    assert played.report["played"]["failed_runs"] == 0


def test_report_of_a_played_world_adds_up(played: Played) -> None:
    report = played.report
    markets, forecasts, ranking = report["markets"], report["forecasts"], report["ranking"]["rows"]
    assert sum(report["decisions"]["by_terminal_reason"].values()) == report["decisions"]["total"]
    assert report["decisions"]["total"] == markets["snapshots"] > 0
    assert (markets["seen"], markets["settled"], markets["undecided"]) == (4, 4, 0)
    assert sum(report["model_calls"]["by_status"].values()) == report["model_calls"]["total"]
    assert forecasts["answered"] + forecasts["failed"] == forecasts["asked"]
    assert report["model_calls"]["by_status"]["answered"] == forecasts["answered"] > 0
    assert sum(forecasts["failed_by_model"].values()) == forecasts["failed"] > 0
    assert forecasts["scored"] == forecasts["answered"]
    assert report["spend"]["unconfirmed_after_crash_usd"] == 0
    assert sum(row["weight"] for row in ranking) == pytest.approx(1)
    assert [row["rank"] for row in ranking] == [1, 2, 3, 4, 5, 6]
    assert sum(row["sample_size"] for row in ranking) == forecasts["scored"]
    assert report["windows"]["learnt_until"] == report["clock"]


def test_record_of_a_played_world_agrees_with_its_report(played: Played) -> None:
    folder, report = played.folder, played.report
    spent = peek(folder, "select sum(cost_micro_usd)::bigint as calls from llm_queries")[0]["calls"]
    accounts = peek(folder, "select sum(spent_micro_usd)::bigint as n from budget_accounts where scope = 'day'")
    held = count(folder, "budget_accounts where held_micro_usd <> 0")
    rested = peek(folder, "select bool_and(a.as_of <= d.decided_at and c.as_of <= d.decided_at) as ok from"
                          " decisions d join model_rankings a using (ranking_id)"
                          " join calibration_tables c using (calibration_id)")  # fmt: skip
    used = count(folder, "decisions d join model_rankings r using (ranking_id) where known_forecasts > 0")
    unscored = count(
        folder, "forecasts f where not exists (select from scored_forecasts s where s.forecast_id = f.forecast_id)"
    )
    flows = peek(folder, "select sum(cash_micro_usd)::bigint as n from trade_log")[0]["n"]
    assert spent == round(report["spend"]["usd"] * 1_000_000) == accounts[0]["n"]
    assert (held, unscored) == (0, 0)
    assert rested == [{"ok": True}]
    assert used > 0
    assert (flows or 0) == round(report["paper"]["net_profit_usd"] * 1_000_000)


def test_finished_world_started_again_changes_nothing(played: Played) -> None:
    before = _rows(played)
    again = play(played.folder, *SMALL)
    assert differences(without_passing(again), without_passing(played.report)) == []
    assert again["played"]["runs"] == 0
    assert _rows(played) == before


def test_status_after_the_end_tells_the_same_in_text_and_json(played: Played) -> None:
    as_json, as_text = run(played.folder, "status", "--json"), run(played.folder, "status")
    assert (as_json.status, as_text.status) == (0, 0)
    assert f'"total": {played.report["decisions"]["total"]}' in as_json.out
    assert f"decisions      {played.report['decisions']['total']} (" in as_text.out
    assert "$0.0000 held" in as_text.out


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 3])
def test_run_killed_at_random_calls_differs_from_an_unkilled_one_by_the_calls_that_were_cut_off_alone(
    played: Played, kills: int
) -> None:
    calls = played.report["model_calls"]["total"]
    # moments by the count of calls booked: most lie within a batch, between two of its answers
    moments = sorted(random.Random(20).sample(range(5, calls - 5), kills))  # noqa: S311 - no secret
    with _killed_and_played_on("llm_queries", moments, SMALL) as (folder, report):
        killed, unkilled = _questions(folder), _questions(played.folder)
        cut_off = {question for question, answer in killed.items() if answer == CUT_OFF}
        assert killed == {question: CUT_OFF if question in cut_off else unkilled[question] for question in unkilled}
        assert _decided(folder) == _decided(played.folder)
        assert report["markets"] == played.report["markets"]
        if not cut_off:
            assert differences(without_passing(report), without_passing(played.report)) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_run_of_selected_members_killed_at_random_decisions_loses_and_repeats_nothing(seed: int) -> None:
    world = ("--days", "4", "--markets-per-day", "6", "--members", "selected")
    moments = sorted(random.Random(seed).sample(range(1, 60), 3))  # noqa: S311 - no secret
    with _killed_and_played_on("decisions", moments, world) as (_, report):
        assert report["markets"]["undecided"] == 0
        assert report["forecasts"]["scored"] == report["forecasts"]["answered"]


@pytest.mark.slow
def test_same_world_played_afresh_gives_the_same_report_and_leaves_no_server() -> None:
    world = ("--days", "2", "--markets-per-day", "3", "--seed", "11")
    with data_folder() as folder:
        first = play(folder, *world)
        assert postgres_pid(folder) is None
        second = play(folder, *world, "--fresh")
    assert differences(without_passing(second), without_passing(first)) == []


def _rows(played: Played) -> dict[str, Any]:
    return {table: count(played.folder, table) for table in TABLES}


@contextmanager
def _killed_and_played_on(
    table: str, moments: Sequence[int], world: Sequence[str]
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A world that was killed whenever `table` had so many rows, and played to its end after that, and its report."""
    billed: Counter[tuple[str, ...]] = Counter()
    with data_folder() as folder:
        for moment in moments:
            billed += _start_and_kill(folder, table, moment, *world)
        before = count(folder, "llm_queries")
        report = play(folder, *world)
        with postgres_of(folder):
            _assert_nothing_twice(folder)
            # the last sandbox ended with its play, which was not killed: there the record holds every call
            billed += Counter(_billed_after(folder, before))
            assert [question for question, times in billed.items() if times > 1] == []
            yield folder, report


def _start_and_kill(folder: Path, table: str, moment: int, *world: str) -> Counter[tuple[str, ...]]:
    """Returns what the sandbox says it billed in this life, by model, ticker and instant."""
    with started(folder, "demo", "--until-done", *world) as process:
        (sandbox,) = wait_for("its sandbox is started", lambda: _sandboxes_of(process.pid), 60, process)
        port = int(family_of(process.pid)[sandbox].partition("--port ")[2].split()[0])
        # where the last kill came late the moment may have passed already: then this one dies while it starts
        wait_for(f"{moment} {table}", lambda: count(folder, table) >= moment, 120, process)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        billed = _billed_until_the_end(port)
        wait_for("the sandbox has ended by itself", lambda: not is_running(sandbox), 20)
    return billed


def _billed_until_the_end(port: int) -> Counter[tuple[str, ...]]:
    """The sandbox's own count, asked until it ends: it answers what was under way when its client was killed."""
    billed: Counter[tuple[str, ...]] = Counter()
    with contextlib.suppress(httpx.TransportError):
        while True:
            calls = httpx.get(f"http://127.0.0.1:{port}/calls", timeout=5, trust_env=False).json()["completions"]
            billed = Counter({(it["model"], it["ticker"], it["at"]): it["billed"] for it in calls})
    return billed


def _billed_after(folder: Path, query_id: int) -> list[tuple[str, ...]]:
    rows = peek(
        folder,
        "select o.wire_model, k.ticker, q.requested_at from llm_queries q join models o using (model_id)"
        " join market_snapshots s using (snapshot_id) join markets k using (market_id)"
        f" where q.query_id > {query_id} and q.cost_source <> 'not_billed'",
    )
    return [(row["wire_model"], row["ticker"], row["requested_at"].isoformat()) for row in rows]


def _questions(folder: Path) -> dict[tuple[Any, ...], float | str | None]:
    """What came of each question put to a model: its answer, nothing, or that it was cut off."""
    rows = peek(
        folder,
        "select s.market_id, s.observed_at, a.model_id, f.p_yes, bool_or(a.state = 'expired') as is_cut_off"
        " from budget_reservations a join market_snapshots s using (snapshot_id)"
        " left join forecasts f using (snapshot_id, model_id) group by 1, 2, 3, 4",
    )
    return {
        (row["market_id"], row["observed_at"], row["model_id"]): CUT_OFF if row["is_cut_off"] else row["p_yes"]
        for row in rows
    }


def _decided(folder: Path) -> list[dict[str, Any]]:
    return peek(folder, "select market_id, decided_at from decisions order by 1, 2")


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
