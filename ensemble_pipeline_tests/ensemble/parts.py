"""Instances, plans, opinions and books that ensemble tests put together."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from ensemble_pipeline.clock import Clock, SteppedClock
from ensemble_pipeline.domain import (
    Forecast,
    Quote,
    Ranked,
    Ranking,
    RequestReason,
    Snapshot,
    VolatilityRegime,
)
from ensemble_pipeline.ensemble.cost import SpendStatus
from ensemble_pipeline.ensemble.engine import Consensus, EnsembleEngine
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.plan import BatchContext, Plan, Route
from ensemble_pipeline.settings import MemberSettings, Settings
from ensemble_pipeline.store.budget import DaySpend, Limits
from ensemble_pipeline.store.calibrations import Calibration, CategoryIntercept
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.decisions import Portfolio
from ensemble_pipeline_tests.store.rows import NOW, market_of, quote_of

USD = 1_000_000
UNOPENED_URL = "postgresql://nobody@127.0.0.1:1/none"


def member_of(name: str, provider: str = "local", **changes: Any) -> MemberSettings:
    """A free member unless prices are given."""
    prices = {"input_usd_per_mtok": "0", "output_usd_per_mtok": "0"}
    return MemberSettings.model_validate({"name": name, "provider": provider, "model": name} | prices | changes)


def settings_of(*members: str, **sections: Any) -> Settings:
    """Settings with these local members; `sections` as in the environment."""
    return Settings.model_validate(
        {"members": [member_of(name).model_dump() for name in members or ("a", "b", "c")], **sections}
    )


def instance_of(
    settings: Settings | None = None, database: Database | None = None, clock: Clock | None = None
) -> Instance:
    """An instance; without a database one that must not be asked for a connection."""
    return Instance(settings or settings_of(), database or Database(UNOPENED_URL), clock or SteppedClock(NOW))


def ranking_of(skills: dict[str, float] | None = None, weights: dict[str, float] | None = None) -> Ranking:
    """A ranking with these skills (default 0) and weights (default equal)."""
    names = sorted({*(skills or {}), *(weights or {})} or {"a", "b", "c"})
    skill, weight = skills or {}, weights or {}
    rows = [
        Ranked(name, place, skill.get(name, 0.0), None, 0, 0.0, weight.get(name, 1 / len(names)))
        for place, name in enumerate(names, start=1)
    ]
    return Ranking(1, NOW, tuple(rows))


def calibration_of(slope: float = 1.0, **intercepts: float) -> Calibration:
    """A calibration with these intercepts of categories."""
    rows = tuple(CategoryIntercept(name, value, 200) for name, value in intercepts.items())
    return Calibration(1, NOW, slope, 0, 0.0, rows)


def answer(model: str, p_yes: float, confidence: float = 0.9, forecast_id: int = 1) -> Forecast:
    """A recorded answer on snapshot 1."""
    return Forecast(forecast_id, 1, model, p_yes, confidence)


def snapshot_of(quote: Quote | None = None, snapshot_id: int = 1, **market: Any) -> Snapshot:
    """A snapshot of an active market."""
    return Snapshot(snapshot_id, market_of(**market), quote or quote_of(), RequestReason.NEW, VolatilityRegime.UNKNOWN)


def context_of(mode: str = "normal", **changes: Any) -> BatchContext:
    """What a batch rests on where nothing is known yet."""
    fields: dict[str, Any] = {
        "now": NOW,
        "batch_id": 1,
        "run_id": "run",
        "ranking": ranking_of(),
        "strengths": (),
        "calibration": calibration_of(),
        "health": {},
        "operating_mode": mode,
        "spend": SpendStatus(DaySpend(date(2026, 3, 2), 0, 0), Limits(None, None, None), 0.0),
        "settings_hash": "hash",
        "code_version": "1",
    }
    return BatchContext(**(fields | changes))


def plan_of(snapshot: Snapshot | None = None, members: Sequence[str] = ("a", "b"), **changes: Any) -> Plan:
    """A plan that passed every early gate."""
    fields: dict[str, Any] = {
        "snapshot": snapshot or snapshot_of(),
        "route": Route.FULL,
        "trade_value_micro_usd": 50 * USD,
        "members": tuple(member_of(name) for name in members),
        "standby": (),
        "verdicts": (),
    }
    return Plan(**(fields | changes))


def consensus_of(p_final: float = 0.7, **changes: Any) -> Consensus:
    """Members that agree, sure of themselves."""
    fields: dict[str, Any] = {
        "members": (),
        "p_plain_mean": p_final,
        "p_pooled": p_final,
        "p_calibrated": p_final,
        "p_final": p_final,
        "disagreement_level": 0.0,
        "uncertainty": 0.0,
        "confidence": 0.9,
    }
    return Consensus(**(fields | changes))


def pool(answers: Sequence[Forecast], price: float | None = None, **options: Any) -> Consensus:
    """The consensus of an engine that knows nothing about anybody."""
    settings = settings_of(ensemble=options) if options else settings_of()
    return EnsembleEngine(settings.ensemble, ranking_of(), calibration_of()).weighted_consensus(
        ["a", "b", "c"], answers, price, "Climate"
    )


def empty_portfolio(cash_usd: float = 1000) -> Portfolio:
    """Nothing bought yet."""
    return Portfolio(int(cash_usd * USD), 0, {}, {}, 0)
