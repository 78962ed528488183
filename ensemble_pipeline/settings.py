"""Every number an operator can turn, read from the environment (``ENSEMBLE_…``) and nowhere else.

Nested settings use two underscores: ``ENSEMBLE_PROVIDERS__XAI__BASE_URL``. Keys are not settings: each provider
names the environment variable that holds its key, so no settings snapshot can contain one.
docs/settings.md is written from this file.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as PydanticSettingsError

from ensemble_pipeline.domain import Strategy
from ensemble_pipeline.errors import SettingsError

Dialect = Literal["openai_chat", "anthropic_messages"]
SearchTool = Literal["responses", "messages", "online"]
Probability = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, le=1)]
UsdLimit = Annotated[Decimal, Field(ge=0)] | Literal["unlimited"]
Count = Annotated[int, Field(ge=0)] | Literal["unlimited"]
LIVE_CONFIRMATION = "I accept real orders with real money"
BaseUrl = Annotated[str, Field(pattern=r"^https?://\S+$"), AfterValidator(lambda url: url.rstrip("/"))]


def default_data_dir() -> Path:
    """Where data lives unless told otherwise.

    As root PostgreSQL runs as a user of its own, which must be able to reach the folder: /var/lib, never a home.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/ensemble_pipeline")
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "ensemble_pipeline"


class _Frozen(BaseModel):
    # built on first use: loading the definitions needs none of them
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False)


class ProviderSettings(_Frozen):
    """One provider of models."""

    dialect: Dialect = Field(description="Wire format the provider speaks.")
    base_url: BaseUrl = Field(description="Root of the API; the sandbox and the real service differ in nothing else.")
    api_key_env: str | None = Field(None, description="Environment variable that holds the key; none is sent if unset.")
    max_concurrency: int = Field(8, ge=1, description="Calls under way at once, per process.")
    timeout_s: float = Field(30, gt=0, description="Longest wait for one reply, in seconds.")
    search_tool: SearchTool | None = Field(
        None,
        description="How its models search the web: a tool of `/responses` or `/messages`, or names with `:online`.",
    )

    @model_validator(mode="after")
    def _check_search_tool(self) -> "ProviderSettings":
        if self.search_tool is not None and (self.search_tool == "messages") != (self.dialect == "anthropic_messages"):
            raise ValueError(f"search_tool {self.search_tool!r} is none of the dialect {self.dialect!r}")
        return self


class MemberSettings(_Frozen):
    """One model of the ensemble."""

    name: str = Field(min_length=1, max_length=120, description="Identity in scores and weights; never reuse a name.")
    provider: str = Field(description="Key of the provider that serves it.")
    model: str = Field(description="Model id on the wire.")
    is_enabled: bool = Field(True, description="Whether the ensemble may ask it.")
    role: str = Field("forecaster", description="Prompt file that it is asked with (see providers/prompts).")
    max_output_tokens: int = Field(1024, ge=16, description="Upper bound of the answer, reasoning included.")
    input_usd_per_mtok: Decimal | None = Field(
        None, ge=0, description="Price where no list knows the model (local: 0)."
    )
    output_usd_per_mtok: Decimal | None = Field(
        None, ge=0, description="Price where no list knows the model (local: 0)."
    )
    max_web_searches: int = Field(
        0, ge=0, le=100, description="Web searches that one call may make, by its provider's tool; 0: none."
    )
    has_own_search: bool = Field(
        False, description="Whether it searches by itself, with no tool; `max_web_searches` then says how often it may."
    )
    web_search_usd: Decimal | None = Field(None, ge=0, description="Price of one search where no list knows it.")
    web_search_tokens: int = Field(
        20_000, ge=0, description="Tokens of what it found that one search may add to the prompt."
    )
    day_usd: UsdLimit = Field("unlimited", description="For all calls of it of one UTC day.")


class BudgetSettings(_Frozen):
    """What may be spent on model calls. `unlimited` is an explicit value; 0 lets nothing pass."""

    day_soft_usd: UsdLimit = Field(Decimal(12), description="Above it new analyses stop; those under way finish.")
    day_hard_usd: UsdLimit = Field(Decimal(20), description="No call leaves that could overshoot it.")
    decision_usd: UsdLimit = Field(Decimal("0.08"), description="For all calls of one decision together.")
    market_day_usd: UsdLimit = Field(Decimal("0.24"), description="For all calls about one market of one UTC day.")
    provider_day_usd: dict[str, UsdLimit] = Field(
        default_factory=dict, description="For all calls to a provider of one UTC day; who is not named: unlimited."
    )
    economise_from_share: Share = Field(
        0.5, description="Share of the day's soft limit from which on cheaper and fewer models are asked; 1: never."
    )
    believable_factor: float = Field(
        10, ge=1, description="A cost beyond so many times the worst case is not believed, and its model is closed."
    )


class GateSettings(_Frozen):
    """Thresholds of the decision order."""

    cooldown_hours: float = Field(2, ge=0, description="Shortest time between two analyses of a market.")
    analyses_per_day: int = Field(3, ge=1, description="Analyses of one market per UTC day.")
    min_volume: Decimal = Field(Decimal(1000), ge=0, description="Contracts traded so far; unknown volume passes.")
    excluded_categories: tuple[str, ...] = Field((), description="Categories never traded.")
    near_expiry_hours: float = Field(24, ge=0, description="Closer to its close a market takes one model only.")
    max_disagreement: Probability = Field(0.6, description="Disagreement above it skips.")
    high_disagreement: Probability = Field(0.4, description="Disagreement above it asks for more confidence.")
    min_confidence: Probability = Field(0.5, description="Confidence after the uncertainty adjustment.")
    uncertainty_penalty: float = Field(0.3, ge=0, description="Confidence lost per unit of uncertainty.")
    confidence_floor: Probability = Field(0.1, description="Adjusted confidence never falls below it.")
    min_edge_high: float = Field(0.06, ge=0, description="Edge demanded at confidence ≥ 0.8.")
    min_edge_middle: float = Field(0.08, ge=0, description="Edge demanded at confidence ≥ 0.6.")
    min_edge_low: float = Field(0.12, ge=0, description="Edge demanded below.")


class SizingSettings(_Frozen):
    """Paper money and how much of it one trade may take."""

    bankroll_usd: Decimal = Field(Decimal(1000), gt=0, description="Paper money at the start.")
    kelly_fraction: Probability = Field(0.25, description="Share of the full Kelly stake.")
    max_market_share: Probability = Field(0.05, description="Share of the bankroll in one market.")
    max_event_share: Probability = Field(0.10, description="Share of the bankroll in one event.")
    max_day_share: Probability = Field(0.25, description="Share of the bankroll newly staked per UTC day.")
    max_open_positions: int = Field(50, ge=1, description="Positions open at once.")
    cash_reserve_share: Probability = Field(0.20, description="Share of the bankroll that stays cash.")
    max_volume_share: Probability = Field(0.01, description="Share of the market's volume one trade may take.")


class ExitSettings(_Frozen):
    """When a paper position is sold before it settles; rarely, as each sale pays the spread. A share of 1: never."""

    stop_share: Share = Field(
        0.6, description="Share of what was paid that may be lost: so much speaks against the forecast, not for noise."
    )
    trailing_arm_share: Share = Field(
        0.5, description="Share of the greatest possible gain from which on the highest bid is trailed: not before."
    )
    trailing_give_back_share: Share = Field(
        0.4, description="Share of the highest gain that may be given back: a usual swing is less."
    )
    take_profit_share: Share = Field(
        0.9, description="Share of the greatest possible gain at which a sale rests: what is left pays no new trade."
    )
    max_age_days: float = Field(90, gt=0, description="Longest time held: no market scanned by default closes later.")
    before_close_hours: float = Field(
        0, ge=0, description="Sold within so many hours of the close; 0: held, settling is free."
    )


class EnsembleSettings(_Frozen):
    """How members are chosen and combined."""

    member_policy: Literal["selected", "all"] = Field(
        "selected", description="`all` asks every member about every market, whatever selection and gates would say."
    )
    strategy: Strategy = Field(
        Strategy.WEIGHTED_VOTING, description="How answers become one probability; see docs/math.md."
    )
    consensus_threshold: float = Field(
        0.7, gt=0.5, le=1, description="Share of the weight that must stand on one side (strategy `consensus`)."
    )
    agreement_confidence: Probability = Field(
        0.6, description="Confidence that each of two models must have where two must agree."
    )
    min_answers: int = Field(2, ge=1, description="Answers without which a full ensemble does not trade.")
    min_answers_enhanced: int = Field(3, ge=1, description="The same for the largest trade values.")
    spread_of_truth: float = Field(
        1.5, gt=0, description="Spread of true log-odds that strategy `uncertainty_aware` takes for granted."
    )
    cascade_single_below_usd: Decimal = Field(Decimal(10), description="Trade value below which one model decides.")
    cascade_enhanced_above_usd: Decimal = Field(Decimal(50), description="Trade value above which more is demanded.")
    max_members: int = Field(5, ge=1, description="Members of a full ensemble under policy `selected`.")
    exploration_share: Probability = Field(0.05, description="Chance that a member outside the selection is asked too.")
    market_weight: float = Field(
        0.2, ge=0, le=0.5, description="Weight of the ensemble against the price, in log-odds, before any evidence."
    )
    max_market_weight: float = Field(0.5, ge=0, le=1, description="The learned weight is never above it.")
    market_weight_ridge: float = Field(100, gt=0, description="Strength of the prior at `market_weight`.")
    price_gap_scale: float = Field(
        2.5, gt=0, description="Gap to the price, in log-odds, that moves a forecast most; a larger one is doubted."
    )
    clip: float = Field(0.01, gt=0, lt=0.5, description="Members' probabilities are pooled within [clip, 1 - clip].")
    half_life_resolutions: float = Field(300, ge=1, description="Settled events after which a score counts half.")
    skill_spread: float = Field(
        0.008, gt=0, description="Spread of models' true skill, in Brier points; differences are shrunk accordingly."
    )
    weight_scale: float = Field(0.015, gt=0, description="Brier advantage that multiplies a weight by e.")
    segment_prior_events: float = Field(
        100, gt=0, description="Effective events at which a segment's own record counts as much as the overall skill."
    )
    temperature_ridge: float = Field(25, gt=0, description="Strength of the prior at temperature slope 1.")
    intercept_ridge: float = Field(10, gt=0, description="Strength of the prior at 0 of a category's intercept.")
    intercept_from_events: float = Field(
        200, ge=1, description="Settled events from which a category gets an intercept of its own in the calibration."
    )
    max_attempts: int = Field(2, ge=1, le=5, description="Attempts per member and decision.")
    decision_deadline_s: float = Field(
        30, gt=0, description="Seconds from a decision's first call within which all of its answers must have come."
    )
    show_market_price: bool = Field(
        False, description="Whether members are shown the market's price; members that see the price copy it."
    )


class BreakerSettings(_Frozen):
    """When a model or provider that fails is left alone, and for how long."""

    failures: int = Field(3, ge=1, description="Failures in a row after which a breaker opens.")
    open_s: float = Field(60, gt=0, description="Seconds until one call may try again; each try that fails doubles it.")
    max_open_s: float = Field(1800, gt=0, description="Longest rest that doubling leads to, in seconds.")
    long_open_s: float = Field(
        3600, gt=0, description="Rest after what only a person can mend: no credit, a wrong key, a model that is gone."
    )
    trusted_minutes: float = Field(
        15, gt=0, description="For so long after a success calls leave without limit; then a few go first."
    )
    probe_after_minutes: float = Field(
        60, gt=0, description="A provider nobody asked for so long is probed, with a call that costs nothing."
    )


class CacheSettings(_Frozen):
    """When a model's earlier answer is given again in place of a new one."""

    is_enabled: bool = Field(True, description="Whether earlier answers are given again at all.")
    max_age_minutes: float = Field(30, ge=0, description="Oldest answer that is given again.")
    max_price_move_logit: float = Field(
        0.1, ge=0, description="Distance of the two prices, in log-odds, from which on the answer is not given again."
    )
    min_confidence: Probability = Field(0.5, description="Answers with less confidence are not kept.")
    min_similarity: float = Field(
        0.9, ge=0.9, le=1, description="Likeness from which on another market counts as asking the same."
    )
    shadow_share: Probability = Field(0.05, description="Share of hits that are asked for real, to measure the loss.")
    max_brier_loss: float = Field(
        0.005,
        gt=0,
        lt=1,
        description="Loss in Brier points that must be ruled out before similar markets share answers.",
    )
    min_shadow_events: int = Field(50, ge=10, description="Settled events of shadow samples that this takes at least.")


class ModeSettings(_Frozen):
    """How much the operating modes leave, and what puts one in force; the whole table is in docs/operations.md."""

    degraded_stake_share: Probability = Field(0.75, description="Share of the usual stake in mode `degraded`.")
    conservative_stake_share: Probability = Field(0.5, description="The same in mode `conservative`.")
    minimal_stake_share: Probability = Field(0.25, description="The same in mode `minimal`.")
    stake_share_of: Literal["stake", "kelly"] = Field(
        "stake", description="What the share is taken of; `kelly`: of the Kelly stake, before the trade value caps it."
    )
    degraded_extra_confidence: Probability = Field(0.05, description="Confidence demanded besides in `degraded`.")
    conservative_extra_confidence: Probability = Field(0.1, description="The same in mode `conservative`.")
    minimal_extra_confidence: Probability = Field(0.1, description="The same in mode `minimal`.")
    conservative_positions: Count = Field(
        10, description="Positions open at once that were opened in mode `conservative` or a more careful one."
    )
    minimal_positions: Count = Field(1, description="The same of mode `minimal`.")
    minimal_is_single: bool = Field(True, description="Whether one model decides in `minimal`; off: as many as usual.")
    earlier_hours: float = Field(
        24, ge=0, le=24, description="Oldest answer that a member who cannot be asked gives again in an emergency."
    )
    earlier_confidence_share: Probability = Field(0.8, description="Share of its confidence that such an answer keeps.")
    degraded_below_available: Probability = Field(
        0.75, description="Share of the enabled members that are available, below which the mode is `degraded`."
    )
    conservative_below_available: Probability = Field(0.5, description="The same for mode `conservative`.")
    degraded_below_success: Probability = Field(
        0.8, description="Share of recent calls that were answered, below which the mode is `degraded`."
    )
    conservative_below_success: Probability = Field(0.5, description="The same for mode `conservative`.")
    evidence_minutes: float = Field(60, gt=0, description="Calls within so long count as recent.")
    min_calls: int = Field(20, ge=1, description="Recent calls without which their success says nothing.")
    venue_silent_minutes: float = Field(
        120, gt=0, description="Time since the venue last told anything, from which on the mode is `conservative`."
    )
    recovery_minutes: float = Field(
        15, ge=0, description="Time for which the evidence must have been better before a mode softens by one."
    )

    @model_validator(mode="after")
    def _check_order(self) -> "ModeSettings":
        for names in _NO_MORE_IN_A_WORSE_MODE:
            values = [getattr(self, name) for name in names]
            sizes = [math.inf if value == "unlimited" else value for value in values]
            if sizes != sorted(sizes, reverse=True):
                raise ValueError(
                    f"{' ≥ '.join(f'ENSEMBLE_MODES__{name.upper()}' for name in names)} must hold, for a more careful "
                    f"mode never allows more; given: {', '.join(map(str, values))}"
                )
        return self


_NO_MORE_IN_A_WORSE_MODE = (
    ("degraded_stake_share", "conservative_stake_share", "minimal_stake_share"),
    ("minimal_extra_confidence", "conservative_extra_confidence", "degraded_extra_confidence"),
    ("conservative_positions", "minimal_positions"),
    ("degraded_below_available", "conservative_below_available"),
    ("degraded_below_success", "conservative_below_success"),
)


class MethodSettings(_Frozen):
    """Which ways of deciding are allowed, each by its own switch."""

    agreement: bool = Field(True, description="Two models that must agree; off: one model decides in their place.")
    advanced: bool = Field(True, description="The ensemble with its strategies; off: two models that must agree.")
    consensus: bool = Field(True, description="Whether the strategy `consensus` may be used.")
    weighted_voting: bool = Field(True, description="Whether the strategy `weighted_voting` may be used.")
    confidence_based: bool = Field(True, description="Whether the strategy `confidence_based` may be used.")
    cascading: bool = Field(
        True, description="The cascade by trade value, and the strategy; off: every market gets the full ensemble."
    )
    uncertainty_aware: bool = Field(
        True, description="The strategy, which the largest trade values take; off: they take the usual one."
    )


class ScanSettings(_Frozen):
    """Which markets are put before the models, and when again."""

    max_open_markets: int = Field(2000, ge=1, description="Open markets read per tick; the cursor carries on.")
    batch_size: int = Field(60, ge=1, description="Markets per decision run.")
    max_horizon_days: float = Field(90, gt=0, description="Markets that close later are not looked at.")
    reassess_hours: float = Field(24, ge=0, description="Age of the last analysis that makes a market due again.")
    material_move_logit: float = Field(0.25, gt=0, description="Move of the mid, in log-odds, that makes it due.")


class TradingSettings(_Frozen):
    """Paper or real money. Real orders need both settings, and a release that can place them."""

    is_live: bool = Field(False, description="Whether real orders may be placed; paper positions otherwise.")
    live_confirmation: str = Field("", description=f'Must say "{LIVE_CONFIRMATION}" besides.')

    @model_validator(mode="after")
    def _check_live(self) -> "TradingSettings":
        is_confirmed = self.live_confirmation == LIVE_CONFIRMATION
        if self.is_live and not is_confirmed:
            raise ValueError(f'live trading needs live_confirmation to say "{LIVE_CONFIRMATION}" besides is_live')
        if self.live_confirmation and not is_confirmed:
            raise ValueError(f'live_confirmation must say "{LIVE_CONFIRMATION}" or be empty')
        if self.is_live:
            raise ValueError("this release places no orders: set is_live to false to trade on paper")
        return self


class Policy(BaseModel):
    """The part of the settings a decision follows; can be read back from the snapshot kept with the decision."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    multi_model_ensemble: bool = Field(True, description="Master switch; off: one model decides every market.")
    methods: MethodSettings = MethodSettings()
    members: tuple[MemberSettings, ...] = Field((), description="The models that may be asked.")
    budget: BudgetSettings = BudgetSettings()
    cache: CacheSettings = CacheSettings()
    gates: GateSettings = GateSettings()
    sizing: SizingSettings = SizingSettings()
    ensemble: EnsembleSettings = EnsembleSettings()
    modes: ModeSettings = ModeSettings()

    @model_validator(mode="after")
    def _check_strategy(self) -> "Policy":
        require_allowed(self.ensemble.strategy, self.methods)
        return self

    @property
    def enabled_members(self) -> tuple[MemberSettings, ...]:
        """Members that may be asked."""
        return tuple(member for member in self.members if member.is_enabled)


def require_allowed(strategy: Strategy, methods: MethodSettings) -> None:
    """Refuse a strategy whose switch is off (``ValueError``, for pydantic to locate)."""
    if not getattr(methods, strategy):
        allowed = ", ".join(it for it in Strategy if getattr(methods, it)) or "none"
        raise ValueError(
            f"ENSEMBLE_ENSEMBLE__STRATEGY names {strategy}, which ENSEMBLE_METHODS__{strategy.upper()} switches off; "
            f"allowed: {allowed}"
        )


class HistorySettings(BaseSettings):
    """Which days the instance's history covers; read when the definitions load, so it stands on its own."""

    model_config = SettingsConfigDict(env_prefix="ENSEMBLE_", extra="ignore", frozen=True)

    history_start: str = Field("2026-01-01", pattern=r"^\d{4}-\d\d-\d\d$", description="First daily partition.")
    history_end: str | None = Field(
        None, pattern=r"^\d{4}-\d\d-\d\d$", description="Last daily partition; unset: today, as the clock has it."
    )


class Settings(HistorySettings):
    """All settings of one instance."""

    model_config = SettingsConfigDict(
        env_prefix="ENSEMBLE_",
        env_nested_delimiter="__",
        extra="ignore",
        frozen=True,
        nested_model_default_partial_update=True,
        defer_build=True,
    )

    database_url: SecretStr | None = Field(None, description="PostgreSQL of this instance; unset: an embedded server.")
    data_dir: Path = Field(default_factory=default_data_dir, description="Where the embedded server keeps data.")
    kalshi_base_url: BaseUrl = Field(
        "https://external-api.kalshi.com/trade-api/v2", description="Root of Kalshi's API."
    )
    venue_timeout_s: float = Field(20, gt=0, description="Longest wait for one reply of a venue, in seconds.")
    providers: dict[str, ProviderSettings] = Field(default_factory=dict, description="Merged over the built-in ones.")
    members: tuple[MemberSettings, ...] = Field((), validate_default=True, description="The models that may be asked.")
    multi_model_ensemble: bool = Field(True, description="Master switch; off: one model decides every market.")
    methods: MethodSettings = MethodSettings()
    budget: BudgetSettings = BudgetSettings()
    cache: CacheSettings = CacheSettings()
    gates: GateSettings = GateSettings()
    sizing: SizingSettings = SizingSettings()
    exits: ExitSettings = ExitSettings()
    ensemble: EnsembleSettings = EnsembleSettings()
    breaker: BreakerSettings = BreakerSettings()
    modes: ModeSettings = ModeSettings()
    trading: TradingSettings = TradingSettings()
    scan: ScanSettings = ScanSettings()

    @model_validator(mode="before")
    @classmethod
    def _merge_defaults(cls, raw: dict[str, Any]) -> dict[str, Any]:
        given = raw.get("providers") or {}
        merged = {
            name: {**DEFAULT_PROVIDERS.get(name, {}), **given.get(name, {})} for name in {**DEFAULT_PROVIDERS, **given}
        }
        members = raw.get("members") or DEFAULT_MEMBERS
        return {**raw, "providers": merged, "members": members}

    @model_validator(mode="after")
    def _check_members(self) -> "Settings":
        names = [member.name for member in self.members]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"ENSEMBLE_MEMBERS: names must be unique, these are not: {', '.join(sorted(twice))}")
        for member in self.members:
            _check_member(member, self.providers)
        if unknown := sorted(set(self.budget.provider_day_usd) - set(self.providers)):
            raise ValueError(
                f"ENSEMBLE_BUDGET__PROVIDER_DAY_USD names unknown providers {', '.join(unknown)}; "
                f"known: {', '.join(sorted(self.providers))}"
            )
        return self

    @model_validator(mode="after")
    def _check_strategy(self) -> "Settings":
        require_allowed(self.ensemble.strategy, self.methods)
        return self

    @property
    def enabled_members(self) -> tuple[MemberSettings, ...]:
        """Members that may be asked."""
        return self.policy.enabled_members

    @cached_property
    def policy(self) -> Policy:
        """What decisions follow."""
        return Policy(**{name: getattr(self, name) for name in Policy.model_fields})

    def snapshot(self) -> dict[str, Any]:
        """What a decision rests on, as JSON values: everything but addresses, which may hold credentials."""
        addresses = {"database_url": True, "data_dir": True, "kalshi_base_url": True}
        return self.model_dump(mode="json", exclude=addresses | {"providers": {"__all__": {"base_url"}}})

    def digest(self) -> str:
        """SHA-256 of the snapshot, in hex."""
        return hashlib.sha256(json.dumps(self.snapshot(), sort_keys=True).encode()).hexdigest()


def _check_member(member: MemberSettings, providers: Mapping[str, ProviderSettings]) -> None:
    if member.provider not in providers:
        known = ", ".join(sorted(providers))
        raise ValueError(
            f"ENSEMBLE_MEMBERS: member {member.name!r} names an unknown provider {member.provider!r}; known: {known}"
        )
    if problem := _search_problem(member, providers[member.provider]):
        raise ValueError(f"ENSEMBLE_MEMBERS: member {member.name!r} {problem}")


def _search_problem(member: MemberSettings, provider: ProviderSettings) -> str | None:
    """What does not fit about the web searches of `member`, and what to set."""
    is_online = provider.search_tool == "online" and is_online_model(member)
    if (is_online or member.has_own_search) and not member.max_web_searches:
        why = "buys a web search with each call" if is_online else "searches the web by itself"
        instead = "leave `:online` out" if is_online else "set `has_own_search` to false"
        return (
            f"asks {member.model!r}, which {why}: set its `max_web_searches` to at least 1 and `web_search_usd` to "
            f"what one costs, or {instead}"
        )
    if not member.max_web_searches or member.has_own_search or is_online:
        return None
    own = "`has_own_search` to true where the model searches by itself"
    if provider.search_tool == "online":
        return (
            f"may search the web (`max_web_searches`) but {member.model!r} does not: add `:online` to it, or set {own}"
        )
    if provider.search_tool is None:
        return (
            f"may search the web (`max_web_searches`) but provider {member.provider!r} has no search tool: set it to "
            f"0, or {own}"
        )
    return None


def is_online_model(member: MemberSettings) -> bool:
    """Whether the name of its model asks OpenRouter for a web search.

    >>> is_online_model(MemberSettings(name="a", provider="openrouter", model="x-ai/grok-4.6:online"))
    True
    """
    return "online" in member.model.split(":")[1:]


DEFAULT_PROVIDERS: dict[str, dict[str, Any]] = {
    "xai": {
        "dialect": "openai_chat",
        "base_url": "https://api.x.ai/v1",
        "api_key_env": "XAI_API_KEY",
        "search_tool": "responses",
    },
    "openai": {
        "dialect": "openai_chat",
        "base_url": "https://api.openai.com/v1",
        "api_key_env": "OPENAI_API_KEY",
        "search_tool": "responses",
    },
    "anthropic": {
        "dialect": "anthropic_messages",
        "base_url": "https://api.anthropic.com/v1",
        "api_key_env": "ANTHROPIC_API_KEY",
        "search_tool": "messages",
    },
    "openrouter": {
        "dialect": "openai_chat",
        "base_url": "https://openrouter.ai/api/v1",
        "api_key_env": "OPENROUTER_API_KEY",
        "search_tool": "online",
    },
    "local": {
        "dialect": "openai_chat",
        "base_url": "http://127.0.0.1:11434/v1",
        "max_concurrency": 1,
        "timeout_s": 120,
    },
}

DEFAULT_MEMBERS: tuple[dict[str, Any], ...] = (
    {"name": "grok-4.5", "provider": "xai", "model": "grok-4.5", "role": "inside_view"},
    {"name": "gpt-5.4-mini", "provider": "openai", "model": "gpt-5.4-mini", "role": "base_rate"},
    {"name": "claude-haiku-5-5", "provider": "anthropic", "model": "claude-haiku-5-5", "role": "devils_advocate"},
    {
        "name": "local-llama",
        "provider": "local",
        "model": "llama3.2",
        "role": "forecaster",
        "is_enabled": False,
        "input_usd_per_mtok": "0",
        "output_usd_per_mtok": "0",
    },
)


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """The settings of this process, read once from the environment.

    Raises:
        SettingsError: names each variable that does not fit, what was given and what is allowed.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None
    except PydanticSettingsError as error:
        # its message names the field, its cause the place in the text; neither repeats the value
        name = str(error).split('"')[1].upper()
        raise SettingsError(
            f"ENSEMBLE_{name} is not JSON: {error.__cause__}. Write it as JSON text; docs/settings.md has an example."
        ) from None


# pydantic names the branch of a union that did not fit; an operator looks for the variable alone
_UNION_TAGS = ("decimal", "int", "constrained-int", "literal['unlimited']")


def load_history() -> HistorySettings:
    """The days this instance's history covers.

    Raises:
        SettingsError: names the variable that is no date.
    """
    try:
        return HistorySettings()
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None


def _explain(error: ValidationError) -> str:
    lines = ["These settings do not fit:"]
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        path = "__".join(str(part).upper() for part in detail["loc"] if part not in _UNION_TAGS)
        # what concerns several variables names them itself
        name = f"ENSEMBLE_{path}: " if path else ""
        lines.append(f"  {name}{detail['msg'].removeprefix('Value error, ')}")
    lines.append("Correct the environment variables and start again; docs/settings.md lists them all.")
    return "\n".join(lines)
