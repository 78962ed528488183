"""As money runs out: cheaper models, fewer members, then earlier answers only, then nothing, each with a reason."""

from decimal import Decimal

import pytest

from ensemble_pipeline.domain import Reason, Route
from ensemble_pipeline.ensemble.plan import Plan, Planner
from ensemble_pipeline.store.budget import Account, DaySpend
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.efficiency import CostEfficiency, Efficiency
from ensemble_pipeline_tests.ensemble.parts import (
    USD,
    context_of,
    policy_of,
    ranking_of,
    snapshot_of,
    standing_of,
)
from ensemble_pipeline_tests.ensemble.test_answer_reuse import ask, calls, later
from ensemble_pipeline_tests.ensemble.venue import UNLIMITED, playing
from ensemble_pipeline_tests.store.rows import NOW, call_of, hold

# the better, the dearer; worst cases in micro-dollars
WORST = {"a": 16_000, "b": 8_000, "c": 4_000, "d": 2_000, "e": 1_000}
SKILL = {"a": -0.04, "b": -0.03, "c": -0.02, "d": 0.0, "e": 0.02}


def efficiency() -> Efficiency:
    rows = [
        CostEfficiency(name, "*", 50, 50, 50 * worst // 2, worst / 2e6, 0.0, 0.08 - SKILL[name], 0.01, None, None, None)
        for name, worst in WORST.items()
    ]
    return Efficiency(1, NOW, 1, 0.5, tuple(rows))


def plan_at(committed_usd: float) -> Plan:
    """The plan of one market when so much of a soft limit of $1 is spent."""
    policy = policy_of(
        *WORST,
        budget={"day_soft_usd": 1, "day_hard_usd": 2, "decision_usd": "unlimited", "market_day_usd": "unlimited"},
        ensemble={"exploration_share": 0},
    )
    context = context_of(
        ranking=ranking_of(SKILL), spend=DaySpend(NOW.date(), int(committed_usd * USD), 0), efficiency=efficiency()
    )
    return Planner(policy, context).plan(snapshot_of(), standing_of(**WORST))


def asked_at(committed_usd: float) -> list[str]:
    return [member.name for member in plan_at(committed_usd).members]


def test_members_become_fewer_and_cheaper_as_money_runs_out_and_nobody_is_asked_at_the_soft_limit() -> None:
    panels = {share: asked_at(share) for share in (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99)}
    assert panels[0.0] == panels[0.5] == ["a", "b", "c", "d", "e"]
    assert [len(it) for it in panels.values()] == [5, 5, 4, 3, 2, 2, 2]
    costs = [sum(WORST[name] for name in names) for names in panels.values()]
    assert costs == sorted(costs, reverse=True)
    assert panels[0.99] == ["e", "d"]
    at_the_limit = plan_at(1.0)
    assert (at_the_limit.members, at_the_limit.refusal) == ((), Reason.DAILY_BUDGET)


def test_single_model_is_the_best_while_there_is_money_and_the_cheapest_when_there_is_hardly_any() -> None:
    def first(committed_usd: float) -> str:
        policy = policy_of(
            *WORST,
            budget={"day_soft_usd": 1, "day_hard_usd": 2},
            ensemble={"exploration_share": 0, "cascade_single_below_usd": 1000},
        )
        context = context_of(
            ranking=ranking_of(SKILL), spend=DaySpend(NOW.date(), int(committed_usd * USD), 0), efficiency=efficiency()
        )
        plan = Planner(policy, context).plan(snapshot_of(), standing_of(**WORST))
        assert plan.route is Route.SINGLE
        return plan.members[0].name

    assert (first(0.0), first(0.99)) == ("a", "e")


@pytest.mark.parametrize(
    ("accounts", "expected"),
    [
        ({"models": {"a": Account(9_000, 0)}}, "bcde"),
        ({"providers": {"local": Account(90_000, 0)}}, "bd"),
        ({"providers": {"local": Account(100_000, 0)}}, ""),
    ],
)
def test_dear_model_that_cannot_be_paid_leaves_room_for_the_cheaper_ones(
    accounts: dict[str, dict[str, Account]], expected: str
) -> None:
    policy = policy_of(
        *WORST, budget=UNLIMITED | {"provider_day_usd": {"local": "0.1"}}, ensemble={"exploration_share": 0}
    )
    members = tuple(
        member.model_copy(update={"day_usd": Decimal("0.02")}) if member.name == "a" else member
        for member in policy.members
    )
    policy = policy.model_copy(update={"members": members})
    context = context_of(
        ranking=ranking_of(SKILL), spend=DaySpend(NOW.date(), 0, 0, **accounts), efficiency=efficiency()
    )
    plan = Planner(policy, context).plan(snapshot_of(), standing_of(**WORST))
    assert "".join(sorted(member.name for member in plan.members)) == expected
    assert plan.refusal is (None if expected else Reason.DECISION_BUDGET)


def test_closed_model_is_not_asked() -> None:
    context = context_of(ranking=ranking_of(SKILL), efficiency=efficiency(), disputed=frozenset("ab"))
    policy = policy_of(*WORST, budget=UNLIMITED, ensemble={"exploration_share": 1})
    plan = Planner(policy, context).plan(snapshot_of(), standing_of(**WORST))
    assert {member.name for member in (*plan.members, *plan.standby)} == set("cde")


def test_day_over_http_goes_from_five_members_to_none(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way down, each step through ledger, providers and record."""
    tickers = [f"{letter}-1" for letter in "ABCDE"]
    with playing(database, monkeypatch, *tickers, ensemble={"exploration_share": 0}, cache={"shadow_share": 0}) as play:
        play.scan()
        play.change(budget=UNLIMITED | {"day_soft_usd": 1, "day_hard_usd": "1.2"})
        found = []
        for ticker, committed in zip(tickers, (0.0, 0.7, 0.9, 1.0, 1.0), strict=True):
            with database.connection() as connection:
                play.instance.register_members(connection)
                spent = sum(
                    row["n"]
                    for row in connection.execute(
                        "select held_micro_usd + spent_micro_usd as n from budget_accounts where scope = 'day'"
                    )
                )
                # another run's calls, under way, about a market that nobody else is asked about
                hold(
                    connection,
                    call_of(
                        5,
                        max(0, int(committed * USD) - spent),
                        model="xai-model",
                        market="kalshi:E-1",
                        at=play.clock.now(),
                    ),
                )
            decision = ask(play, ticker)
            found.append((len(decision.models_consulted), decision.terminal_reason is Reason.DAILY_BUDGET))
        assert found == [(5, False), (3, False), (2, False), (0, True), (0, True)]
        later(play)
        before = calls(play)
        # of the first market there are answers, and they cost nothing
        assert len(ask(play, "A-1").models_consulted) == 5
        assert calls(play) == before
        assert play.rows("select from ledger where state = 'settled' and spent_micro_usd > reserved_micro_usd") == []
