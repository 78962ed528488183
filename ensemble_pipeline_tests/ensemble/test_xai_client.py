"""Decisions on demand over the sandbox: who must agree, what is tagged, that they are recorded and paid like others."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from click.testing import CliRunner

from ensemble_pipeline.cli import cli
from ensemble_pipeline.domain import Action, Reason, Route, Side, Strategy
from ensemble_pipeline.ensemble.explaining import explain
from ensemble_pipeline.ensemble.xai_client import TradingDecision, XAIClient
from ensemble_pipeline.errors import InputError, VenueError
from ensemble_pipeline.replay.decisions import replay
from ensemble_pipeline.sandbox.world import FailureKind, WorldAnswer
from ensemble_pipeline.settings import load_settings
from ensemble_pipeline.store import audit
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.world_clock import StoredClock
from ensemble_pipeline_tests.ensemble.venue import UNLIMITED, Play, playing
from ensemble_pipeline_tests.sandbox.small_world import HOUR, MODELS

PAIR_TAG, ADVANCED_TAG = "[MULTI-AGENT ENSEMBLE] ", "[ADVANCED ENSEMBLE] "
# the price counts as much as the models
BOLD = {"market_weight": 0.5, "exploration_share": 0}
Ask = Callable[[XAIClient], Awaitable[TradingDecision]]


@contextmanager
def known(
    database: Database, monkeypatch: pytest.MonkeyPatch, *, options: dict[str, Any] | None = None, **sections: Any
) -> Iterator[Play]:
    """A market that was seen a day ago, decided by nobody, and stands at 0.40 to 0.42."""
    with playing(database, monkeypatch, "A-1", ensemble=BOLD | (options or {}), **sections) as play:
        play.scan()
        play.rows("delete from decision_requests returning snapshot_id")
        play.clock.advance_to(play.clock.now() + HOUR)
        yield play


def client_asked(play: Play, ask: Ask) -> TradingDecision:
    return play.with_venue(lambda venue: ask(XAIClient(play.instance, venue)))


def agreed(play: Play, market_id: str = "kalshi:A-1") -> TradingDecision:
    return client_asked(play, lambda client: client.get_ensemble_decision(market_id))


def advanced(play: Play, market_id: str = "kalshi:A-1") -> TradingDecision:
    return client_asked(play, lambda client: client.get_advanced_ensemble_decision(market_id))


def say(play: Play, *said: tuple[float, float]) -> None:
    """Let the members chosen first say so, each P(YES) with its confidence; the others as before."""
    for (p_yes, confidence), name in zip(said, chosen(play), strict=False):
        play.world.answers[name] = WorldAnswer(p_yes=p_yes, confidence=confidence, cost_usd=Decimal("0.001"))


def chosen(play: Play) -> list[str]:
    """The members in the order of their utility, from a plan that is thrown away."""
    with play.instance.database.connection() as connection:
        rows = connection.execute("select snapshot_id from market_snapshots order by 1 limit 1").fetchall()
        connection.execute("insert into decision_batches (requested_at) values (now())")
        connection.execute(
            "insert into decision_requests select max(batch_id), %s from decision_batches", [rows[0]["snapshot_id"]]
        )
    _, [plan] = play.plan()
    play.rows("delete from decision_requests returning snapshot_id")
    return [member.name for member in (*plan.members, *plan.standby)]


def calls(play: Play) -> int:
    return int(play.rows("select count(*) as n from llm_queries")[0]["n"])


def spent(play: Play) -> int:
    rows = play.rows("select coalesce(sum(spent_micro_usd), 0)::bigint as n from budget_accounts where scope = 'day'")
    return int(rows[0]["n"])


def reason_of(play: Play, decision: TradingDecision) -> dict[str, Any]:
    """The gate at which a decision ended."""
    with play.instance.database.connection() as connection:
        gates = explain(connection, decision.decision_id)["gates"]
    found: dict[str, Any] = next(gate for gate in gates if not gate["is_passed"])
    return found


def test_two_models_that_agree_trade_with_their_mean_confidence_and_the_tag(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with known(database, monkeypatch) as play:
        say(play, (0.75, 0.9), (0.85, 0.7))
        decision = agreed(play)
        assert (decision.action, decision.side, decision.terminal_reason) == (Action.TRADE, Side.YES, Reason.TRADED)
        assert decision.confidence == pytest.approx(0.8)
        assert decision.reasoning.startswith(f"{PAIR_TAG}pair, weighted_voting: 2 of 2 members pooled")
        assert decision.route is Route.PAIR
        assert decision.models_consulted == tuple(sorted(chosen(play)[:2]))
        assert decision.contracts > 0
        assert decision.limit_price == Decimal("0.42")
        assert decision.market_id == "kalshi:A-1"
        assert 0 < (decision.disagreement_level or 0) < 0.2
        assert calls(play) == 2


def test_two_models_that_agree_on_the_other_side_buy_that(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with known(database, monkeypatch) as play:
        say(play, (0.1, 0.9), (0.12, 0.9))
        decision = agreed(play)
        assert (decision.action, decision.side, decision.limit_price) == (Action.TRADE, Side.NO, Decimal("0.60"))
        assert decision.confidence == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (((0.75, 0.9), (0.1, 0.9)), "other sides"),
        (((0.75, 0.9), (0.42, 0.9)), "one would not trade"),
        (((0.42, 0.9), (0.43, 0.9)), "neither would trade"),
        (((0.75, 0.9), (0.8, 0.59)), "one is unsure"),
        (((0.75, 0.3), (0.8, 0.3)), "both are unsure"),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_two_models_that_do_not_agree_trade_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch, said: tuple[tuple[float, float], ...], why: str
) -> None:
    del why
    # how far they are apart is another gate's business
    with known(database, monkeypatch, gates={"max_disagreement": 1}) as play:
        say(play, *said)
        decision = agreed(play)
        assert (decision.action, decision.side, decision.contracts) == (Action.SKIP, None, 0)
        assert decision.terminal_reason is Reason.NO_CONSENSUS
        assert decision.reasoning.startswith(PAIR_TAG)
        assert decision.confidence == pytest.approx(sum(confidence for _, confidence in said) / 2)
        numbers = reason_of(play, decision)["numbers"]
        assert numbers["demanded_confidence"] == 0.6
        assert set(decision.models_consulted) <= set(numbers)


def test_confidence_of_just_the_threshold_is_enough(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with known(database, monkeypatch, gates={"min_confidence": 0.1, "min_edge_low": 0.05}) as play:
        say(play, (0.85, 0.6), (0.85, 0.6))
        decision = agreed(play)
        assert decision.terminal_reason is Reason.TRADED
        assert decision.confidence == pytest.approx(0.6)


def test_one_answer_of_two_agrees_with_nobody(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with known(database, monkeypatch) as play:
        first, *others = chosen(play)
        for name in others:
            play.world.answers[name] = WorldAnswer(p_yes=None, failure=FailureKind.UNREADABLE)
        decision = agreed(play)
        assert (decision.action, decision.terminal_reason) == (Action.SKIP, Reason.TOO_FEW_ANSWERS)
        assert first in decision.models_consulted


def test_model_that_fails_is_replaced_before_two_must_agree(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with known(database, monkeypatch) as play:
        first = chosen(play)[0]
        play.world.answers[first] = WorldAnswer(p_yes=None, failure=FailureKind.UNREADABLE)
        decision = agreed(play)
        assert decision.terminal_reason is Reason.TRADED
        assert len(decision.models_consulted) == 3


@pytest.mark.parametrize("sections", [{"multi_model_ensemble": False}, {"methods": {"agreement": False}}])
def test_one_model_decides_untagged_where_the_switch_is_off(
    database: Database, monkeypatch: pytest.MonkeyPatch, sections: dict[str, Any]
) -> None:
    with known(database, monkeypatch, **sections) as play:
        say(play, (0.8, 0.8))
        decision = agreed(play)
        assert (decision.action, decision.route, decision.strategy) == (
            Action.TRADE, Route.SINGLE, Strategy.WEIGHTED_VOTING,
        )  # fmt: skip
        assert len(decision.models_consulted) == calls(play) == 1
        assert "[" not in decision.reasoning
        assert decision.confidence == pytest.approx(0.8)
        assert decision.p_yes is not None


def test_whole_ensemble_decides_with_its_own_tag(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with known(database, monkeypatch) as play:
        decision = advanced(play)
        assert (decision.action, decision.route) == (Action.TRADE, Route.FULL)
        assert decision.reasoning.startswith(f"{ADVANCED_TAG}full, weighted_voting: 5 of 5 members pooled")
        assert decision.models_consulted == tuple(sorted(model.name for model in MODELS))
        assert decision.uncertainty is not None


def test_largest_trade_values_take_the_enhanced_consensus(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with known(database, monkeypatch, sizing={"bankroll_usd": "4000"}) as play:
        decision = advanced(play)
        assert (decision.route, decision.strategy) == (Route.ENHANCED, Strategy.UNCERTAINTY_AWARE)
        assert decision.reasoning.startswith(f"{ADVANCED_TAG}enhanced, uncertainty_aware")


def test_with_the_advanced_method_off_both_ask_two_that_must_agree(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with known(database, monkeypatch, methods={"advanced": False}) as play:
        decision = advanced(play)
        assert (decision.route, len(decision.models_consulted)) == (Route.PAIR, 2)
        assert decision.reasoning.startswith(PAIR_TAG)


def test_with_the_ensemble_off_the_advanced_method_is_one_model(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with known(database, monkeypatch, multi_model_ensemble=False) as play:
        decision = advanced(play)
        assert (decision.route, len(decision.models_consulted)) == (Route.SINGLE, 1)
        assert "[" not in decision.reasoning


@pytest.mark.parametrize("ask", [agreed, advanced])
def test_decision_on_demand_is_recorded_explained_replayed_and_paid_like_every_other(
    database: Database, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Play], TradingDecision]
) -> None:
    with known(database, monkeypatch) as play:
        decision = ask(play)
        [row] = play.rows("select d.*, s.reason from decisions d join market_snapshots s using (snapshot_id)")
        assert (row["decision_id"], row["reason"]) == (decision.decision_id, "asked")
        assert (row["terminal_reason"], row["contracts"]) == (decision.terminal_reason, decision.contracts)
        assert row["decided_at"] == play.clock.now()
        with database.connection() as connection:
            assert replay(connection, decision.decision_id).difference is None
            told = explain(connection, decision.decision_id)
            assert audit.ledger_differences(connection, play.clock.now().date()) == []
        assert told["reasoning"] == decision.reasoning
        assert told["context"]["method"] == ("agreement" if ask is agreed else "advanced")
        assert spent(play) == play.rows("select sum(cost_micro_usd)::bigint as n from llm_queries")[0]["n"] > 0
        [position] = play.rows("select * from positions")
        assert (position["decision_id"], position["contracts"]) == (decision.decision_id, decision.contracts)
        assert play.rows("select * from budget_reservations where state = 'held'") == []


def test_asked_twice_at_one_instant_the_recorded_decision_is_given_and_paid_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with known(database, monkeypatch) as play:
        first = agreed(play)
        paid = spent(play)
        # whatever the models would say now
        say(play, (0.1, 0.9), (0.1, 0.9))
        assert agreed(play) == first
        assert advanced(play) == first
        assert (calls(play), spent(play)) == (2, paid)
        assert len(play.rows("select * from decisions")) == len(play.rows("select * from positions")) == 1


def test_two_that_ask_at_one_instant_at_once_get_one_decision(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with known(database, monkeypatch) as play:
        found = asyncio.run(_twice(play))
        assert found[0] == found[1]
        assert calls(play) == 2
        assert len(play.rows("select * from decisions")) == 1


async def _twice(play: Play) -> list[TradingDecision]:
    def one() -> TradingDecision:
        return agreed(play)

    return list(await asyncio.gather(asyncio.to_thread(one), asyncio.to_thread(one)))


def test_asked_again_within_the_cooldown_nobody_is_asked(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with known(database, monkeypatch) as play:
        agreed(play)
        play.clock.advance_to(play.clock.now() + HOUR)
        again = agreed(play)
        assert (again.action, again.terminal_reason, again.models_consulted) == (Action.SKIP, Reason.COOLDOWN, ())
        assert (again.confidence, again.p_yes, again.contracts) == (0, None, 0)
        assert calls(play) == 2


@pytest.mark.parametrize("ask", [agreed, advanced])
def test_budget_that_is_used_up_skips_with_its_reason_and_asks_nobody(
    database: Database, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Play], TradingDecision]
) -> None:
    with known(database, monkeypatch, budget=UNLIMITED | {"day_soft_usd": "0"}) as play:
        decision = ask(play)
        assert (decision.action, decision.terminal_reason) == (Action.SKIP, Reason.DAILY_BUDGET)
        assert decision.reasoning.endswith("ended at daily_budget before anyone was heard")
        assert reason_of(play, decision)["numbers"] == {"committed_micro_usd": 0, "limit_micro_usd": 0}
        assert (calls(play), spent(play)) == (0, 0)


def test_decision_that_its_own_budget_cannot_pay_asks_nobody(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with known(database, monkeypatch, budget=UNLIMITED | {"decision_usd": "0.000001"}) as play:
        decision = agreed(play)
        assert (decision.action, decision.terminal_reason) == (Action.SKIP, Reason.DECISION_BUDGET)
        assert calls(play) == 0


def test_near_its_close_one_model_decides(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with known(database, monkeypatch, closes=20) as play:
        assert (agreed(play).route, calls(play)) == (Route.SINGLE, 1)


def test_market_nobody_ever_listed_is_refused_with_what_to_do(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with known(database, monkeypatch) as play:
        with pytest.raises(InputError, match=r"market 'kalshi:NONE' is not known here.*market_sensor"):
            agreed(play, "kalshi:NONE")
        with pytest.raises(InputError, match=r"market 'A-1' is not known here.*venue:ticker"):
            advanced(play, "A-1")
        assert (calls(play), play.rows("select * from decisions")) == (0, [])


def test_market_the_venue_lists_no_more_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with known(database, monkeypatch) as play:
        with play.instance.database.connection() as connection:
            connection.execute("update markets set market_id = market_id, ticker = 'GONE-1' where ticker = 'A-1'")
        with pytest.raises(InputError, match="kalshi does not list GONE-1 any more; there is nothing to decide about"):
            agreed(play)
        assert (calls(play), play.rows("select * from decisions")) == (0, [])


def test_market_that_has_closed_since_asks_nobody(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with known(database, monkeypatch, closes=30) as play:
        play.clock.advance_to(play.clock.now() + 40 * HOUR)
        decision = agreed(play)
        assert (decision.action, decision.terminal_reason) == (Action.SKIP, Reason.NOT_OPEN)
        assert calls(play) == 0


def test_venue_that_does_not_answer_is_named_and_nothing_is_recorded(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with known(database, monkeypatch) as play:
        play.fault("kalshi", "overloaded", count=20)
        with pytest.raises(VenueError):
            agreed(play)
        assert (calls(play), play.rows("select * from decisions")) == (0, [])


@pytest.mark.parametrize(
    ("arguments", "tag", "asked"), [((), ADVANCED_TAG, "full"), (("--agreement",), PAIR_TAG, "pair")]
)
def test_command_decides_shows_and_names_how_to_learn_why(
    database: Database, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], tag: str, asked: str
) -> None:
    with known(database, monkeypatch) as play:
        _as_environment(play, database, monkeypatch)
        done = CliRunner().invoke(cli, ["decide", "kalshi:A-1", *arguments])
        explained = CliRunner().invoke(cli, ["explain", "1", "--json"])
        shown = CliRunner().invoke(cli, ["explain", "1"])
        replayed = CliRunner().invoke(cli, ["replay", "--all"])
        unknown = CliRunner().invoke(cli, ["decide", "kalshi:NONE"])
        load_settings.cache_clear()
    assert (done.exit_code, done.exception) == (0, None)
    first, reasoning, last = done.output.splitlines()
    assert first.startswith("trade ")
    assert first.endswith("(traded)")
    assert reasoning.startswith(f"{tag}{asked}, ")
    assert last.endswith("`ensemble explain 1` says why")
    assert (explained.exit_code, shown.exit_code, replayed.exit_code) == (0, 0, 0)
    assert json.loads(explained.output)["reasoning"] == reasoning
    assert reasoning in shown.output
    assert "1 decisions made again: 1 bit-exact" in replayed.output
    assert isinstance(unknown.exception, InputError)


def _as_environment(play: Play, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command find the instance of a play."""
    StoredClock(database).start_stepped(play.clock.now())
    raw = play.instance.settings.model_dump(mode="json")
    for name in ("members", "providers", "ensemble", "budget"):
        monkeypatch.setenv(f"ENSEMBLE_{name.upper()}", json.dumps(raw[name]))
    monkeypatch.setenv("ENSEMBLE_KALSHI_BASE_URL", play.instance.settings.kalshi_base_url)
    monkeypatch.setenv("ENSEMBLE_DATABASE_URL", database.url)
    load_settings.cache_clear()


def test_value_for_the_caller_cannot_be_changed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with known(database, monkeypatch) as play:
        decision = agreed(play)
        with pytest.raises(AttributeError):
            decision.contracts = 7  # type: ignore[misc]
        assert replace(decision, contracts=7) != decision
