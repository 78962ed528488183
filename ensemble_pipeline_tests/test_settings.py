import json
from decimal import Decimal
from pathlib import Path

import pytest

from ensemble_pipeline.domain import Strategy
from ensemble_pipeline.errors import SettingsError
from ensemble_pipeline.settings import LIVE_CONFIRMATION, Policy, Settings, default_data_dir, load_settings


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(f"ENSEMBLE_{name}", value)
    load_settings.cache_clear()
    try:
        return load_settings()
    finally:
        load_settings.cache_clear()


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("ENSEMBLE_"):
            monkeypatch.delenv(name)


def test_defaults_are_those_of_the_mission(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch)
    assert [settings.budget.day_soft_usd, settings.budget.day_hard_usd] == [Decimal(12), Decimal(20)]
    assert [settings.budget.decision_usd, settings.budget.market_day_usd] == [Decimal("0.08"), Decimal("0.24")]
    assert settings.budget.provider_day_usd == {}
    assert {member.day_usd for member in settings.members} == {"unlimited"}
    assert (settings.gates.cooldown_hours, settings.gates.analyses_per_day) == (2.0, 3)
    assert settings.gates.min_volume == Decimal(1000)
    assert (settings.gates.high_disagreement, settings.gates.max_disagreement) == (0.4, 0.6)
    assert settings.ensemble.cascade_single_below_usd == Decimal(10)
    assert settings.ensemble.cascade_enhanced_above_usd == Decimal(50)
    assert sorted(settings.providers) == ["anthropic", "local", "openai", "openrouter", "xai"]
    assert [member.name for member in settings.enabled_members] == ["grok-4.5", "gpt-5.4-mini", "claude-haiku-5-5"]
    assert settings.database_url is None


def test_one_nested_variable_changes_one_value_and_leaves_the_built_in_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(
        monkeypatch,
        PROVIDERS__XAI__BASE_URL="http://127.0.0.1:9/v1/",
        PROVIDERS__MINE__DIALECT="openai_chat",
        PROVIDERS__MINE__BASE_URL="http://mine/v1",
        BUDGET__DAY_HARD_USD="unlimited",
        GATES__MIN_EDGE_LOW="0.2",
    )
    xai = settings.providers["xai"]
    assert (xai.base_url, xai.dialect, xai.api_key_env) == ("http://127.0.0.1:9/v1", "openai_chat", "XAI_API_KEY")
    assert settings.providers["openai"].base_url == "https://api.openai.com/v1"
    assert settings.providers["mine"].api_key_env is None
    assert [settings.budget.day_hard_usd, settings.budget.day_soft_usd] == ["unlimited", Decimal(12)]
    assert (settings.gates.min_edge_low, settings.gates.min_edge_high) == (0.2, 0.06)


def test_limit_of_zero_is_not_unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch, BUDGET__DAY_HARD_USD="0").budget.day_hard_usd == 0


MEMBER = {"name": "a", "provider": "xai", "model": "grok"}
LOOKING = MEMBER | {"max_web_searches": 2}
OWN = {"has_own_search": True}
SEARCHING = {"provider": "openrouter", "model": "x-ai/grok-4.6:online"}


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("MEMBERS", json.dumps([MEMBER | {"provider": "gronk"}]), "unknown provider 'gronk'; known: anthropic, local"),
        ("MEMBERS", json.dumps([MEMBER, MEMBER]), "must be unique, these are not: a"),
        ("MEMBERS", json.dumps([MEMBER | SEARCHING]), "set its `max_web_searches` to at least 1 and `web_search_usd`"),
        (
            "MEMBERS",
            json.dumps([LOOKING | {"provider": "local"}]),
            "provider 'local' has no search tool: set it to 0",
        ),
        ("MEMBERS", json.dumps([LOOKING | {"provider": "openrouter"}]), "'grok' does not: add `:online` to it, or set"),
        ("MEMBERS", json.dumps([MEMBER | OWN]), "searches the web by itself: set its `max_web_searches` to at least 1"),
        ("PROVIDERS__XAI__SEARCH_TOOL", "messages", "'messages' is none of the dialect 'openai_chat'"),
        ("PROVIDERS__ANTHROPIC__SEARCH_TOOL", "online", "'online' is none of the dialect 'anthropic_messages'"),
        ("MEMBERS", json.dumps([MEMBER | {"colour": "red"}]), "ENSEMBLE_MEMBERS__0__COLOUR"),
        ("BUDGET__DAY_HARD_USD", "-1", "ENSEMBLE_BUDGET__DAY_HARD_USD"),
        ("BUDGET__DAY_HARD_USD", "lots", "ENSEMBLE_BUDGET__DAY_HARD_USD"),
        ("BUDGET__DAY_HARD_USD", "nan", "ENSEMBLE_BUDGET__DAY_HARD_USD"),
        ("BUDGET__DAY_HARDUSD", "1", "ENSEMBLE_BUDGET__DAY_HARDUSD"),
        ("GATES__MIN_CONFIDENCE", "1.3", "ENSEMBLE_GATES__MIN_CONFIDENCE"),
        ("ENSEMBLE__MARKET_WEIGHT", "0.6", "ENSEMBLE_ENSEMBLE__MARKET_WEIGHT"),
        ("MEMBERS", "not JSON", "ENSEMBLE_MEMBERS is not JSON"),
        ("KALSHI_BASE_URL", "external-api.kalshi.com", "ENSEMBLE_KALSHI_BASE_URL"),
        ("PROVIDERS__XAI__DIALECT", "latin", "ENSEMBLE_PROVIDERS__XAI__DIALECT"),
        ("PROVIDERS__MINE__BASE_URL", "http://mine", "ENSEMBLE_PROVIDERS__MINE__DIALECT"),
        ("HISTORY_START", "yesterday", "ENSEMBLE_HISTORY_START"),
    ],
)
def test_setting_that_does_not_fit_is_named_with_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load(monkeypatch, **{name: value})
    assert says in str(refused.value)
    assert f"ENSEMBLE_{name.partition('__')[0]}" in str(refused.value)
    assert "docs/settings.md" in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        SEARCHING | {"max_web_searches": 1},
        SEARCHING | {"model": "x-ai/online"},
        SEARCHING | {"provider": "local"},
        LOOKING,
        LOOKING | {"provider": "openai"},
        LOOKING | {"provider": "anthropic"},
        LOOKING | OWN | {"provider": "openrouter", "model": "perplexity/sonar"},
        LOOKING | OWN | {"provider": "local"},
    ],
)
def test_member_that_searches_as_often_as_it_is_told_or_not_at_all_is_taken(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    assert len(load(monkeypatch, MEMBERS=json.dumps([MEMBER | changes])).members) == 1


def test_snapshot_holds_no_secret_and_digest_follows_what_decisions_rest_on(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = load(monkeypatch)
    monkeypatch.setenv("XAI_API_KEY", "sk-planted")
    told = load(monkeypatch, DATABASE_URL="postgresql://ann:hunter2@db/prod", DATA_DIR="/elsewhere")
    text = json.dumps(told.snapshot())
    assert not any(secret in text for secret in ("hunter2", "sk-planted", "elsewhere"))
    assert "hunter2" not in repr(told)
    assert told.digest() == bare.digest()
    assert load(monkeypatch, GATES__MIN_EDGE_LOW="0.13").digest() != bare.digest()


def test_error_about_a_setting_does_not_repeat_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as refused:
        load(monkeypatch, DATABASE_URL="postgresql://ann:hunter2@db/prod", KALSHI_BASE_URL="http://x y")
    assert "hunter2" not in str(refused.value)


def test_data_folder_is_one_that_postgresql_can_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_data_dir() == Path("/var/lib/ensemble_pipeline")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_data_dir() == Path("/data/ensemble_pipeline")
    monkeypatch.delenv("XDG_DATA_HOME")
    assert default_data_dir() == Path.home() / ".local" / "share" / "ensemble_pipeline"


@pytest.mark.parametrize("strategy", list(Strategy))
def test_strategy_that_is_switched_off_is_refused_with_its_switch_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, strategy: Strategy
) -> None:
    with pytest.raises(SettingsError) as refused:
        load(monkeypatch, ENSEMBLE__STRATEGY=strategy, **{f"METHODS__{strategy.upper()}": "false"})
    others = ", ".join(other for other in Strategy if other is not strategy)
    switched_off = (
        f"ENSEMBLE_ENSEMBLE__STRATEGY names {strategy}, which ENSEMBLE_METHODS__{strategy.upper()} switches off"
    )
    for part in (switched_off, f"allowed: {others}"):
        assert part in str(refused.value)


def test_strategy_that_is_switched_off_is_refused_by_the_names_of_its_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(SettingsError) as refused:
        load(monkeypatch, ENSEMBLE__STRATEGY="consensus", METHODS__CONSENSUS="false")
    assert "ENSEMBLE_MEMBERS" not in str(refused.value)
    assert "ENSEMBLE_METHODS__CONSENSUS" in str(refused.value)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"IS_LIVE": "true"}, "needs live_confirmation"),
        ({"IS_LIVE": "true", "LIVE_CONFIRMATION": "yes"}, "needs live_confirmation"),
        ({"LIVE_CONFIRMATION": "yes"}, "or be empty"),
        ({"IS_LIVE": "true", "LIVE_CONFIRMATION": LIVE_CONFIRMATION}, "this release places no orders"),
    ],
)
def test_live_trading_needs_two_settings_and_a_release_that_can_place_orders(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], says: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load(monkeypatch, **{f"TRADING__{name}": value for name, value in variables.items()})
    assert "ENSEMBLE_TRADING" in str(refused.value)
    assert says in str(refused.value)


def test_trading_is_on_paper_by_default_and_may_be_confirmed_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch).trading.is_live is False
    assert load(monkeypatch, TRADING__LIVE_CONFIRMATION=LIVE_CONFIRMATION).trading.is_live is False


def test_every_method_is_allowed_by_default_and_each_has_a_switch_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch)
    names = {"agreement", "advanced", *Strategy}
    assert settings.methods.model_dump() == dict.fromkeys(names, True)
    assert settings.multi_model_ensemble
    for name in sorted(names - {settings.ensemble.strategy}):
        with monkeypatch.context() as patched:
            changed = load(patched, **{f"METHODS__{name.upper()}": "false"})
        assert {it for it, is_on in changed.methods.model_dump().items() if not is_on} == {name}
        assert changed.digest() != settings.digest()


def test_policy_holds_the_settings_that_decisions_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch, MULTI_MODEL_ENSEMBLE="false", GATES__MIN_EDGE_LOW="0.2")
    again = Policy.model_validate(settings.snapshot())
    assert again == settings.policy
    assert (again.multi_model_ensemble, again.gates.min_edge_low) == (False, 0.2)
    assert [member.name for member in again.enabled_members] == [member.name for member in settings.enabled_members]


def test_budgets_of_providers_are_named_and_an_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = load(monkeypatch, BUDGET__PROVIDER_DAY_USD='{"xai": 5, "local": "unlimited"}').budget.provider_day_usd
    assert limits == {"xai": Decimal(5), "local": "unlimited"}
    assert load(monkeypatch, BUDGET__PROVIDER_DAY_USD="{}").budget.provider_day_usd == {}
    with pytest.raises(SettingsError, match=r"PROVIDER_DAY_USD names unknown providers xia; known: anthropic, local"):
        load(monkeypatch, BUDGET__PROVIDER_DAY_USD='{"xia": 5}')
