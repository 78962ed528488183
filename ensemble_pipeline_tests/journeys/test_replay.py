"""Decisions of a played world made again from what was kept: to the bit, under other settings, and with forged rows."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from ensemble_pipeline.domain import Reason, Route, Strategy
from ensemble_pipeline.ensemble.calibrating import SettledPools, fit
from ensemble_pipeline.errors import DecisionNotFoundError, ReplayError, SettingsError
from ensemble_pipeline.pipeline.replaying import replay_summary, show_replay
from ensemble_pipeline.replay.decisions import Alternative, Replayed, replay, replay_all
from ensemble_pipeline.settings import Policy
from ensemble_pipeline.store import calibrations, chain
from ensemble_pipeline.store.database import Connection, Database, require_row
from ensemble_pipeline.store.decisions import DECISION_COLUMNS, EnsembleDecision, settled_pools
from ensemble_pipeline_tests.journeys.running import assert_one_message, data_folder, peek, postgres_of, run

# so much trust against the price, and so much money, that some markets are traded and some get the enhanced consensus
VARIABLES = {
    "ENSEMBLE_ENSEMBLE__MARKET_WEIGHT": "0.5",
    "ENSEMBLE_SIZING__BANKROLL_USD": "4000",
    "ENSEMBLE_GATES__MIN_EDGE_HIGH": "0.02",
    "ENSEMBLE_GATES__MIN_EDGE_MIDDLE": "0.03",
    "ENSEMBLE_GATES__MIN_EDGE_LOW": "0.04",
}
WORLD = ("demo", "--until-done", "--days", "3", "--markets-per-day", "7", "--seed", "9")
NOBODY = 999_999


@dataclass(frozen=True)
class World:
    """A world that was played to its end, with its server up."""

    folder: Path
    database: Database


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with data_folder() as folder:
        done = run(folder, *WORLD, variables=VARIABLES)
        assert (done.status, done.err) == (0, "")
        with postgres_of(folder) as server:
            database = Database(server.url((folder / "current_database").read_text()))
            yield World(folder, database)
            database.close()


@pytest.fixture
def connection(world: World) -> Iterator[Connection]:
    """A connection whose changes are all taken back at the end."""
    with world.database.connection() as opened:
        yield opened
        opened.rollback()


def made(connection: Connection, alternative: Alternative | None = None) -> list[Replayed]:
    found = list(replay_all(connection, alternative))
    assert found
    return [it for it in found if isinstance(it, Replayed)]


def changed(connection: Connection, **changes: Any) -> list[Replayed]:
    """All decisions made again under these settings, written as section__name."""
    return made(connection, Alternative(None, {name.replace("__", "."): value for name, value in changes.items()}))


def traded(decisions: list[EnsembleDecision]) -> int:
    return sum(it.terminal_reason is Reason.TRADED for it in decisions)


def one_id(connection: Connection, condition: str) -> int:
    row = connection.execute(f"select min(decision_id) as id from decisions where {condition}".encode()).fetchone()
    return int(require_row(row)["id"])


def gates_of(connection: Connection, decision_id: int) -> list[dict[str, Any]]:
    row = connection.execute("select gates from decisions where decision_id = %s", [decision_id]).fetchone()
    gates: list[dict[str, Any]] = require_row(row)["gates"]
    return gates


def calls(connection: Connection) -> int:
    return int(require_row(connection.execute("select count(*) as n from llm_queries").fetchone())["n"])


def test_every_decision_is_made_again_to_the_bit_by_the_command(world: World) -> None:
    done = run(world.folder, "replay", "--all", "--json")
    assert (done.status, done.err) == (0, "")
    summary = json.loads(done.out)
    reasons = {
        row["terminal_reason"]: row["n"]
        for row in peek(world.folder, "select terminal_reason, count(*) as n from decisions group by 1")
    }
    assert summary["decisions"] == summary["bit_exact"] == sum(reasons.values()) > 40
    assert (summary["different"], summary["not_replayable"], summary["decided_by_other_code"]) == (0, 0, 0)
    assert summary["recorded"] == summary["remade"] == reasons
    assert summary["differences"] == []
    assert reasons["traded"] > 0
    assert reasons["edge"] > 0


def test_world_went_every_route_of_the_cascade(connection: Connection) -> None:
    routes = Counter(it.recorded.route for it in made(connection))
    assert {Route.SINGLE, Route.FULL, Route.ENHANCED} == set(routes)
    assert min(routes.values()) > 2


def test_one_decision_is_made_again_by_the_command(world: World) -> None:
    done = run(world.folder, "replay", "1")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("1 decisions made again: 1 bit-exact, 0 different")


def test_decision_nobody_made_is_named_by_the_command(world: World) -> None:
    assert_one_message(run(world.folder, "replay", str(NOBODY)), f"no decision {NOBODY}", "ensemble status")


def test_command_wants_one_decision_or_all(world: World) -> None:
    assert_one_message(run(world.folder, "replay"), "name one decision, or --all")
    assert_one_message(run(world.folder, "replay", "1", "--all"), "name one decision, or --all")


@pytest.mark.parametrize("strategy", list(Strategy))
def test_other_strategy_decides_the_same_answers_again_and_calls_nobody(
    connection: Connection, strategy: Strategy
) -> None:
    before = calls(connection)
    found = made(connection, Alternative(strategy))
    assert len(found) == len(chain.decision_ids(connection))
    assert calls(connection) == before
    combined = [it for it in found if it.recorded.p_pooled is not None and it.recorded.route is not Route.SINGLE]
    assert {it.remade.strategy for it in combined} == {strategy}
    # one model alone leaves nothing to combine
    alone = [it for it in found if it.recorded.route is Route.SINGLE]
    assert {it.difference for it in alone} == {None}
    pooled = [it for it in combined if it.remade.p_pooled != it.recorded.p_pooled]
    assert pooled
    # by which strategy is said beside the number; only the gate of consensus pools as weighted voting does
    same_pool = {Strategy.WEIGHTED_VOTING, Strategy.CONSENSUS} if strategy is Strategy.CONSENSUS else {strategy}
    for it in combined:
        if it.recorded.strategy in same_pool:
            assert it.remade.p_pooled == it.recorded.p_pooled


def test_strategy_of_the_settings_changes_nothing_where_it_decided(connection: Connection) -> None:
    found = made(connection, Alternative(Strategy.WEIGHTED_VOTING))
    assert {it.difference for it in found if it.recorded.route is not Route.ENHANCED} == {None}


def test_no_weight_against_the_price_trades_nothing(connection: Connection) -> None:
    found = changed(connection, ensemble__market_weight=0.0, ensemble__max_market_weight=0.0)
    assert traded([it.recorded for it in found]) > 0
    assert traded([it.remade for it in found]) == 0
    for it in found:
        if it.remade.p_final is not None and it.remade.p_market is not None:
            assert it.remade.p_final == pytest.approx(it.remade.p_market)


def test_smaller_prior_of_the_weight_against_the_price_is_fitted_on_what_had_settled_then(
    connection: Connection,
) -> None:
    found = changed(connection, ensemble__market_weight=0.1)
    priced = [it for it in found if it.recorded.market_weight is not None]
    assert all((it.remade.market_weight or 0) < (it.recorded.market_weight or 0) for it in priced)
    untaught = [it for it in priced if it.recorded.market_weight == 0.5]
    assert 0.1 in {it.remade.market_weight for it in untaught}


def test_calibrations_are_fitted_again_to_the_bit_from_what_had_settled_by_then(connection: Connection) -> None:
    (kept,) = connection.execute("select settings from settings_snapshots").fetchall()
    options = Policy.model_validate(kept["settings"]).ensemble
    rows = connection.execute("select calibration_id from calibration_tables order by 1").fetchall()
    found = [calibrations.calibration_by_id(connection, row["calibration_id"]) for row in rows]
    assert max(it.n for it in found if it) > 0
    for recorded in found:
        assert recorded is not None
        again = fit(SettledPools.of(settled_pools(connection, recorded.as_of)), options, recorded.as_of)
        assert replace(again, calibration_id=recorded.calibration_id) == recorded


def test_no_edge_demanded_trades_more(connection: Connection) -> None:
    found = changed(connection, gates__min_edge_low=0, gates__min_edge_middle=0, gates__min_edge_high=0)
    assert traded([it.remade for it in found]) > traded([it.recorded for it in found])
    other = [it for it in found if it.difference is not None]
    # edge demanded is no part of pooling
    assert {it.recorded.p_final == it.remade.p_final for it in other} == {True}


def test_ensemble_switched_off_hears_one_model_of_those_that_answered(connection: Connection) -> None:
    found = changed(connection, multi_model_ensemble=False)
    assert {it.remade.route for it in found} == {Route.SINGLE}
    heard = [it for it in found if it.recorded.route is not Route.SINGLE and it.remade.p_pooled is not None]
    assert heard
    for it in heard:
        assert len(it.remade.models_consulted) < len(it.recorded.models_consulted)
        assert set(it.remade.models_consulted) <= set(it.recorded.models_consulted)


def test_stricter_volume_hears_nobody_and_says_so(connection: Connection) -> None:
    found = changed(connection, gates__min_volume=10**9)
    refused = {it.remade.terminal_reason for it in found if it.recorded.p_pooled is not None}
    assert refused == {Reason.VOLUME}
    assert {it.remade.p_pooled for it in found} == {None}


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("nothing", 1, "nothing: decisions follow no setting of this name"),
        ("nothing.here", 1, "nothing.here: decisions follow no setting of this name"),
        ("scan.batch_size", 1, "scan.batch_size: decisions follow no setting of this name"),
        ("gates.min_edge", 0, "section gates has no setting 'min_edge'"),
        ("gates.min_confidence", 7, "gates.min_confidence: Input should be less than or equal to 1"),
        ("gates.min_confidence", "much", "gates.min_confidence: Input should be a valid number"),
        ("gates", 5, "gates: "),
        ("ensemble.strategy", "coin", "ensemble.strategy: "),
        ("ensemble.clip.low", 0.1, "name one value of a section"),
        ("members.0", "a", "name one value of a section"),
        ("multi_model_ensemble.x", 1, "name one value of a section"),
        ("methods.weighted_voting", False, "WEIGHTED_VOTING switches off"),
        ("ensemble.half_life_resolutions", 10, "takes these as recorded"),
        ("ensemble.show_market_price", True, "takes these as recorded"),
        ("modes.recovery_minutes", 1, "takes these as recorded"),
        ("modes.minimal_stake_share", 0.9, "a more careful mode never allows more"),
    ],
)
def test_change_that_does_not_fit_is_refused_by_name(
    connection: Connection, name: str, value: object, says: str
) -> None:
    with pytest.raises(SettingsError, match=says.replace("(", r"\(")):
        replay(connection, 1, Alternative(None, {name: value}))
    with pytest.raises(SettingsError):
        list(replay_all(connection, Alternative(None, {name: value})))


def test_command_with_another_setting_tells_what_would_have_been_and_ends_well(world: World) -> None:
    done = run(world.folder, "replay", "--all", "--set", "gates.max_disagreement=0", "--set", "ensemble.min_answers=2")
    assert (done.status, done.err) == (0, "")
    recorded, remade = (
        line.split(": ", 1)[1] for line in done.out.splitlines() if line.startswith(("recorded: ", "remade: "))
    )
    assert recorded != remade
    assert "disagreement" in remade
    assert "→ SKIP (disagreement); first difference in" in done.out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("gates.min_edge=0", ("gates has no setting 'min_edge'",)),
        ("gates.min_confidence=7", (r"gates\.min_confidence",)),
        ("gates.min_confidence", ("NAME=VALUE",)),
    ],
)
def test_command_refuses_a_change_that_does_not_fit(world: World, change: str, words: tuple[str, ...]) -> None:
    assert_one_message(run(world.folder, "replay", "--all", "--set", change), *words)


def test_forged_pool_is_the_first_difference(connection: Connection) -> None:
    decision_id = one_id(connection, "action = 'trade'")
    row = connection.execute(
        "update decisions set p_pooled = p_pooled + 1e-12 where decision_id = %s returning p_pooled", [decision_id]
    ).fetchone()
    found = replay(connection, decision_id)
    assert found.difference is not None
    assert found.difference.where == "p_pooled"
    assert found.difference.recorded == require_row(row)["p_pooled"]
    assert found.difference.remade == pytest.approx(found.difference.recorded, abs=2e-12)
    assert found.difference.remade != found.difference.recorded
    summary = replay_summary([found], is_alternative=False)
    assert (summary["bit_exact"], summary["different"]) == (0, 1)
    assert f"decision {decision_id}: " in show_replay(summary)
    assert "first difference in p_pooled" in show_replay(summary)


def test_forged_number_of_a_gate_is_the_first_difference(connection: Connection) -> None:
    decision_id = one_id(connection, "terminal_reason = 'edge'")
    gates = gates_of(connection, decision_id)
    place = next(i for i, gate in enumerate(gates) if gate["gate"] == "edge")
    gates[place]["numbers"]["edge"] += 1e-12
    connection.execute("update decisions set gates = %s where decision_id = %s", [Jsonb(gates), decision_id])
    difference = replay(connection, decision_id).difference
    assert difference is not None
    assert difference.where == f"gates[{place}].numbers.edge"
    assert difference.recorded == gates[place]["numbers"]["edge"]


def test_gate_left_out_of_the_record_is_the_first_difference(connection: Connection) -> None:
    decision_id = one_id(connection, "action = 'trade'")
    gates = gates_of(connection, decision_id)
    connection.execute("update decisions set gates = %s where decision_id = %s", [Jsonb(gates[:-1]), decision_id])
    difference = replay(connection, decision_id).difference
    assert difference is not None
    assert difference.where == f"gates[{len(gates) - 1}]"
    assert difference.recorded is None


def test_forged_weight_of_a_member_is_the_first_difference(connection: Connection) -> None:
    decision_id = one_id(connection, "route = 'full' and p_pooled is not null")
    heard = [i for i, it in enumerate(chain.load_decision(connection, decision_id).members) if it.weight > 0]
    names = chain.load_decision(connection, decision_id).models_consulted
    connection.execute(
        "update decision_members set weight = weight * (1 - 1e-12) where decision_id = %s and model_id = %s",
        [decision_id, names[heard[0]]],
    )
    difference = replay(connection, decision_id).difference
    assert difference is not None
    assert difference.where == f"members[{heard[0]}].weight"


FORGED = {
    "forecasts set p_yes = p_yes * 0.9 where forecast_id = %(forecast)s": "p_plain_mean",
    "forecasts set confidence = confidence * 0.9999 where forecast_id = %(forecast)s": "confidence",
    "calibration_tables set slope = slope * 1.001 where calibration_id = %(calibration)s": "p_calibrated",
    "calibration_tables set market_weight = market_weight * 0.9 where calibration_id = %(calibration)s": "p_final",
    "model_ranking_rows set skill = skill - 0.01 where ranking_id = %(ranking)s and model_id = %(model)s": "p_pooled",
    "decision_contexts set spent_micro_usd = spent_micro_usd + 1 where context_id = %(context)s": (
        "gates[2].numbers.committed_micro_usd"
    ),
    "decision_contexts set operating_mode = 'suspended' where context_id = %(context)s": "action",
    "settings_snapshots set settings = jsonb_set(settings, '{sizing,kelly_fraction}', '0.01')"
    " where settings_hash = %(settings)s": "contracts",
}


@pytest.mark.parametrize(("forged", "place"), FORGED.items(), ids=lambda text: text.split()[0])
def test_forged_link_of_the_chain_shows_where_the_decision_first_turns_on_it(
    connection: Connection, forged: str, place: str
) -> None:
    decision_id = one_id(connection, "action = 'trade' and route = 'full'")
    assert replay(connection, decision_id).difference is None
    decision = chain.load_decision(connection, decision_id)
    member = next(it for it in decision.members if it.weight > 0)
    changed_rows = connection.execute(
        f"update {forged}".encode(),
        {
            "forecast": member.forecast_id,
            "model": member.model_id,
            "calibration": decision.calibration_id,
            "ranking": decision.ranking_id,
            "context": decision.context_id,
            "settings": decision.settings_hash,
        },
    ).rowcount
    assert changed_rows == 1
    found = replay(connection, decision_id).difference
    assert found is not None
    assert found.where == place


def test_decision_recorded_before_inputs_were_kept_is_counted_as_not_replayable(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="decisions_keep_inputs"), connection.transaction():
        connection.execute("update decisions set inputs = null where decision_id = 1")
    connection.execute("alter table decisions drop constraint decisions_keep_inputs")
    connection.execute("update decisions set inputs = null where decision_id = 1")
    with pytest.raises(ReplayError, match="decision 1 was recorded before the inputs of decisions were kept"):
        replay(connection, 1)
    found = list(replay_all(connection))
    summary = replay_summary(found, is_alternative=False)
    assert isinstance(found[0], ReplayError)
    assert (summary["not_replayable"], summary["different"]) == (1, 0)
    assert summary["bit_exact"] == summary["decisions"] - 1
    assert "1 recorded before inputs were kept" in show_replay(summary)


def test_decision_nobody_made_cannot_be_made_again(connection: Connection) -> None:
    with pytest.raises(DecisionNotFoundError, match=str(NOBODY)):
        replay(connection, NOBODY)


def copy_decision(connection: Connection, **changes: Any) -> int:
    """A decision like a recorded one, on a snapshot of its own unless told; returns its id."""
    source = one_id(connection, "route = 'full' and p_pooled is not null")
    row = connection.execute(
        "insert into market_snapshots (market_id, observed_at, yes_bid, yes_ask, last_price, volume, status, reason,"
        " volatility_regime) select s.market_id, s.observed_at + interval '1 second', yes_bid, yes_ask, last_price,"
        " volume, status, s.reason, volatility_regime from market_snapshots s join decisions d using (snapshot_id)"
        " where d.decision_id = %s returning snapshot_id",
        [source],
    ).fetchone()
    given = {"snapshot_id": require_row(row)["snapshot_id"], "selected_model": None, "p_final": None, **changes}
    columns = (*DECISION_COLUMNS, "gates", "inputs")
    values = ", ".join(f"%({name})s" if name in given else name for name in columns)
    row = connection.execute(
        f"insert into decisions ({', '.join(columns)}) select {values} from decisions"
        " where decision_id = %(source)s returning decision_id".encode(),
        {**given, "source": source},
    ).fetchone()
    return int(require_row(row)["decision_id"])


def test_copy_of_a_decision_with_its_whole_chain_is_taken(connection: Connection) -> None:
    decision_id = copy_decision(connection)
    connection.execute("set constraints all immediate")
    assert chain.load_decision(connection, decision_id).members == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"snapshot_id": NOBODY},
        {"market_id": "kalshi:NONE"},
        {"batch_id": NOBODY},
        {"context_id": NOBODY},
        {"ranking_id": NOBODY},
        {"calibration_id": NOBODY},
        {"settings_hash": "nothing"},
        {"code_version": "0.0.0+000000000000"},
        {"selected_model": "nobody", "p_final": 0.5},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_decision_without_a_link_of_its_chain_is_refused_by_the_database(
    connection: Connection, changes: dict[str, Any]
) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        copy_decision(connection, **changes)


def test_decision_that_names_a_model_it_did_not_ask_is_refused_at_the_end(connection: Connection) -> None:
    (known,) = connection.execute("select min(model_id) as id from models").fetchall()
    copy_decision(connection, selected_model=known["id"], p_final=0.5)
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="decisions_heard"):
        connection.execute("set constraints all immediate")


@pytest.mark.parametrize("what", ["of another snapshot", "of another model", "never given", "given twice"])
def test_member_with_a_forecast_that_is_not_its_own_is_refused_by_the_database(
    connection: Connection, what: str
) -> None:
    decision_id = one_id(connection, "route = 'single' and p_pooled is not null")
    decision = chain.load_decision(connection, decision_id)
    heard = next(it for it in decision.members if it.forecast_id is not None)
    (other,) = connection.execute(
        "select forecast_id, p_yes from forecasts where snapshot_id <> %s and model_id = %s limit 1",
        [decision.snapshot_id, heard.model_id],
    ).fetchall()
    (stranger,) = connection.execute(
        "select model_id from models where model_id <> all(%s) limit 1", [list(decision.models_consulted)]
    ).fetchall()
    connection.execute("delete from decision_members where decision_id = %s and model_id = %s",
                       [decision_id, heard.model_id])  # fmt: skip
    member = {
        "of another snapshot": (heard.model_id, other["forecast_id"]),
        "of another model": (stranger["model_id"], heard.forecast_id),
        "never given": (heard.model_id, NOBODY),
        "given twice": (heard.model_id, heard.forecast_id),
    }[what]
    insert = (
        "insert into decision_members (decision_id, snapshot_id, model_id, forecast_id, p_yes, weight)"
        " values (%s, %s, %s, %s, 0.5, 0)"
    )
    values = [decision_id, decision.snapshot_id, *member]
    if what == "given twice":
        connection.execute(insert, values)
    with pytest.raises(psycopg.errors.IntegrityError):
        connection.execute(insert, values)
