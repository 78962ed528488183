"""The cascade over real HTTP: one after the other, until one more answer is not worth its price."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from ensemble_pipeline.domain import Forecast, Strategy
from ensemble_pipeline.ensemble import decide
from ensemble_pipeline.ensemble.consult import Consultation, consult
from ensemble_pipeline.ensemble.context import BatchContext
from ensemble_pipeline.ensemble.opinions import engine_of, opinion_on
from ensemble_pipeline.ensemble.plan import Plan
from ensemble_pipeline.store import calls
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.venue import Play, playing
from ensemble_pipeline_tests.sandbox.small_world import MODELS

CASCADE: dict[str, Any] = {"strategy": "cascading", "exploration_share": 0, "max_attempts": 1}
# the members cost some cents each: dear against a bet of $11, cheap against one of $50
# OpenRouter, told to pay nothing, asks only what is free
FREE = tuple(replace(model, input_usd_per_mtok=Decimal(0), output_usd_per_mtok=Decimal(0)) for model in MODELS)
DEAR: dict[str, Any] = {"sizing": {"bankroll_usd": "220"}}


def members_at(play: Play, usd_per_mtok: str) -> None:
    """Let every member cost so much for a million tokens of either kind."""
    prices = {"input_usd_per_mtok": usd_per_mtok, "output_usd_per_mtok": usd_per_mtok}
    play.change(members=[member.model_dump() | prices for member in play.instance.settings.members])


def ask(play: Play) -> tuple[BatchContext, Plan, Consultation]:
    play.scan()
    context, [plan] = play.plan()
    assert plan.strategy is Strategy.CASCADING
    return context, plan, asyncio.run(consult(play.instance, context, [plan]))


def asked(play: Play) -> list[str]:
    """The models asked, in the order in which they were."""
    return [row["model_id"] for row in play.rows("select model_id from llm_queries order by query_id")]


def heard(play: Play, plan: Plan) -> list[Forecast]:
    with play.instance.database.connection() as connection:
        return calls.forecasts_on(connection, [plan.snapshot.snapshot_id])[plan.snapshot.snapshot_id]


def test_cascade_asks_in_the_order_of_utility_and_stops_where_an_answer_is_not_worth_its_price(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=CASCADE, **DEAR) as play:
        members_at(play, "300")
        _, plan, went = ask(play)
        order = [member.name for member in plan.members]
        assert 0 < went.answered < 5
        assert asked(play) == order[: went.answered]


def test_cascade_goes_on_to_the_last_member_where_answers_cost_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", models=FREE, ensemble=CASCADE) as play:
        members_at(play, "0")
        _, plan, went = ask(play)
        assert went == Consultation(5, 0, 0, 0, 0)
        assert asked(play) == [member.name for member in plan.members]


def test_other_strategies_ask_everybody_whatever_they_cost(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=CASCADE | {"strategy": "weighted_voting"}, **DEAR) as play:
        members_at(play, "300")
        play.scan()
        context, plans = play.plan()
        assert asyncio.run(consult(play.instance, context, plans)).answered == 5


def test_member_that_fails_makes_room_for_the_next(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1", models=FREE, ensemble=CASCADE | {"max_members": 2}) as play:
        members_at(play, "0")
        play.scan()
        _, [plan] = play.plan()
        first, second = plan.members
        play.fault(first.provider, "out_of_credit")
        context, [plan] = play.plan()
        assert asyncio.run(consult(play.instance, context, [plan])) == Consultation(2, 1, 0, 0, 0)
        assert asked(play) == [first.name, second.name, plan.standby[0].name]
        assert [it.model_id for it in heard(play, plan)] == sorted([second.name, plan.standby[0].name])


def test_member_that_hangs_leaves_the_others_their_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    options = CASCADE | {"decision_deadline_s": 4.5}
    with playing(database, monkeypatch, "A-1", models=FREE, ensemble=options) as play:
        members_at(play, "0")
        play.scan()
        _, [plan] = play.plan()
        assert plan.standby == ()
        first, *others = plan.members
        play.fault(first.provider, "hang", model=first.name)
        _, plan, went = ask(play)
        assert went == Consultation(4, 1, 0, 0, 0)
        assert [it.model_id for it in heard(play, plan)] == sorted(member.name for member in others)


def test_cascade_in_which_everybody_fails_hears_nobody_and_ends(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=CASCADE) as play:
        for member in play.instance.settings.members:
            play.fault(member.provider, "out_of_credit")
        _, plan, went = ask(play)
        assert went == Consultation(0, 5, 0, 0, 0)
        assert asked(play) == [member.name for member in plan.members]


def test_cascade_taken_up_again_asks_nobody_twice(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=CASCADE, **DEAR) as play:
        members_at(play, "300")
        context, plan, went = ask(play)
        again = asyncio.run(consult(play.instance, context, [plan]))
        assert again.answered == 0
        assert len(asked(play)) == went.answered


@pytest.mark.parametrize("usd_per_mtok", ["0", "40", "300"])
def test_answers_on_record_make_the_same_pool_again_and_name_those_who_were_heard(
    database: Database, monkeypatch: pytest.MonkeyPatch, usd_per_mtok: str
) -> None:
    models = MODELS if float(usd_per_mtok) else FREE
    with playing(database, monkeypatch, "A-1", models=models, ensemble=CASCADE, **DEAR) as play:
        members_at(play, usd_per_mtok)
        context, plan, went = ask(play)
        answers = heard(play, plan)
        engine = engine_of(play.instance.settings.policy, context)
        [live] = decide.combine(play.instance, context, [plan])
        assert live is not None
        assert opinion_on(engine, plan, answers) == live
        assert opinion_on(engine, plan, answers[::-1]) == live
        # the rule that stopped the asking stops at the same answer when it looks back
        assert [o.model_id for o in live.members if o.weight > 0] == sorted(asked(play))
        assert len(live.members) == went.answered
        assert sum(o.weight for o in live.members) == pytest.approx(1, abs=1e-12)


def test_member_that_an_exploration_draw_let_in_is_asked_beside_the_cascade(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = CASCADE | {"max_members": 1, "exploration_share": 0.999999}
    with playing(database, monkeypatch, "A-1", ensemble=options, **DEAR) as play:
        members_at(play, "300")
        _, plan, went = ask(play)
        assert len(plan.chosen) == 1
        assert went.answered == 5
        assert sorted(asked(play)) == sorted(member.name for member in plan.members)
