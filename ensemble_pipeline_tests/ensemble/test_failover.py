"""Drills over real HTTP: a provider that is down, one that hangs, two that ask to slow down, one that lost its key."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from ensemble_pipeline.ensemble.breakers import rules_of
from ensemble_pipeline.ensemble.consult import Consultation, consult
from ensemble_pipeline.ensemble.explaining import explain
from ensemble_pipeline.ensemble.fallback import FallbackManager
from ensemble_pipeline.pipeline.explain import show_explanation
from ensemble_pipeline.store import breakers, markets
from ensemble_pipeline.store.breakers import Report
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.rush import Run, run_together
from ensemble_pipeline_tests.ensemble.venue import KEYS, Play, playing

PROCESSES, CALLS = 4, 100
PRIMARY, SECOND = "xai-model", "openai-model"
ONE = {"max_members": 1, "exploration_share": 0}
MINUTE = timedelta(minutes=1)


def keep(play: Play, *names: str, **changes: Any) -> None:
    """Leave only these members, the first of them the cheapest, so that it is chosen first."""
    chosen = []
    for place, name in enumerate(names):
        [member] = [it for it in play.instance.settings.members if it.name == name]
        chosen.append(member.model_dump() | {"input_usd_per_mtok": str(1 + place)})
    play.change(members=chosen, **changes)


def look_again(play: Play, at: datetime) -> list[int]:
    """Snapshots of every market at another instant, about which nobody was asked yet."""
    seen = "market_id, yes_bid, yes_ask, last_price, volume, status, reason, volatility_regime"
    with play.instance.database.connection() as connection:
        rows = connection.execute(
            f"insert into market_snapshots ({seen}, observed_at) select distinct on (market_id) {seen}, %s::timestamptz"
            " from market_snapshots order by market_id, observed_at desc returning snapshot_id",
            [at],
        ).fetchall()
    return [row["snapshot_id"] for row in rows]


def runs(play: Play, snapshots: Sequence[int], at: datetime) -> list[Run]:
    """As many runs as there are processes, each over its own share."""
    settings = play.instance.settings.model_dump_json(exclude={"database_url"})
    with play.instance.database.connection() as connection:
        batches = [markets.open_batch(connection, snapshots[start::PROCESSES], at) for start in range(PROCESSES)]
    return [Run(play.instance.database.url, settings, batch, at, KEYS) for batch in batches]


def requests_to(play: Play, provider: str) -> int:
    completions = ("chat/completions", "messages", "responses")
    return sum(
        it["count"]
        for it in play.reached()["requests"]
        if it["target"] == provider and it["path"].endswith(completions)
    )


def statuses(play: Play, model: str) -> list[str]:
    rows = play.rows(f"select status from llm_queries where model_id = '{model}' order by query_id")
    return [row["status"] for row in rows]


def ask(play: Play) -> Consultation:
    context, plans = play.plan()
    return asyncio.run(consult(play.instance, context, plans))


def test_primary_that_is_down_hears_three_of_a_hundred_calls_and_one_for_each_rest(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tickers = [f"M{number:03}-1" for number in range(CALLS)]
    scan: dict[str, Any] = {"batch_size": CALLS, "max_open_markets": 2000}
    with playing(database, monkeypatch, *tickers, ensemble=ONE, scan=scan) as play:
        keep(play, PRIMARY, SECOND)
        play.fault("xai", "unavailable", count=None)
        play.scan()
        at = play.clock.now()
        snapshots = [row["snapshot_id"] for row in play.rows("select snapshot_id from market_snapshots order by 1")]
        assert {it.members[0].name for it in play.plan(1)[1]} == {PRIMARY}
        assert run_together(runs(play, snapshots, at)) == [0] * PROCESSES
        assert requests_to(play, "xai") == 3
        assert statuses(play, SECOND) == ["answered"] * CALLS
        # selection prefers the second by now: from here on an exploration draw asks the first beside it, each time
        play.change(ensemble=ONE | {"exploration_share": 1}, cache={"is_enabled": False})
        reached = 3
        for rest in (MINUTE, 2 * MINUTE):
            at += rest
            assert run_together(runs(play, look_again(play, at), at)) == [0] * PROCESSES
            reached += 1
            assert requests_to(play, "xai") == reached
        play.client.delete("/faults").raise_for_status()
        at += 4 * MINUTE
        assert run_together(runs(play, look_again(play, at), at)) == [0] * PROCESSES
        assert statuses(play, PRIMARY).count("answered") >= 1
        assert statuses(play, SECOND) == ["answered"] * 4 * CALLS
        changes = play.rows("select to_state from breaker_transitions order by transition_id")
        tries = ["open", *["half_open", "open"] * 2, "half_open", "closed"]
        assert [row["to_state"] for row in changes] == tries


def test_one_slow_down_each_from_two_providers_refuses_none_of_twenty_calls(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tickers = [f"M{number:02}-1" for number in range(10)]
    with playing(database, monkeypatch, *tickers, ensemble={"max_members": 2, "exploration_share": 0}) as play:
        keep(play, PRIMARY, SECOND)
        play.scan()
        for provider in ("xai", "openai"):
            play.fault(provider, "rate_limited", retry_after_s=0.3)
        assert ask(play) == Consultation(20, 0, 0, 0, 0)
        assert statuses(play, PRIMARY).count("failed") == statuses(play, SECOND).count("failed") == 1
        assert play.rows("select * from breaker_transitions") == []


@pytest.mark.parametrize("kind", ["hang", "slow_drip"])
def test_provider_that_hangs_takes_no_decision_beyond_its_deadline(
    database: Database, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    deadline_s = 3.6
    tickers = [f"M{number:02}-1" for number in range(12)]
    with playing(database, monkeypatch, *tickers, ensemble=ONE | {"decision_deadline_s": deadline_s}) as play:
        keep(play, PRIMARY, SECOND)
        play.scan()
        play.fault("xai", kind, count=None, stall_s=0.3)
        assert ask(play).answered == 12
        # the call that hung, and the one that stood in for it
        took = play.rows("select sum(latency_ms)::int as ms from llm_queries group by snapshot_id")
        assert max(row["ms"] for row in took) <= 1000 * (deadline_s + 1)
        assert statuses(play, SECOND) == ["answered"] * 12
        assert statuses(play, PRIMARY) == ["timed_out"] * 3
        [row] = play.rows("select min(cost_micro_usd) as least from llm_queries where status = 'timed_out'")
        assert row["least"] > 0
        assert play.rows("select * from budget_reservations where state = 'held'") == []


def test_stand_in_that_the_deadline_cuts_off_is_not_held_to_have_failed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tickers = [f"M{number:02}-1" for number in range(3)]
    with playing(database, monkeypatch, *tickers, ensemble=ONE | {"decision_deadline_s": 2.4}) as play:
        keep(play, PRIMARY, SECOND)
        play.scan()
        play.fault("xai", "hang", count=None)
        # sound, but slower than what the first leaves of the time
        play.fault("openai", "stall", count=None, stall_s=1.6)
        assert ask(play).answered == 0
        assert statuses(play, PRIMARY) == statuses(play, SECOND) == ["timed_out"] * 3
        rows = play.rows(
            "select model_id, state, consecutive_failures as n from breakers where model_id <> '' order by 1"
        )
        assert [(row["model_id"], row["state"], row["n"]) for row in rows] == [
            (SECOND, "closed", 0),
            (PRIMARY, "open", 3),
        ]


def test_calls_that_wait_for_their_turn_at_a_provider_that_begins_to_hang_do_not_leave(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadline_s = 3.6
    tickers = [f"M{number:02}-1" for number in range(12)]
    with playing(database, monkeypatch, *tickers, ensemble=ONE | {"decision_deadline_s": deadline_s}) as play:
        providers = play.instance.settings.model_dump()["providers"]
        keep(play, PRIMARY, SECOND, providers=providers | {"xai": providers["xai"] | {"max_concurrency": 3}})
        play.scan()
        with database.connection() as connection:
            vouched = Report("xai", PRIMARY, None, "success", "success")
            rules = rules_of(play.instance.settings.breaker)
            connection.execute(breakers.REPORT, breakers.report_arguments(vouched, play.clock.now(), rules))
        play.fault("xai", "hang", count=None)
        asked = ask(play)
        assert (asked.answered, asked.not_asked, asked.failed) == (12, 9, 3)
        assert requests_to(play, "xai") == 3


@pytest.mark.parametrize("kind", ["wrong_key", "out_of_credit"])
def test_provider_whose_key_or_account_fails_is_closed_and_others_answer(
    database: Database, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    tickers = [f"M{number:02}-1" for number in range(8)]
    with playing(database, monkeypatch, *tickers, ensemble=ONE) as play:
        keep(play, PRIMARY, SECOND)
        play.scan()
        play.fault("xai", kind, count=None)
        assert ask(play).answered == 8
        # as many as may leave before anybody answered; none after the first refusal
        assert 1 <= requests_to(play, "xai") <= 3
        found = FallbackManager(play.instance).check_provider_health()
        assert [name for name, it in found.items() if not it.is_available] == [PRIMARY]
        [row] = play.rows("select * from breaker_transitions")
        assert (row["provider"], row["model_id"], row["to_state"]) == ("xai", "", "open")
        play.clock.advance_to(play.clock.now() + 59 * MINUTE)
        assert not FallbackManager(play.instance).check_provider_health()[PRIMARY].is_available


@pytest.mark.parametrize("provider", ["xai", "openai", "openrouter", "anthropic"])
def test_question_that_a_provider_declines_shuts_nobody_and_counts_as_a_refusal(
    database: Database, monkeypatch: pytest.MonkeyPatch, provider: str
) -> None:
    with playing(database, monkeypatch, "M0-1", ensemble=ONE) as play:
        keep(play, f"{provider}-model", next(it for it in (PRIMARY, SECOND) if provider not in it))
        play.scan()
        play.fault(provider, "flagged")
        assert ask(play).answered == 1
        found = FallbackManager(play.instance).check_provider_health()[f"{provider}-model"]
        assert (found.refused, found.consecutive_failures, found.is_available) == (1, 1, True)
        assert play.rows("select * from breaker_transitions") == []
        [row] = play.rows("select * from llm_queries where status = 'refused_by_model'")
        assert (row["cost_micro_usd"], row["cost_source"], row["response_model"]) == (0, "not_billed", None)
        rows = play.rows("select * from breakers where consecutive_failures > 0")
        assert [(it["provider"], it["model_id"]) for it in rows] == [(provider, f"{provider}-model")]


def test_call_that_was_not_made_is_kept_with_its_cause(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, *(f"M{number}-1" for number in range(8)), ensemble=ONE) as play:
        keep(play, PRIMARY, SECOND)
        play.scan()
        play.fault("xai", "unavailable", count=None)
        asked = ask(play)
        assert asked.answered == 8
        causes = [row["cause"] for row in play.rows("select cause from calls_not_made")]
        assert len(causes) == asked.not_asked >= 8 - 3
        assert all("its breaker is open" in cause and "503" in cause for cause in causes)


def test_who_asks_everybody_heeds_no_breaker_and_learns_all_the_same(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(
        database, monkeypatch, *(f"M{number}-1" for number in range(6)), ensemble={"member_policy": "all"}
    ) as play:
        play.scan()
        play.fault("xai", "unavailable", count=None)
        asked = ask(play)
        assert (asked.answered, asked.failed, asked.not_asked) == (24, 6, 0)
        assert not FallbackManager(play.instance).check_provider_health()[PRIMARY].is_available


def test_explanation_says_why_a_member_was_not_asked(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, *(f"M{number}-1" for number in range(8)), ensemble=ONE) as play:
        keep(play, PRIMARY, SECOND)
        play.scan()
        play.fault("xai", "unavailable", count=None)
        recorded = play.decide()
        with database.connection() as connection:
            chains = [explain(connection, it) for it in recorded.decision_ids]
        said = [answer for it in chains for answer in it["answers"] if answer["model"] == PRIMARY]
        not_asked = [answer for answer in said if answer["not_asked"]]
        assert len(not_asked) == len(play.rows("select from calls_not_made"))
        assert "its breaker is open" in show_explanation(next(it for it in chains if not_asked[0] in it["answers"]))
