from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from ensemble_pipeline.clock import SteppedClock
from ensemble_pipeline.ensemble.cost import CostOptimizer
from ensemble_pipeline.ensemble.fallback import FallbackManager
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.store.budget import Limits
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.history import put_call, put_forecasts, table
from ensemble_pipeline_tests.ensemble.parts import instance_of, mode_of, settings_of
from ensemble_pipeline_tests.store.rows import NOW, call_of, hold


def instance_at(database: Database, now: SteppedClock | None = None, **budget: Any) -> Instance:
    return instance_of(settings_of("a", "b", budget=budget), database, now or SteppedClock(NOW))


@pytest.mark.parametrize(
    ("hard", "alert"),
    [("0.01", 0.0), ("0.000501", 0.95), ("0.0005", 1.0), ("0.0006", 0.8), ("unlimited", None), (0, 1.0)],
)
def test_alert_of_a_limit_follows_what_is_spent_and_held(
    database: Database, hard: str | int, alert: float | None
) -> None:
    snapshot = put_forecasts(database, {"a": 0.5})
    with database.connection() as connection:
        put_call(connection, snapshot, "a", attempt=2, cost=300)
        assert hold(connection, call_of(snapshot, 100)) is not None
    status = CostOptimizer(instance_at(database, day_hard_usd=hard)).monitor_spend()
    assert (status.spend.spent, status.spend.held, status.committed) == (400, 100, 500)
    assert next((use.alert_share for use in status.uses if use.scope == "day"), None) == alert
    assert CostOptimizer(instance_at(database)).monitor_spend(date(2026, 1, 1)).committed == 0


@pytest.mark.parametrize(
    ("soft", "hard", "may_begin"),
    [
        ("0.0001", 20, False),
        ("0.000101", 20, True),
        (0, 20, False),
        ("unlimited", "unlimited", True),
        ("unlimited", "0.0001", False),
        ("unlimited", "0.000101", True),
    ],
)
def test_new_analyses_stop_at_the_last_micro_dollar_of_the_lower_limit(
    database: Database, soft: str | int, hard: str | int, *, may_begin: bool
) -> None:
    put_forecasts(database, {"a": 0.5})
    status = CostOptimizer(instance_at(database, day_soft_usd=soft, day_hard_usd=hard)).monitor_spend()
    assert status.may_begin is may_begin


def test_limits_of_the_settings_become_micro_dollars() -> None:
    budget = {"day_hard_usd": "0.000001", "day_soft_usd": "unlimited", "provider_day_usd": {"xai": 5, "local": 0}}
    settings = settings_of("a", "b", budget=budget)
    members = (settings.members[0].model_copy(update={"day_usd": Decimal(1)}), settings.members[1])
    limits = instance_of(settings.model_copy(update={"members": members})).limits
    providers, models = {"xai": 5_000_000, "local": 0}, {"a": 1_000_000, "b": None}
    assert limits == Limits(None, 1, 80_000, 240_000, providers, models)


def test_spend_reading_is_kept_once_an_instant(database: Database) -> None:
    optimizer = CostOptimizer(instance_at(database))
    optimizer.record_status()
    optimizer.record_status()
    [row] = table(database, "budget_status", "checked_at")
    assert (row["soft_micro_usd"], row["hard_micro_usd"]) == (12_000_000, 20_000_000)


def test_operating_mode_in_force_is_the_last_one_set_and_all_are_kept(database: Database) -> None:
    instance = instance_at(database)
    for mode in ("conservative", "minimal"):
        FallbackManager(instance).enable_emergency_mode(mode, "drill")
    assert mode_of(instance) == "minimal"
    assert [row["cause"] for row in table(database, "operating_modes", "mode_id")] == ["drill", "drill"]
