"""Instances, plans, opinions and books that ensemble tests put together."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from ensemble_pipeline.clock import Clock, SteppedClock
from ensemble_pipeline.domain import (
    Forecast,
    MemberOpinion,
    Mode,
    Quote,
    Ranked,
    Ranking,
    RequestReason,
    Route,
    Snapshot,
    Strategy,
    VolatilityRegime,
)
from ensemble_pipeline.ensemble.context import BatchContext, Filling, Method, Standing
from ensemble_pipeline.ensemble.engine import Consensus, EnsembleEngine, Question
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.operating import mode_in_force
from ensemble_pipeline.ensemble.plan import Plan
from ensemble_pipeline.settings import MemberSettings, Policy, Settings
from ensemble_pipeline.store.budget import DaySpend
from ensemble_pipeline.store.calibrations import Calibration, CategoryIntercept
from ensemble_pipeline.store.database import Database
from ensemble_pipeline.store.portfolio import Exposure, Portfolio
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


def mode_of(instance: Instance) -> Mode:
    """The operating mode in force."""
    with instance.database.connection() as connection:
        return mode_in_force(connection, instance.clock.now()).mode


def policy_of(*members: str, **sections: Any) -> Policy:
    """The policy of settings with these local members."""
    return settings_of(*members, **sections).policy


def ranking_of(skills: dict[str, float] | None = None, events: float = 0.0, **gaps: float) -> Ranking:
    """A ranking with these skills (default: 0 for a, b and c), each on so many events, and these confidence gaps."""
    given = skills or dict.fromkeys("abc", 0.0)
    names = sorted(given, key=lambda name: (given[name], name))
    rows = [
        Ranked(name, place, given[name], None, 0, events, 1 / len(names), confidence_gap=gaps.get(name, 0.0))
        for place, name in enumerate(names, start=1)
    ]
    return Ranking(1, NOW, tuple(rows))


def calibration_of(slope: float = 1.0, market_weight: float = 0.2, **intercepts: float) -> Calibration:
    """A calibration with this weight against the price and these intercepts of categories."""
    rows = tuple(CategoryIntercept(name, value, 200) for name, value in intercepts.items())
    return Calibration(1, NOW, slope, 0, 0.0, market_weight, 0.0, rows)


def answer(model: str, p_yes: float, confidence: float = 0.9, forecast_id: int = 1) -> Forecast:
    """A recorded answer on snapshot 1."""
    return Forecast(forecast_id, 1, model, p_yes, confidence)


def book(
    bid: str | None = "0.40",
    ask: str | None = "0.42",
    *,
    last: str | None = None,
    sizes: tuple[str | None, str | None] = (None, None),
    volume: str | None = "100000",
) -> Quote:
    """A book with what is quoted, what was traded last, and how many contracts rest on either side."""
    bid_size, ask_size = (None if size is None else Decimal(size) for size in sizes)
    quote = quote_of(bid, ask, volume=volume)
    return replace(
        quote,
        last_price=None if last is None else Decimal(last),
        yes_bid_size=bid_size,
        yes_ask_size=ask_size,
    )


def mirrored_quote(quote: Quote) -> Quote:
    """The same book seen from the other side: what buys YES here buys NO there."""

    def other(price: Decimal | None) -> Decimal | None:
        return None if price is None else 1 - price

    return replace(
        quote,
        yes_bid=other(quote.yes_ask),
        yes_ask=other(quote.yes_bid),
        last_price=other(quote.last_price),
        yes_bid_size=quote.yes_ask_size,
        yes_ask_size=quote.yes_bid_size,
    )


def snapshot_of(quote: Quote | None = None, snapshot_id: int = 1, **market: Any) -> Snapshot:
    """A snapshot of an active market."""
    return Snapshot(snapshot_id, market_of(**market), quote or quote_of(), RequestReason.NEW, VolatilityRegime.UNKNOWN)


def context_of(mode: str = "normal", **changes: Any) -> BatchContext:
    """What a batch rests on where nothing is known yet."""
    fields: dict[str, Any] = {
        "context_id": 1,
        "now": NOW,
        "batch_id": 1,
        "run_id": "run",
        "method": Method.ADVANCED,
        "ranking": ranking_of(),
        "strengths": (),
        "degraded": frozenset(),
        "calibration": calibration_of(),
        "health": {},
        "operating_mode": mode,
        "spend": DaySpend(date(2026, 3, 2), 0, 0),
        "settings_hash": "hash",
        "code_version": "1",
    }
    return BatchContext(**(fields | changes))


def standing_of(*free: str, cash_usd: float = 1000, **worst_cases: int) -> Standing:
    """A market never analysed before, with these free models and these that cost so many micro-dollars at worst."""
    return Standing(0, None, int(cash_usd * USD), dict.fromkeys(free or ("a", "b", "c"), 0) | worst_cases)


def filling_of(quote: Quote | None = None, held: Portfolio | None = None, **changes: Any) -> Filling:
    """An order filled now, in a market that nothing is staked on unless `held` says so."""
    exposure = (held or empty_portfolio()).seen_from(market_of())
    fields: dict[str, Any] = {"at": NOW, "quote": quote or quote_of(), "exposure": exposure}
    return Filling(**(fields | changes))


def plan_of(snapshot: Snapshot | None = None, members: Sequence[str] = ("a", "b"), **changes: Any) -> Plan:
    """A plan that passed every early gate."""
    fields: dict[str, Any] = {
        "snapshot": snapshot or snapshot_of(),
        "route": Route.FULL,
        "strategy": Strategy.WEIGHTED_VOTING,
        "trade_value_micro_usd": 50 * USD,
        "members": tuple(member_of(name) for name in members),
        "standby": (),
        "verdicts": (),
        "standing": standing_of(*members),
    }
    return Plan(**(fields | changes))


def opinions_of(*said: float, confidence: float = 0.9) -> tuple[MemberOpinion, ...]:
    """Members a, b, c, … that said so, all of one weight."""
    return tuple(
        MemberOpinion(name, number, p_yes, confidence, 1 / len(said), 1.0)
        for number, (name, p_yes) in enumerate(zip("abcdefgh", said, strict=False), start=1)
    )


def consensus_of(p_final: float = 0.7, **changes: Any) -> Consensus:
    """Two members that agree, sure of themselves."""
    fields: dict[str, Any] = {
        "strategy": Strategy.WEIGHTED_VOTING,
        "members": opinions_of(0.7, 0.7),
        "p_plain_mean": p_final,
        "p_pooled": p_final,
        "p_calibrated": p_final,
        "p_final": p_final,
        "market_weight": 0.2,
        "disagreement_level": 0.0,
        "uncertainty": 0.0,
        "confidence": 0.9,
        "agreement": 1.0,
    }
    return Consensus(**(fields | changes))


def question_about(
    price: float | None = None, asked: Sequence[str] = ("a", "b", "c"), category: str = "Climate", **changes: Any
) -> Question:
    """What these members were asked, in this order."""
    return Question(category, price, tuple(asked), **{"order": tuple(asked)} | changes)


def engine_with(
    ranking: Ranking | None = None,
    calibration: Calibration | None = None,
    demanded_edge: float = 0.0,
    **options: Any,
) -> EnsembleEngine:
    """An engine that knows nothing about anybody unless told."""
    settings = settings_of(ensemble=options) if options else settings_of()
    return EnsembleEngine(settings.ensemble, ranking or ranking_of(), calibration or calibration_of(), demanded_edge)


def pool(
    answers: Sequence[Forecast],
    price: float | None = None,
    market_weight: float = 0.2,
    strategy: Strategy = Strategy.WEIGHTED_VOTING,
    **options: Any,
) -> Consensus:
    """The consensus of an engine that knows nothing about anybody."""
    engine = engine_with(calibration=calibration_of(market_weight=market_weight), **options)
    return engine.weighted_consensus(question_about(price), answers, strategy)


def empty_portfolio(cash_usd: float = 1000) -> Portfolio:
    """Nothing bought yet."""
    return Portfolio(int(cash_usd * USD), 0, 0)


def nothing_held(cash_usd: float = 1000) -> Exposure:
    """The same as one market sees it."""
    return empty_portfolio(cash_usd).seen_from(market_of())
