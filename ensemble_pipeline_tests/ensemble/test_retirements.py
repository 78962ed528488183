"""Models that their providers will shut down, or do not list, are told in time, and no longer than they are so."""

import asyncio
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from ensemble_pipeline.ensemble import retirements
from ensemble_pipeline.ensemble.retirements import (
    Retirement,
    is_not_served,
    read_catalogues,
    retirements_of,
    watch_retirements,
)
from ensemble_pipeline.errors import ProviderTimeoutError, ProviderUnavailableError
from ensemble_pipeline.providers.base import ModelCatalogue
from ensemble_pipeline.store import alerts
from ensemble_pipeline.store.database import Database
from ensemble_pipeline_tests.ensemble.parts import instance_of, member_of, settings_of
from ensemble_pipeline_tests.ensemble.venue import playing
from ensemble_pipeline_tests.providers.helpers import settings_at
from ensemble_pipeline_tests.sandbox.small_world import MODELS
from ensemble_pipeline_tests.store.rows import NOW

TODAY = NOW.date()
DAY, LATER = date(2026, 12, 11), date(2027, 1, 1)


def catalogue(*models: str, **days: str) -> ModelCatalogue:
    return ModelCatalogue(1, models, {name.replace("_", "-"): day for name, day in days.items()})


@pytest.mark.parametrize(
    ("model", "listed", "found"),
    [
        ("gpt-5", {"gpt-5": DAY}, ("gpt-5", DAY)),
        ("gpt-5", {"gpt-5": None}, None),
        # who is named by an alias is served by the newest of its versions
        ("gpt-5", {"gpt-5-2026-01-01": DAY, "gpt-5-2026-06-01": None}, None),
        (
            "gpt-5",
            {"gpt-5-2026-01-01": DAY, "gpt-5-2026-06-01": date(2027, 1, 1)},
            ("gpt-5-2026-06-01", date(2027, 1, 1)),
        ),
        ("gpt-5", {"gpt-5": None, "gpt-5-2026-01-01": DAY}, None),
        ("gpt-5", {"gpt-5-mini": DAY}, None),
        ("gpt-5", {}, None),
    ],
)
def test_last_day_is_that_of_the_model_or_of_what_its_alias_stands_for(
    model: str, listed: dict[str, date | None], found: tuple[str, date] | None
) -> None:
    member = member_of("m", "openai", model=model)
    expected = [] if found is None else [Retirement("m", "openai", *found)]
    assert list(retirements_of((member,), {"openai": listed})) == expected


def test_model_that_answered_counts_as_well_as_the_one_that_was_named() -> None:
    member = member_of("m", "openai", model="gpt-5")
    listed = {"openai": {"gpt-5": None, "gpt-5-2026-01-01": DAY}}
    [found] = retirements_of((member,), listed, {"m": "gpt-5-2026-01-01"})
    assert (found.model, found.shutdown_date) == ("gpt-5-2026-01-01", DAY)


@pytest.mark.parametrize(
    ("model", "listed", "is_absent"),
    [
        ("grok-4.6", ["grok-4.6"], False),
        ("grok-4.6", ["grok-4.7"], True),
        ("grok-latest", ["grok-4.7"], False),
        ("gronk-latest", ["grok-4.7"], True),
        ("claude-haiku-5-5", ["claude-haiku-5-5-20261001"], False),
        ("claude-haiku-5-5-20261001", ["claude-haiku-5-5"], False),
        ("llama3.2", ["llama3.2:latest"], False),
        ("llama3.2:1b", ["llama3.2:3b"], True),
        ("x-ai/grok-4.6:online", ["x-ai/grok-4.6"], False),
        ("gpt-5", [], False),
    ],
)
def test_model_is_served_under_its_aliases_too(model: str, listed: list[str], *, is_absent: bool) -> None:
    assert is_not_served(member_of("m", model=model), dict.fromkeys(listed)) is is_absent


def open_alerts(database: Database) -> list[tuple[str, str, str]]:
    with database.connection() as connection:
        return [(row["kind"], row["subject"], row["severity"]) for row in alerts.open_alerts(connection)]


@pytest.mark.parametrize(
    ("days", "severity"), [(31, None), (30, "warning"), (8, "warning"), (7, "error"), (0, "error"), (-3, "error")]
)
def test_retirement_is_told_a_month_before_and_urgent_in_its_last_week(
    database: Database, days: int, severity: str | None
) -> None:
    instance = instance_of(settings_of("a"), database)
    day = (TODAY + timedelta(days=days)).isoformat()
    watch = watch_retirements(instance, {"local": catalogue("a", a=day)})
    assert [(it.model, it.days_left(TODAY)) for it in watch.retirements] == [("a", days)]
    assert open_alerts(database) == ([] if severity is None else [("retirement", "a", severity)])


def test_alerts_come_and_go_with_what_the_providers_say(database: Database) -> None:
    instance = instance_of(settings_of("a", "b"), database)
    soon = (TODAY + timedelta(days=20)).isoformat()
    watch = watch_retirements(instance, {"local": catalogue("a", a=soon)})
    assert (watch.not_served, watch.change.raised) == (("b",), 2)
    assert open_alerts(database) == [("model_not_served", "b", "error"), ("retirement", "a", "warning")]
    # who does not answer now has not taken back what was said
    silent = {"local": ProviderUnavailableError("away")}
    assert watch_retirements(instance, silent).change.standing == 2
    assert watch_retirements(instance, {}).change.standing == 2
    watch = watch_retirements(instance, {"local": catalogue("a", "b", a="someday")})
    assert (watch.retirements, watch.not_served, watch.change.resolved) == ((), (), 2)
    assert open_alerts(database) == []


def test_lists_are_read_of_providers_whose_key_is_set_and_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = date(2026, 1, 20)
    models = tuple(replace(it, shutdown_date=day) if it.provider == "openai" else it for it in MODELS)
    with playing(database, monkeypatch, "A-1", models=models) as play:
        monkeypatch.delenv("XAI_API_KEY")
        monkeypatch.setenv("ANTHROPIC_API_KEY", "wrong")
        read = asyncio.run(read_catalogues(play.instance.settings))
        assert {name: type(it).__name__ for name, it in read.items()} == {
            "anthropic": "CredentialsError",
            "local": "ModelCatalogue",
            "openai": "ModelCatalogue",
            "openrouter": "ModelCatalogue",
        }
        watch = watch_retirements(play.instance, read)
        assert watch.retirements == (Retirement("openai-model", "openai", "openai-model", day),)
        assert open_alerts(database) == [("retirement", "openai-model", "warning")]
        [row] = play.rows("select * from catalogue_models where shutdown_date is not null")
        assert (row["provider"], row["model"], row["seen_at"]) == ("openai", "openai-model", play.clock.now())


def test_provider_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retirements, "LONGEST_READ_S", 0.05)

    async def hangs(*_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("ensemble_pipeline.providers.manager.ProviderManager.probe", hangs)
    settings = settings_at("http://127.0.0.1:9").model_copy(update={"members": (member_of("a"),)})
    read = asyncio.run(read_catalogues(settings))
    assert isinstance(read["local"], ProviderTimeoutError)
