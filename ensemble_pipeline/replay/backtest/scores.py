"""What a walk through an archive came to, as numbers; an interval where a difference is told.

Belongs here: which rows enter which score. Does not: the scores' formulas (forecasting), pages (pipeline).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_pipeline.domain import MICRO_PER_USD
from ensemble_pipeline.forecasting.intervals import bootstrap_interval
from ensemble_pipeline.forecasting.pooling import linear_pool, log_odds_pool, median_pool
from ensemble_pipeline.forecasting.scoring import brier_score, log_loss
from ensemble_pipeline.replay.backtest.walk import StrategyTrack, Walk
from ensemble_pipeline.settings import EnsembleSettings

Floats = NDArray[np.float64]
Score = Callable[[Any, Any], Floats]


@dataclass(frozen=True, slots=True)
class Scored:
    """The rows of a walk that somebody answered and whose question resolved, as columns of one length.

    `said` holds P(YES) by name: the ensemble and what it is compared with; NaN where there is none. `members` has
    shape ``(n_rows, n_models)``.
    """

    rows: NDArray[np.int64]
    outcome: NDArray[np.int64]
    event: NDArray[np.int64]
    said: Mapping[str, Floats]
    members: Floats
    names: tuple[str, ...]


def scored(walk: Walk, options: EnsembleSettings) -> Scored:
    """The rows that can be scored."""
    own = walk.tracks[0]
    names = tuple(member.name for member in walk.played.members)
    place = {name: index for index, name in enumerate(names)}
    members = np.full((len(walk.played.rows), len(names)), np.nan)
    price = np.full(len(walk.played.rows), np.nan)
    for row in walk.played.rows:
        for answer in row.answers:
            members[row.number, place[answer.model_id]] = answer.p_yes
        if row.snapshot.quote.mid is not None:
            price[row.number] = row.snapshot.quote.mid
    has_outcome = np.array([row.outcome is not None for row in walk.played.rows])
    keep = np.flatnonzero(has_outcome & ~np.isnan(own.p_final))
    members = members[keep]
    heard = [answers[~np.isnan(answers)] for answers in members]
    said = {
        "ensemble": own.p_final[keep],
        "ensemble_without_market": own.p_calibrated[keep],
        "plain_mean": np.array([linear_pool(it, np.ones_like(it)) for it in heard]),
        "median": np.array([median_pool(it) for it in heard]),
        "log_odds_mean": np.array([log_odds_pool(it, np.ones_like(it), options.clip) for it in heard]),
        "market": price[keep],
    }
    return Scored(keep, walk.codes.outcome[keep], walk.codes.event[keep], said, members, names)


def report(walk: Walk, options: EnsembleSettings) -> dict[str, Any]:
    """Everything a walk came to, as JSON values."""
    rows = scored(walk, options)
    is_priced = ~np.isnan(rows.said["market"])
    return {
        "archive": walk.played.name,
        "questions": walk.played.questions,
        "rows": len(rows.rows),
        "brier": _scores(rows, brier_score),
        "on_market_rows": {
            "rows": int(is_priced.sum()),
            **{
                name: _mean(brier_score(rows.said[name][is_priced], rows.outcome[is_priced]))
                for name in ("ensemble", "ensemble_without_market", "market")
            },
        },
        "log_loss": _scores(rows, log_loss),
        "strategies": {track.name: _strategy(track, rows) for track in walk.tracks},
        "differences": {
            "ensemble_minus_plain_mean": _difference(rows, "ensemble", "plain_mean"),
            "ensemble_without_market_minus_plain_mean": _difference(rows, "ensemble_without_market", "plain_mean"),
            "ensemble_minus_market": _difference(rows, "ensemble", "market"),
        },
        "strategy_differences": {track.name: _minus_first(walk, track, rows) for track in walk.tracks[1:]},
        "members": _members(walk, rows),
        "cost_usd": _usd(walk.tracks[0].cost_micro_usd),
    }


def _scores(rows: Scored, score: Score) -> dict[str, Any]:
    by_member = _by_member(rows, score)
    found: dict[str, Any] = {name: _mean_known(said, rows.outcome, score) for name, said in rows.said.items()}
    answered = {name: value for name, value in by_member.items() if value is not None}
    best = min(answered, key=lambda name: (answered[name], name), default=None)
    found["mean_of_members"] = float(np.mean(list(answered.values()))) if answered else None
    key = "brier" if score is brier_score else "log_loss"
    found["best_member_in_hindsight"] = None if best is None else {"model": best, key: answered[best]}
    return found


def _by_member(rows: Scored, score: Score) -> dict[str, float | None]:
    return {name: _mean_known(rows.members[:, i], rows.outcome, score) for i, name in enumerate(rows.names)}


def _mean_known(said: Floats, outcome: NDArray[np.int64], score: Score) -> float | None:
    known = ~np.isnan(said)
    return _mean(score(said[known], outcome[known]))


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if values.size else None


def _strategy(track: StrategyTrack, rows: Scored) -> dict[str, Any]:
    book = track.book
    return {
        "brier": _mean_known(track.p_final[rows.rows], rows.outcome, brier_score),
        "brier_without_market": _mean_known(track.p_calibrated[rows.rows], rows.outcome, brier_score),
        "rows": int((~np.isnan(track.p_final[rows.rows])).sum()),
        "decided": int(track.is_trade.sum()),
        "skipped": int((~track.is_trade).sum()),
        "cost_usd": _usd(track.cost_micro_usd),
        "cost_per_decision_usd": _usd(track.cost_micro_usd) / len(track.cost_micro_usd),
        "paper": {
            "trades": book.trades,
            "exits": book.exits,
            "open_positions": book.open_positions,
            "staked_usd": book.staked / MICRO_PER_USD,
            "fees_usd": book.fees / MICRO_PER_USD,
            "net_profit_usd": book.net_profit / MICRO_PER_USD,
        },
        "terminal_reasons": dict(sorted(track.reasons.items(), key=lambda it: (-it[1], it[0]))),
    }


def _difference(rows: Scored, name: str, other: str) -> dict[str, Any]:
    return _gap(rows, rows.said[name], rows.said[other])


def _minus_first(walk: Walk, track: StrategyTrack, rows: Scored) -> dict[str, Any]:
    """Brier of a track minus that of the settings' own strategy, with the price where there is one and without it."""
    first, here = walk.tracks[0], rows.rows
    return {
        "brier": _gap(rows, track.p_final[here], first.p_final[here]),
        "brier_without_market": _gap(rows, track.p_calibrated[here], first.p_calibrated[here]),
    }


def _gap(rows: Scored, said: Floats, other: Floats) -> dict[str, Any]:
    both = ~np.isnan(said) & ~np.isnan(other)
    outcome = rows.outcome[both]
    gap = brier_score(said[both], outcome) - brier_score(other[both], outcome)
    interval = bootstrap_interval(gap, rows.event[both])
    return {
        "estimate": _mean(gap),
        "ci95": None if interval is None else list(interval),
        "rows": int(both.sum()),
        "events": len(np.unique(rows.event[both])),
    }


def _members(walk: Walk, rows: Scored) -> dict[str, Any]:
    brier = _by_member(rows, brier_score)
    failed = dict.fromkeys(rows.names, 0)
    for row in walk.played.rows:
        for name in row.failed:
            failed[name] += 1
    weight = walk.tracks[0].weight[rows.rows]
    return {
        name: {
            "brier": brier[name],
            "rows": int((~np.isnan(rows.members[:, i])).sum()),
            "failed": failed[name],
            "mean_weight": _mean(weight[:, i]),
        }
        for i, name in enumerate(rows.names)
    }


def _usd(micro_usd: NDArray[np.int64]) -> float:
    return int(micro_usd.sum()) / MICRO_PER_USD
