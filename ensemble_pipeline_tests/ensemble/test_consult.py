import asyncio
import json
import re
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from ensemble_pipeline.domain import Evidence, Mode
from ensemble_pipeline.ensemble import decide
from ensemble_pipeline.ensemble.consult import Consultation, consult
from ensemble_pipeline.providers.base import Prompt
from ensemble_pipeline.providers.prices import worst_case_micro_usd
from ensemble_pipeline.providers.prompts import BEGIN_MARKER, END_MARKER, PLACEHOLDER
from ensemble_pipeline.sandbox.asking import Completion, Desk, Question, Refusal
from ensemble_pipeline.sandbox.world import FailureKind, WorldAnswer
from ensemble_pipeline.store import audit, decisions
from ensemble_pipeline.store.budget import BudgetCall
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.evidence import save_evidence
from ensemble_pipeline_tests.ensemble.venue import UNLIMITED, Play, playing
from ensemble_pipeline_tests.sandbox.small_world import MODELS
from ensemble_pipeline_tests.store.rows import DAY, hold

ALL = {"member_policy": "all"}
NAMES = sorted(model.name for model in MODELS)


def ask(play: Play) -> Consultation:
    context, plans = play.plan()
    return asyncio.run(consult(play.instance, context, plans))


def calls(play: Play) -> list[tuple[str, int, str]]:
    rows = play.rows("select model_id, attempt, status from llm_queries order by model_id, snapshot_id, attempt")
    return [(row["model_id"], row["attempt"], row["status"]) for row in rows]


def assert_books_are_even(play: Play) -> None:
    first = play.clock.now().date() - DAY
    with play.instance.database.connection() as connection:
        assert audit.ledger_differences(connection, first) == []
        assert audit.call_differences(connection, first) == []
    assert play.rows("select * from budget_reservations where state = 'held'") == []


def test_every_provider_kind_is_asked_once_and_booked_with_its_cost(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=ALL) as play:
        play.scan()
        assert ask(play) == Consultation(5, 0, 0, 0, 0)
        assert calls(play) == [(name, 1, "answered") for name in NAMES]
        rows = {row["model_id"]: row for row in play.rows("select * from llm_queries")}
        assert {name: row["cost_source"] for name, row in rows.items()} == {
            "anthropic-model": "settings",
            "local-model": "settings",
            "openai-model": "settings",
            "openrouter-model": "reported",
            "xai-model": "reported",
        }
        assert rows["xai-model"]["cost_micro_usd"] == rows["openrouter-model"]["cost_micro_usd"] == 1000
        for name in ("openai-model", "local-model", "anthropic-model"):
            row = rows[name]
            assert row["cost_micro_usd"] == 2 * row["input_tokens"] + 10 * row["output_tokens"]
        assert [row["p_yes"] for row in play.rows("select p_yes from forecasts")] == [0.7] * 5
        assert play.rows("select sum(cost_micro_usd)::bigint as n from llm_queries") == play.rows(
            "select spent_micro_usd as n from budget_accounts where scope = 'day'"
        )
        assert_books_are_even(play)


@pytest.mark.parametrize(
    ("kind", "statuses", "http_status", "says"),
    [
        ("overloaded", ["failed", "failed"], 503, "overloaded"),
        ("html", ["failed", "failed"], 200, "answered 200, but"),
        ("cut_json", ["failed", "failed"], 200, "answered 200, but"),
        ("gateway_timeout", ["failed", "failed"], 504, "answered 504"),
        ("out_of_credit", ["failed"], 429, "Top up"),
        ("wrong_key", ["failed"], 401, "OPENAI_API_KEY"),
        ("flagged", ["refused_by_model"], 400, "declines this question"),
    ],
)
def test_failure_is_booked_with_its_cause_and_asked_again_only_where_that_can_help(
    database: Database, monkeypatch: pytest.MonkeyPatch, kind: str, statuses: list[str], http_status: int, says: str
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=ALL) as play:
        play.scan()
        play.fault("openai", kind, count=2)
        assert ask(play) == Consultation(4, 1, 0, 0, 0)
        rows = play.rows("select * from llm_queries where model_id = 'openai-model' order by attempt")
        assert [row["status"] for row in rows] == statuses
        assert {row["http_status"] for row in rows} == {http_status}
        assert all(says in row["problem"] for row in rows)
        billed = kind in ("html", "cut_json", "gateway_timeout")
        assert all((row["cost_micro_usd"] > 0) is billed for row in rows)
        assert {row["cost_source"] for row in rows} == {"worst_case" if billed else "not_billed"}
        assert_books_are_even(play)


def test_failure_that_passes_is_answered_at_the_second_attempt(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=ALL) as play:
        play.scan()
        play.fault("anthropic", "overloaded")
        assert ask(play).answered == 5
        assert calls(play)[:2] == [("anthropic-model", 1, "failed"), ("anthropic-model", 2, "answered")]


def test_call_that_takes_too_long_is_booked_as_timed_out_at_its_worst_case(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble={**ALL, "max_attempts": 1}) as play:
        play.scan()
        providers = play.instance.settings.model_dump()["providers"]
        play.change(providers=providers | {"xai": providers["xai"] | {"timeout_s": 0.5}})
        play.fault("xai", "stall", stall_s=3)
        assert ask(play).failed == 1
        [row] = play.rows(
            "select * from llm_queries q join budget_reservations using (reservation_id) where status = 'timed_out'"
        )
        assert row["cost_micro_usd"] == row["held_micro_usd"] > 0
        assert_books_are_even(play)


def test_answer_that_cannot_be_read_is_paid_and_not_asked_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=ALL) as play:
        play.world.answers["local-model"] = WorldAnswer(p_yes=None, failure=FailureKind.UNREADABLE)
        play.scan()
        assert ask(play) == Consultation(4, 1, 0, 0, 0)
        [row] = play.rows("select status, cost_micro_usd from llm_queries where model_id = 'local-model'")
        assert row["status"] == "unreadable"
        assert row["cost_micro_usd"] > 0
        assert ask(play) == Consultation(0, 1, 0, 4, 0)


def test_run_taken_up_after_a_crash_asks_nobody_again_who_may_have_been_billed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", "B-1", ensemble=ALL) as play:
        play.scan()
        context, plans = play.plan()
        half = [replace(plans[0], members=plans[0].members[:3]), replace(plans[1], members=plans[1].members[:1])]
        asyncio.run(consult(play.instance, context, half))
        with database.connection() as connection:
            left_over = BudgetCall(1, "kalshi:A-1", "xai", "xai-model", 777, context.now)
            assert hold(connection, left_over) is not None
        spent = play.rows("select spent_micro_usd as n from budget_accounts where scope = 'day'")[0]["n"]
        # the call that was cut off may have been billed: nobody is paid for that answer a second time
        assert ask(play) == Consultation(5, 1, 0, 4, 1)
        assert len(calls(play)) == 9
        assert play.rows("select from llm_queries where snapshot_id = 1 and model_id = 'xai-model'") == []
        assert all(attempt == 1 for _, attempt, _ in calls(play))
        new = play.rows("select sum(cost_micro_usd)::bigint as n from llm_queries where query_id > 4")[0]["n"]
        account = play.rows(
            "select spent_micro_usd as n, held_micro_usd as h from budget_accounts where scope = 'day'"
        )[0]
        assert account == {"n": spent + 777 + new, "h": 0}
        assert ask(play) == Consultation(0, 1, 0, 9, 0)
        assert_books_are_even(play)


def test_budget_that_ends_in_the_middle_of_a_batch_refuses_the_rest_and_owes_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, *[f"A-{n}" for n in range(8)], ensemble=ALL) as play:
        play.scan()
        context, plans = play.plan()
        play.change(budget=UNLIMITED | {"day_hard_usd": "0.10"})
        asked = asyncio.run(consult(play.instance, context, plans))
        assert asked.refused_by_budget > 0
        assert asked.answered > 0
        assert asked.answered + asked.refused_by_budget == 40
        [account] = play.rows("select * from budget_accounts where scope = 'day'")
        assert account["spent_micro_usd"] <= 100_000
        assert account["held_micro_usd"] == 0
        assert len(calls(play)) == asked.answered
        assert_books_are_even(play)


def test_two_runs_of_the_same_snapshots_ask_each_member_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, *[f"A-{n}" for n in range(6)], ensemble=ALL) as play:
        play.scan()
        context, plans = play.plan()
        gate = threading.Barrier(2)
        found: list[Consultation] = []

        def run() -> None:
            gate.wait()
            found.append(asyncio.run(consult(play.instance, context, plans)))

        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted((it.answered, it.resumed) for it in found) == [(0, 30), (30, 0)]
        assert len(calls(play)) == 30
        assert_books_are_even(play)


def test_failed_member_is_replaced_by_a_stand_by(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"max_members": 2, "exploration_share": 0, "max_attempts": 1}
    with playing(database, monkeypatch, "A-1", ensemble=options) as play:
        play.scan()
        _, [plan] = play.plan()
        assert len(plan.members) == 2
        play.fault(plan.members[0].provider, "out_of_credit")
        assert ask(play) == Consultation(2, 1, 0, 0, 0)
        asked = {name for name, _, _ in calls(play)}
        assert asked == {member.name for member in (*plan.members, plan.standby[0])}


def test_exploration_asks_members_outside_the_selection(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1", ensemble={"max_members": 1, "exploration_share": 1}) as play:
        play.scan()
        assert ask(play).answered == 5


def test_nobody_planned_asks_nobody(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1", gates={"min_volume": "1000000"}) as play:
        play.scan()
        assert ask(play) == Consultation(0, 0, 0, 0, 0)
        assert calls(play) == []


def test_decision_of_a_batch_is_recorded_once_with_its_position(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", "B-1", "B-2", ensemble={**ALL, "market_weight": 0.5}) as play:
        play.scan()
        recorded = play.decide(1)
        assert recorded.reasons == {"traded": 3}
        positions = play.rows("select sum(cost_micro_usd + fee_micro_usd)::bigint as n from positions")
        assert play.rows("select -sum(cash_micro_usd)::bigint as n from trade_log") == positions
        assert decide.load(play.instance, 1) == (1, [])
        assert play.decide(1).decision_ids == ()
        [row] = play.rows("select count(*) as n, min(weight) as least, sum(weight) as total from decision_members")
        assert (row["n"], row["least"], row["total"]) == (15, pytest.approx(0.2), pytest.approx(3))


def test_portfolio_after_each_decision_equals_what_the_database_says(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", "A-2", "B-1", ensemble={**ALL, "market_weight": 0.5}) as play:
        play.scan()
        context, plans = play.plan()
        asyncio.run(consult(play.instance, context, plans))
        opinions = decide.combine(play.instance, context, plans)
        made = play.with_venue(lambda venue: decide.size(play.instance, venue, context, plans, opinions))
        bankroll = play.instance.bankroll_micro_usd
        with database.connection() as connection:
            held = decisions.portfolio(connection, bankroll, context.now)
            assert held.cash == bankroll == int(Decimal(1000) * 1_000_000)
        for plan, decision in zip(plans, made, strict=True):
            held = held.after(plan.snapshot.market, decision.stake_micro_usd, decision.fee_micro_usd)
            decide.record(play.instance, context, [decision])
            with database.connection() as connection:
                assert decisions.portfolio(connection, bankroll, context.now, list(Mode)) == held
        assert held.open_positions == 3


def test_stand_by_with_a_prompt_role_of_its_own_is_asked_and_booked(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        members = play.instance.settings.members
        changed = members[-1].model_copy(update={"role": "base_rate"})
        play.scan()
        context, plans = play.plan()
        plan = replace(plans[0], members=members[:1], standby=(changed,))
        play.fault(members[0].provider, "wrong_key", count=5)
        asyncio.run(consult(play.instance, context, [plan]))
        roles = play.rows(
            "select p.role from llm_queries q join prompts p using (prompt_hash) where status = 'answered'"
        )
        assert [row["role"] for row in roles] == ["base_rate"]


def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The models asked from now on and the data they were sent, as these arrive at the sandbox over HTTP."""
    arrived: list[tuple[str, dict[str, Any]]] = []
    answer = Desk.ask

    def listen(desk: Desk, provider: str, question: Question, at: datetime) -> Completion | Refusal:
        lines = question.prompt.splitlines()
        arrived.append((question.model, json.loads(lines[lines.index(BEGIN_MARKER) + 1])))
        return answer(desk, provider, question, at)

    monkeypatch.setattr(Desk, "ask", listen)
    return arrived


def add_evidence(play: Play, ticker: str, text: str, *, hours_ago: float = 1) -> None:
    """Something published before now and known from now on."""
    now = play.clock.now()
    piece = Evidence(now - timedelta(hours=hours_ago), "Wire", text)
    with play.instance.database.connection() as connection:
        save_evidence(connection, f"kalshi:{ticker}", [piece], now)


def test_members_are_sent_neither_price_nor_evidence_where_there_is_none(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=ALL) as play:
        play.scan()
        arrived = sent(monkeypatch)
        assert ask(play).answered == 5
        assert sorted(model for model, _ in arrived) == NAMES
        assert {tuple(data) for _, data in arrived} == {
            ("market_id", "question", "rules", "category", "closes_at", "today")
        }
        [row] = play.rows("select distinct prompt from llm_queries")
        assert not re.search(r"0\.4\d?\b", row["prompt"])


def test_members_are_sent_what_was_published_about_their_market_and_known_when_asked(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", "B-1", ensemble=ALL) as play:
        play.scan()
        add_evidence(play, "A-1", "Older.", hours_ago=30)
        add_evidence(play, "A-1", "Newer.")
        context, plans = play.plan()
        play.clock.advance_to(play.clock.now() + timedelta(hours=1))
        add_evidence(play, "A-1", "Known too late.", hours_ago=40)
        arrived = sent(monkeypatch)
        asyncio.run(consult(play.instance, context, plans))
        shown = {data["market_id"]: data.get("evidence") for _, data in arrived}
        assert len(arrived) == 10
        assert shown == {
            "kalshi:A-1": [
                {"date": "2026-01-05", "source": "Wire", "text": "Newer."},
                {"date": "2026-01-03", "source": "Wire", "text": "Older."},
            ],
            "kalshi:B-1": None,
        }


def test_members_are_sent_the_price_where_the_setting_says_so_and_one_is_known(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", "B-1", ensemble=ALL | {"show_market_price": True}) as play:
        play.price("A-1", "0.4000", "0.4102")
        play.price("B-1", None, "0.42", volume="0")
        play.scan()
        arrived = sent(monkeypatch)
        assert ask(play).answered == 10
        assert {(data["market_id"], data.get("market_price")) for _, data in arrived} == {
            ("kalshi:A-1", 0.4051),
            ("kalshi:B-1", None),
        }


def test_worst_case_held_is_that_of_the_prompt_sent_which_the_record_gives_back(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble=ALL | {"show_market_price": True}) as play:
        members = {member.name: member for member in play.instance.settings.members}
        play.scan()
        add_evidence(play, "A-1", "x" * 600)
        arrived = sent(monkeypatch)
        assert ask(play).answered == 5
        rows = play.rows(
            "select q.*, r.held_micro_usd, p.role, p.version, p.system, p.template from llm_queries q"
            " join budget_reservations r using (reservation_id) join prompts p using (prompt_hash)"
        )
        for row in rows:
            prompt = Prompt(row["role"], row["version"], row["prompt_hash"], row["system"], row["prompt"])
            assert row["held_micro_usd"] == worst_case_micro_usd(prompt, members[row["model_id"]])
            data = dict(arrived)[row["model_id"]]
            block = f"{BEGIN_MARKER}\n{json.dumps(data)}\n{END_MARKER}"
            assert row["prompt"] == row["template"].replace(PLACEHOLDER, block)
            assert (len(data["evidence"]), data["market_price"]) == (1, 0.41)
