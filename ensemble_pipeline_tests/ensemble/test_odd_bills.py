"""Bills that cannot be right, and none at all: nothing is overspent, nothing is lost, and somebody is told.

Over real HTTP, from the provider's reply to the ledger, the alerts and the next decision.
"""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from ensemble_pipeline.ensemble.consult import Consultation, consult
from ensemble_pipeline.ensemble.cost_alerts import watch_costs
from ensemble_pipeline.ensemble.disputes import decide_dispute
from ensemble_pipeline.errors import SettingsError
from ensemble_pipeline.sandbox.asking import Completion, Desk, Question, Refusal
from ensemble_pipeline.sandbox.world import WorldAnswer
from ensemble_pipeline.store.alerts import open_alerts
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.test_consult import assert_books_are_even
from ensemble_pipeline_tests.ensemble.venue import UNLIMITED, Play, playing
from ensemble_pipeline_tests.sandbox.small_world import HOUR, MODELS, START

OTHERS = sorted(model.name for model in MODELS if model.provider != "xai")


@pytest.fixture
def play(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """Two markets; every member is asked about each."""
    with playing(database, monkeypatch, "A-1", "B-1", ensemble={"member_policy": "all"}) as made:
        yield made


def bill(play: Play, usd: str, model: str = "xai-model") -> None:
    """What a model's provider says its answers cost from now on."""
    play.world.answers[model] = WorldAnswer(p_yes=0.7, confidence=0.9, cost_usd=Decimal(usd))


def consult_first(play: Play) -> Consultation:
    """Ask about the first market."""
    play.scan()
    context, plans = play.plan()
    return asyncio.run(consult(play.instance, context, plans[:1]))


def booked(play: Play, model: str = "xai-model") -> dict[str, Any]:
    """The model's only call: its row with what was held, booked and odd."""
    [row] = play.rows(
        "select q.status, q.cost_source, q.cost_micro_usd as cost, l.spent_micro_usd as spent,"
        " l.reserved_micro_usd as reserved, l.budget_day, coalesce(a.kind, '') as odd, a.claimed_micro_usd as claimed"
        " from llm_queries q join ledger l using (reservation_id) left join cost_anomalies a using (reservation_id)"
        f" where q.model_id = '{model}'"
    )
    return row


def alerts_of(play: Play) -> dict[str, str]:
    """Kinds and causes of what is wrong with money."""
    watch_costs(play.instance)
    with play.instance.database.connection() as connection:
        return {row["kind"]: f"{row['cause']} {row['action']}" for row in open_alerts(connection)}


def test_bill_beyond_belief_is_not_booked_keeps_the_answer_and_closes_the_model_until_somebody_decides(
    play: Play,
) -> None:
    bill(play, "9")
    consult_first(play)
    row = booked(play)
    assert (row["status"], row["cost_source"], row["odd"], row["claimed"]) == (
        "answered", "settings", "absurd_cost", 9_000_000,
    )  # fmt: skip
    assert 0 < row["cost"] == row["spent"] <= row["reserved"]
    assert_books_are_even(play)
    assert "`ensemble budget accept 1`" in alerts_of(play)["cost_dispute"]

    _, plans = play.plan()
    waiting = next(plan for plan in plans if plan.snapshot.market.ticker == "B-1")
    assert sorted(member.name for member in waiting.members) == OTHERS

    spent = sum(row["spent_micro_usd"] for row in play.rows("select spent_micro_usd from ledger"))
    decide_dispute(play.instance, 1, "accepted", "the bill says so")
    [day] = play.rows("select spent_micro_usd from budget_accounts where scope = 'day'")
    assert day["spent_micro_usd"] == spent - row["cost"] + 9_000_000
    assert_books_are_even(play)
    assert "cost_dispute" not in alerts_of(play)
    _, plans = play.plan()
    assert {len(plan.members) for plan in plans} == {5}


@pytest.mark.parametrize(("usd", "odd"), [("-1", "unusable_report"), ("0", "zero_cost"), ("0.03", "overrun")])
def test_bill_below_zero_or_of_nothing_gives_way_to_the_prices_and_one_somewhat_above_the_worst_case_is_booked_in_full(
    play: Play, usd: str, odd: str
) -> None:
    bill(play, usd)
    consult_first(play)
    row = booked(play)
    assert (row["status"], row["odd"]) == ("answered", odd)
    if odd == "overrun":
        assert row["reserved"] < row["cost"] == 30_000
    else:
        assert 0 < row["cost"] <= row["reserved"]
    assert_books_are_even(play)
    assert "xai-model" in alerts_of(play)["odd_cost"]


@pytest.mark.parametrize("model", ["openai-model", "anthropic-model", "xai-model", "openrouter-model"])
def test_reply_without_usage_counts_at_its_worst_case_and_keeps_the_answer(play: Play, model: str) -> None:
    play.fault(model.removesuffix("-model"), "no_usage")
    consult_first(play)
    row = booked(play, model)
    assert (row["status"], row["cost_source"], row["odd"]) == ("answered", "worst_case", "usage_missing")
    assert row["cost"] == row["spent"] == row["reserved"] > 0
    assert_books_are_even(play)
    assert model in alerts_of(play)["odd_cost"]


def test_model_whose_price_nobody_knows_is_not_asked_and_the_alert_says_which_settings_are_missing(play: Play) -> None:
    members = [member.model_dump() for member in play.instance.settings.members]
    for member in members:
        if member["name"] == "xai-model":
            member |= {"input_usd_per_mtok": None, "output_usd_per_mtok": None}
    play.change(members=members)
    consult_first(play)
    assert [row["model_id"] for row in play.rows("select model_id from llm_queries order by 1")] == OTHERS
    said = alerts_of(play)["price_unknown"]
    assert "xai-model is not asked" in said
    assert "ENSEMBLE_MEMBERS" in said


def test_openrouter_routes_to_no_host_that_is_dearer_than_what_is_held_and_the_call_owes_nothing(play: Play) -> None:
    members = [member.model_dump() for member in play.instance.settings.members]
    for member in members:
        if member["name"] == "openrouter-model":
            member["output_usd_per_mtok"] = "9.99"
    play.change(members=members)
    consult_first(play)
    row = booked(play, "openrouter-model")
    assert (row["status"], row["cost_source"], row["spent"]) == ("failed", "not_billed", 0)
    assert_books_are_even(play)


def test_call_during_which_midnight_passes_counts_on_the_day_it_left(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    play.clock.advance_to(START + 24 * HOUR - timedelta(seconds=1))
    answer = Desk.ask

    def answer_tomorrow(desk: Desk, provider: str, question: Question, at: Any) -> Completion | Refusal:
        said = answer(desk, provider, question, at)
        play.clock.advance_to(START + 25 * HOUR)
        return said

    monkeypatch.setattr(Desk, "ask", answer_tomorrow)
    play.price("A-1", "0.40", "0.42")
    assert consult_first(play).answered == 5
    days = play.rows("select budget_day, count(*) as n, sum(held_micro_usd) as held from ledger group by 1 order by 1")
    left_before = days[0]
    assert (left_before["budget_day"], left_before["held"]) == (START.date(), 0)
    assert sum(day["n"] for day in days) == 5
    assert_books_are_even(play)


def test_calls_that_wait_for_their_turn_hold_nothing_and_count_on_the_day_they_leave(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", "B-1", "C-1", "D-1", ensemble={"member_policy": "all"}) as play:
        only = [it.model_dump() for it in play.instance.settings.members if it.name == "xai-model"]
        providers = {name: it.model_dump() for name, it in play.instance.settings.providers.items()}
        providers["xai"]["max_concurrency"] = 1
        play.change(members=only, providers=providers)
        play.clock.advance_to(START + 24 * HOUR - timedelta(seconds=1))
        for ticker in ("A-1", "B-1", "C-1", "D-1"):
            play.price(ticker, "0.40", "0.42")
        held, answer = [], Desk.ask

        def look(desk: Desk, provider: str, question: Question, at: Any) -> Completion | Refusal:
            held.append(play.rows("select count(*) as n from budget_reservations where state = 'held'")[0]["n"])
            play.clock.advance_to(START + 25 * HOUR)
            return answer(desk, provider, question, at)

        monkeypatch.setattr(Desk, "ask", look)
        play.scan()
        context, plans = play.plan()
        assert asyncio.run(consult(play.instance, context, plans)).answered == 4
        days = play.rows("select budget_day, count(*) as n from ledger group by 1 order by 1")
        # what has answered may not be booked yet when the next one leaves; what has not left holds nothing
        assert all(holding <= left for left, holding in enumerate(held, 1))
        assert [(row["budget_day"].day, row["n"]) for row in days] == [(START.day, 1), (START.day + 1, 3)]
        assert_books_are_even(play)


def test_model_that_billed_more_than_its_worst_case_has_as_much_held_from_then_on(play: Play) -> None:
    play.change(budget=UNLIMITED)
    worst = _held_for_a_call(play)
    bill(play, f"{5 * worst / 1e6:.6f}")
    consult_first(play)
    row = booked(play)
    assert (row["odd"], row["spent"], row["reserved"]) == ("overrun", 5 * worst, worst)
    # with room for one more at its old worst case, and not at what it really takes
    day = play.rows("select spent_micro_usd as spent from budget_accounts where scope = 'day'")[0]["spent"]
    play.change(budget=UNLIMITED | {"day_hard_usd": f"{(day + 4 * worst) / 1e6:.6f}"})
    _, plans = play.plan()
    second = next(it for it in plans if it.snapshot.market.ticker == "B-1")
    assert second.standing.worst_case_micro_usd["xai-model"] == pytest.approx(5 * worst, rel=0.01)
    assert "xai-model" not in {member.name for member in second.members}


def _held_for_a_call(play: Play) -> int:
    play.scan()
    _, plans = play.plan()
    return plans[0].standing.worst_case_micro_usd["xai-model"]


def test_limit_lowered_below_what_is_spent_stops_everything_that_costs_and_is_told(play: Play) -> None:
    consult_first(play)
    [day] = play.rows("select spent_micro_usd as spent from budget_accounts where scope = 'day'")
    play.change(budget=UNLIMITED | {"day_hard_usd": "0.000001"})
    _, plans = play.plan()
    waiting = next(plan for plan in plans if plan.snapshot.market.ticker == "B-1")
    assert waiting.members == ()
    told = alerts_of(play)["limit_below_spent"]
    assert f"${day['spent'] / 1e6:.4f} are spent and held where $0.0000 are allowed" in told
    assert play.decide().reasons == {"edge": 1, "daily_budget": 1}
    assert len(play.rows("select from llm_queries")) == 5


def test_call_that_a_wrong_address_stops_before_it_leaves_owes_nothing_and_holds_nothing(play: Play) -> None:
    providers = {name: it.model_dump() for name, it in play.instance.settings.providers.items()}
    providers["local"]["base_url"] = "http://127.0.0.1:http/v1"
    play.change(providers=providers, members=[play.instance.settings.members[3].model_dump()])
    with pytest.raises(SettingsError, match="ENSEMBLE_PROVIDERS__LOCAL__BASE_URL is not a URL"):
        consult_first(play)
    [row] = play.rows("select state, spent_micro_usd as spent from ledger")
    assert (row["state"], row["spent"]) == ("released", 0)
    assert_books_are_even(play)
