"""What the system did and how good it was: status at a glance, contributions, and the report of a whole run."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_pipeline.domain import MICRO_PER_USD
from ensemble_pipeline.ensemble.instance import Instance
from ensemble_pipeline.ensemble.operating import mode_in_force
from ensemble_pipeline.ensemble.performance import PerformanceTracker
from ensemble_pipeline.forecasting.contribution import leave_one_out
from ensemble_pipeline.forecasting.pooling import median_pool
from ensemble_pipeline.forecasting.scoring import brier_score
from ensemble_pipeline.store import alerts, decisions, reports, worlds
from ensemble_pipeline.store.budget import day_spend
from ensemble_pipeline.store.database import Row


class EnsembleMonitor:
    """Reads the record; where no ranking or calibration was ever made, a report makes the first."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    def track_performance(self) -> dict[str, Any]:
        """The state of the instance at a glance, as JSON values."""
        now = self._instance.clock.now()
        with self._instance.database.connection() as connection:
            today, mode = day_spend(connection, now.date()), mode_in_force(connection, now)
            return {
                "world": worlds.world_key_of(connection),
                "now": now.isoformat(),
                "operating_mode": str(mode.mode),
                "mode": mode.as_json(),
                "markets": reports.market_counts(connection),
                "decisions": self._decisions(decisions.decisions_by_reason(connection)),
                "decisions_today": self._decisions(decisions.decisions_by_reason(connection, now.date())),
                "last_decision_at": _iso(reports.last_decision_at(connection)),
                "model_calls": reports.call_counts(connection),
                "spend_usd": reports.spend(connection)["settled"] / MICRO_PER_USD,
                "spend_today_usd": today.spent / MICRO_PER_USD,
                "held_usd": today.held / MICRO_PER_USD,
                "paper": _money(reports.paper_result(connection)),
                "alerts": alerts.open_alerts(connection),
                "learnt_until": _iso(reports.window_counts(connection)["learnt_until"]),
            }

    def analyze_contributions(self) -> dict[str, dict[str, float | int]]:
        """Per model: how much worse the pool's mean Brier score would be without it, and over how many decisions."""
        with self._instance.database.connection() as connection:
            return self._contributions(reports.settled_answers(connection))

    def _contributions(self, rows: Sequence[Row]) -> dict[str, dict[str, float | int]]:
        if not rows:
            return {}
        models, p_yes, weight, outcome = _matrices(rows)
        lost = leave_one_out(p_yes, outcome, weight, self._instance.settings.ensemble.clip)
        return {
            name: {"brier_without_minus_with": float(gain), "decisions": int(n)}
            for name, gain, n in zip(models, lost.contribution, lost.n, strict=True)
            if n
        }

    def generate_reports(self) -> dict[str, Any]:
        """The whole run in numbers: markets, decisions, calls, spend, paper result, windows, ranking, Brier scores."""
        ranking = PerformanceTracker(self._instance).get_model_ranking()
        calibration = PerformanceTracker(self._instance).get_calibration()
        with self._instance.database.connection() as connection:
            spent = reports.spend(connection)
            calls = reports.call_counts(connection)
            members = reports.brier_of_members(connection)
            windows = reports.window_counts(connection)
            answers = reports.settled_answers(connection)
            report = {
                "world": worlds.world_key_of(connection),
                "clock": self._instance.clock.now().isoformat(),
                "markets": reports.market_counts(connection),
                "decisions": self._decisions(decisions.decisions_by_reason(connection)),
                "model_calls": {"total": sum(calls.values()), "by_status": calls},
                "forecasts": {
                    **reports.forecast_counts(connection),
                    "failed_by_model": reports.failures_by_model(connection),
                },
                "spend": {
                    "usd": spent["settled"] / MICRO_PER_USD,
                    "unconfirmed_after_crash_usd": spent["unconfirmed"] / MICRO_PER_USD,
                },
                "paper": _money(reports.paper_result(connection)),
                "windows": {**windows, "learnt_until": _iso(windows["learnt_until"])},
                "brier": {
                    "all": reports.brier_of_pools(connection, with_price=False),
                    "where_price_known": reports.brier_of_pools(connection, with_price=True),
                    "median": _brier_of_median(answers),
                    "members": members,
                },
            }
        report["calibration"] = {
            "slope": calibration.slope,
            "settled_decisions": calibration.n,
            "market_weight": calibration.market_weight,
        }
        report["ranking"] = {
            "ranking_id": ranking.ranking_id,
            "as_of": ranking.as_of.isoformat(),
            "rows": [asdict(row) for row in ranking.rows],
        }
        report["contributions"] = self._contributions(answers)
        return report

    def _decisions(self, by_reason: dict[str, int]) -> dict[str, Any]:
        return {"total": sum(by_reason.values()), "by_terminal_reason": by_reason}


def _brier_of_median(rows: Sequence[Row]) -> float | None:
    """Mean Brier score of the members' median over settled decisions: what one broken provider cannot spoil."""
    if not rows:
        return None
    _, p_yes, _, outcome = _matrices(rows)
    medians = [median_pool(answers[~np.isnan(answers)]) for answers in p_yes]
    return float(np.mean(brier_score(medians, outcome)))


def _matrices(
    rows: Sequence[Row],
) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Model names; probabilities (NaN for none) and weights by decision and model; outcomes by decision."""
    models = sorted({row["model_id"] for row in rows})
    decision = {key: index for index, key in enumerate(dict.fromkeys(row["decision_id"] for row in rows))}
    column = {name: index for index, name in enumerate(models)}
    p_yes = np.full((len(decision), len(models)), np.nan)
    weight = np.zeros((len(decision), len(models)))
    outcome = np.zeros(len(decision), dtype=np.int64)
    for row in rows:
        at = decision[row["decision_id"]], column[row["model_id"]]
        p_yes[at], weight[at] = row["p_yes"], row["weight"]
        outcome[at[0]] = row["outcome"]
    return models, p_yes, weight, outcome


def _money(row: Row) -> dict[str, int | float]:
    counts = {name: row[name] for name in ("trades", "open_positions")}
    return counts | {f"{name}_usd": row[name] / MICRO_PER_USD for name in ("staked", "fees", "net_profit")}


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
