"""From a decision back to everything it rested on, as JSON values.

Belongs here: which parts make the chain. Does not: reading them one by one (``store.chain``), showing them (pipeline).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from ensemble_pipeline.domain import MICRO_PER_USD, MemberOpinion, Ranking, Reason
from ensemble_pipeline.ensemble.code_version import code_version
from ensemble_pipeline.forecasting.pooling import PRICE_CLIP, clip_probability, logit
from ensemble_pipeline.store import breakers, calibrations, chain, contexts, markets, rankings
from ensemble_pipeline.store.calibrations import Calibration
from ensemble_pipeline.store.database import Connection, Row
from ensemble_pipeline.store.decisions import EnsembleDecision

_SIZING = (Reason.SIZE, Reason.POSITION_LIMIT, Reason.CASH_RESERVE)


def explain(connection: Connection, decision_id: int) -> dict[str, Any]:
    """The chain behind a decision: market, answers, ranking, calibration, pool, gates, size, settings, code, outcome.

    Raises:
        DecisionNotFoundError: there is no such decision.
    """
    decision = chain.load_decision(connection, decision_id)
    ranking = rankings.ranking_by_id(connection, decision.ranking_id)
    calibration = calibrations.calibration_by_id(connection, decision.calibration_id)
    names = decision.models_consulted
    market = _market(connection, decision)
    found: dict[str, Any] = _json(
        {
            "decision_id": decision_id,
            "decided_at": decision.decided_at,
            "market_id": decision.market_id,
            "decision": decision.final_decision,
            "terminal_reason": decision.terminal_reason,
            "route": decision.route,
            "strategy": decision.strategy,
            "reasoning": decision.reasoning,
            "is_complete": bool(decision.inputs),
            "market": {"snapshot_id": decision.snapshot_id, **market},
            "known_before": decision.inputs.get("standing"),
            # what was kept for decisions recorded before contexts were is made up to satisfy their keys
            "context": asdict(contexts.load_context(connection, decision.context_id)) if decision.inputs else None,
            "answers": _answers(
                decision,
                chain.calls_on(connection, decision.snapshot_id),
                chain.cut_off_on(connection, decision.snapshot_id),
                chain.repeats_on(connection, decision.snapshot_id),
                breakers.not_made_on(connection, decision.snapshot_id),
            ),
            "ranking": _ranking(ranking, names),
            "windows": chain.windows_behind(connection, decision.ranking_id, names),
            "calibration": None if calibration is None else asdict(calibration),
            "pool": _pool(decision, calibration, market["market"]["category"]),
            "gates": [asdict(gate) for gate in decision.gates],
            "sizing": _sizing(decision),
            "settings": {
                "hash": decision.settings_hash,
                "values": chain.settings_kept(connection, decision.settings_hash),
            },
            "code": {"decided_by": decision.code_version, "running": code_version()},
            "outcome": chain.outcome_of(connection, decision_id, decision.market_id),
        }
    )
    return found


def _market(connection: Connection, decision: EnsembleDecision) -> Mapping[str, Any]:
    """The market as it stood; of decisions older than the keeping of that, as it was listed last."""
    if decision.inputs:
        kept: Mapping[str, Any] = decision.inputs["snapshot"]
        return kept
    snapshot = markets.snapshot_by_id(connection, decision.snapshot_id)
    return {"market": asdict(snapshot.market), "quote": asdict(snapshot.quote), "regime": snapshot.regime}


def _answers(
    decision: EnsembleDecision,
    calls: Sequence[Row],
    cut_off: Sequence[Row],
    repeats: Mapping[str, Row],
    not_made: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Each member with its attempts, or the earlier answer that it gave again, or why it was not asked.

    Who was asked, or was to be, and is no member (nobody answered, or it failed) comes last.
    """
    members = set(decision.models_consulted)
    others = sorted(({call["model_id"] for call in (*calls, *cut_off)} | set(not_made)) - members)
    said = [*decision.members, *(MemberOpinion(name, None, None, None, 0.0) for name in others)]
    return [
        {
            "model": member.model_id,
            "p_yes": member.p_yes,
            "confidence": member.confidence,
            "weight": member.weight,
            "propensity": member.propensity,
            "repeats": repeats.get(member.model_id),
            "not_asked": not_made.get(member.model_id),
            "attempts": [_attempt(call) for call in calls if call["model_id"] == member.model_id],
            "cut_off": [_attempt(call) for call in cut_off if call["model_id"] == member.model_id],
        }
        for member in said
    ]


def _attempt(call: Row) -> dict[str, Any]:
    kept = {name: value for name, value in call.items() if name not in ("model_id", "p_yes", "confidence")}
    return {**kept, "cost_usd": call["cost_micro_usd"] / MICRO_PER_USD}


def _ranking(ranking: Ranking | None, names: tuple[str, ...]) -> dict[str, Any] | None:
    if ranking is None:
        return None
    return {
        "ranking_id": ranking.ranking_id,
        "as_of": ranking.as_of,
        "partition": ranking.as_of.date(),
        "models": [asdict(row) for row in ranking.rows if row.model_id in names],
    }


def _pool(decision: EnsembleDecision, calibration: Calibration | None, category: str) -> dict[str, Any] | None:
    """Each step from the members to the final probability, in probability and in log-odds."""
    if decision.p_pooled is None or calibration is None:
        return None
    steps = {
        "plain_mean": decision.p_plain_mean,
        "pooled": decision.p_pooled,
        "calibrated": decision.p_calibrated,
        "market_price": decision.p_market,
        "final": decision.p_final,
    }
    return {
        "steps": {name: {"p_yes": p, "log_odds": _log_odds(p)} for name, p in steps.items() if p is not None},
        "slope": calibration.slope,
        "intercept": calibration.intercept_of(category),
        "market_weight": decision.market_weight,
        "disagreement_level": decision.disagreement_level,
        "uncertainty": decision.uncertainty,
        "confidence": decision.confidence,
    }


def _log_odds(p: float) -> float:
    return float(logit(clip_probability(p, PRICE_CLIP)))


def _sizing(decision: EnsembleDecision) -> dict[str, Any]:
    return {
        "trade_value_usd": decision.trade_value_micro_usd / MICRO_PER_USD,
        "steps": {str(gate.gate): gate.numbers for gate in decision.gates if gate.gate in _SIZING},
        "filled_on": decision.inputs.get("filling"),
        "edge": decision.edge,
        "limit_price": decision.limit_price,
        "contracts": decision.contracts,
        "stake_usd": decision.stake_micro_usd / MICRO_PER_USD,
        "fee_usd": decision.fee_micro_usd / MICRO_PER_USD,
    }


def _json(value: Any) -> Any:  # noqa: ANN401 - JSON in, JSON out
    """The same with times and decimals as texts."""
    if isinstance(value, Mapping):
        return {str(name): _json(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return str(value) if isinstance(value, (Decimal, str)) else value
