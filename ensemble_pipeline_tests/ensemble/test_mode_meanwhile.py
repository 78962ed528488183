"""A mode put in force, and positions opened, while a batch is under way: it buys nothing that they forbid."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from ensemble_pipeline.domain import Mode, Reason
from ensemble_pipeline.ensemble import decide
from ensemble_pipeline.ensemble.context import BatchContext
from ensemble_pipeline.ensemble.explaining import explain
from ensemble_pipeline.ensemble.fallback import FallbackManager
from ensemble_pipeline.pipeline.explain import show_explanation
from ensemble_pipeline.store import decisions, markets, operating_modes
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.decisions import EnsembleDecision
from ensemble_pipeline_tests.ensemble.history import wait_until_it_waits
from ensemble_pipeline_tests.ensemble.test_mode_journeys import CONTRACTS, OPTIONS, decided, gate, made_again
from ensemble_pipeline_tests.ensemble.venue import Play, playing

Sized = tuple[BatchContext, list[EnsembleDecision]]


def sized(play: Play, batch_id: int | None = None, meanwhile: Mode | None = None) -> Sized:
    """A batch up to its last step; `meanwhile` is put in force by hand once the models have answered."""
    context, plans = play.plan(batch_id)
    asyncio.run(decide.consult(play.instance, context, plans))
    if meanwhile is not None:
        put_in_force(play, meanwhile)
    opinions = decide.combine(play.instance, context, plans)
    return context, play.with_venue(lambda venue: decide.size(play.instance, venue, context, plans, opinions))


def put_in_force(play: Play, mode: Mode) -> None:
    FallbackManager(play.instance).enable_emergency_mode(mode, "drill")


def record(play: Play, batch: Sized) -> decide.Recorded:
    return decide.record(play.instance, *batch)


def batches_of_one(play: Play) -> Sequence[int]:
    """A batch for each market that waits."""
    play.scan()
    with play.instance.database.connection() as connection:
        [snapshots] = markets.undecided_batches(connection).values()
        return [markets.open_batch(connection, [it], play.clock.now()) for it in snapshots]


def test_batch_under_way_opens_nothing_once_it_is_suspended(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", "B-1", **OPTIONS) as play:
        play.scan()
        recorded = record(play, sized(play, meanwhile=Mode.SUSPENDED))
        assert recorded.reasons == {"mode_meanwhile": 2}
        assert play.rows("select from positions") == []
        made = decided(play)["A-1"]
        assert made["mode"] == "normal"
        assert gate(made, "mode_meanwhile") == {"mode": "suspended", "planned_in": "normal", "step": "open"}
        assert made_again(play) == 2
        with database.connection() as connection:
            shown = show_explanation(explain(connection, recorded.decision_ids[0]))
        assert "by the time its order was filled the mode was suspended" in shown


@pytest.mark.parametrize("mode", ["degraded", "conservative", "minimal"])
def test_batch_under_way_buys_as_the_more_careful_mode_lets_it_and_counts_as_opened_in_that(
    database: Database, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    with playing(database, monkeypatch, "A-1", **OPTIONS) as play:
        play.scan()
        record(play, sized(play, meanwhile=Mode(mode)))
        made = decided(play)["A-1"]
        assert (made["reason"], made["contracts"]) == ("traded", CONTRACTS[mode])
        assert gate(made, "mode_meanwhile")["mode"] == mode
        assert made_again(play) == 1
        with database.connection() as connection:
            held = decisions.portfolio(connection, 0, play.clock.now(), [mode])
        assert held.opened_in_mode == 1


def test_mode_that_softens_while_a_batch_is_under_way_lets_it_buy_no_more_than_it_was_planned_to(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", **OPTIONS) as play:
        put_in_force(play, Mode.CONSERVATIVE)
        play.scan()
        record(play, sized(play, meanwhile=Mode.NORMAL))
        made = decided(play)["A-1"]
        assert (made["reason"], made["contracts"]) == ("traded", CONTRACTS["conservative"])
        assert "mode_meanwhile" not in {it["gate"] for it in made["gates"]}
        assert made_again(play) == 1


def test_batch_that_waits_to_be_recorded_heeds_a_mode_put_in_force_meanwhile(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", **OPTIONS) as play:
        play.scan()
        batch = sized(play)
        found: list[decide.Recorded] = []
        writer = threading.Thread(target=lambda: found.append(record(play, batch)))
        with database.connection() as connection:
            operating_modes.lock_modes(connection)
            writer.start()
            wait_until_it_waits(database, writer)
            operating_modes.append(connection, "suspended", "drill", play.clock.now(), "hand")
        writer.join(30)
        assert [it.reasons for it in found] == [{"mode_meanwhile": 1}]
        assert [it.terminal_reason for it in found[0].decisions] == [Reason.MODE_MEANWHILE]
        assert play.rows("select from positions") == []
        assert made_again(play) == 1


@pytest.mark.parametrize("mode", [Mode.MINIMAL, Mode.NORMAL])
def test_of_batches_sized_at_once_the_later_one_heeds_what_the_first_has_opened(
    database: Database, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    # of the day's limit one order leaves less than a tenth of another
    options: dict[str, Any] = OPTIONS | {"sizing": OPTIONS["sizing"] | {"max_day_share": 0.05}}
    with playing(database, monkeypatch, "A-1", "B-1", **(OPTIONS if mode is Mode.MINIMAL else options)) as play:
        put_in_force(play, mode)
        batches = [sized(play, batch_id) for batch_id in batches_of_one(play)]
        assert [it.terminal_reason for _, made in batches for it in made] == [Reason.TRADED] * 2
        assert [record(play, it).reasons for it in batches] == [{"traded": 1}, {"position_limit": 1}]
        assert len(play.rows("select from positions")) == 1
        assert made_again(play) == 2


def test_order_that_another_batch_leaves_room_for_is_recorded_on_what_is_held_by_then(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", "B-1", **OPTIONS) as play:
        batches = [sized(play, batch_id) for batch_id in batches_of_one(play)]
        [first], [second] = (record(play, it).decisions for it in batches)
        assert first.contracts == second.contracts == CONTRACTS["normal"]
        assert first == batches[0][1][0]
        exposure = second.inputs["filling"]["exposure"]
        assert (exposure["open_positions"], exposure["staked_today"]) == (1, first.stake_micro_usd)
        assert made_again(play) == 2
