"""Health as it is read from real calls and breakers, and probes of providers that had no traffic."""

import asyncio
from datetime import timedelta

import pytest

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.domain import PromptWording
from ensemble_pipeline.ensemble.fallback import FallbackManager
from ensemble_pipeline.ensemble.health import Probing
from ensemble_pipeline.ensemble.health_alerts import watch_health
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.errors import CredentialsError
from ensemble_pipeline.providers.base import ModelCatalogue
from ensemble_pipeline.store import breakers, calls, health
from ensemble_pipeline.store.breakers import PROVIDER, Outcome, Report, Rules
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.history import put_call, put_forecasts, table
from ensemble_pipeline_tests.ensemble.parts import instance_of, member_of, settings_of
from ensemble_pipeline_tests.ensemble.venue import playing
from ensemble_pipeline_tests.providers.loopback import always, serve
from ensemble_pipeline_tests.store.rows import NOW

MINUTE = timedelta(minutes=1)
RULES = Rules(3, 60, 1800, 3600, 15 * MINUTE)


def instance_at(database: Database, now: SteppedClock | None = None) -> Instance:
    return instance_of(settings_of("a", "b"), database, now or SteppedClock(NOW))


def tell(database: Database, model: str, outcome: Outcome, times: int = 1) -> None:
    with database.connection() as connection:
        for _ in range(times):
            told = Report("local", model, None, "none" if model else outcome, outcome, "it broke")
            connection.execute(breakers.REPORT, breakers.report_arguments(told, NOW, RULES))


def test_health_counts_calls_by_how_they_ended_and_tells_quantiles_of_the_answered_ones(database: Database) -> None:
    snapshot = put_forecasts(database, {"a": 0.5})
    ends = ("failed", "timed_out", "unreadable", "refused_by_model")
    with database.connection() as connection:
        for attempt, status in enumerate(ends, start=2):
            put_call(connection, snapshot, "a", attempt=attempt, status=status, latency_ms=9)
        for attempt, latency_ms in enumerate((2000, 3000), start=6):
            put_call(connection, snapshot, "a", attempt=attempt, latency_ms=latency_ms)
    found = FallbackManager(instance_at(database)).check_provider_health()["a"]
    assert (found.calls, found.failures) == (7, 4)
    assert (found.timed_out, found.unreadable, found.refused) == (1, 1, 1)
    assert found.avg_response_time_ms == found.p50_response_time_ms == 2000
    assert found.p95_response_time_ms == pytest.approx(2900)
    assert found.success_share == pytest.approx(3 / 7)


def test_model_without_a_call_has_no_success_share_and_is_available(database: Database) -> None:
    found = FallbackManager(instance_at(database)).check_provider_health()["b"]
    assert (found.calls, found.success_share, found.p95_response_time_ms) == (0, None, None)
    assert (found.is_available, found.breaker_state) == (True, "closed")


def test_health_as_of_now_sees_the_last_day_and_no_later_call(database: Database) -> None:
    snapshot = put_forecasts(database, {"a": 0.5})
    with database.connection() as connection:
        put_call(connection, snapshot, "a", attempt=2, status="failed", at=NOW + MINUTE)
    assert FallbackManager(instance_at(database)).check_provider_health()["a"].failures == 0
    later = SteppedClock(NOW + timedelta(days=1, seconds=30))
    assert FallbackManager(instance_at(database, later)).check_provider_health()["a"].calls == 1


def test_model_is_unavailable_while_its_breaker_rests_and_may_try_by_the_instances_clock(database: Database) -> None:
    clock = SteppedClock(NOW)
    manager = FallbackManager(instance_at(database, clock))
    tell(database, "a", "failure", times=2)
    assert manager.check_provider_health()["a"].is_available
    tell(database, "a", "failure")
    found = manager.check_provider_health()
    assert (found["a"].is_available, found["a"].breaker_state, found["a"].cause) == (False, "open", "it broke")
    assert found["a"].consecutive_failures == 3
    assert found["b"].breaker_state == "closed"
    clock.advance_to(NOW + MINUTE)
    tried = manager.check_provider_health()["a"]
    assert (tried.is_available, tried.breaker_state) == (True, "half_open")
    tell(database, "a", "success")
    assert manager.check_provider_health()["a"].breaker_state == "closed"


def test_every_model_of_a_closed_provider_is_unavailable(database: Database) -> None:
    tell(database, PROVIDER, "shut")
    found = FallbackManager(instance_at(database)).check_provider_health()
    assert {it.breaker_state for it in found.values()} == {"open"}
    assert {it.cause for it in found.values()} == {"it broke"}


def test_failover_takes_the_next_stand_by_that_is_available_and_was_not_asked(database: Database) -> None:
    tell(database, "a", "failure", times=3)
    manager = FallbackManager(instance_at(database))
    known = manager.check_provider_health()
    standby = [member_of("x"), member_of("a"), member_of("b"), member_of("c")]
    assert manager.initiate_failover(standby, ["x"], known) == standby[2]
    assert manager.initiate_failover(standby, ["x", "b"], known) == standby[3]
    assert manager.initiate_failover(standby[:2], ["x"], known) is None


def test_reading_is_kept_for_every_member_once_an_instant(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        manager = FallbackManager(play.instance)
        asyncio.run(manager.record_health())
        asyncio.run(manager.record_health())
        names = sorted(member.name for member in play.instance.settings.enabled_members)
        assert [row["model_id"] for row in table(database, "model_health", "model_id")] == names


def test_providers_that_had_no_traffic_are_probed_and_those_asked_lately_are_not(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1", ensemble={"max_members": 2, "exploration_share": 0}) as play:
        play.scan()
        play.decide(1)
        found = asyncio.run(Probing(play.instance).probe_idle())
        everybody = {member.provider for member in play.instance.settings.enabled_members}
        # the first look reads what everybody serves
        assert set(found) == everybody
        assert all(isinstance(it, ModelCatalogue) and it.models for it in found.values())
        assert asyncio.run(Probing(play.instance).probe_idle()) == {}
        play.clock.advance_to(play.clock.now() + 61 * MINUTE)
        with database.connection() as connection:
            calls.save_prompt(connection, PromptWording("hash", "forecaster", 1, "", ""), play.clock.now())
            put_call(connection, 1, "xai-model", attempt=5, at=play.clock.now())
        assert set(asyncio.run(Probing(play.instance).probe_idle())) == everybody - {"xai"}
        play.clock.advance_to(play.clock.now() + timedelta(days=1))
        assert set(asyncio.run(Probing(play.instance).probe_idle())) == everybody
        with database.connection() as connection:
            assert {it.provider for it in health.last_probes(connection)} == everybody


def test_probe_whose_key_may_not_read_the_list_closes_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1") as play, serve(always({"error": {"message": "No."}}, 403)) as server:
        providers = play.instance.settings.model_dump()["providers"]
        play.change(providers=providers | {"anthropic": providers["anthropic"] | {"base_url": server.url}})
        found = asyncio.run(Probing(play.instance).probe_idle())["anthropic"]
        assert isinstance(found, CredentialsError)
        assert play.rows("select * from breakers where state <> 'closed' or consecutive_failures > 0") == []
        assert watch_health(play.instance).raised == 1


def test_probe_that_finds_a_wrong_key_closes_the_provider_and_tells_no_key(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(database, monkeypatch, "A-1") as play:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "wrong-and-secret")
        asyncio.run(Probing(play.instance).probe_idle())
        found = FallbackManager(play.instance).check_provider_health()
        assert [name for name, it in found.items() if not it.is_available] == ["anthropic-model"]
        [row] = play.rows("select * from provider_probes where not is_reachable")
        assert row["provider"] == "anthropic"
        assert "ANTHROPIC_API_KEY" in row["problem"]
        assert "wrong-and-secret" not in row["problem"] + str(found["anthropic-model"].cause)
