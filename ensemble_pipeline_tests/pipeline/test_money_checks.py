"""Checks on money: they warn at 80%, fail at 95% and 100%, and tell disputed bills and accounts that do not add up."""

from typing import Any

import dagster as dg
import pytest

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.definitions import defs
from ensemble_pipeline.pipeline import checks
from ensemble_pipeline.pipeline.assets import costs
from ensemble_pipeline.pipeline.resources import EnsembleResource
from ensemble_pipeline.pipeline.schedules import health_and_budget_schedule
from ensemble_pipeline.settings import Settings
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.world_clock import StoredClock
from ensemble_pipeline_tests.ensemble.history import put_call, put_forecasts, table
from ensemble_pipeline_tests.ensemble.parts import instance_of, member_of
from ensemble_pipeline_tests.store.rows import NOW, call_of, hold

# Dagster asks pydantic for the fields of a resource by their old name
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")

WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
LIMIT_CHECKS = (checks.budgets_below_80_percent, checks.budgets_below_95_percent, checks.no_budget_used_up)


def spend(database: Database) -> None:
    """400 micro-dollars spent and 400 held today, all by the model "a" at "local"."""
    snapshot = put_forecasts(database, {"a": 0.5})
    with database.connection() as connection:
        put_call(connection, snapshot, "a", attempt=2, cost=300)
        assert hold(connection, call_of(snapshot, 400)) is not None


def resource_of(database: Database, **budget: Any) -> EnsembleResource:
    """An instance whose member "a" and provider "local" may have a limit of their own."""
    member = member_of("a", day_usd=budget.pop("day_usd", "unlimited"))
    settings = Settings.model_validate({"members": [member.model_dump()], "budget": budget})
    return EnsembleResource.of(instance_of(settings, database, SteppedClock(NOW)))


def result_of(check: dg.AssetChecksDefinition, resource: EnsembleResource) -> dg.AssetCheckResult:
    """What the check says when it is called directly."""
    result = check(resource)
    assert isinstance(result, dg.AssetCheckResult)
    return result


USED = {
    "0.001001": [True, True, True],
    "0.001": [False, True, True],
    "0.000843": [False, True, True],
    "0.000842": [False, False, True],
    "0.000801": [False, False, True],
    "0.0008": [False, False, False],
    # lowered below what is spent already
    "0.0001": [False, False, False],
    "0": [False, False, False],
    "unlimited": [True, True, True],
}


@pytest.mark.parametrize("limit", ["day_hard_usd", "day_soft_usd", "provider_day_usd", "day_usd"])
def test_checks_on_limits_fail_one_after_the_other_at_80_at_95_and_at_100_percent(
    database: Database, limit: str
) -> None:
    spend(database)
    for usd, passed in USED.items():
        resource = resource_of(database, **{limit: {"local": usd} if limit == "provider_day_usd" else usd})
        found = [result_of(check, resource) for check in LIMIT_CHECKS]
        assert [it.passed for it in found] == passed, usd
        assert [it.severity for it in found] == [WARN, ERROR, ERROR]


def test_check_says_how_much_of_which_limit_is_used(database: Database) -> None:
    spend(database)
    found = result_of(checks.budgets_below_95_percent, resource_of(database, day_hard_usd="0.0008"))
    assert found.metadata["limits_reached"].value == 1
    assert "| day, hard | 0.0008 | 0.0008 | 1.0000 |" in str(found.metadata["limits"].value)


def test_bill_in_dispute_fails_its_check_until_somebody_decides(database: Database) -> None:
    spend(database)
    resource = resource_of(database)
    assert result_of(checks.no_bill_in_dispute, resource).passed
    with database.connection() as connection:
        connection.execute(
            "insert into cost_anomalies (reservation_id, model_id, kind, claim, claimed_micro_usd, booked_micro_usd,"
            " held_micro_usd, noticed_at) values (1, 'a', 'absurd_cost', 'ticks say $9', 9000000, 100, 500, now())"
        )
    assert not result_of(checks.no_bill_in_dispute, resource).passed
    with database.connection() as connection:
        connection.execute(
            "update cost_anomalies set resolved_at = now(), resolution = 'rejected', resolution_cause = 'their fault'"
        )
    assert result_of(checks.no_bill_in_dispute, resource).passed


@pytest.mark.parametrize(
    "tampering",
    [
        "update budget_accounts set spent_micro_usd = spent_micro_usd - 1 where scope = 'day'",
        "update budget_accounts set held_micro_usd = held_micro_usd + 1 where scope = 'provider'",
        "update budget_accounts set spent_micro_usd = 0 where scope = 'market'",
        "delete from budget_accounts where scope = 'decision'",
        "update budget_accounts set calls = calls + 1 where scope = 'model'",
        "update llm_queries set cost_micro_usd = cost_micro_usd + 1 where query_id = 2",
        "insert into budget_accounts (scope, account_key, spent_micro_usd) values ('day', '2026-03-01', 5)",
    ],
)
def test_ledger_that_differs_from_the_calls_fails_its_check(database: Database, tampering: str) -> None:
    spend(database)
    resource = resource_of(database)
    assert result_of(checks.ledger_equals_calls, resource).passed
    with database.connection() as connection:
        connection.execute(tampering)
    assert not result_of(checks.ledger_equals_calls, resource).passed


def watch(database: Database, dagster: dg.DagsterInstance, **budget: Any) -> dg.ExecuteInProcessResult:
    """A real run of the job that the schedule asks for."""
    StoredClock(database).start_stepped(NOW)
    return defs.resolve_job_def(health_and_budget_schedule.job_name).execute_in_process(
        instance=dagster, resources={"ensemble": resource_of(database, **budget)}, raise_on_error=False
    )


def made(result: dg.ExecuteInProcessResult) -> set[str]:
    """The assets that a run materialised."""
    return {event.asset_key.to_user_string() for event in result.get_asset_materialization_events() if event.asset_key}


def test_where_the_ledger_equals_the_calls_a_run_writes_efficiency_and_report_after_the_budget(
    database: Database, dagster_instance: dg.DagsterInstance
) -> None:
    spend(database)
    # a limit that is used up fails its checks, and blocks nothing
    result = watch(database, dagster_instance, day_hard_usd="0.0001")
    assert result.success
    assert made(result) == {"model_health", "budget_status", "cost_efficiency", "cost_report"}
    assert [len(table(database, name, "as_of")) for name in ("cost_efficiencies", "cost_reports")] == [1, 1]


def test_where_the_ledger_differs_from_the_calls_a_run_writes_the_budget_alone(
    database: Database, dagster_instance: dg.DagsterInstance
) -> None:
    spend(database)
    with database.connection() as connection:
        connection.execute("update llm_queries set cost_micro_usd = cost_micro_usd + 1 where query_id = 2")
    result = watch(database, dagster_instance)
    assert not result.success
    [failed] = [it for it in result.get_asset_check_evaluations() if it.check_name == "ledger_equals_calls"]
    assert (failed.passed, failed.asset_key.to_user_string()) == (False, "budget_status")
    assert made(result) == {"model_health", "budget_status"}
    assert [table(database, name, "1") for name in ("cost_efficiencies", "cost_reports", "cost_report")] == [[], [], []]
    assert len(table(database, "budget_status", "checked_at")) == 1


def test_ledger_check_blocks_and_those_of_limits_do_not() -> None:
    specs = {spec.name: spec.blocking for check in checks.CHECKS for spec in check.check_specs}
    assert specs["ledger_equals_calls"]
    assert not any(specs[spec.name] for check in LIMIT_CHECKS for spec in check.check_specs)


def test_budget_status_shows_limits_raises_alerts_once_and_closes_what_a_dead_run_held(database: Database) -> None:
    spend(database)
    resource = resource_of(database, day_hard_usd="0.00081", day_soft_usd="unlimited")
    first, second = materialised(costs.budget_status, resource), materialised(costs.budget_status, resource)
    assert (first["spent_usd"], first["held_usd"]) == (pytest.approx(8e-4), 0)
    assert "| day, hard | 0.0008 | 0.0008 | 0.9877 |" in first["limits"]
    assert "image/svg+xml" in first["day_so_far"]
    assert (first["alerts_raised"], second["alerts_raised"]) == (2, 0)
    assert "of the limit $0.0008" in second["alerts"]
    found = table(database, "alerts", "kind")
    assert [(it["kind"], it["subject"], it["severity"]) for it in found] == [
        ("budget", "day, hard", "error"),
        ("unconfirmed_spend", "today", "warning"),
    ]
    raised = materialised(costs.budget_status, resource_of(database, day_hard_usd="1"))
    assert raised["alerts_resolved"] == 1
    assert [it["resolved_at"] for it in table(database, "alerts", "kind")] == [NOW, None]


def materialised(asset: dg.AssetsDefinition, resource: EnsembleResource) -> dict[str, Any]:
    """What one materialisation says, by name."""
    result = asset(resource)
    assert isinstance(result, dg.MaterializeResult)
    values = result.metadata or {}
    return {name: getattr(value, "value", None) or getattr(value, "md_str", value) for name, value in values.items()}


def test_budget_efficiency_and_report_are_brought_up_to_date_by_a_schedule_with_their_checks() -> None:
    job = defs.resolve_job_def(health_and_budget_schedule.job_name)
    assert {costs.budget_status.key, costs.cost_efficiency.key, costs.cost_report.key} <= (
        job.asset_layer.selected_asset_keys
    )
    nodes = set(job.graph.node_dict)
    specs = [spec for check in checks.CHECKS for spec in check.check_specs]
    wanted = [spec for spec in specs if spec.asset_key == costs.budget_status.key]
    assert len(wanted) == 5
    assert {spec.get_python_identifier() for spec in wanted} <= nodes
