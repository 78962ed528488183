"""Every decision keeps what it rested on, and what is read back makes the same decision again."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from ensemble_pipeline.domain import Ranking, Reason
from ensemble_pipeline.ensemble import decide
from ensemble_pipeline.ensemble.conclude import conclude
from ensemble_pipeline.ensemble.context import BatchContext, Method
from ensemble_pipeline.ensemble.opinions import engine_of, opinion_on
from ensemble_pipeline.ensemble.plan import Planner
from ensemble_pipeline.ensemble.reading import stored_context
from ensemble_pipeline.ensemble.stored import read_health, read_inputs
from ensemble_pipeline.settings import Policy
from ensemble_pipeline.store import calibrations, calls, contexts, rankings
from ensemble_pipeline.store.budget import DaySpend
from ensemble_pipeline.store.calibrations import Calibration
from ensemble_pipeline.store.contexts import StoredContext
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.efficiency import efficiency_by_id
from ensemble_pipeline.store.rankings import ModelStrength
from ensemble_pipeline_tests.ensemble.venue import Play, playing

WITH_DRAWS = {"exploration_share": 0.5, "max_members": 2, "market_weight": 0.5}


def play_through(play: Play, method: Method | None = None) -> decide.Recorded:
    """The six steps by a method."""
    play.scan()
    batch, waiting = decide.load(play.instance, None)
    context, plans = decide.plan(play.instance, waiting, batch, "run", method)
    asyncio.run(decide.consult(play.instance, context, plans))
    opinions = decide.combine(play.instance, context, plans)
    made = play.with_venue(lambda venue: decide.size(play.instance, venue, context, plans, opinions))
    return decide.record(play.instance, context, made)


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("strategy", ["consensus", "weighted_voting", "confidence_based", "cascading"])
def test_what_is_kept_with_a_decision_makes_it_again_to_the_bit(
    database: Database, monkeypatch: pytest.MonkeyPatch, method: Method, strategy: str
) -> None:
    with playing(database, monkeypatch, "A-1", "B-1", "B-2", ensemble=WITH_DRAWS | {"strategy": strategy}) as play:
        assert len(play_through(play, method).decision_ids) == 3
        # what is believed and set later has no say
        play.change(ensemble={"market_weight": 0.1}, gates={"min_edge_high": 0.5})
        for row in play.rows("select * from decisions order by decision_id"):
            with database.connection() as connection:
                kept = contexts.load_context(connection, row["context_id"])
                ranking = rankings.ranking_by_id(connection, kept.ranking_id)
                calibration = calibrations.calibration_by_id(connection, kept.calibration_id)
                assert ranking is not None
                assert calibration is not None
                strengths = rankings.strengths_of(connection, ranking.ranking_id)
                answers = calls.forecasts_on(connection, [row["snapshot_id"]])[row["snapshot_id"]]
            [stored] = play.rows(
                f"select settings from settings_snapshots where settings_hash = '{kept.settings_hash}'"
            )
            policy = Policy.model_validate(stored["settings"])
            snapshot, standing, filling = read_inputs(row["inputs"])
            context = context_from(kept, row["context_id"], ranking, calibration, strengths)
            with database.connection() as connection:
                context = replace(context, efficiency=efficiency_by_id(connection, kept.efficiency_id or 0))
            assert stored_context(context) == kept
            plan = Planner(policy, context).plan(snapshot, standing)
            made = conclude(policy, context, plan, opinion_on(engine_of(policy, context), plan, answers), filling)
            for name in ("p_plain_mean", "p_pooled", "p_calibrated", "p_final", "uncertainty", "confidence", "edge"):
                assert getattr(made, name) == row[name]
            for name in ("action", "side", "terminal_reason", "route", "strategy", "contracts", "stake_micro_usd"):
                assert getattr(made, name) == row[name]
            assert (made.reasoning, made.limit_price, made.inputs) == (
                row["reasoning"],
                row["limit_price"],
                row["inputs"],
            )
            members = play.rows(
                "select model_id, forecast_id, p_yes, weight, propensity from decision_members"
                f" where decision_id = {row['decision_id']} order by model_id"
            )
            assert [
                {name: getattr(member, name) for name in ("model_id", "forecast_id", "p_yes", "weight", "propensity")}
                for member in made.members
            ] == members


def context_from(
    kept: StoredContext,
    context_id: int,
    ranking: Ranking,
    calibration: Calibration,
    strengths: Sequence[ModelStrength],
) -> BatchContext:
    """A context as it was read, where nobody is degraded."""
    return BatchContext(
        context_id=context_id,
        now=kept.planned_at,
        batch_id=kept.batch_id,
        run_id=kept.run_id,
        method=Method(kept.method),
        ranking=ranking,
        strengths=strengths,
        degraded=frozenset(),
        calibration=calibration,
        health=read_health(kept.health),
        operating_mode=kept.operating_mode,
        spend=DaySpend(kept.budget_day, kept.spent_micro_usd, kept.held_micro_usd),
        settings_hash=kept.settings_hash,
        code_version=kept.code_version,
    )


def test_decision_keeps_its_gates_in_order_with_their_numbers(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=WITH_DRAWS) as play:
        play_through(play)
        [row] = play.rows("select gates, terminal_reason, code_version, route from decisions")
        places = [list(Reason).index(Reason(gate["gate"])) for gate in row["gates"]]
        assert places == sorted(places)
        assert {"near_expiry", "route"} <= {gate["gate"] for gate in row["gates"]}
        assert all(gate["is_passed"] and gate["numbers"] for gate in row["gates"])
        assert row["terminal_reason"] == "traded"


def test_decisions_of_a_batch_rest_on_one_context_and_a_batch_taken_up_again_on_its_own(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", "B-1", ensemble=WITH_DRAWS) as play:
        play.scan()
        play.plan(1)
        play_through(play)
        assert [row["n"] for row in play.rows("select count(*) as n from decision_contexts group by batch_id")] != []
        assert len(play.rows("select distinct context_id from decisions")) == 1
        [row] = play.rows("select max(context_id) as newest from decision_contexts")
        assert play.rows("select distinct context_id from decisions") == [{"context_id": row["newest"]}]
