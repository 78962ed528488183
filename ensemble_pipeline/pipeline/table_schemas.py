"""The columns of the tables behind the assets, as the UI shows them. A test holds them against the database."""

import dagster as dg

from ensemble_pipeline.forecasting.skill_cube import SUM_FIELDS

_SUM_MEANINGS = {
    "n": "forecasts",
    "brier_e9": "sum of Brier scores, billionths",
    "brier_sq_e9": "sum of squared Brier scores, billionths",
    "log_loss_e9": "sum of log losses, billionths of a nat",
    "correct": "forecasts whose likelier side came true",
    "p_e9": "sum of P(YES), billionths",
    "outcome": "forecasts whose market resolved YES",
    "p_outcome_e9": "sum of P(YES) over those that resolved YES, billionths",
    "p_sq_e9": "sum of squared P(YES), billionths",
    "market_n": "forecasts made at a known price",
    "brier_minus_market_e9": "sum of Brier differences to the price, billionths",
    "brier_minus_market_sq_e9": "sum of their squares, billionths",
    "cost_micro_usd": "cost of the calls, micro-dollars",
    "latency_ms": "duration of the calls, milliseconds",
}
_SUMS = {name: ("bigint", _SUM_MEANINGS[name]) for name in SUM_FIELDS}

COLUMNS: dict[str, dict[str, tuple[str, str]]] = {
    "scored_forecasts": {
        "score_id": ("bigint", "order of the ledger"),
        "forecast_id": ("bigint", "the forecast"),
        "resolution_id": ("bigint", "what its market resolved to"),
        "sign": ("smallint", "1, or -1 where a score is taken back"),
        "model_id": ("text", "the model"),
        "market_id": ("text", "the market"),
        "event_id": ("text", "markets that settle together"),
        "category": ("text", "the market's category"),
        "volatility_regime": ("text", "how the price moved before the forecast was asked"),
        "expiry_bucket": ("text", "time from asking to the market's close"),
        "asked_at": ("timestamp with time zone", "when the forecast was asked"),
        "resolved_at": ("timestamp with time zone", "when the world knew the outcome"),
        "known_at": ("timestamp with time zone", "when this system knew it"),
        "p_yes": ("double precision", "P(YES)"),
        "market_p": ("double precision", "the market's P(YES) then"),
        "outcome": ("smallint", "1 YES, 0 NO"),
        "brier": ("double precision", "Brier score, 0 to 1"),
        "log_loss": ("double precision", "log loss, nats"),
        "is_correct": ("boolean", "whether the likelier side came true"),
        "confidence": ("double precision", "confidence the model stated"),
        "latency_ms": ("integer", "duration of the call, milliseconds"),
        "cost_micro_usd": ("bigint", "cost of the call, micro-dollars"),
        "window_at": (
            "timestamp with time zone",
            "where windows place the row: known_at, or that of what it takes back",
        ),
    },
    "skill_cube": {
        "hour_at": ("timestamp with time zone", "the first as-of hour that holds the rows"),
        "seen_from": ("timestamp with time zone", "the first as-of hour that may count them"),
        "key_id": ("integer", "model, dimension and segment; see skill_keys"),
        **_SUMS,
    },
    "performance_windows": {
        "as_of": ("timestamp with time zone", "what was known at this hour"),
        "window_hours": ("smallint", "length: 1, 6, 24, 168 or 720 hours"),
        "key_id": ("integer", "model, dimension and segment; see skill_keys"),
        **_SUMS,
    },
    "calibration_tables": {
        "calibration_id": ("bigint", "decisions point at it"),
        "as_of": ("timestamp with time zone", "what was known at this instant"),
        "slope": ("double precision", "calibrated = slope × pooled log-odds, + the category's intercept"),
        "n": ("integer", "settled decisions"),
        "effective_n": ("double precision", "settled events"),
        "market_weight": ("double precision", "weight of the ensemble against a price, in log-odds"),
        "market_events": ("double precision", "settled events with a price"),
    },
    "model_ranking_rows": {
        "ranking_id": ("bigint", "decisions point at it"),
        "model_id": ("text", "the model"),
        "rank": ("smallint", "1 is best"),
        "skill": ("double precision", "Brier points against the panel, shrunk; negative is better"),
        "standard_error": ("double precision", "of the skill before shrinkage, clustered by event"),
        "sample_size": ("integer", "forecasts in the 30-day window"),
        "effective_sample_size": ("double precision", "events, weighted by recency"),
        "weight": ("double precision", "share in the pool"),
        "interval_low": ("double precision", "95% interval before shrinkage"),
        "interval_high": ("double precision", "95% interval before shrinkage"),
        "sequence_low": ("double precision", "anytime-valid 95% sequence over all events"),
        "sequence_high": ("double precision", "anytime-valid 95% sequence over all events"),
        "events": ("integer", "events the model was ever scored on"),
        "is_tied_with_first": ("boolean", "not shown to be worse than rank 1, at any look"),
        "confidence_gap": ("double precision", "stated confidence less the share of right sides, shrunk"),
    },
    "positions": {
        "position_id": ("bigint", "trade_log and position_marks point at it"),
        "decision_id": ("bigint", "the decision that opened it"),
        "market_id": ("text", "the market"),
        "side": ("text", "yes or no: the outcome it pays on"),
        "contracts": ("integer", "contracts, each of which pays $1 or nothing"),
        "entry_price": ("numeric", "price of a contract when it was opened, dollars"),
        "cost_micro_usd": ("bigint", "contracts at the entry price, micro-dollars"),
        "fee_micro_usd": ("bigint", "fee of opening it, micro-dollars"),
        "opened_at": ("timestamp with time zone", "when it was opened"),
        "closed_at": ("timestamp with time zone", "when it was sold or settled"),
        "payout_micro_usd": ("bigint", "what came back, less the fee of a sale, micro-dollars"),
        "marked_at": ("timestamp with time zone", "its last mark; see position_marks"),
        "highest_bid": ("numeric", "the highest its side was ever bid for at a mark, dollars"),
        "exit_reason": ("text", "why it was sold; null where it is open or was settled"),
        "exit_price": ("numeric", "price of a contract when it was sold, dollars"),
        "exit_fee_micro_usd": ("bigint", "fee of the sale, micro-dollars"),
    },
    "model_strengths": {
        "ranking_id": ("bigint", "the ranking it refines"),
        "model_id": ("text", "the model"),
        "dimension": ("text", "category, regime or expiry"),
        "segment": ("text", "a value of the dimension"),
        "delta": ("double precision", "mean Brier difference to a level panel there"),
        "standard_error": ("double precision", "clustered by event"),
        "n": ("integer", "forecasts"),
        "events": ("integer", "events"),
        "effective_sample_size": ("double precision", "events, weighted by recency"),
        "skill": ("double precision", "delta shrunk towards the model's skill overall"),
        "verdict": ("text", "strength, weakness, as_elsewhere or not_enough_evidence"),
    },
}


def schema_of(table: str) -> dict[str, dg.TableSchema]:
    """The metadata that shows a table's columns with the asset."""
    columns = [dg.TableColumn(name, kind, description=meaning) for name, (kind, meaning) in COLUMNS[table].items()]
    return {"dagster/column_schema": dg.TableSchema(columns)}
