"""`ensemble breakers`, and the alerts and checks on models that are left alone."""

from datetime import timedelta

import dagster as dg
import pytest

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.ensemble.health_alerts import watch_health
from ensemble_pipeline.errors import InputError
from ensemble_pipeline.pipeline.checks import answers_come_in_time, enough_models_available, no_breaker_open
from ensemble_pipeline.pipeline.resources import EnsembleResource
from ensemble_pipeline.store import alerts, breakers, health
from ensemble_pipeline.store.breakers import PROVIDER, Report
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.health import Probe
from ensemble_pipeline_tests.ensemble.history import NOW, put_call, put_forecasts, table
from ensemble_pipeline_tests.ensemble.parts import instance_of, settings_of
from ensemble_pipeline_tests.ensemble.test_health import RULES, tell
from ensemble_pipeline_tests.pipeline.conftest import Command, said


def checked(database: Database, check: dg.AssetChecksDefinition, **options: object) -> dg.AssetCheckResult:
    instance = instance_of(settings_of("a", "b", ensemble=options), database, SteppedClock(NOW))
    found = check(EnsembleResource.of(instance))
    assert isinstance(found, dg.AssetCheckResult)
    return found


def test_breakers_are_shown_with_their_causes(database: Database, command: Command) -> None:
    assert said(command("breakers", "show")) == "nobody was asked yet\n"
    tell(database, "a", "failure", times=3)
    tell(database, "b", "failure")
    shown = said(command("breakers", "show")).splitlines()
    assert [line.split()[:2] for line in shown] == [["local", "(provider)"], ["a", "open"], ["b", "closed"]]
    assert shown[1].endswith("it broke")


def test_breaker_closed_by_hand_is_closed_with_its_cause_and_once(database: Database, command: Command) -> None:
    tell(database, PROVIDER, "shut")
    assert said(command("breakers", "close", "local", "--cause", "topped up")) == "local may be asked\n"
    assert "closed already" in said(command("breakers", "close", "local", "--cause", "again"))
    causes = [row["cause"] for row in table(database, "breaker_transitions", "transition_id")]
    assert causes == ["it broke", "by hand: topped up"]


@pytest.mark.parametrize(("name", "cause", "says"), [("nobody", "x", "no breaker"), ("a", " ", "--cause")])
def test_breaker_that_is_not_there_or_has_no_cause_is_refused(
    database: Database, command: Command, name: str, cause: str, says: str
) -> None:
    tell(database, "a", "failure")
    with pytest.raises(InputError, match=says):
        said(command("breakers", "close", name, "--cause", cause))


def test_open_breaker_and_unreachable_provider_raise_alerts_that_end_with_them(database: Database) -> None:
    instance = instance_of(settings_of("a", "b"), database, SteppedClock(NOW))
    tell(database, "a", "failure", times=3)
    with database.connection() as connection:
        health.save_probes(connection, [Probe("local", NOW, is_reachable=False, latency_ms=None, problem="refused")])
    assert watch_health(instance).raised == 2
    with database.connection() as connection:
        found = {row["kind"]: row for row in alerts.open_alerts(connection)}
    assert (found["breaker_open"]["subject"], found["breaker_open"]["severity"]) == ("a", "warning")
    assert "it broke" in found["breaker_open"]["cause"]
    assert "refused" in found["provider_unreachable"]["cause"]
    tell(database, "a", "success")
    later = NOW + timedelta(hours=1)
    with database.connection() as connection:
        health.save_probes(connection, [Probe("local", later, is_reachable=True, latency_ms=3, problem=None)])
    assert watch_health(instance).resolved == 2


def test_failed_probe_is_no_alert_once_the_provider_has_answered_a_call(database: Database) -> None:
    clock = SteppedClock(NOW)
    instance = instance_of(settings_of("a"), database, clock)
    with database.connection() as connection:
        answered = Report("local", "a", None, "success", "success")
        connection.execute(breakers.REPORT, breakers.report_arguments(answered, NOW, RULES))
    clock.advance_to(NOW + timedelta(hours=1))
    with database.connection() as connection:
        probe = Probe("local", clock.now(), is_reachable=False, latency_ms=None, problem="refused")
        health.save_probes(connection, [probe])
    assert watch_health(instance).raised == 1
    with database.connection() as connection:
        later = clock.now() + timedelta(minutes=1)
        connection.execute(breakers.REPORT, breakers.report_arguments(answered, later, RULES))
    assert watch_health(instance).resolved == 1


def test_breaker_of_a_provider_nobody_uses_any_more_is_no_alert(database: Database) -> None:
    tell(database, "gone", "failure", times=3)
    assert watch_health(instance_of(settings_of("a"), database, SteppedClock(NOW))).raised == 0


def test_checks_on_health_follow_what_may_be_asked(database: Database) -> None:
    assert checked(database, no_breaker_open).passed
    assert checked(database, enough_models_available).passed
    tell(database, "a", "failure", times=3)
    closed_off = checked(database, no_breaker_open)
    assert (closed_off.passed, closed_off.severity) == (False, dg.AssetCheckSeverity.WARN)
    too_few = checked(database, enough_models_available)
    assert (too_few.passed, too_few.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert checked(database, enough_models_available, min_answers=1).passed


def test_check_on_time_warns_of_answers_that_come_too_late(database: Database) -> None:
    snapshot = put_forecasts(database, {"a": 0.5, "b": 0.5})
    assert checked(database, answers_come_in_time, decision_deadline_s=1.0).passed
    assert not checked(database, answers_come_in_time, decision_deadline_s=0.9).passed
    with database.connection() as connection:
        put_call(connection, snapshot, "a", attempt=2, status="timed_out")
    assert not checked(database, answers_come_in_time).passed
